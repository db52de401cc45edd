"""One task of a distributed run: a list of files, sorted by a program of its own on some node."""

import json
import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from dicomsort.errors import ExitCode
from dicomsort.inputs import walk
from dicomsort.inputs.remotes import Remotes
from dicomsort.manifest.run_file import RunFile
from dicomsort.outcome import Failure, FileStamp, Placement, Reason, SourceFile, Status
from dicomsort.sorting import roots, shards
from dicomsort.sorting.pipeline import SortSettings
from dicomsort.system.atomic import replacing
from dicomsort.system.worker_pool import working_folder_is_gone

DRIVER = "driver"
"""The file that a living driver keeps touching; without it, tasks come to an end."""

_FILES, _SUMMARY = "files.jsonl", "summary.json"
_POLL_SECONDS = 0.5
_SILENCE_SECONDS = 120.0
_GRACE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """What all tasks of a run have in common.

    settings: of the run, with absolute paths. workers: reading processes a task; None for as many as a node
    has processors. models, device, precision and engine: as on the command line. versions: those of the
    driver, see `sorting.versions`.
    """

    settings: SortSettings
    models: tuple[str, ...]
    device: str
    precision: str
    engine: str
    versions: dict[str, str]
    workers: int | None = None


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

    stayed: sources of a move that were only copied, by `moving.Stays`.
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

    @property
    def is_done(self) -> bool:
        """Whether every file of the task has its row."""
        return not self.error


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

    def find(self) -> Iterator[SourceFile]:
        """Yield every file once."""
        with open(list_of(self.task.job.settings.out), "rb") as lines:
            lines.seek(self.task.start)
            while lines.tell() < self.task.end:
                yield _found_of(json.loads(lines.readline()))


def list_of(out: str) -> str:
    """Return where the driver writes down what is to be done."""
    return os.path.join(shards.folder_of(os.path.abspath(out)), _FILES)


def write_files(out: str, files: Iterable[SourceFile], every: int) -> Iterator[int]:
    """Write down files, one JSON object a line; yields where every so many lines, and the last, have ended.

    Raises OSError.
    """
    with open(list_of(out), "wb") as lines:
        count = 0
        for count, file in enumerate(files, 1):
            lines.write(json.dumps(_as_json(file)).encode() + b"\n")
            if count % every == 0:
                yield lines.tell()
        if count % every:
            yield lines.tell()


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
        json.dump(asdict(summary), file)


def summary_of(task: Task) -> Summary | None:
    """Return how a task ended; None if it has not."""
    try:
        with open(os.path.join(task.folder, _SUMMARY), encoding="utf-8") as file:
            return Summary(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None


def run(task: Task) -> Summary:
    """Do a task on this node, in a program of its own; never raises.

    A program of its own, because engines run tasks in threads and in processes that may have no children,
    and so that a network that dies takes nothing with it. It ends as by Ctrl-C once the driver is gone.
    """
    try:
        return _run(task)
    except Exception as error:  # noqa: BLE001  (its message may quote a header)
        return Summary(task.name, error=f"{type(error).__name__} on a node", exit_code=int(ExitCode.INTERNAL))


def _run(task: Task) -> Summary:
    alive = _Driver(os.path.join(shards.folder_of(os.path.abspath(task.job.settings.out)), DRIVER))
    if (before := summary_of(task)) is not None and before.is_done:
        return before
    if not alive.is_there():
        return Summary(task.name, error="the run was stopped", exit_code=int(ExitCode.INTERRUPTED))
    os.makedirs(task.folder, exist_ok=True)
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(task.folder, _SUMMARY))
    words = [sys.executable, "-m", "dicomsort.cluster.node"]
    program = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        cwd=os.sep if working_folder_is_gone() else None,
    )
    assert program.stdin is not None  # noqa: S101
    with program, program.stdin:
        with suppress(BrokenPipeError):
            pickle.dump(task, program.stdin)
            program.stdin.flush()
        while not _has_ended(program, _POLL_SECONDS) and alive.is_there():
            pass
        with suppress(BrokenPipeError):
            program.stdin.close()
        _end(program)
    died = Summary(
        task.name,
        error=f"a node's program ended with {program.returncode}",
        exit_code=int(ExitCode.INTERNAL),
    )
    return summary_of(task) or died


def _has_ended(program: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Wait so long at most for a program; return whether it has ended."""
    with suppress(subprocess.TimeoutExpired):
        program.wait(seconds)
    return program.returncode is not None


def _end(program: "subprocess.Popen[bytes]") -> None:
    try:
        program.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


class _Driver:
    """Knows whether the driver lives: its file is there, and was touched within two minutes of our clock."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._touched, self._seen = 0, time.monotonic()

    def is_there(self) -> bool:
        try:
            touched = os.stat(self._path).st_mtime_ns
        except FileNotFoundError:
            return False
        except OSError:
            touched = self._touched
        if touched != self._touched:
            self._touched, self._seen = touched, time.monotonic()
        return time.monotonic() - self._seen < _SILENCE_SECONDS


def total(summaries: Iterable[Summary]) -> Counter[Status]:
    """Add up the statuses of tasks."""
    statuses: Counter[Status] = Counter()
    for summary in summaries:
        statuses.update({Status(status): count for status, count in summary.statuses.items()})
    return statuses
