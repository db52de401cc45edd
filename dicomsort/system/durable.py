"""See to it that files and names are on the disk, and not only on their way there."""

import errno
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from dicomsort.errors import TargetError

_THREADS = 8
_NOT_POSSIBLE = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS})
_NOT_OURS = (FileNotFoundError, PermissionError, NotADirectoryError)


def sync(files: Collection[str], names: Collection[str], root: str) -> None:
    """Wait until the content of `files` and the directory entries of `names` are on the disk.

    Both lie under `root`. A file system that cannot promise it is believed; what was removed meanwhile is
    passed over. Raises TargetError if the disk is full or fails.
    """
    folders = {folder for name in names for folder in _ways_down(os.path.dirname(name), root)}
    with ThreadPoolExecutor(_THREADS) as threads:
        for paths in (files, folders):
            for _ in threads.map(_sync, paths):
                pass


def _ways_down(folder: str, root: str) -> list[str]:
    """Return the folder and those above it, up to the root."""
    ways = [folder]
    while len(folder) > len(root) and (above := os.path.dirname(folder)) != folder:
        folder = above
        ways.append(folder)
    return ways


def _sync(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except _NOT_OURS:
        return
    except OSError as error:
        if error.errno == errno.ELOOP:
            return
        raise TargetError(f"'{path}' cannot be written: {error.strerror}") from error
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_POSSIBLE:
            raise TargetError(f"'{path}' cannot be written: {error.strerror}") from error
    finally:
        os.close(descriptor)
