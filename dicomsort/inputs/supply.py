"""What workers are to read next: what was found, what is in archives, and what had to be fetched.

A file is handed out once it can be read from this disk. What a worker answers may lead to more: an archive to
its members, a header to the bytes of a frame that have to be fetched.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from dicomsort.errors import TargetError
from dicomsort.inputs.archive_rows import ArchiveRows
from dicomsort.inputs.fetching import Fetching
from dicomsort.inputs.incoming import Incoming
from dicomsort.inputs.names import is_remote
from dicomsort.inputs.opened import Span
from dicomsort.inputs.work import (
    Answer,
    IsStream,
    Listed,
    Read,
    Through,
    ToGoThrough,
    ToList,
    Wants,
    Work,
    is_listed_member,
    member_of,
)
from dicomsort.outcome import Failure, ReadImage, Reason, SourceFile, Status
from dicomsort.system.inbox import NOTHING_NOW, NothingNow

_TAIL = 1 << 16
"""Bytes at the end of a file in which archives have what tells them."""

Admit = Callable[[Iterable[SourceFile]], Iterator[SourceFile]]
"""Passes on those of some files that are still to be done."""

Reading = tuple[SourceFile, ReadImage | Failure]


_MOST_LISTED = 16


@dataclass(frozen=True, slots=True)
class SupplySettings:
    """archives: whether to look into them. copies: whether what is read will be copied from here."""

    archives: bool = True
    copies: bool = True


class Supply:
    """A source of work for the pool that grows by what the pool answers; see `inbox.RingingItems`.

    Used by the thread that reads ahead, but for `ended`, which is called where rows are written. bell: rings
    when something was fetched.
    """

    def __init__(
        self,
        found: Iterable[SourceFile],
        admit: Admit,
        settings: SupplySettings,
        incoming: Incoming,
        fetching: Fetching | None = None,
    ) -> None:
        """Supply what is found, and members of archives that `admit` lets through."""
        self._found, self._admit, self._settings = iter(found), admit, settings
        self._incoming, self._fetching = incoming, fetching
        self._ready: deque[Work] = deque()
        self._archives: deque[Work] = deque()
        self._out = self._listing = 0
        self._found_all = False
        self.rows = ArchiveRows()
        self.bell: Any = fetching.bell if fetching else None

    @property
    def incoming(self) -> str:
        """The folder for what has to be unpacked or fetched."""
        return self._incoming.folder

    @property
    def copies(self) -> bool:
        """Whether the bytes of what is read are kept until they have been copied."""
        return self._settings.copies

    def __iter__(self) -> "Iterator[Work | NothingNow]":
        return self

    def __next__(self) -> Work | NothingNow:
        self._take_fetched()
        if not self._ready:
            self._look_further()
        if self._ready:
            self._out += 1
            self._listing += isinstance(self._ready[0], ToList)
            return self._ready.popleft()
        if self._out or (self._fetching and self._fetching.waiting):
            return NOTHING_NOW
        raise StopIteration

    def _look_further(self) -> None:
        """Take the next archive, else what is found next.

        Few archives are listed at a time, so that few members wait. What is on another machine is asked for,
        as much at a time as may be.
        """
        if self._archives:
            if self._listing < _MOST_LISTED:
                self._ready.append(self._archives.popleft())
            return
        while not self._ready and not self._found_all:
            if self._fetching and self._fetching.is_full:
                return
            found = next(self._found, None)
            if found is None:
                self._found_all = True
            elif found.failure is None and self._fetching and is_remote(found.path):
                self._fetching.begin(found)
            else:
                self._ready.append(found)

    def _take_fetched(self) -> None:
        for work in self._fetching.done() if self._fetching else ():
            (self._archives if isinstance(work, ToList) else self._ready).append(work)

    def readings(self, answers: Generator[tuple[Work, Answer], None, None]) -> Generator[Reading, None, None]:
        """Yield every file once, as it was read; what leads to more work is taken back into the supply."""
        for work, answer in answers:
            if not isinstance(work, ToGoThrough) or not isinstance(answer, Read):
                self._out -= 1
                self._listing -= isinstance(work, ToList)
            yield from self._told(work, answer)

    def _told(self, work: Work, answer: Answer) -> Iterator[Reading]:
        if isinstance(answer, Wants):
            self._want(work, answer)
        elif isinstance(answer, Read):
            yield from (
                self._member(work, answer)
                if isinstance(work, ToGoThrough)
                else self._read(answer.found, answer.reading)
            )
        elif isinstance(work, SourceFile):
            yield from self._read(work, answer)
        else:
            yield from self._looked_into(work, answer)

    def _looked_into(self, work: ToList | ToGoThrough, answer: Answer) -> Iterator[Reading]:
        """Go on with what is in an archive, or end with it."""
        if isinstance(answer, Listed) and isinstance(work, ToList):
            yield from self._listed(work, answer)
        elif isinstance(answer, IsStream):
            found = work.found if answer.part is None else replace(work.found, part=answer.part)
            self._ready.appendleft(ToGoThrough(found, answer.kind, work.inner))
        elif isinstance(answer, Through):
            yield self._ended(work.found, answer.damage)
        else:
            assert isinstance(answer, Failure)  # noqa: S101
            yield self._not_opened(work.found, answer)

    def _read(self, found: SourceFile, reading: Any) -> Iterator[Reading]:
        """Pass on how a file was read, unless it is an archive to look into."""
        if isinstance(reading, Failure):
            if reading.reason is Reason.ARCHIVE and self._settings.archives:
                if self._open(found, reading):
                    return
                reading = replace(reading, reason=Reason.NESTED)
            self._check_target(reading)
            self._incoming.drop(found.part)
        elif not self._settings.copies:
            self._incoming.drop(found.part)
        else:
            found = self._completed(found)
            reading = found.failure or reading
            self._incoming.keep(found)
        yield found, reading

    def _completed(self, found: SourceFile) -> SourceFile:
        """Fetch what reading a file did not need, and a copy does; rarely anything is left by then."""
        if self._fetching and found.part is not None and found.part.held is not None:
            return self._fetching.completed(found)
        return found

    @staticmethod
    def _check_target(reading: Failure) -> None:
        if reading.reason is Reason.TARGET_DONE:
            raise TargetError("the output is full or cannot be written: free some space and run it again")

    def _open(self, found: SourceFile, reading: Failure) -> bool:
        """Look into an archive, unless it lies in one that lies in one; return whether that is done."""
        inner = self.rows.is_member(found.path) or is_listed_member(found)
        if inner and self.rows.is_inner(found.path):
            return False
        found = replace(found, stamp=found.stamp or reading.stamp)
        self.rows.open(found.path, inner)
        work = ToList(found, inner=inner)
        if found.part is not None and found.part.held is not None:
            self._more(found, None, work)
        else:
            self._archives.append(work)
        return True

    def _listed(self, work: ToList, answer: Listed) -> Iterator[Reading]:
        """Hand out the members that were listed, and then go on with the list."""
        archive = work.found if answer.part is None else replace(work.found, part=answer.part)
        files = [member_of(archive, member) for member in answer.listing.members]
        named = [self.rows.named(archive.path, file) for file in files]
        self._ready.extend(self._counted(archive.path, self._admit(named)))
        if answer.listing.rest is not None:
            self._archives.appendleft(ToList(archive, answer.listing.rest, work.inner))
        else:
            yield self._ended(archive, answer.listing.damage)

    def _counted(self, archive: str, files: Iterable[SourceFile]) -> Iterator[SourceFile]:
        for file in files:
            self.rows.expect(archive, file.path)
            yield file

    def _member(self, work: ToGoThrough, answer: Read) -> Iterator[Reading]:
        """Pass on a member that was read in passing, unless it had been done before."""
        named = self.rows.named(work.found.path, answer.found)
        left = list(self._counted(work.found.path, self._admit([named])))
        if left:
            yield from self._read(left[0], answer.reading)
        else:
            self._incoming.drop(answer.found.part)

    def _ended(self, archive: SourceFile, damage: Reason) -> Reading:
        """Return the row of an archive itself, which is written behind those of its members."""
        status = Status.DECODE_ERROR if damage else Status.NOT_DICOM
        self._incoming.keep(archive)
        return archive, Failure(status, damage or Reason.ARCHIVE_READ, stamp=archive.stamp)

    def _not_opened(self, archive: SourceFile, failure: Failure) -> Reading:
        self._check_target(failure)
        self._incoming.keep(archive)
        return archive, replace(failure, stamp=failure.stamp or archive.stamp)

    def _want(self, work: Work, wants: Wants) -> None:
        """Fetch more of a file, and then do the same again; all of it to be copied, or looked into.

        A few bytes at its end are asked for to know what a file is that is no DICOM file: these alone.
        """
        found = work if isinstance(work, SourceFile) else work.found
        at_end = found.stamp is not None and wants.start >= found.stamp.size - _TAIL
        whole = work is not found or (self._settings.copies and not at_end)
        self._more(found, None if whole else (wants.start, wants.stop), work)

    def _more(self, found: SourceFile, span: Span | None, then: Work) -> None:
        assert self._fetching is not None  # noqa: S101
        self._fetching.more(found, span, then)

    def ended(self, path: str) -> None:
        """Let go of what was kept of a file, or of an archive, whose row has been written."""
        self._incoming.ended(path)

    def close(self) -> None:
        """Stop fetching, and remove what was left in the folder for incoming files."""
        if self._fetching:
            self._fetching.close()
        self._incoming.close()
