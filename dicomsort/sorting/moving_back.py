"""What was moved goes back to where it came from; nothing that has come there since is replaced."""

import os
from collections.abc import Callable, Iterable, Iterator

from dicomsort.manifest.records import Record
from dicomsort.outcome import Action, Placement, Reason
from dicomsort.sorting.copies import digest
from dicomsort.sorting.moving import put
from dicomsort.sorting.place import is_still_there, is_untouched
from dicomsort.sorting.reviewing import in_groups
from dicomsort.system import durable
from dicomsort.system.atomic import temporary_for


def bring_all(
    records: Iterable[Record], out: str, verify: bool, step: Callable[[], None]
) -> dict[str, Reason]:
    """Let the sources of all moved files stand again, with the bytes, times and mode of their copies.

    Copies stay for now: whatever cuts this short, the next call goes on. Returns by `key` why some cannot be
    brought back. verify: compare the bytes with the checksum also where they need not be copied. Raises
    TargetError if the disk fails.
    """
    left: dict[str, Reason] = {}
    moved = (record for record in records if record.is_placed and record.action == Action.MOVE)
    for group in in_groups(moved):
        fresh = set[str]()
        for record in group:
            step()
            why = _brought(record, out, verify, fresh)
            if why is not Reason.NONE:
                left[record.key] = why
        durable.sync(fresh, (), out)
    return left


def _brought(record: Record, out: str, verify: bool, fresh: set[str]) -> Reason:
    """Let one source stand again; returns why it cannot. fresh: takes what must be synced."""
    placement = record.placement
    source, target = record.path, os.path.join(out, placement.destination)
    if not os.path.lexists(target):
        return Reason.NONE if os.path.lexists(source) else Reason.NO_SUCH_FILE
    try:
        if not is_untouched(source, target, placement) or (verify and digest(target) != placement.sha256):
            return Reason.CHANGED_COPY
        above = _make_folders(os.path.dirname(source))
        temporary_for(source)  # what a killed program has left goes
        if not os.path.lexists(source):
            _put_back(source, target, placement)
        if not is_still_there(source, target):
            return Reason.SOURCE_TAKEN
    except OSError as error:
        return Reason.SOURCE_TAKEN if isinstance(error, FileExistsError) else Reason.NOT_BACK
    fresh |= {source, *_folders(os.path.dirname(source), above)}
    return Reason.NONE


def _put_back(source: str, target: str, placement: Placement) -> None:
    put(target, source)
    facts = os.lstat(source)
    if facts.st_mtime_ns != placement.stamp.mtime_ns:  # where the output keeps coarser times
        os.utime(source, ns=(facts.st_atime_ns, placement.stamp.mtime_ns))


def _make_folders(folder: str) -> str:
    """Make a folder and those above it; returns the lowest one that was there."""
    above = folder
    while not os.path.isdir(above) and os.path.dirname(above) != above:
        above = os.path.dirname(above)
    os.makedirs(folder, exist_ok=True)
    return above


def _folders(folder: str, above: str) -> Iterator[str]:
    """Yield a folder and those above it up to one."""
    yield folder
    while folder != above and len(folder) > 1:
        folder = os.path.dirname(folder)
        yield folder
