"""One task of a distributed run, how it ended, and whether the driver of the run lives.

This is all that the worker of an engine needs to know; it loads next to nothing for it.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from dicomsort.errors import ExitCode
from dicomsort.manifest.names import PIXELS, shard_folder
from dicomsort.sorting import part_log
from dicomsort.system.atomic import replacing

DRIVER = "driver"
"""The file that a living driver keeps touching; without it, tasks come to an end."""

_SUMMARY = "summary.json"
_SILENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Task:
    """A shard of a run, or a share of the files that are compared: from byte `start` to byte `end` of a list.

    out: the output. run: which one this is, by a name of its own. job: what its tasks have in common, packed:
    only the program that does them needs that, see `job.Job`. name: `task-000001` of a shard.
    """

    out: str
    run: str
    job: bytes
    name: str
    start: int
    end: int

    @property
    def compares(self) -> bool:
        """Whether its files are only compared: they have been sorted."""
        return self.name.startswith(PIXELS)

    @property
    def part(self) -> str:
        """The name of its folder, which is none of a shard if it compares."""
        return f".{self.name}" if self.compares else self.name

    @property
    def folder(self) -> str:
        """Where its manifest, its log and its summary are."""
        return shard_folder(self.out, self.part)


@dataclass(frozen=True, slots=True)
class Summary:
    """How a task ended. error: in one line, if it did not get to the end; exit_code: what that means.

    found: files that were sorted, or read to be compared. stayed: sources of a move that were only copied, by
    `moving.Stays`. said: what a person must know, see `system.notices`. host: where.
    """

    name: str
    found: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    hints: dict[str, int] = field(default_factory=dict)
    inside: int = 0
    stayed: dict[str, int] = field(default_factory=dict)
    error: str = ""
    exit_code: int = int(ExitCode.DONE)
    said: list[str] = field(default_factory=list)
    host: str = ""

    @property
    def is_done(self) -> bool:
        """Whether every file of the task has its row."""
        return not self.error


def write_summary(task: Task, summary: Summary) -> None:
    """Write how a task ended, whole or not at all. Raises OSError."""
    with replacing(os.path.join(task.folder, _SUMMARY)) as file:
        json.dump({"run": task.run, "summary": asdict(summary)}, file)


def summary_of(task: Task) -> Summary | None:
    """Return how a task ended; None if it has not, or only one of the same name of an earlier run."""
    try:
        with open(os.path.join(task.folder, _SUMMARY), encoding="utf-8") as file:
            told = json.load(file)
            return Summary(**told["summary"]) if told["run"] == task.run else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def forget_summary(task: Task) -> None:
    """Remove how a task ended before. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(task.folder, _SUMMARY))


def told_of(summary: Summary, what: str) -> str:
    """Return a line of a node as the driver tells it: named, unless it is this machine."""
    return f"{what} (node {summary.host})" if summary.host not in ("", part_log.host()) else what


def stopped(task: Task) -> Summary:
    """Return how a task ended that was stopped, or never begun because the driver is gone."""
    return Summary(task.name, error="the run was stopped", exit_code=int(ExitCode.INTERRUPTED))


def driver_of(out: str) -> str:
    """Return the file that the driver of a run into an output keeps touching."""
    return os.path.join(shard_folder(out), DRIVER)


class Driver:
    """Knows whether the driver of a run lives: its file is there, and was written within two minutes.

    By our clock. A later run into the same output has another driver.
    """

    def __init__(self, path: str, run: str) -> None:
        self._path, self._run = path, run.encode()
        self._told, self._seen = b"", time.monotonic()

    @classmethod
    def of(cls, task: Task) -> "Driver":
        """Return that of a task."""
        return cls(driver_of(task.out), task.run)

    def is_there(self) -> bool:
        """Return whether it lives."""
        try:
            with open(self._path, "rb") as file:
                told = file.read() or self._told  # nothing while it is being written
        except FileNotFoundError:
            return False
        except OSError:
            told = self._told
        if told != self._told:
            self._told, self._seen = told, time.monotonic()
        is_ours = not told or told.split(b" ")[0] == self._run
        return is_ours and time.monotonic() - self._seen < _SILENCE_SECONDS


def touch(path: str, run: str) -> None:
    """Tell the tasks of a run that its driver lives. Raises OSError."""
    with open(path, "wb") as file:
        file.write(b"%s %d" % (run.encode(), time.time_ns()))
