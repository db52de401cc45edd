"""Files whose UID repeats, read on the nodes once all are sorted, so that the merge need not read them."""

import os
import shutil
import time
from array import array
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain, islice

from dicomsort.cluster.job import Job, lines_of, write_lines
from dicomsort.cluster.task import Summary, Task
from dicomsort.errors import UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest.names import PART_LOG, shard_folder
from dicomsort.manifest.spill import scratch
from dicomsort.sorting import part_log, pixel_shares
from dicomsort.sorting.part_log import DONE, END, START
from dicomsort.sorting.repeats import Wanted
from dicomsort.system.batch_jobs import job_id
from dicomsort.system.pool_settings import pool_settings

FEWEST = 1000
"""Fewer files are read by the merge alone, in two or three seconds: a node's program takes as long to start.

Programs that ran already took 1.6 s for a thousand (benchmarks/RESULTS.md).
"""


def written_down(job: Job, every: int) -> "array[int]":
    """Write down the files that the merge would have to read; returns where every so many, and all, end.

    None if they are few, or rows have digests, or a manifest is damaged: then the merge says so. Raises
    TargetError, OSError.
    """
    settings, ends = job.settings, array("Q")
    if settings.keep_duplicates or settings.read.pixel_digest:
        return ends
    with suppress(UsageError), scratch(shard_folder(job.out)) as folder:
        found = pixel_shares.to_compare(job.out, settings.dry_run, folder)
        first = list(islice(found, FEWEST))
        if len(first) == FEWEST:
            ends.extend(
                write_lines(job.out, (one.line() for one in chain(first, found)), every, compares=True)
            )
    return ends


def name_of(number: int, of: int) -> str:
    """Return the name of a task that compares."""
    return pixel_shares.name_of(Shard(number, of))


def compared(task: Task, job: Job) -> Summary:
    """Read the files of a task, as far as that is not done, and leave their digests where a merge looks.

    Raises TargetError.
    """
    started = time.monotonic()
    _log(task, START, host=part_log.host(), job=job_id(), pid=os.getpid())
    wanted = (Wanted.of(at, line) for at, line in enumerate(lines_of(task)))
    left = pixel_shares.still_to_read(task.out, task.name, wanted)
    pool = pool_settings(job.workers, job.settings.pool.timeout)
    done = pixel_shares.leave(task.out, task.name, left, pool)
    seconds = round(time.monotonic() - started, 3)
    _log(task, END, how=DONE, exit_code=0, seconds=round(seconds, 1), **done.as_dict())
    return Summary(task.name, done.read, seconds=seconds)


def _log(task: Task, word: str, **facts: object) -> None:
    with suppress(OSError), open(os.path.join(task.folder, PART_LOG), "a", encoding="utf-8") as file:
        file.write(part_log.line(word, part=task.name, **facts))


def end(tasks: Iterable[Task]) -> None:
    """Keep the logs of tasks that nobody does any more, and remove all else but the digests."""
    for task in tasks:
        part_log.keep(task.out, task.part)
        shutil.rmtree(task.folder, ignore_errors=True)
