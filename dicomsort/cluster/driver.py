"""Many nodes, one output: the workers of a cluster sort shards of the paths, which are then merged."""

import csv
import os
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise

from dicomsort.cluster.backends import Backend, Cluster
from dicomsort.cluster.task import DRIVER, Job, Summary, Task, run, summary_of, total, write_files
from dicomsort.errors import (
    DicomsortError,
    ExitCode,
    InternalError,
    ModelError,
    TargetError,
    UsageError,
)
from dicomsort.inputs.named import Files
from dicomsort.manifest.names import MANIFEST
from dicomsort.outcome import Reason, SourceFile, Status
from dicomsort.sorting import accounts, pipeline, shards
from dicomsort.sorting.merge import merge
from dicomsort.sorting.moving import Stays
from dicomsort.sorting.summary import SortSummary, Watch
from dicomsort.system import locks
from dicomsort.system.escaping import escape

Note = Callable[[str], None]

_ROUNDS = 4
_FEWEST, _MOST, _SHARDS_A_NODE = 500, 20_000, 4
_SECONDS = 1.0
_NOT_BEGUN = 256
_FATAL: dict[int, type[DicomsortError]] = {
    ExitCode.TARGET: TargetError,
    ExitCode.MODEL: ModelError,
    ExitCode.USAGE: UsageError,
}


def sort(
    job: Job,
    engine: Backend,
    watch: Watch | None = None,
    note: Note = lambda _: None,
    files: Files | None = None,
) -> SortSummary:
    """Sort as `pipeline.sort` does, on all nodes of an engine; the manifest is whole in the end.

    A lost node costs its shards, which are done again. Whatever ends the run, what was done is merged as far
    as that can be, and the same call goes on from there, on as many nodes as there are then.
    note: called with a line for each loss of nodes. files: what to sort; None for what the settings name.
    Raises as `pipeline.sort` does.
    """
    started, out = time.monotonic(), os.path.abspath(job.settings.out)
    files, tally = files or pipeline.archive_of(job.settings), SortSummary()
    wait = job.settings.lock_wait
    if shards.waiting(out):
        merge(out, job.settings.pool, wait=wait)
    shards.forget_empty(out, wait)
    try:
        with engine.connected() as hands, _driving(out, wait):
            history = pipeline.earlier_of(job.settings)
            todo = pipeline.to_do(job.settings, files, tally, history)
            tasks = _planned(job, todo, engine.shard_size, hands.nodes)  # counts what there is
            accounts.check_found(tally, job.settings)
            with _Progress(out, tasks, tally, watch):
                summaries = _done(tasks, hands, note)
    except BaseException:
        if shards.waiting(out):
            with suppress(DicomsortError):
                merge(out, job.settings.pool, wait=wait)
        raise
    tally.statuses += total(summaries)
    for summary in summaries:
        tally.hints += Counter({Reason(name): count for name, count in summary.hints.items()})
        tally.removed.stayed += Counter({Stays(name): count for name, count in summary.stayed.items()})
        tally.inside += summary.inside
        tally.found += summary.inside
    tally.note_folders(files.empty_folders)
    note_moved = partial(accounts.note_moved, tally=tally, history=history, given=job.settings.roots)
    merged = merge(out, job.settings.pool, moved=note_moved, wait=wait)
    tally.labels, tally.radiographs = merged.labels, merged.radiographs
    tally.removed.add(merged.removed)
    tally.spent, tally.seconds = _sum(summaries), time.monotonic() - started
    accounts.check_ended(tally)
    return tally


@contextmanager
def _driving(out: str, wait: float) -> Iterator[None]:
    """Keep the output to this run and its tasks; when the block ends, they end."""
    driver = os.path.join(shards.folder_of(out), DRIVER)
    try:
        os.makedirs(shards.folder_of(out), exist_ok=True)
        with (
            locks.take(out, shared=True, wait=wait),
            locks.take(shards.folder_of(out), wait=wait, beats=True),
        ):
            _touch(driver)
            try:
                yield
            finally:
                with suppress(OSError):
                    os.unlink(driver)
    except OSError as error:
        raise TargetError(f"'{escape(out)}' cannot be written: {error.strerror}") from error
    finally:
        shards.tidy(out)


def _touch(path: str) -> None:
    with open(path, "wb") as file:
        file.write(b"%d" % time.time_ns())


