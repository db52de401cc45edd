"""The file beside a lock that its owner keeps fresh: it shows who works there, also where no lock is seen."""

import json
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from dicomsort.system import notices
from dicomsort.system.escaping import escape

OWNER = ".dicomsort.owner"
BEAT_SECONDS, WATCH_SECONDS, LOOK_SECONDS, SETTLE_SECONDS = 5.0, 12.0, 0.5, 1.0
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_LONGEST = 4096
_STRANGE = "another machine"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has a folder. boot: of its machine's last start. started: UTC. token: of this one ownership."""

    host: str
    pid: int
    boot: str
    started: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @classmethod
    def here(cls) -> "Owner":
        """Return this process as an owner."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(socket.gethostname(), os.getpid(), boot_id(), now)

    @property
    def name(self) -> str:
        """Say who it is: `process 17 on node07`."""
        return f"process {self.pid} on {escape(self.host)}" if self.host else _STRANGE


@dataclass(frozen=True, slots=True)
class _Seen:
    """An owner's file at one moment, by our reading; nobody's clock counts."""

    mtime_ns: int
    content: bytes

    @property
    def owner(self) -> Owner:
        """Who wrote it; one without a name if that cannot be read."""
        with suppress(ValueError, TypeError, KeyError):
            told = json.loads(self.content)
            return Owner(
                str(told["host"]),
                int(told["pid"]),
                str(told["boot"]),
                str(told["started"]),
                str(told["token"]),
            )
        return Owner("", 0, "", "", "")


def boot_id() -> str:
    """Return what is this machine's until its next start; the host's name where nobody tells."""
    with suppress(OSError), open(_BOOT_ID, encoding="ascii") as file:
        return file.read().strip()
    return socket.gethostname()


def _look(folder: str) -> _Seen | None:
    """Read an owner's file anew: opened each time, for NFS checks its cache at opening."""
    try:
        with open(os.path.join(folder, OWNER), "rb") as file:
            return _Seen(os.fstat(file.fileno()).st_mtime_ns, file.read(_LONGEST))
    except OSError:
        return None


def of(folder: str) -> Owner | None:
    """Return whom the owner's file names, alive or not."""
    seen = _look(folder)
    return None if seen is None else seen.owner


def alive(folder: str, has_lock: bool) -> Owner | None:
    """Return who has a folder although this process was not kept out; None if nobody does.

    has_lock: whether this process holds its lock, which proves enough about owners on this machine. A file of
    another machine is watched for up to WATCH_SECONDS of our own clock.
    """
    first = _look(folder)
    if first is None or (has_lock and first.owner.boot == boot_id()):
        return None
    notices.say(
        f"'{escape(folder)}' holds a {OWNER} of {first.owner.name}: "
        f"looking for up to {WATCH_SECONDS:.0f} s whether that is still at work"
    )
    until = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        now = _look(folder)
        if now is None:
            return None
        if now != first:
            return now.owner
    return None


class Heartbeat:
    """Keeps the owner's file of a folder fresh, in a thread of its own, until it is ended."""

    def __init__(
        self, folder: str, descriptor: int, owner: Owner, taken_over: Callable[[Owner], None]
    ) -> None:
        self._folder, self._descriptor, self._owner = folder, descriptor, owner
        self._taken_over, self._beats = taken_over, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)
        self._write()
        self._thread.start()

    @classmethod
    def begin(cls, folder: str) -> "Heartbeat | None":
        """Write the owner's file, in place of one whose owner is dead, and keep it fresh.

        Returns None where that cannot be, such as on a full disk. Raises FileExistsError if another process
        was quicker.
        """
        path = os.path.join(folder, OWNER)
        owner, before = Owner.here(), of(folder)
        try:
            if before is not None:
                os.unlink(path)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            raise
        except OSError:
            return None
        try:
            begun = cls(folder, descriptor, owner, _stop_this)
        except OSError:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(path)  # it names nobody
            return None
        if before is not None and before.boot != owner.boot:  # others may have found it dead as well
            begun.check()
        return begun

    def _write(self) -> None:
        self._beats += 1
        told = {**asdict(self._owner), "beats": f"{self._beats:012}"}
        os.pwrite(self._descriptor, json.dumps(told).encode() + b"\n", 0)

    def _work(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            found = of(self._folder)
            if found is not None and found.token != self._owner.token:
                self._taken_over(found)
                return
            with suppress(OSError):
                self._write()

    def check(self) -> None:
        """Wait a moment. Raises FileExistsError if another process has written the file too meanwhile."""
        time.sleep(SETTLE_SECONDS)
        found = of(self._folder)
        if found is None or found.token != self._owner.token:
            self.end()
            raise FileExistsError

    def end(self) -> None:
        """Stop, and remove the file, if it still is this one's."""
        self._stop.set()
        self._thread.join()
        found = of(self._folder)
        if found is not None and found.token == self._owner.token:
            with suppress(OSError):
                os.unlink(os.path.join(self._folder, OWNER))
        with suppress(OSError):
            os.close(self._descriptor)


def _stop_this(other: Owner) -> None:
    """End this run as by Ctrl-C: another one has taken its folder, for it seemed to be dead."""
    notices.say(f"{other.name} has taken over, since this run did not answer for a while: this one stops")
    os.kill(os.getpid(), signal.SIGINT)
