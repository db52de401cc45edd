"""Many nodes, one output: the workers of a cluster sort shards of the paths, which are then merged."""

import os
import time
import uuid
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise

from dicomsort.cluster import comparing
from dicomsort.cluster.backends import Backend
from dicomsort.cluster.handing_out import HandingOut, Note
from dicomsort.cluster.hands import Hands
from dicomsort.cluster.job import Job, tally_of, write_files
from dicomsort.cluster.programs import run
from dicomsort.cluster.progress import Progress
from dicomsort.cluster.task import Summary, Task, driver_of, told_of, touch
from dicomsort.errors import DicomsortError, TargetError
from dicomsort.inputs.named import Files
from dicomsort.manifest.names import shard_folder
from dicomsort.outcome import SourceFile
from dicomsort.sorting import accounts, noting, part_log, pipeline, shards
from dicomsort.sorting.merge import join, merge
from dicomsort.sorting.summary import SortSummary, Watch
from dicomsort.system import locks, notices
from dicomsort.system.escaping import escape

_ROUNDS = 3
_TWICE = "images that came twice"
_FEWEST, _MOST, _SHARDS_A_NODE, _NODES_TO_COME = 500, 20_000, 16, 16


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
    note: called with a line for what is lost or waited for. files: what to sort; None for what the settings
    name.
    Raises as `pipeline.sort` does, InternalError if shards fail always, ClusterLostError.
    """
    started, out, is_sorted = time.monotonic(), job.out, False
    files, tally = files or pipeline.archive_of(job.settings), SortSummary()
    job = replace(job, run=uuid.uuid4().hex)
    _take_in(out, job)
    try:
        with engine.connected() as hands, _driving(out, job):
            history = pipeline.earlier_of(job.settings)
            todo = pipeline.to_do(job.settings, files, tally, history)
            tasks = _planned(job, todo, engine.shard_size, hands.nodes())  # counts what there is
            accounts.check_found(tally, job.settings)
            noting.note_plan(out, tally.found - tally.already_done, len(tasks))
            _add(_done(HandingOut(tasks, hands, run, engine.wait, note), job, tally, watch), tally)
            tally.total, tally.shards, tally.shards_done = tally.found, len(tasks), len(tasks)
            is_sorted = True
            _compare(job, engine, hands, tally, watch, note)
    except locks.BusyError:  # what is there is another driver's
        raise
    except BaseException:
        with suppress(DicomsortError):
            _take_in(out, job, judging=not is_sorted)
        raise
    tally.note_folders(files.empty_folders)
    note_moved = partial(accounts.note_moved, tally=tally, history=history, given=job.settings.roots)
    merged = merge(out, job.settings.pool, moved=note_moved, wait=job.settings.lock_wait)
    tally.labels, tally.radiographs = merged.labels, merged.radiographs
    tally.removed.add(merged.removed)
    tally.seconds = time.monotonic() - started
    accounts.check_ended(tally)
    return tally


def _take_in(out: str, job: Job, *, judging: bool = False) -> None:
    """Merge what an earlier run has left, or this one before it was ended. Raises as `merge` does.

    judging: whether duplicates are judged now, for which this machine alone may have to read many files.
    """
    _dismiss(out)
    wait = job.settings.lock_wait
    for _ in range(_ROUNDS):  # a task may write its first row as it ends
        if shards.waiting(out) and judging:
            merge(out, job.settings.pool, wait=wait)
        elif shards.waiting(out):
            join(out, wait)
        shards.forget_empty(out, wait, part_log.keep)
        if not shards.waiting(out):
            return


def _dismiss(out: str) -> None:
    """Let the tasks of a driver that was killed end now: they would wait for two minutes for a sign of it."""
    with suppress(OSError, locks.BusyError), locks.take(shard_folder(out)):
        for left in (noting.plan_of(out), driver_of(out)):
            with suppress(FileNotFoundError):
                os.unlink(left)


@contextmanager
def _driving(out: str, job: Job) -> Iterator[None]:
    """Keep the output to this run and its tasks; when the block ends, they end."""
    try:
        with _held(out, job):
            touch(driver_of(out), job.run)
            try:
                yield
            finally:
                with suppress(OSError):
                    os.unlink(driver_of(out))
    except OSError as error:
        raise TargetError(f"'{escape(out)}' cannot be written: {error.strerror}") from error


def _held(out: str, job: Job) -> ExitStack:
    """Take the locks of a driver; waits for another one, and takes in what that has left."""
    wait, folder = job.settings.lock_wait, shard_folder(out)
    while True:
        os.makedirs(folder, exist_ok=True)
        with suppress(FileNotFoundError), ExitStack() as stack:  # the other one removes it as it ends
            stack.enter_context(locks.take(folder, wait=wait, beats=True))
            stack.callback(shards.tidy, out)
            stack.enter_context(locks.take(out, shared=True, wait=wait))
            if os.path.exists(os.path.join(folder, locks.LOCK)) and not shards.waiting(out):
                return stack.pop_all()
        _take_in(out, job)


def _planned(job: Job, todo: Iterator[SourceFile], shard_size: int | None, nodes: int) -> list[Task]:
    """Write down what is to be done, and cut it into tasks: several a node, neither tiny nor endless.

    nodes: those that are there; if there are none yet, some are expected.
    """
    ends = array("Q", write_files(job.out, todo, shard_size or _FEWEST))
    return _cut(job, ends, shard_size, nodes, lambda number, _: f"task-{number:06}")


def _cut(
    job: Job, ends: "array[int]", shard_size: int | None, nodes: int, name_of: Callable[[int, int], str]
) -> list[Task]:
    """Cut what is written down into tasks. ends: where each piece of it does."""
    each = (
        1
        if shard_size
        else min(max(1, len(ends) // (_SHARDS_A_NODE * (nodes or _NODES_TO_COME))), _MOST // _FEWEST)
    )
    packed, edges = job.packed(), [0, *ends[each - 1 :: each]]
    edges += [ends[-1]] if ends and ends[-1] != edges[-1] else []
    cuts = list(pairwise(edges))
    return [Task(job.out, job.run, packed, name_of(at, len(cuts)), *cut) for at, cut in enumerate(cuts, 1)]


def _done(handing: HandingOut, job: Job, tally: SortSummary, watch: Watch | None) -> SortSummary:
    """Have all tasks done; returns what they counted, all together. Raises as `HandingOut.summaries`."""
    ended = SortSummary()
    with Progress(job, handing.number, handing.out, tally, watch) as progress:
        for summary in handing.summaries():
            _tell(summary)
            counted = tally_of(summary)
            progress.count(summary.name, counted.statuses)
            _add(counted, ended)
    return ended


def _compare(
    job: Job, engine: Backend, hands: Hands, tally: SortSummary, watch: Watch | None, note: Note
) -> None:
    """Have the nodes read what the merge would have to read alone. Raises as `HandingOut.summaries`."""
    shown = replace(tally, waiting=f"looking for {_TWICE}")
    with Progress(job, 0, {}, shown, watch):
        size = engine.shard_size
        ends = comparing.written_down(job, size or _FEWEST)
        tasks = _cut(job, ends, size, hands.nodes(), comparing.name_of)
        handing = HandingOut(tasks, hands, run, engine.wait, note, "shares to compare")
        if tasks:
            noting.note_plan(job.out, tally.found - tally.already_done, tally.shards, noting.COMPARING)
        try:
            shown.waiting = f"comparing {_TWICE}, 0 of {len(tasks)} shares"
            for number, summary in enumerate(handing.summaries(), 1):
                _tell(summary)
                shown.waiting = f"comparing {_TWICE}, {number} of {len(tasks)} shares"
        finally:
            comparing.end(task for task in tasks if task.name not in handing.out)


def _tell(summary: Summary) -> None:
    for line in summary.said:
        notices.say(told_of(summary, line))


def _add(part: SortSummary, whole: SortSummary) -> None:
    """Add to a summary what tasks have counted."""
    whole.statuses += part.statuses
    whole.hints += part.hints
    whole.removed.stayed += part.removed.stayed
    whole.inside += part.inside
    whole.found += part.inside
    spent = Counter(whole.spent)
    spent.update(part.spent)
    whole.spent = {stage: round(seconds, 3) for stage, seconds in spent.items()}
