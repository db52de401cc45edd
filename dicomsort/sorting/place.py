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
from dicomsort.inputs.sources import local
from dicomsort.outcome import Action, FileStamp, Part, Placement, Reason
from dicomsort.sorting.copies import (
    are_equal,
    clone,
    copy_file,
    copy_part,
    digest,
    forget_cached,
    has_bytes_of,
)
from dicomsort.system.atomic import publish, temporary_for
from dicomsort.system.retry import PASSING, retry_transient

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS})
_TRIES = 20
_TIME_GRAIN_NS = 2_000_000_000


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


class _DifferentError(OSError):
    """What was placed is not what the source holds."""


def place(
    source: str,
    target: str,
    placing: PlacementSettings,
    stamp: FileStamp | None,
    part: Part | None = None,
) -> PlacementResult:
    """Put `source` at `target` (both absolute). Never replaces a file; the source is only read.

    What is no file of its own, but lies in an archive or on another machine, is always copied. part: where
    its bytes are, if that is known.

    The file is written under a temporary name in the target folder and then linked to its final one, which
    fails if that exists. What a killed run has already placed counts as placed. `stamp`: the source as it
    was read; if it has changed since, nothing is placed. Raises TargetError if the target is full or
    read-only; any other failure is a value.
    """
    try:
        if part is None and not is_plain(source) and not os.path.exists(source):
            return _brought_and_placed(source, target, placing, stamp)
        return retry_transient(lambda: _placed(source, target, placing, stamp, part))
    except (_DifferentError, MemberDamagedError) as error:
        return PlacementResult(None, getattr(error, "reason", Reason.DIFFERENT))
    except FileNotFoundError:
        return PlacementResult(None, Reason.NOT_PLACED if os.path.exists(source) else Reason.VANISHED)
    except OSError as error:
        _raise_if_target_is_done(error, target)
        if error.errno in PASSING:
            return PlacementResult(None, Reason.UNREADABLE)
        return PlacementResult(None, Reason.OTHER_DEVICE if error.errno == errno.EXDEV else Reason.NOT_PLACED)


def _brought_and_placed(
    source: str, target: str, placing: PlacementSettings, stamp: FileStamp | None
) -> PlacementResult:
    """Place what lies in an archive or on another machine, of which only the name is known."""
    with local(source) as here:
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
            _make_folder(os.path.dirname(target))
            if part is not None:
                return _copy_part(part, target, placing, stamp)
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