def _planned(job: Job, todo: Iterator[SourceFile], shard_size: int | None, nodes: int) -> list[Task]:
    """Write down what is to be done, and cut it into tasks: several a node, neither tiny nor endless."""
    step = shard_size or _FEWEST
    ends = array("Q", write_files(job.settings.out, todo, step))
    each = 1 if shard_size else min(max(1, len(ends) // (_SHARDS_A_NODE * nodes)), _MOST // step)
    cuts = [0, *ends[each - 1 :: each]]
    cuts += [ends[-1]] if ends and ends[-1] != cuts[-1] else []
    return [Task(job, f"task-{at:06}", *cut) for at, cut in enumerate(pairwise(cuts), 1)]


def _done(tasks: Sequence[Task], hands: Cluster, note: Note) -> list[Summary]:
    """Do all tasks, those of lost nodes again. Raises the first error that would meet every task.

    What tasks return is not needed: their summaries lie in their folders.
    """
    left, why = list(tasks), ""
    for _ in range(_ROUNDS):
        trouble = ""
        try:
            hands.do(run, left)
        except Exception as error:  # noqa: BLE001  (whatever an engine raises when it loses a node)
            trouble = type(error).__name__
        ended = {task.name: summary_of(task) for task in left}
        for summary in ended.values():
            if summary is not None and summary.exit_code in _FATAL:
                raise _FATAL[summary.exit_code](summary.error)
        left = [task for task in left if not _is_done(ended[task.name])]
        if not left:
            return [summary for task in tasks if (summary := summary_of(task))]
        why = trouble or next((one.error for one in ended.values() if one and one.error), "no answer")
        are = ("was", "is") if len(left) == 1 else ("were", "are")
        note(f"{len(left)} of {len(tasks)} shards {are[0]} lost ({why}) and {are[1]} done again")
    raise InternalError(
        f"{len(left)} of {len(tasks)} shards could not be done ({why}): look at the nodes' logs"
    )


def _is_done(summary: Summary | None) -> bool:
    return summary is not None and summary.is_done


def _sum(summaries: Sequence[Summary]) -> dict[str, float]:
    spent: Counter[str] = Counter()
    for summary in summaries:
        spent.update(summary.spent)
    return {stage: round(seconds, 3) for stage, seconds in spent.items()}


class _Progress:
    """Keeps the driver's file fresh, and reads how far the tasks are from their shards, in its own thread.

    An error that would meet every task ends all of them: the driver's file goes.
    """

    def __init__(self, out: str, tasks: Sequence[Task], tally: SortSummary, watch: Watch | None) -> None:
        self._driver = os.path.join(shards.folder_of(out), DRIVER)
        self._open = {task.name: _Shard(task) for task in tasks}
        self._tally, self._watch, self._shards = tally, watch, len(tasks)
        self._counted: Counter[Status] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)

    def __enter__(self) -> None:
        """Start to look."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(_SECONDS):
            if not os.path.exists(self._driver):
                continue
            with suppress(OSError):
                _touch(self._driver)
            self._look()

    def _look(self) -> None:
        not_begun = 0
        live: Counter[Status] = Counter()
        for name, shard in list(self._open.items()):
            summary = shard.summary()
            if summary is None:
                live += shard.statuses()
                not_begun += not shard.is_begun
            elif summary.is_done:
                self._counted += total([summary])
                del self._open[name]
            elif summary.exit_code in _FATAL:
                with suppress(OSError):
                    os.unlink(self._driver)
                return
            if not_begun > _NOT_BEGUN:
                break
        self._show(live)

    def _show(self, live: Counter[Status]) -> None:
        if self._watch is not None:
            statuses = self._tally.statuses + self._counted + live
            done = self._shards - len(self._open)
            self._watch(
                replace(
                    self._tally,
                    statuses=statuses,
                    total=self._tally.found,
                    shards=self._shards,
                    shards_done=done,
                )
            )


class _Shard:
    """The rows that a task has written so far."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._path = os.path.join(task.folder, MANIFEST)
        self._read = 0
        self._statuses: Counter[Status] = Counter()
        self.is_begun = False

    def summary(self) -> Summary | None:
        """Return how the task ended, if it has."""
        return summary_of(self._task)

    def statuses(self) -> Counter[Status]:
        """Count the rows by status, those read before included."""
        try:
            with open(self._path, "rb") as file:
                self.is_begun = True
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._count(line.decode("utf-8", "replace"))
                    self._read += len(line)
        except OSError:
            pass
        return self._statuses

    def _count(self, line: str) -> None:
        cells = next(csv.reader([line]), [])
        with suppress(ValueError, IndexError):  # the line of names is none
            self._statuses[Status(cells[1])] += 1
