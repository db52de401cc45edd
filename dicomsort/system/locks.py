"""Who may write into a folder: one run alone, or several that share it."""

import errno
import fcntl
import os
from typing import TextIO

from dicomsort.errors import UsageError
from dicomsort.system.escaping import escape

LOCK = ".dicomsort.lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def take(folder: str, shared: bool = False) -> TextIO:
    """Lock a folder until the file that is returned is closed, or this process ends.

    shared: others may share it, but none may have it alone. On a file system without locks nothing is locked.
    Raises UsageError if another process holds it, OSError if the folder cannot be written.
    """
    file = open(os.path.join(folder, LOCK), "a+", encoding="utf-8")  # noqa: SIM115
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UsageError(
            f"another dicomsort is writing into '{escape(folder)}'; wait for it, or use another --out"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            file.close()
            raise
    return file


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
