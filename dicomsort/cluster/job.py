"""What all tasks of a run have in common, the list of its files, and what its tasks have counted."""

import json
import os
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from dicomsort.cluster.task import Summary, Task
from dicomsort.inputs import walk
from dicomsort.inputs.opened import window
from dicomsort.inputs.remotes import Remotes
from dicomsort.manifest.names import shard_folder
from dicomsort.manifest.run_file import RunFile
from dicomsort.outcome import Failure, FileStamp, Placement, Reason, SourceFile, Status
from dicomsort.sorting import roots
from dicomsort.sorting.moving import Stays
from dicomsort.sorting.pipeline import SortSettings
from dicomsort.sorting.summary import SortSummary
from dicomsort.system.zstd import zstd

_FILES, _COMPARED = "files.jsonl.zst", "compared.csv.zst"


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

    @property
    def out(self) -> str:
        """The output folder."""
        return os.path.abspath(self.settings.out)

    def packed(self) -> bytes:
        """Return it as it travels with each task."""
        return pickle.dumps(self)

    @classmethod
    def of(cls, task: Task) -> "Job":
        """Return that of a task."""
        job: Job = pickle.loads(task.job)  # noqa: S301  (from the process that has started this one)
        return job


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """The files of a task, as the driver has written them down. remotes: the stores among them."""

    task: Task
    remotes: Remotes = field(default_factory=Remotes)

    @classmethod
    def of(cls, task: Task, job: Job) -> "TaskFiles":
        """Return the files of a task, and the stores that its job names."""
        before = roots.known(RunFile(task.out))
        return cls(task, Remotes(walk.roots_of(job.settings.roots, before), job.settings.remote))

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
        return (_found_of(json.loads(line)) for line in lines_of(self.task))


def _list_of(out: str, compares: bool) -> str:
    """Return where the driver writes down what is to be done."""
    return os.path.join(shard_folder(out), _COMPARED if compares else _FILES)


def lines_of(task: Task) -> Iterator[bytes]:
    """Yield the lines of a task, as the driver has written them down."""
    with (
        window(_list_of(task.out, task.compares), task.start, task.end - task.start) as packed,
        zstd.ZstdFile(packed) as lines,
    ):
        yield from lines


def write_files(out: str, files: Iterable[SourceFile], every: int) -> Iterator[int]:
    """Write down files, one JSON object a line; see `write_lines`."""
    return write_lines(out, (json.dumps(_as_json(file)).encode() + b"\n" for file in files), every)


def write_lines(out: str, lines: Iterable[bytes], every: int, *, compares: bool = False) -> Iterator[int]:
    """Write down what is to be done; yields where every so many lines, and the last, have ended.

    As many are packed by themselves (Zstandard). compares: whether it is for tasks that compare. Raises
    OSError.
    """
    with open(_list_of(out, compares), "wb") as packed:
        rest = iter(lines)
        while some := b"".join(islice(rest, every)):
            packed.write(zstd.compress(some))
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


def tally_of(summary: Summary) -> SortSummary:
    """Return what a task has counted, as far as it adds to that of the run."""
    tally = SortSummary(inside=summary.inside, spent=summary.spent)
    tally.statuses += Counter({Status(name): count for name, count in summary.statuses.items()})
    tally.hints += Counter({Reason(name): count for name, count in summary.hints.items()})
    tally.removed.stayed += Counter({Stays(name): count for name, count in summary.stayed.items()})
    return tally
