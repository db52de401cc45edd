"""Whether somebody is at work in a folder, as far as can be seen without a lock and without writing."""

import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from dicomsort.system import owners

FRESH_SECONDS = 60.0
_BEAT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Worker:
    """Who began to work somewhere, alive or not. since: in seconds as by `time.time`; rows: there were then.

    total, tasks: how many files there are to be, in how many parts, if that is known. doing: what a
    driver does once all is sorted.
    """

    host: str
    job: str = ""
    pid: int = 0
    since: float = 0.0
    rows: int = 0
    total: int | None = None
    tasks: int = 0
    doing: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Worker | None":
        """Return who is told of, by the words of `part_log`; None if nobody is."""
        try:
            since = datetime.fromisoformat(str(told["time"])).timestamp()
            rows, total = int(told.get("rows", 0)), told.get("files")
            host, job, pid = str(told["host"]), str(told.get("job", "")), int(told["pid"])
            tasks = int(told.get("tasks", 0))
            doing, files = str(told.get("doing", "")), None if total is None else int(total)
            return cls(host, job, pid, since, rows, files, tasks, doing)
        except (KeyError, ValueError, TypeError):
            return None

    @property
    def is_here(self) -> bool:
        """Whether that is this machine."""
        return self.host == socket.gethostname()

    def is_alive(self, *signs: float | None) -> bool:
        """Return whether it still works: here by its process, elsewhere by when it wrote something last.

        signs: these times, as by `time.time`; they are not quite those of our clock.
        """
        if self.is_here:
            return _is_running(self.pid)
        return any(is_fresh(sign) for sign in signs)


def is_fresh(sign: float | None, seconds: float = FRESH_SECONDS) -> bool:
    """Return whether a time is about now."""
    return sign is not None and abs(time.time() - sign) < seconds


def _is_running(pid: int) -> bool:
    """Return whether there is such a process, and it is not one that has ended and waits to be buried."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return not os.path.isdir("/proc/self")


def time_of(path: str) -> float | None:
    """Return when a file was written last; None if there is none."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def size_of(path: str) -> int:
    """Return how many bytes a file has; 0 if it is not there."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def owner_of(folder: str) -> Worker | None:
    """Return who has a folder for itself just now; see `system.owners`."""
    beat, found = time_of(os.path.join(folder, owners.OWNER)), owners.of(folder)
    owner = Worker.of({**asdict(found), "time": found.started}) if found is not None else None
    if owner is None:
        return None
    alive = owner.is_alive(beat) if owner.is_here else is_fresh(beat, _BEAT_SECONDS)
    return owner if alive else None


def read_json(path: str) -> dict[str, Any]:
    """Return what stands in a file; empty if there is none, or it is not whole."""
    with suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        found = json.load(file)
        return found if isinstance(found, dict) else {}
    return {}
