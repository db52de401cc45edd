"""Put a file under its class folder, without ever replacing anything."""

import errno
import filecmp
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass

from dicomsort.errors import TargetError, UsageError
from dicomsort.inputs.archive_file import MemberDamagedError
from dicomsort.inputs.names import is_plain
from dicomsort.inputs.sources import Fetch, local
from dicomsort.outcome import Action, FileStamp, Part, Placement, Reason
from dicomsort.sorting import moving, parts
from dicomsort.sorting.copies import (
    UnlikeError,
    are_equal,
    clone,
    copy_file,
    digest,
    forget_cached,
    has_bytes_of,
)
from dicomsort.system.atomic import publish, temporary_for
from dicomsort.system.retry import PASSING, retry_transient

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS})
_TRIES = 20
_LINKS = (Action.HARDLINK, Action.MOVE)
"""Actions whose result may be the source by another name."""


@dataclass(frozen=True, slots=True)
class PlacementSettings:
    """How files are placed.

    verify: read what was placed again and compare it with the source. relative: make symbolic links relative.
    Raises UsageError if there would be nothing to verify.
    """

    action: Action = Action.COPY
    verify: bool = False
    relative: bool = False

    def __post_init__(self) -> None:
        if self.verify and self.action is Action.NONE:
            raise UsageError(
                "--verify reads placed files again, but --action none places none: leave one out"
            )


@dataclass(frozen=True, slots=True)
class PlacementResult:
    """What was really done: a reflink may have become a copy, and a failure leaves nothing behind.

    sha256: of the bytes that were compared, in hex; empty without `verify`.
    """

    action: Action | None
    reason: Reason = Reason.NONE
    sha256: str = ""


_TAKEN = PlacementResult(None, Reason.DESTINATION_TAKEN)


def place(
    source: str,
    target: str,
    placing: PlacementSettings,
    stamp: FileStamp | None,
    part: Part | None = None,
    fetch: Fetch | None = None,
) -> PlacementResult:
    """Put `source` at `target` (both absolute). Never replaces a file; the source is only read.

    The source of a moved file goes at the end of the run, see `removal`. What is no file of its own, but lies
    in an archive or on another machine, is always copied. part: where its bytes are, if that is known.
    fetch: see `sources.local`.

    The file is written under a temporary name in the target folder and then linked to its final one, which
    fails if that exists. What a killed run has already placed counts as placed. `stamp`: the source as it
    was read; if it has changed since, nothing is placed. Raises TargetError if the target is full or
    read-only; any other failure is a value.
    """
    try:
        if part is None and not is_plain(source) and not os.path.exists(source):
            return _brought_and_placed(source, target, placing, stamp, fetch)
        return retry_transient(lambda: _placed(source, target, placing, stamp, part))
    except (MemberDamagedError, UnlikeError) as error:
        return PlacementResult(None, error.reason)
    except FileNotFoundError:
        return PlacementResult(None, Reason.NOT_PLACED if os.path.exists(source) else Reason.VANISHED)
    except OSError as error:
        _raise_if_target_is_done(error, target)
        if error.errno in PASSING:
            return PlacementResult(None, Reason.UNREADABLE)
        return PlacementResult(None, Reason.OTHER_DEVICE if error.errno == errno.EXDEV else Reason.NOT_PLACED)


def _brought_and_placed(
    source: str,
    target: str,
    placing: PlacementSettings,
    stamp: FileStamp | None,
    fetch: Fetch | None,
) -> PlacementResult:
    """Place what lies in an archive or on another machine, of which only the name is known."""
    with local(source, fetch) as here:
        if stamp is not None and not _is_same_source(here.stamp, stamp):
            return PlacementResult(None, Reason.CHANGED)
        return retry_transient(lambda: _placed(source, target, placing, stamp, here.part))


def _is_same_source(now: FileStamp | None, then: FileStamp) -> bool:
    if now is None or then.etag:
        return now is None or now.etag == then.etag
    return now == then


def _placed(
    source: str,
    target: str,
    placing: PlacementSettings,
    stamp: FileStamp | None,
    part: Part | None = None,
) -> PlacementResult:
    if stamp is not None and _has_changed(source, stamp, part):
        return PlacementResult(None, Reason.CHANGED)
    for tries_left in reversed(range(_TRIES)):
        try:
            make_folder(os.path.dirname(target))
            if part is not None:
                return PlacementResult(Action.COPY, sha256=parts.put(part, target, placing.verify, stamp))
            return _PLACERS[placing.action](source, target, placing)
        except FileExistsError:
            return _already(source, target, placing) if part is None else _part_already(part, target, placing)
        except FileNotFoundError:  # another thread may have removed the folder, empty for a moment
            if not tries_left or not os.path.exists(source if part is None else part.file):
                raise
    raise AssertionError


