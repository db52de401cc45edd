"""Whether the counts of a run add up: every file that it has found is counted once, and no other."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dicomsort.errors import InternalError, NothingFoundError
from dicomsort.inputs import names, walk
from dicomsort.manifest.history import History
from dicomsort.manifest.records import Record
from dicomsort.outcome import Status
from dicomsort.sorting import removal
from dicomsort.sorting.summary import SortSummary

if TYPE_CHECKING:
    from dicomsort.sorting.pipeline import SortSettings


def note_moved(
    record: Record, after: Status, tally: SortSummary, history: History, given: Sequence[str]
) -> None:
    """Note that a file has another status now; what was there before this run is none of its files.

    given: the roots of the run. A file of earlier runs that it has not met is not counted.
    """
    is_old = not is_new(record, history)
    if not is_old or is_met(record.path, given):
        tally.move(record.status, after, is_old)


def is_met(path: str, given: Sequence[str]) -> bool:
    """Return whether a file of an earlier run is there, below one of the roots of this run."""
    below = any(path == root or walk.lies_under(path, root) for root in map(walk.whole, given))
    return below and (not names.is_plain(path) or os.path.lexists(path))


def is_new(record: Record, history: History) -> bool:
    """Return whether a row is of this run. history: what was held before."""
    stamp = record.stamp
    return stamp is None or history.status(record.path, stamp) is None


def check_ended(tally: SortSummary) -> None:
    """Raise InternalError unless every file found ended exactly once."""
    if tally.ended != tally.found:
        raise InternalError(f"{tally.found} files found but {tally.ended} rows written; please report this")


def check_found(tally: SortSummary, settings: "SortSettings") -> None:
    """Raise NothingFoundError if there is no file at all, unless because all have been moved."""
    if tally.found or removal.has_moved(settings.placing.action, settings.out):
        return
    if any(map(names.is_remote, settings.roots)):
        raise NothingFoundError("no file found there: look at the address, and at --query if there is one")
    raise NothingFoundError("no file found under the given folders")
