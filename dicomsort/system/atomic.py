"""Files that are whole or not there: a new one under a name of its own, or one in place of another."""

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

TEMPORARY = ".dicomsort-"
"""How the names of files begin that are not whole yet."""

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


@contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "w", shared: bool = False) -> Iterator[IO[Any]]:
    """Yield a file that takes the place of `path` once it is whole and on the disk.

    mode: `w` for text (UTF-8, line ends as they are written) or `wb`. shared: whether others may write it at
    the same moment, of whom the last one counts. If the block ends with an exception, `path` is as it was.
    Raises OSError.
    """
    temporary = f"{os.fspath(path)}.{uuid.uuid4().hex}.part" if shared else _part_of(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(temporary, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _part_of(path: str | os.PathLike[str]) -> str:
    return f"{os.fspath(path)}.part"


def forget_part(path: str | os.PathLike[str]) -> None:
    """Remove what a killed program has left of a file that it was replacing; nobody else may replace it now.

    Raises OSError.
    """
    with suppress(FileNotFoundError):
        os.unlink(_part_of(path))


def write_new(target: str, content: "bytes | memoryview") -> None:
    """Write a new file, whole or not at all. Raises FileExistsError, or any other OSError."""
    temporary = temporary_for(target)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
        publish(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def temporary_for(target: str) -> str:
    """Name a temporary file in the target's folder, short enough whatever the target's own name is.

    It is always the same one for a target, so that what a killed run has left goes; it may share its inode
    with a placed file, so it must not be written to.
    """
    folder = os.path.dirname(target)
    name = hashlib.blake2b(os.fsencode(os.path.basename(target)), digest_size=8).hexdigest()
    temporary = os.path.join(folder, f"{TEMPORARY}{name}.part")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    return temporary


def publish(temporary: str, target: str) -> None:
    """Give a temporary file its final name. Raises FileExistsError, or any other OSError."""
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
