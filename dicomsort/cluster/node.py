"""The program that does one task on a node: `python -m dicomsort.cluster.node`, told what by its stdin.

It ends as by Ctrl-C when that is closed, so that it never outlives who has started it.
"""

import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from dicomsort.cluster.task import Summary, Task, TaskFiles, write_summary
from dicomsort.errors import DicomsortError, ExitCode, internal, names_missing_libraries
from dicomsort.model import bundle
from dicomsort.model.engines.selection import visible_gpus
from dicomsort.model.load import predictors_for
from dicomsort.sorting import pipeline, shards, versions
from dicomsort.system import locks, streams
from dicomsort.system.worker_pool import pool_settings, warm_up


def main() -> int:
    """Do the task that standard input tells, and write its summary; returns the exit code."""
    streams.prepare()
    task: Task = pickle.load(sys.stdin.buffer)  # noqa: S301  (from the process that has started this one)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with names_missing_libraries():
            summary = _sorted(task)
    except DicomsortError as error:
        summary = Summary(task.name, error=str(error), exit_code=int(error.exit_code))
    except KeyboardInterrupt:
        summary = Summary(task.name, error="the run was stopped", exit_code=int(ExitCode.INTERRUPTED))
    except Exception as error:  # noqa: BLE001  (its message may quote a header: tell the place only)
        summary = Summary(task.name, error=internal(error), exit_code=int(ExitCode.INTERNAL))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    write_summary(task, summary)
    return summary.exit_code


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not through the buffer: the interpreter could not end then
        pass
    with suppress(OSError):
        os.kill(os.getpid(), signal.SIGINT)


def _sorted(task: Task) -> Summary:
    job = task.job
    shards.check_versions(
        versions.differences(job.versions, versions.installed(), job.engine), job.settings.any_versions
    )
    shards.take(job.settings.out, task.name, job.settings.lock_wait).close()
    own = replace(job.settings, task=task.name, pool=pool_settings(job.workers, job.settings.pool.timeout))
    warm_up()
    bundles = [bundle.load(bundle.locate(name)) for name in job.models]
    with (
        _own_device("cpu" if job.engine == "openvino" else job.device) as device,
        predictors_for(bundles, device, job.precision, job.engine) as predictors,
    ):
        first, *further = predictors
        tally = pipeline.sort(own, first, None, further, TaskFiles.of(task))
    statuses, hints, stayed = (
        {one.value: count for one, count in counts.items()}
        for counts in (tally.statuses, tally.hints, tally.removed.stayed)
    )
    return Summary(
        task.name, tally.found, statuses, tally.spent, round(tally.seconds, 3), hints, tally.inside, stayed
    )


@contextmanager
def _own_device(wanted: str) -> Iterator[str]:
    """Yield the device to use: of several GPUs one that no other task on this machine has."""
    gpus = visible_gpus() if wanted in ("auto", "cuda") else []
    with ExitStack() as stack:
        for index, gpu in enumerate(gpus):
            claim = locks.claim(os.path.join(tempfile.gettempdir(), f"dicomsort-{os.getuid()}-{gpu}.lock"))
            if claim is not None:
                stack.enter_context(claim)
                yield f"cuda:{index}"
                return
        yield wanted


if __name__ == "__main__":
    sys.exit(main())