def _make_folder(path: str) -> None:
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

    verify: compare the bytes too. Raises OSError if it cannot be removed.
    """
    if not is_untouched(source, target, placement):
        return False
    if verify and placement.action != Action.SYMLINK and not _has_the_bytes(source, target, placement.sha256):
        return False
    os.unlink(target)
    with suppress(OSError):
        os.removedirs(os.path.dirname(target))
    return True


def move(source: str, old: str, new: str, placement: Placement) -> None:
    """Give a placed file another place in the output; a symbolic link keeps its kind, relative or not.

    What is there is never replaced. What a killed run has begun is finished: the file may be in both places,
    or in the new one only. Raises FileExistsError if another file is there, or any other OSError.
    """
    _make_folder(os.path.dirname(new))
    try:
        if placement.action == Action.SYMLINK:
            os.symlink(_link_text(source, old, new), new)
        else:
            publish(old, new)
    except FileExistsError:
        if not _is_same_placed(old, new):
            raise
    with suppress(FileNotFoundError):
        os.unlink(old)
    with suppress(OSError):
        os.removedirs(os.path.dirname(old))


def is_same_link(source: str, old: str, new: str) -> bool:
    """Return whether `new` is the symbolic link to a source that was placed at `old`."""
    try:
        return os.readlink(new) in (source, _relative(source, old), _relative(source, new))
    except OSError:
        return False


def make_link(source: str, old: str, new: str) -> None:
    """Let a relative link that somebody has moved from `old` to `new` lead to its source again."""
    text = _relative(source, new)
    if os.readlink(new) == _relative(source, old) != text:
        temporary = temporary_for(new)
        os.symlink(text, temporary)
        os.replace(temporary, new)


def _link_text(source: str, old: str, new: str) -> str:
    return source if os.path.isabs(os.readlink(old)) else _relative(source, new)


def _is_same_placed(old: str, new: str) -> bool:
    """Return whether a move was cut short between the new name and the end of the old one."""
    if os.path.islink(old) or os.path.islink(new):
        return os.path.islink(old) and os.path.islink(new) and os.path.realpath(old) == os.path.realpath(new)
    return os.path.samefile(old, new)


def is_untouched(source: str, target: str, placement: Placement) -> bool:
    """Return whether `target` is still what was placed: by link target, inode, or size and time of the copy.

    Times may differ by two seconds, which is what FAT can store. The source itself is never meant.
    """
    try:
        if placement.action == Action.SYMLINK:
            return _is_our_link(source, target)
        if os.path.islink(target) or os.path.realpath(source) == os.path.realpath(target):
            return False
        if placement.action == Action.HARDLINK and os.path.samefile(source, target):
            return True
        facts = stamp_of(target)
    except OSError:
        return False
    late = abs(facts.mtime_ns - placement.stamp.mtime_ns)
    return facts.size == placement.stamp.size and late <= _TIME_GRAIN_NS


def is_it(source: str, target: str, placement: Placement) -> bool:
    """Return whether `target`, wherever it lies, is what was placed: as `is_untouched`, and by its bytes.

    Where the source is gone, size and time must do.
    """
    if not is_untouched(source, target, placement):
        return False
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


def _already(source: str, target: str, placing: PlacementSettings) -> PlacementResult:
    """Accept what a killed run has placed but not recorded: the right link, or a copy of the same bytes."""
    if not _is_the_same(source, target, placing.action):
        return PlacementResult(None, Reason.DESTINATION_TAKEN)
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
    return os.readlink(target) in (source, _relative(source, target))


def _relative(source: str, target: str) -> str:
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


def _copy_part(
    part: Part, target: str, placing: PlacementSettings, stamp: FileStamp | None
) -> PlacementResult:
    """Give a file that was left for this its place, or copy the bytes of a part of another one."""
    is_whole = part.start == 0 and part.length is None and not part.packing and _is_beside(part.file, target)
    temporary = part.file if is_whole else temporary_for(target)
    try:
        if not is_whole:
            copy_part(part, temporary)
        sha256 = _checked_part(part, temporary) if placing.verify else ""
        if stamp is not None:
            os.utime(temporary, ns=(stamp.mtime_ns, stamp.mtime_ns))
        publish(temporary, target)
        return PlacementResult(Action.COPY, sha256=sha256)
    finally:
        if not is_whole:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def _is_beside(path: str, target: str) -> bool:
    """Return whether a file lies in the file system of the folder that is to hold its copy."""
    return os.stat(path).st_dev == os.stat(os.path.dirname(target)).st_dev


def _checked_part(part: Part, copy: str) -> str:
    """Return the checksum of a copy, read anew. Raises _DifferentError unless it has the part's bytes."""
    forget_cached(copy)
    if copy != part.file and not has_bytes_of(part, copy):
        raise _DifferentError
    return digest(copy)


def _part_already(part: Part, target: str, placing: PlacementSettings) -> PlacementResult:
    """Accept what a killed run has placed of a part but not recorded: a copy of the same bytes."""
    try:
        if not os.path.islink(target) and has_bytes_of(part, target):
            return PlacementResult(Action.COPY, sha256=digest(target) if placing.verify else "")
    except OSError:
        pass
    return PlacementResult(None, Reason.DESTINATION_TAKEN)


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
        raise _DifferentError
    return sha256


def _symlink(source: str, target: str, placing: PlacementSettings) -> PlacementResult:
    os.symlink(_relative(source, target) if placing.relative else source, target)
    return PlacementResult(Action.SYMLINK, sha256=digest(target) if placing.verify else "")


def _hardlink(source: str, target: str, placing: PlacementSettings) -> PlacementResult:
    os.link(os.path.realpath(source), target)
    return PlacementResult(Action.HARDLINK, sha256=digest(target) if placing.verify else "")


_PLACERS = {
    Action.COPY: _copy,
    Action.REFLINK: _reflink,
    Action.SYMLINK: _symlink,
    Action.HARDLINK: _hardlink,
}


def copy_or_source(path: str, destination: str, action: str, out: str) -> str:
    """Return which file to read for a row: the source, or if that is gone what was placed.

    Never one outside the output instead, whatever the manifest says of a destination.
    """
    is_inside = not os.path.isabs(destination) and os.pardir not in destination.split(os.sep)
    if action and destination and is_inside and not os.path.exists(path):
        return os.path.join(out, destination)
    return path
