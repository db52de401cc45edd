"""Which of the files that are found are still to be done; all are counted, each once."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from dicomsort.inputs import names
from dicomsort.manifest.history import History
from dicomsort.outcome import FileStamp, Reason, SourceFile, Status
from dicomsort.sorting.filing import stamp_now
from dicomsort.sorting.summary import SortSummary

_TOLD_EVERY = 1000


class Admission:
    """Counts files; passes on what the manifest does not hold yet, or holds with another size, time or etag.

    opens: whether archives that were not opened are done again. listed: whether a list tells what to sort,
    which may name an archive and, before or after it, files in it; these are done and counted once.
    reopens: whether archives are looked into again that are done, because others have done some of what is in
    them. on_done: called now and then while files are passed over that are done, if it is set.
    """

    def __init__(
        self,
        history: History,
        tally: SortSummary,
        opens: bool = False,
        listed: bool = False,
        reopens: bool = False,
    ) -> None:
        self._history, self._tally, self._opens, self._reopens = history, tally, opens, reopens
        self.on_done: Callable[[], None] | None = None
        self._once = _Once() if listed else None

    def __call__(self, found: Iterable[SourceFile], inside: bool = False) -> Iterator[SourceFile]:
        """Yield those of some files that are still to be done. inside: whether archives gave them."""
        return filter(None, (self._admitted(file, inside) for file in found))

    def _admitted(self, file: SourceFile, inside: bool) -> SourceFile | None:
        if self._once and self._once.has_come(file.path):
            return None
        stamp = (file.stamp or stamp_now(file.path)) if self._history else None
        known = self._history.known(file.path, stamp) if stamp else None
        if stamp is None or known is None:
            return self._counted(file, inside)
        if (self._opens and known.hint is Reason.ARCHIVE) or (
            known.is_read_archive and (self._reopens or self._has_undone(file.path, stamp))
        ):
            return self._counted(file, inside)
        if self._once and self._once.is_counted(file.path, known.status, known.hint):
            return None
        self._tally.found += 1
        self._tally.inside += inside
        self._tally.count_done(known.status, known.hint)
        if self.on_done is not None and self._tally.already_done % _TOLD_EVERY == 0:
            self.on_done()
        return None

    def _counted(self, file: SourceFile, inside: bool) -> SourceFile:
        self._tally.found += 1
        self._tally.inside += inside
        before = self._history.placement(file.path) if self._history else None
        return file if before is None else replace(file, previous=before)

    def _has_undone(self, path: str, stamp: FileStamp) -> bool:
        """Return whether something is to be done in an archive that is done; else count what is in it.

        Where a folder has the name that the archive has in front of its members, it is not known which rows
        are those of members.
        """
        members = self._history.members(path, stamp)
        if members.undone or os.path.isdir(f"{path}!"):
            return True
        statuses, hints = members.statuses, members.hints
        if self._once:
            statuses, hints = self._once.left_in(path, statuses, hints)
        self._tally.found += statuses.total()
        self._tally.inside += statuses.total()
        self._tally.count_all_done(statuses, hints)
        return False


class _Once:
    """What has come of a list that may name archives and what is in them; 8 bytes for each file in one."""

    def __init__(self) -> None:
        self._come: set[int] = set()
        self._whole: set[str] = set()
        self._statuses: defaultdict[str, Counter[Status]] = defaultdict(Counter)
        self._hints: defaultdict[str, Counter[Reason]] = defaultdict(Counter)

    def has_come(self, path: str) -> bool:
        """Return whether a file in an archive came before."""
        if names.is_plain(path):
            return False
        before = len(self._come)
        self._come.add(hash(path))
        return len(self._come) == before

    def is_counted(self, path: str, status: Status, hint: Reason) -> bool:
        """Return whether a file that is done was counted with its archive; else remember it for that."""
        archives = [] if names.is_plain(path) else [archive for archive, _, _ in names.splits(path)]
        if not self._whole.isdisjoint(archives):
            return True
        for archive in archives:
            self._statuses[archive][status] += 1
            self._hints[archive][hint] += bool(hint)
        return False

    def left_in(
        self, archive: str, statuses: Counter[Status], hints: Counter[Reason]
    ) -> tuple[Counter[Status], Counter[Reason]]:
        """Return what is to be counted of an archive that is done: all but what was listed before."""
        self._whole.add(archive)
        return statuses - self._statuses[archive], hints - self._hints[archive]
