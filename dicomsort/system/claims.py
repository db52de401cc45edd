"""Who does a thing that only one is to do, where others can see how far it is and take it over.

It must work where locks are not shared between machines: a claim is a file that only one can make, and whose
holder writes into it every now and then. What is silent for long, by our own clock, is taken over by making
the next one. On one machine a lock tells at once that the holder is dead.
"""

import fcntl
import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from dicomsort.system.owners import boot_id

BEAT_SECONDS, SILENCE_SECONDS = 2.0, 30.0
_SIZE = 512


class Owner:
    """What is known of the holder of a claim, as somebody who waits has seen it.

    host: its machine. steps: how far it said that it is.
    """

    def __init__(self) -> None:
        self.host, self.steps = "another process", 0
        self._seen: tuple[str, bytes] = ("", b"")
        self._since = time.monotonic()

    def is_dead(self, path: Path) -> bool:
        """Return whether who holds a claim is dead, or silent for long. Raises OSError if it is gone."""
        with path.open("rb") as file:
            told, free = file.read(_SIZE), _is_free(file.fileno())
        if (path.name, told) != self._seen:
            self._seen, self._since = (path.name, told), time.monotonic()
        boot = ""
        with suppress(ValueError, KeyError, TypeError):
            known = json.loads(told)
            self.host, self.steps, boot = str(known["host"]), int(known["steps"]), known["boot"]
        if free is not None and not free:
            return False
        is_ours = free is True and boot == boot_id()
        return is_ours or time.monotonic() - self._since > SILENCE_SECONDS


def _is_free(descriptor: int) -> bool | None:
    """Return whether nobody has locked a file, as far as we can see; None where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


class Claim:
    """A claim that this process holds, as a context manager: kept fresh in a thread, removed in the end."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor
        self._steps = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="claim", daemon=True)

    @classmethod
    def of_next(cls, thing: Path, owner: Owner) -> "Claim | None":
        """Claim a thing that nobody does, or whose doer is dead; None while somebody lives.

        thing: beside which the claims lie. owner: what is known of the doer, and is learned now. Raises
        OSError.
        """
        held = _claims(thing)
        try:
            if held and not owner.is_dead(held[-1]):
                return None
        except FileNotFoundError:  # done meanwhile
            return None
        following = int(held[-1].suffix.removeprefix(".claim-")) + 1 if held else 0
        path = thing.with_suffix(f".claim-{following:06}")
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:
            return None
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        return cls(path, descriptor)

    def step(self) -> None:
        """Note that one more step is done, which others are told of."""
        self._steps += 1

    def __enter__(self) -> "Claim":
        """Begin to tell that we live."""
        self._tell(0)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go; claims of the dead before us go too."""
        self._stop.set()
        self._thread.join()
        for path in reversed(_claims(self._path)):
            if path.name <= self._path.name:
                with suppress(OSError):
                    path.unlink()
        os.close(self._descriptor)

    def _work(self) -> None:
        beat = 0
        while not self._stop.wait(BEAT_SECONDS):
            beat += 1
            with suppress(OSError):
                self._tell(beat)

    def _tell(self, beat: int) -> None:
        """Write what others are to see: always as many bytes, so that none sees half of it."""
        told = {"host": socket.gethostname()[:200], "boot": boot_id(), "steps": self._steps, "beat": beat}
        os.pwrite(self._descriptor, json.dumps(told).encode().ljust(_SIZE), 0)
        os.fsync(self._descriptor)


def _claims(thing: Path) -> list[Path]:
    return sorted(thing.parent.glob(f"{thing.stem}.claim-[0-9]*"))
