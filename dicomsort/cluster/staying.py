"""What a node program does: task after task, with the models loaded once.

It ends as by Ctrl-C when its stdin is closed, so that it never outlives who has started it; and by itself
when the driver is gone, or no task has come for some minutes.
"""

import json
import os
import pickle
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace

from dicomsort.cluster import comparing
from dicomsort.cluster.job import Job, TaskFiles
from dicomsort.cluster.programs import IDLE_SECONDS
from dicomsort.cluster.task import Driver, Summary, Task, stopped, write_summary
from dicomsort.errors import (
    DicomsortError,
    ExitCode,
    InternalError,
    UsageError,
    internal,
    names_missing_libraries,
)
from dicomsort.model import bundle
from dicomsort.model.batching import Predictor
from dicomsort.model.engines.selection import visible_gpus
from dicomsort.model.load import predictors_for
from dicomsort.sorting import part_log, pipeline, shards, versions
from dicomsort.system import locks, notices
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.worker_pool import keeping

_LOOK_SECONDS = 2.0
_GRACE_SECONDS = 60.0

Tasks = queue.SimpleQueue[Task]


def work() -> int:
    """Do the tasks that come by standard input, and answer each by a line; returns the exit code."""
    tasks, answers = Tasks(), os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # what libraries print is no answer
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    with suppress(KeyboardInterrupt), keeping(), ExitStack() as stack:
        models: Sequence[Predictor] = ()
        task: Task | None = tasks.get()
        while task is not None:
            said: list[str] = []
            with part_log.keeping_stderr(task.folder), notices.heard(said.append):
                summary, models = _done(task, models, stack)
            summary = replace(summary, said=said, host=part_log.host())
            part_log.note_failed(task.folder, task.name, summary.error, summary.exit_code)
            with suppress(OSError):  # a full disk: what answers tells of it
                write_summary(task, summary)
            os.write(answers, json.dumps(asdict(summary)).encode() + b"\n")
            task = _next(tasks, Driver.of(task))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return int(ExitCode.DONE)


def _next(tasks: Tasks, driver: Driver) -> Task | None:
    """Wait for a task; None once it is time to end."""
    until = time.monotonic() + IDLE_SECONDS
    while time.monotonic() < until and driver.is_there():
        with suppress(queue.Empty):
            return tasks.get(timeout=_LOOK_SECONDS)
    return None


def _listen(tasks: Tasks) -> None:
    """Take what comes by standard input; when that is closed, the program ends, at the latest by force.

    Not through its buffer: the interpreter could not end then.
    """
    stdin = sys.stdin.fileno()
    while size := _read(stdin, 8):
        message = _read(stdin, int.from_bytes(size, "big"))
        if not message:
            break
        tasks.put(pickle.loads(message))  # noqa: S301  (from the process that has started this one)
    with suppress(OSError):
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_GRACE_SECONDS)
    os._exit(int(ExitCode.INTERRUPTED))


def _read(descriptor: int, size: int) -> bytes:
    """Read so many bytes; none at the end."""
    read = bytearray()
    while len(read) < size:
        more = os.read(descriptor, size - len(read))
        if not more:
            return b""
        read += more
    return bytes(read)


def _done(task: Task, models: Sequence[Predictor], stack: ExitStack) -> tuple[Summary, Sequence[Predictor]]:
    """Do a task; returns how it ended, and the models for the next."""
    try:
        with names_missing_libraries():
            job = Job.of(task)
            if task.compares:
                with _taken(task, job):
                    _check_versions(job)
                    return comparing.compared(task, job), models
            _taken(task, job).close()
            models = models or stack.enter_context(_loaded(job))
            return _sorted(task, job, models), models
    except DicomsortError as error:
        return Summary(task.name, error=str(error), exit_code=int(error.exit_code)), models
    except KeyboardInterrupt:
        return stopped(task), models
    except Exception as error:  # noqa: BLE001  (its message may quote a header: tell the place only)
        return Summary(task.name, error=internal(error), exit_code=int(ExitCode.INTERNAL)), models


def _taken(task: Task, job: Job) -> locks.Lock:
    """Wait for who may still be writing the shard, on a node that was taken for lost."""
    try:
        return shards.take(task.out, task.part, job.settings.lock_wait)
    except UsageError as error:  # no reason to end the run
        raise InternalError(str(error)) from error


def _check_versions(job: Job) -> None:
    found = versions.differences(job.versions, versions.installed(), job.engine)
    shards.check_versions(found, job.settings.any_versions)


@contextmanager
def _loaded(job: Job) -> Iterator[Sequence[Predictor]]:
    """Load the models of a job. Raises UsageError where other versions are installed, and ModelError."""
    _check_versions(job)
    bundles = [bundle.load(bundle.locate(name)) for name in job.models]
    with (
        _own_device("cpu" if job.engine == "openvino" else job.device) as device,
        predictors_for(bundles, device, job.precision, job.engine) as predictors,
    ):
        yield predictors


def _sorted(task: Task, job: Job, models: Sequence[Predictor]) -> Summary:
    own = replace(job.settings, task=task.name, pool=pool_settings(job.workers, job.settings.pool.timeout))
    first, *further = models
    tally = pipeline.sort(own, first, None, further, TaskFiles.of(task, job))
    statuses, hints, stayed = (
        {one.value: count for one, count in counts.items()}
        for counts in (tally.statuses, tally.hints, tally.removed.stayed)
    )
    return Summary(
        task.name, tally.found, statuses, tally.spent, round(tally.seconds, 3), hints, tally.inside, stayed
    )


@contextmanager
def _own_device(wanted: str) -> Iterator[str]:
    """Yield the device to use: of several GPUs one that no other program on this machine has."""
    gpus = visible_gpus() if wanted in ("auto", "cuda") else []
    with ExitStack() as stack:
        for index, gpu in enumerate(gpus):
            claim = locks.claim(os.path.join(tempfile.gettempdir(), f"dicomsort-{os.getuid()}-{gpu}.lock"))
            if claim is not None:
                stack.enter_context(claim)
                yield f"cuda:{index}"
                return
        yield wanted
