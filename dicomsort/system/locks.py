"""Who may write into a folder: one run alone, or several that share it."""

import errno
import fcntl
import os
from contextlib import suppress
from typing import TextIO

from dicomsort.errors import UsageError
from dicomsort.system.escaping import escape

LOCK = ".dicomsort.lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class BusyError(UsageError):
    """Another run has the folder."""


def take(folder: str, shared: bool = False, doing: str = "dicomsort") -> TextIO:
    """Lock a folder until the file that is returned is closed, or this process ends.

    shared: others may share it, but none may have it alone. doing: what another run is called. Where a file
    system has no locks, the run continues without one.
    Raises BusyError if another run is in the way, OSError if the folder cannot be written.
    """
    path = os.path.join(folder, LOCK)
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise BusyError(
                f"another {doing} is writing into '{escape(folder)}'; wait for it, or use another --out"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
            return file
        if _is_there(path, file):
            return file
        file.close()


def _is_there(path: str, file: TextIO) -> bool:
    """Return whether a file is the one of that name: who had it before may have removed it meanwhile."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def remove(folder: str) -> None:
    """Remove the lock of a folder that this process has alone, before the lock is let go."""
    with suppress(OSError):
        os.unlink(os.path.join(folder, LOCK))


def claim(path: str) -> TextIO | None:
    """Lock a file of its own for a thing that only one may use; None if another process has it."""
    try:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
