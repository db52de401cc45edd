"""Who may write into a folder: one run alone, or several that share it."""

import errno
import fcntl
import os
import time
from contextlib import suppress
from types import TracebackType
from typing import TextIO

from dicomsort.errors import UsageError
from dicomsort.system import mounts, notices, owners
from dicomsort.system.escaping import escape

LOCK, OWNER = ".dicomsort.lock", owners.OWNER
PATIENT_SECONDS = 120.0
"""How long a node waits for a lock: longer than the 90 s that NFS keeps that of a dead one."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_POLL_SECONDS = 0.5
_INSTEAD = f"a file {OWNER} tells others of this run instead; never begin two runs at the same moment"
_NOT_SEEN = "other machines do not see the locks of this file system ({}): "
_NONE = "this file system has no locks ({}): "


class BusyError(UsageError):
    """Another run has the folder."""


class Lock:
    """A folder that is locked until this is closed, or the process ends."""

    def __init__(self, file: TextIO, heart: owners.Heartbeat | None = None) -> None:
        self._file, self._heart = file, heart

    def __enter__(self) -> "Lock":
        """Return itself."""
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Let it go."""
        self.close()

    def close(self) -> None:
        """Let it go; the owner's file goes first."""
        heart, self._heart = self._heart, None
        if heart is not None:
            heart.end()
        self._file.close()

    def fileno(self) -> int:
        """Return the descriptor of the lock's file."""
        return self._file.fileno()


def take(
    folder: str, shared: bool = False, doing: str = "dicomsort", wait: float = 0.0, beats: bool = False
) -> Lock:
    """Lock a folder until what is returned is closed, or this process ends.

    shared: others may share it, but none may have it alone. doing: what another run is called. wait: for how
    many seconds to try, while another run is in the way. beats: whether to keep a file fresh there meanwhile,
    that tells runs on machines which do not see the lock; see `owners`. Where a file system has no locks, the
    run continues without one.
    Raises BusyError if another run is in the way, OSError if the folder cannot be written.
    """
    until, waits = time.monotonic() + wait, False
    while True:
        try:
            return _take(folder, shared, doing, beats)
        except BusyError as error:
            left = until - time.monotonic()
            if left <= 0:
                raise
            if not waits:
                notices.say(f"{str(error).partition(';')[0]}: waiting for it, {wait:.0f} s at most")
            waits = True
        time.sleep(min(_POLL_SECONDS, left))


def _take(folder: str, shared: bool, doing: str, beats: bool) -> Lock:
    file, why_not = _locked(folder, shared, doing)
    lock = Lock(file)
    try:
        if beats or shared:
            _tell_alone(folder, why_not)
        _check_owner(folder, has_lock=not why_not)
        heart = owners.Heartbeat.begin(folder) if beats and not shared else None
    except FileExistsError:
        lock.close()
        raise _busy(folder, doing) from None
    except BaseException:
        lock.close()
        raise
    return Lock(file, heart)


def _check_owner(folder: str, has_lock: bool) -> None:
    """Raise BusyError if a run on another machine has a folder, though its lock keeps nobody out here."""
    if (other := owners.alive(folder, has_lock)) is not None:
        raise BusyError(
            f"another run, {other.name}, is writing into '{escape(folder)}', and each does not "
            "see the other's lock on this file system; wait for it, or use another --out"
        )


def _locked(folder: str, shared: bool, doing: str) -> tuple[TextIO, str]:
    """Open and lock the file of a folder; returns it, and why it could not be locked where there are none."""
    path = os.path.join(folder, LOCK)
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise _busy(folder, doing) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
            return file, str(error.strerror)
        if _is_there(path, file):
            return file, ""
        file.close()


def _busy(folder: str, doing: str) -> BusyError:
    owner = owners.of(folder)
    who = f" ({owner.name})" if owner is not None and owner.host else ""
    return BusyError(
        f"another {doing} is writing into '{escape(folder)}'{who}; wait for it, or use another --out"
    )


def _tell_alone(folder: str, why_not: str) -> None:
    """Say so where nobody on another machine, or nobody at all, is kept out by a lock."""
    if why_not:
        notices.say(_NONE.format(why_not) + _INSTEAD)
    elif lonely := mounts.mount_of(folder).lonely:
        notices.say(_NOT_SEEN.format(lonely) + _INSTEAD)


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
