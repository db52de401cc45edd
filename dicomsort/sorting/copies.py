"""The bytes of one file in another: copied, shared, compared."""

import errno
import filecmp
import hashlib
import os
import shutil
import sys
from typing import BinaryIO

from dicomsort.inputs.opened import opened
from dicomsort.inputs.sources import local
from dicomsort.outcome import Part, Reason

_NOT_HERE = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY}
)
_CHUNK = 1 << 30
_PIECE = 1 << 20
_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file


class UnlikeError(OSError):
    """A source or its copy is not what it was. reason: what the row says."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def copy_file(source: str, copy: str) -> None:
    """Write the bytes of a file into a new one, without a detour through this process where that can be."""
    if not _copied_by_the_system(Part(source), copy):
        shutil.copyfile(source, copy)


def copy_part(part: Part, copy: str) -> None:
    """Write the bytes of a part of a file into a new one, unpacked. Raises OSError."""
    if part.packing or not _copied_by_the_system(part, copy):
        with opened("", part) as reading, open(copy, "wb") as writing:
            shutil.copyfileobj(reading, writing, _PIECE)


def _copied_by_the_system(part: Part, copy: str) -> bool:
    """Copy by copy_file_range (Linux); False if it cannot be done here.

    A network share copies on its server then, and a file system that can shares the blocks.
    """
    if not hasattr(os, "copy_file_range"):
        return False
    with open(part.file, "rb", buffering=0) as reading, open(copy, "wb", buffering=0) as writing:
        size = os.fstat(reading.fileno()).st_size - part.start if part.length is None else part.length
        done = 0
        while done < size:
            try:
                more = os.copy_file_range(
                    reading.fileno(), writing.fileno(), min(size - done, _CHUNK), part.start + done
                )
            except OSError as error:
                if not done and error.errno in _NOT_HERE:
                    return False
                raise
            if not more:  # some file systems say so and copy nothing
                return False
            done += more
    return True


def clone(source: str, target: str) -> bool:
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


def forget_cached(path: str) -> None:
    """Write a file to the disk, and let the system forget what it keeps of it, where it can."""
    with open(path, "rb") as file:
        forget_open(file)


def forget_open(file: BinaryIO) -> None:
    """Do the same with a file that is open."""
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def digest(path: str) -> str:
    """Return the SHA-256 of a file, in hex. Raises OSError."""
    with open(path, "rb") as file:
        return digest_of(file)


def digest_of(file: BinaryIO) -> str:
    """Return the SHA-256 of what is left of an open file, in hex. Raises OSError."""
    hashing = hashlib.sha256()
    while piece := file.read(_PIECE):
        hashing.update(piece)
    return hashing.hexdigest()


def copy_hashed(file: BinaryIO, copy: str) -> str:
    """Write what is left of an open file into a new one; returns the SHA-256 of what was read, in hex."""
    hashing = hashlib.sha256()
    with open(copy, "wb") as writing:
        while piece := file.read(_PIECE):
            hashing.update(piece)
            writing.write(piece)
    return hashing.hexdigest()


def are_equal(source: str, target: str) -> bool:
    """Return whether a file has the bytes of a source, whatever that is. Raises OSError."""
    with local(source) as here:
        return filecmp.cmp(here.file, target, shallow=False)


def has_bytes_of(part: Part, path: str) -> bool:
    """Return whether a file has the bytes of a part, unpacked. Raises OSError."""
    with opened("", part) as one, open(path, "rb") as other:
        while piece := one.read(_PIECE):
            if other.read(len(piece)) != piece:
                return False
        return not other.read(1)
