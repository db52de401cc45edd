"""Put a file under its class folder, without ever replacing anything."""

import errno
import filecmp
import hashlib
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from dicomsort.errors import TargetError
from dicomsort.outcome import Placement, Reason, Stamp

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS})
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
_TIME_GRAIN_NS = 2_000_000_000
_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file


class Action(StrEnum):
    """What is done with a sorted file."""

    COPY = "copy"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    REFLINK = "reflink"


@dataclass(frozen=True, slots=True)
class Placed:
    """What was really done: a reflink may have become a copy, and a failure leaves nothing behind."""

    action: Action | None
    reason: Reason = Reason.NONE


def place(source: str, target: str, action: Action, stamp: Stamp | None) -> Placed:
    """Put `source` at `target` (both absolute). Never replaces a file; the source is only read.

    The file is written under a temporary name in the target folder and then linked to its final one, which
    fails if that exists. What a killed run has already placed counts as placed. `stamp`: the source as it
    was read; if it has changed since, nothing is placed. Raises TargetError if the target is full or
    read-only; any other failure is a value.
    """
    try:
        if stamp is not None and stamp_of(source) != stamp:
            return Placed(None, Reason.CHANGED)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        done = _PLACERS[action](source, target)
    except FileExistsError:
        return _already(source, target, action)
    except FileNotFoundError:
        return Placed(None, Reason.NOT_PLACED if os.path.exists(source) else Reason.VANISHED)
    except OSError as error:
        _raise_if_target_is_done(error, target)
        return Placed(None, Reason.OTHER_DEVICE if error.errno == errno.EXDEV else Reason.NOT_PLACED)
    return Placed(done)


def write_new(target: str, content: "bytes | memoryview") -> None:
    """Write a new file, whole or not at all. Raises FileExistsError, or any other OSError."""
    temporary = _temporary(target)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
        _publish(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def stamp_of(path: str) -> Stamp:
    """Return size and modification time of a file, through links. Raises OSError."""
    facts = os.stat(path)
    return Stamp(facts.st_size, facts.st_mtime_ns)


def remove(source: str, target: str, placement: Placement) -> bool:
    """Take a placed file away again, with the folders that become empty; False if it is no longer ours.

    Raises OSError if it cannot be removed.
    """
    if not is_untouched(source, target, placement):
        return False
    os.unlink(target)
    with suppress(OSError):
        os.removedirs(os.path.dirname(target))
    return True


def is_untouched(source: str, target: str, placement: Placement) -> bool:
    """Tell whether `target` still is what was placed: by link target, inode, or size and time of the copy.

    Times may differ by two seconds, which is what FAT can store. The source itself is never meant.
    """
    try:
        if placement.action == Action.SYMLINK:
            return os.readlink(target) == source
        if os.path.islink(target) or os.path.realpath(source) == os.path.realpath(target):
            return False
        if placement.action == Action.HARDLINK and os.path.samefile(source, target):
            return True
        facts = stamp_of(target)
    except OSError:
        return False
    late = abs(facts.mtime_ns - placement.stamp.mtime_ns)
    return facts.size == placement.stamp.size and late <= _TIME_GRAIN_NS


def _already(source: str, target: str, action: Action) -> Placed:
    """Accept what a killed run has placed but not recorded: the right link, or a copy of the same bytes."""
    if not _is_the_same(source, target, action):
        return Placed(None, Reason.DESTINATION_TAKEN)
    return Placed(Action.COPY if action is Action.REFLINK else action)


def _is_the_same(source: str, target: str, action: Action) -> bool:
    try:
        if action is Action.SYMLINK:
            return os.readlink(target) == source
        one_file = os.path.samefile(source, target)
        if action is Action.HARDLINK or one_file or os.path.islink(target):
            return action is Action.HARDLINK and one_file and not os.path.islink(target)
        return filecmp.cmp(source, target, shallow=False)
    except OSError:
        return False


def _raise_if_target_is_done(error: OSError, target: str) -> None:
    folder = os.path.dirname(target)
    if error.errno in _FULL:
        raise TargetError(f"no space left in '{folder}': free some and run the same command again") from error
    if error.errno in _READ_ONLY:
        raise TargetError(
            f"'{folder}' is read-only: make it writable and run the same command again"
        ) from error


def _copy(source: str, target: str) -> Action:
    temporary = _temporary(target)
    with suppress(FileNotFoundError):  # left by a killed run; it may share its inode with a placed file
        os.unlink(temporary)
    try:
        shutil.copyfile(source, temporary)
        shutil.copystat(source, temporary)
        _publish(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return Action.COPY


def _reflink(source: str, target: str) -> Action:
    temporary = _temporary(target)
    try:
        if not _clone(source, temporary):
            return _copy(source, target)
        shutil.copystat(source, temporary)
        _publish(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return Action.REFLINK


def _clone(source: str, target: str) -> bool:
    """Share the source's blocks, on Linux file systems that can (Btrfs, XFS); False if it cannot be done."""
    if sys.platform != "linux":
        return False
    import fcntl  # noqa: PLC0415  (Unix only)

    with open(source, "rb") as reading, open(target, "wb") as writing:
        try:
            fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
        except OSError:
            return False
    return True


def _symlink(source: str, target: str) -> Action:
    os.symlink(source, target)
    return Action.SYMLINK


def _hardlink(source: str, target: str) -> Action:
    os.link(os.path.realpath(source), target)
    return Action.HARDLINK


def _temporary(target: str) -> str:
    """Name a temporary file in the target's folder, short enough whatever the target's own name is.

    It is always the same one for a target, so that what a killed run has left is overwritten.
    """
    folder = os.path.dirname(target)
    name = hashlib.blake2b(os.fsencode(os.path.basename(target)), digest_size=8).hexdigest()
    return os.path.join(folder, f".dicomsort-{name}.part")


def _publish(temporary: str, target: str) -> None:
    """Give the file its final name, which must not exist yet."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links here (FAT, some network shares): reserve the name, then replace our own reservation.
        # A killed run may have left an empty one.
        if not (os.path.isfile(target) and os.path.getsize(target) == 0 < os.path.getsize(temporary)):
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(temporary, target)


_PLACERS = {
    Action.COPY: _copy,
    Action.REFLINK: _reflink,
    Action.SYMLINK: _symlink,
    Action.HARDLINK: _hardlink,
}
