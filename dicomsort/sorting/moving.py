"""A file that is moved: first it has a checked place in the output; its source goes later, see `removal`."""

import errno
import filecmp
import os
import shutil
import stat
from contextlib import suppress
from enum import StrEnum
from typing import BinaryIO

from dicomsort.inputs.names import is_remote
from dicomsort.outcome import Action, Reason
from dicomsort.sorting.copies import UnlikeError, copy_hashed, digest, digest_of, forget_cached, forget_open
from dicomsort.system.atomic import publish, temporary_for

_NO_LINK = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
)
_ALONE, _LINKED = 1, 2
TIME_GRAIN_NS = 2_000_000_000
"""By so much the times of a file and of its copy may differ: what FAT can store."""


class Stays(StrEnum):
    """Why a source that was placed stays where it is; a fixed set of texts."""

    NOT_A_FILE = "in an archive, a store or a PACS"
    LINK = "symbolic links, or what one leads to"
    HARD_LINKS = "with other hard links"
    READ_ONLY = "in folders that cannot be written"
    CHANGED = "changed since they were read"
    COPY_CHANGED = "whose copy is not as it was placed"
    NOT_REMOVED = "that the system does not remove"


def why_it_stays(source: str, target: str = "") -> Stays | None:
    """Return why a source is copied and never removed; None for a file that can be moved.

    target: where it is placed; if that is a hard link to the source, it is ours. Raises OSError.
    """
    if is_remote(source) or not os.path.lexists(source):
        return Stays.NOT_A_FILE
    facts = os.lstat(source)
    if not stat.S_ISREG(facts.st_mode):
        return Stays.LINK
    if facts.st_nlink > _ALONE + _is_second_name(facts, source, target):
        return Stays.HARD_LINKS
    return None if os.access(os.path.dirname(source), os.W_OK | os.X_OK) else Stays.READ_ONLY


def needs_space(source: str, out: str) -> bool:
    """Return whether moving a source into an output takes space there: it lies in another file system."""
    try:
        return os.stat(source).st_dev != os.stat(out).st_dev or why_it_stays(source) is not None
    except OSError:
        return True


def _is_second_name(facts: os.stat_result, source: str, target: str) -> bool:
    """Return whether `target` is another name of the source, and not the same one by another way."""
    try:
        same = os.path.samestat(facts, os.lstat(target))
    except OSError:
        return False
    return same and os.path.realpath(source) != os.path.realpath(target)


def has_names(source: str, target: str, most: int | None = None) -> bool:
    """Return whether both are names of one file, which has at most so many. Raises OSError."""
    facts = os.lstat(source)
    names = facts.st_nlink
    return _LINKED <= names <= (most or names) and _is_second_name(facts, source, target)


def put(source: str, target: str) -> str:
    """Place a file that is to be moved; returns the SHA-256 of its bytes, in hex, as they lie in `target`.

    In one file system it gets a second name, and is read anew from the disk. Else it is copied, hashed on its
    way, written to the disk, and the copy is read anew. Raises UnlikeError if the copy differs or the source
    changes meanwhile, FileExistsError if the target is there, or any other OSError.
    """
    with open(source, "rb", opener=_no_link) as file:
        sha256 = _linked(file, source, target)
        return _copied(file, source, target) if sha256 is None else sha256


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _linked(file: BinaryIO, source: str, target: str) -> str | None:
    """Give a file its second name; None where there are no hard links, or not to another file system."""
    before = os.fstat(file.fileno())
    if os.stat(os.path.dirname(target)).st_dev != before.st_dev:
        return None
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    forget_open(file)
    sha256 = digest_of(file)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINK:
            return None
        raise
    if not os.path.samestat(before, os.lstat(target)) or _has_changed(file, before):
        os.unlink(target)
        raise UnlikeError(Reason.CHANGED)
    return sha256


def _copied(file: BinaryIO, source: str, target: str) -> str:
    temporary = temporary_for(target)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    before = os.fstat(file.fileno())
    try:
        file.seek(0)
        sha256 = copy_hashed(file, temporary)
        if _has_changed(file, before):
            raise UnlikeError(Reason.CHANGED)
        forget_cached(temporary)
        if digest(temporary) != sha256:
            raise UnlikeError(Reason.DIFFERENT)
        keep_facts(source, temporary)
        publish(temporary, target)
        return sha256
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _has_changed(file: BinaryIO, before: os.stat_result) -> bool:
    now = os.fstat(file.fileno())
    return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def keep_facts(source: str, copy: str) -> None:
    """Give a copy the times, mode and, where that is allowed, the owner of its source. Raises OSError."""
    facts, own = os.lstat(source), os.lstat(copy)
    if (facts.st_uid, facts.st_gid) != (own.st_uid, own.st_gid):
        with suppress(PermissionError):
            os.chown(copy, facts.st_uid, facts.st_gid, follow_symlinks=False)
    shutil.copystat(source, copy, follow_symlinks=False)


def already(source: str, target: str) -> tuple[Action, str] | None:
    """Return how a killed run has placed a file, and its checksum if it is moved; None if it has not.

    A copy of the same bytes counts as placed, and so does a second name of the source. With another time it
    is the copy of another file, which may have been moved. Raises OSError.
    """
    if os.path.islink(target) or os.path.realpath(source) == os.path.realpath(target):
        return None
    stays = why_it_stays(source, target)
    if os.path.samefile(source, target):
        if os.lstat(source).st_nlink == _ALONE:  # one file by two ways, as through a bind mount
            return None
        return (Action.HARDLINK, "") if stays else (Action.MOVE, digest(target))
    is_copy = stays is not None or os.lstat(target).st_nlink > _ALONE  # it may be the second name of another
    if not (is_copy or _have_one_time(source, target)) or not filecmp.cmp(source, target, shallow=False):
        return None
    if is_copy:
        return Action.COPY, ""
    forget_cached(target)
    sha256 = digest(target)
    if sha256 != digest(source):
        raise UnlikeError(Reason.DIFFERENT)
    keep_facts(source, target)
    return Action.MOVE, sha256


def _have_one_time(source: str, target: str) -> bool:
    """Return whether a copy has the time of its source, as far as FAT can store it. Raises OSError."""
    return abs(os.lstat(source).st_mtime_ns - os.lstat(target).st_mtime_ns) <= TIME_GRAIN_NS