def _has_changed(source: str, stamp: FileStamp, part: Part | None) -> bool:
    """Return whether a file, or the archive in which it is read in place, is another one than before."""
    if part is None:
        return stamp_of(source) != stamp
    is_in_place = source.startswith(f"{part.file}!")
    return is_in_place and stamp_of(part.file).mtime_ns != stamp.mtime_ns


def make_folder(path: str) -> None:
    """Make a folder and those above it. Raises FileNotFoundError if it has gone again in the meantime."""
    try:
        os.makedirs(path, exist_ok=True)
    except FileExistsError as error:  # it was there, and then was not; or is a file
        if os.path.lexists(path):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", path) from error
        raise FileNotFoundError(errno.ENOENT, "folder has gone", path) from error


def stamp_of(path: str) -> FileStamp:
    """Return size and modification time of a file, through links. Raises OSError."""
    facts = os.stat(path)
    return FileStamp(facts.st_size, facts.st_mtime_ns)


def remove(source: str, target: str, placement: Placement, verify: bool = False) -> bool:
    """Take a placed file away again, with the folders that become empty; False if it is no longer ours.

    verify: compare the bytes too. What was moved stays, unless its source still has the bytes. Raises OSError
    if it cannot be removed.
    """
    if not is_untouched(source, target, placement):
        return False
    if placement.action == Action.MOVE and not is_still_there(source, target):
        return False
    if verify and placement.action != Action.SYMLINK and not _has_the_bytes(source, target, placement.sha256):
        return False
    os.unlink(target)
    with suppress(OSError):
        os.removedirs(os.path.dirname(target))
    return True


def is_untouched(source: str, target: str, placement: Placement) -> bool:
    """Return whether `target` is still what was placed: by link target, inode, or size and time of the copy.

    Times may differ by two seconds, which is what FAT can store. The source itself is never meant.
    """
    try:
        if placement.action == Action.SYMLINK:
            return _is_our_link(source, target)
        if os.path.islink(target) or os.path.realpath(source) == os.path.realpath(target):
            return False
        if placement.action in _LINKS and _is_one_file(source, target):
            return True
        facts = stamp_of(target)
    except OSError:
        return False
    late = abs(facts.mtime_ns - placement.stamp.mtime_ns)
    return facts.size == placement.stamp.size and late <= moving.TIME_GRAIN_NS


def is_still_there(source: str, target: str) -> bool:
    """Return whether the source of a moved file stands beside its copy, with the same bytes."""
    try:
        if os.path.samefile(source, target):
            return moving.has_names(source, target)
        return has_bytes_of(Part(source), target)
    except OSError:
        return False


def is_it(source: str, target: str, placement: Placement) -> bool:
    """Return whether `target`, wherever it lies, is what was placed: as `is_untouched`, and by its bytes.

    Where the source is gone, size and time must do, or the checksum of what was moved.
    """
    if not is_untouched(source, target, placement):
        return False
    if placement.action == Action.MOVE:
        return _has_the_bytes(source, target, placement.sha256)
    try:
        return placement.action == Action.SYMLINK or are_equal(source, target)
    except (OSError, MemberDamagedError):
        return True


def stands(target: str, placement: Placement) -> bool:
    """Return whether something of the right kind and size is at `target`."""
    try:
        if placement.action == Action.SYMLINK:
            return os.path.islink(target) and os.path.exists(target)
        return os.lstat(target).st_size == placement.stamp.size and not os.path.islink(target)
    except OSError:
        return False


def _has_the_bytes(source: str, target: str, sha256: str) -> bool:
    """Compare with the checksum that was taken, or if there is none, with the source."""
    try:
        return digest(target) == sha256 if sha256 else are_equal(source, target)
    except (OSError, MemberDamagedError):
        return False


def _is_one_file(source: str, target: str) -> bool:
    return os.path.exists(source) and os.path.samefile(source, target)


def _already(source: str, target: str, placing: PlacementSettings) -> PlacementResult:
    """Accept what a killed run has placed but not recorded: the right link, or a copy of the same bytes."""
    if placing.action is Action.MOVE:
        found = moving.already(source, target)
        return PlacementResult(found[0], sha256=found[1]) if found else _TAKEN
    if not _is_the_same(source, target, placing.action):
        return _TAKEN
    action = Action.COPY if placing.action is Action.REFLINK else placing.action
    return PlacementResult(action, sha256=digest(target) if placing.verify else "")


