"""One task of a distributed run: a list of files, sorted by a program on some node."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from dicomsort.errors import ExitCode
from dicomsort.inputs import walk
from dicomsort.inputs.opened import window
from dicomsort.inputs.remotes import Remotes
from dicomsort.manifest.run_file import RunFile
from dicomsort.outcome import Failure, FileStamp, Placement, Reason, SourceFile, Status
from dicomsort.sorting import roots, shards
from dicomsort.sorting.moving import Stays
from dicomsort.sorting.pipeline import SortSettings
from dicomsort.sorting.summary import SortSummary
from dicomsort.system.atomic import replacing
from dicomsort.system.zstd import zstd

DRIVER = "driver"
"""The file that a living driver keeps touching; without it, tasks come to an end."""

_FILES, _SUMMARY = "files.jsonl.zst", "summary.json"
_SILENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Job:
    """What all tasks of a run have in common.

    settings: of the run, with absolute paths. workers: reading processes a task; None for as many as a node
    has processors. models, device, precision and engine: as on the command line. versions: of what can change
    a result, which must be the same on all nodes; see `versions.installed`. run: a name of its own.
    """

    settings: SortSettings
    models: tuple[str, ...]
    device: str
    precision: str
    engine: str
    versions: dict[str, str]
    workers: int | None = None
    run: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A shard: the files from byte `start` to byte `end` of the run's list, and the name of its folder."""

    job: Job
    name: str
    start: int
    end: int

    @property
    def folder(self) -> str:
        """Where its manifest and its summary are."""
        return shards.folder_of(os.path.abspath(self.job.settings.out), self.name)


@dataclass(frozen=True, slots=True)
class Summary:
    """How a task ended. error: in one line, if it did not get to the end; exit_code: what that means.

    stayed: sources of a move that were only copied, by `moving.Stays`. said: what a person must know, see
    `system.notices`.
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

    @property
    def is_done(self) -> bool:
        """Whether every file of the task has its row."""
        return not self.error

    def as_tally(self) -> SortSummary:
        """Return what the task has counted, as far as it adds to that of the run."""
        tally = SortSummary(inside=self.inside, spent=self.spent)
        tally.statuses += Counter({Status(name): count for name, count in self.statuses.items()})
        tally.hints += Counter({Reason(name): count for name, count in self.hints.items()})
        tally.removed.stayed += Counter({Stays(name): count for name, count in self.stayed.items()})
        return tally


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """The files of a task, as the driver has written them down. remotes: the stores among them."""

    task: Task
    remotes: Remotes = field(default_factory=Remotes)

    @classmethod
    def of(cls, task: Task) -> "TaskFiles":
        """Return the files of a task, and the stores that its job names."""
        settings = task.job.settings
        before = roots.known(RunFile(os.path.abspath(settings.out)))
        return cls(task, Remotes(walk.roots_of(settings.roots, before), settings.remote))

    @property
    def repeats(self) -> bool:
        """Whether `find` may be called again."""
        return True

    @property
    def empty_folders(self) -> int:
        """None: the driver has counted them."""
        return 0

    @property
    def number(self) -> int | None:
        """None: they are counted as they come."""
        return None

    def find(self) -> Iterator[SourceFile]:
        """Yield every file once."""
        start, length = self.task.start, self.task.end - self.task.start
        with (
            window(list_of(self.task.job.settings.out), start, length) as packed,
            zstd.ZstdFile(packed) as lines,
        ):
            for line in lines:
                yield _found_of(json.loads(line))


def list_of(out: str) -> str:
    """Return where the driver writes down what is to be done."""
    return os.path.join(shards.folder_of(os.path.abspath(out)), _FILES)


def write_files(out: str, files: Iterable[SourceFile], every: int) -> Iterator[int]:
    """Write down files, one JSON object a line; yields where every so many lines, and the last, have ended.

    As many are packed by themselves (Zstandard). Raises OSError.
    """
    with open(list_of(out), "wb") as packed:
        rest = iter(files)
        while lines := b"".join(json.dumps(_as_json(file)).encode() + b"\n" for file in islice(rest, every)):
            packed.write(zstd.compress(lines))
            yield packed.tell()


def _as_json(file: SourceFile) -> dict[str, Any]:
    known: dict[str, Any] = {"path": file.path, "relpath": file.relpath}
    if file.failure is not None:
        known["failure"] = [file.failure.status, file.failure.reason]
    if file.previous is not None:
        known["previous"] = asdict(file.previous)
    if file.stamp is not None:
        known["stamp"] = asdict(file.stamp)
    return known


def _found_of(known: dict[str, Any]) -> SourceFile:
    failure, previous = known.get("failure"), known.get("previous")
    return SourceFile(
        known["path"],
        known["relpath"],
        failure and Failure(Status(failure[0]), Reason(failure[1])),
        previous and Placement(**{**previous, "stamp": FileStamp(**previous["stamp"])}),
        stamp=FileStamp(**known["stamp"]) if "stamp" in known else None,
    )


def write_summary(task: Task, summary: Summary) -> None:
    """Write how a task ended, whole or not at all. Raises OSError."""
    with replacing(os.path.join(task.folder, _SUMMARY)) as file:
        json.dump({"run": task.job.run, "summary": asdict(summary)}, file)


def summary_of(task: Task) -> Summary | None:
    """Return how a task ended; None if it has not, or only one of the same name of an earlier run."""
    try:
        with open(os.path.join(task.folder, _SUMMARY), encoding="utf-8") as file:
            told = json.load(file)
            return Summary(**told["summary"]) if told["run"] == task.job.run else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def forget_summary(task: Task) -> None:
    """Remove how a task ended before. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(task.folder, _SUMMARY))


def stopped(task: Task) -> Summary:
    """Return how a task ended that was stopped, or never begun because the driver is gone."""
    return Summary(task.name, error="the run was stopped", exit_code=int(ExitCode.INTERRUPTED))


class Driver:
    """Knows whether the driver of a run lives: its file is there, and was written within two minutes.

    By our clock. A later run into the same output has another driver.
    """

    def __init__(self, path: str, run: str) -> None:
        self._path, self._run = path, run.encode()
        self._told, self._seen = b"", time.monotonic()

    @classmethod
    def of(cls, job: Job) -> "Driver":
        """Return that of a job."""
        return cls(os.path.join(shards.folder_of(os.path.abspath(job.settings.out)), DRIVER), job.run)

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