def _is_the_same(source: str, target: str, action: Action) -> bool:
    try:
        if action is Action.SYMLINK:
            return _is_our_link(source, target)
        one_file = os.path.samefile(source, target)
        if action is Action.HARDLINK or one_file or os.path.islink(target):
            return action is Action.HARDLINK and one_file and not os.path.islink(target)
        return filecmp.cmp(source, target, shallow=False)
    except OSError:
        return False


def _is_our_link(source: str, target: str) -> bool:
    return os.readlink(target) in (source, relative(source, target))


def relative(source: str, target: str) -> str:
    """Return the way from the folder of `target` to `source`, as the system goes it: through real folders."""
    folder, name = os.path.split(source)
    return os.path.relpath(
        os.path.join(os.path.realpath(folder), name), os.path.realpath(os.path.dirname(target))
    )


def _raise_if_target_is_done(error: OSError, target: str) -> None:
    folder = os.path.dirname(target)
    if error.errno in _FULL:
        raise TargetError(f"no space left in '{folder}': free some and run the same command again") from error
    if error.errno in _READ_ONLY:
        raise TargetError(
            f"'{folder}' is read-only: make it writable and run the same command again"
        ) from error


def _copy(source: str, target: str, placing: PlacementSettings) -> PlacementResult:
    temporary = temporary_for(target)
    try:
        copy_file(source, temporary)
        return _finish(source, temporary, target, placing, Action.COPY)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _part_already(part: Part, target: str, placing: PlacementSettings) -> PlacementResult:
    """Accept what a killed run has placed of a part but not recorded: a copy of the same bytes."""
    if not parts.is_already(part, target):
        return _TAKEN
    return PlacementResult(Action.COPY, sha256=digest(target) if placing.verify else "")


def _reflink(source: str, target: str, placing: PlacementSettings) -> PlacementResult:
    temporary = temporary_for(target)
    try:
        if not clone(source, temporary):
            return _copy(source, target, placing)
        return _finish(source, temporary, target, placing, Action.REFLINK)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _finish(
    source: str, temporary: str, target: str, placing: PlacementSettings, action: Action
) -> PlacementResult:
    """Give the temporary file the source's mode and times, check it if asked to, and its final name."""
    sha256 = _checked(source, temporary) if placing.verify else ""
    shutil.copystat(source, temporary)
    publish(temporary, target)
    return PlacementResult(action, sha256=sha256)


def _checked(source: str, copy: str) -> str:
    """Return the checksum of both files, read anew, from the disk where the system can forget its cache."""
    forget_cached(copy)
    sha256 = digest(copy)
    if sha256 != digest(source):
        raise UnlikeError(Reason.DIFFERENT)
    return sha256


def _move(source: str, target: str, placing: PlacementSettings) -> PlacementResult:
    """Place what will be moved; what must stay where it is is copied."""
    if moving.why_it_stays(source, target) is not None:
        return _copy(source, target, placing)
    return PlacementResult(Action.MOVE, sha256=moving.put(source, target))


def _symlink(source: str, target: str, placing: PlacementSettings) -> PlacementResult:
    os.symlink(relative(source, target) if placing.relative else source, target)
    return PlacementResult(Action.SYMLINK, sha256=digest(target) if placing.verify else "")


def _hardlink(source: str, target: str, placing: PlacementSettings) -> PlacementResult:
    os.link(os.path.realpath(source), target)
    return PlacementResult(Action.HARDLINK, sha256=digest(target) if placing.verify else "")


_PLACERS = {
    Action.COPY: _copy,
    Action.MOVE: _move,
    Action.REFLINK: _reflink,
    Action.SYMLINK: _symlink,
    Action.HARDLINK: _hardlink,
}


def copy_or_source(path: str, destination: str, action: str, out: str) -> str:
    """Return which file to read for a row: the source, or if that is gone or was moved what was placed.

    Never one outside the output instead, whatever the manifest says of a destination.
    """
    is_inside = not os.path.isabs(destination) and os.pardir not in destination.split(os.sep)
    if not (action and destination and is_inside):
        return path
    placed = os.path.join(out, destination)
    was_moved = action == Action.MOVE and os.path.exists(placed)
    return placed if was_moved or not os.path.exists(path) else path
