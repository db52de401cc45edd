"""Tasks in processes of this machine, by the loky that joblib brings."""

import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from dicomsort.cluster.backends import Backend
from dicomsort.cluster.hands import Ended, Run, drain
from dicomsort.cluster.task import Task

_IDLE_SECONDS = 3600
_LOOK_SECONDS = 0.5


@contextmanager
def connected(engine: Backend) -> Iterator["Here"]:
    """Yield so many processes of this machine, by default one."""
    here = Here(engine.tasks or 1)
    try:
        yield here
    finally:
        here.close()


class Here:
    """Processes of this machine. One that dies takes the others with it; new ones are started."""

    who = "this machine"

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._ended: queue.SimpleQueue[tuple[Task, Any]] = queue.SimpleQueue()

    def nodes(self) -> int:
        """Return how many tasks are done at a time."""
        return self._tasks

    def room(self) -> int:
        """Return how many tasks are done at a time."""
        return self._tasks

    def hand_out(self, run: Run, task: Task) -> None:
        """Let a process do a task."""
        future = self._executor().submit(run, task)
        future.add_done_callback(partial(self._note, task))

    def _note(self, task: Task, future: Any) -> None:
        self._ended.put((task, future))

    def _executor(self) -> Any:
        """Return the processes, or new ones in place of broken ones."""
        from joblib.externals.loky import get_reusable_executor  # noqa: PLC0415  (only for such a run)

        return get_reusable_executor(
            max_workers=self._tasks, timeout=_IDLE_SECONDS, initializer=_end_with, initargs=(os.getpid(),)
        )

    def ended(self, seconds: float) -> list[Ended]:
        """Return the tasks that have ended since; waits so long at most for the first."""
        return [_ended(task, future) for task, future in drain(self._ended, seconds)]

    def close(self) -> None:
        """End the processes, once they have let go of their tasks."""
        self._executor().shutdown(wait=True)


def _end_with(driver: int) -> None:
    """Let a process end soon after the driver that has started it; its tasks end with it."""
    threading.Thread(target=_follow, args=(driver,), daemon=True).start()


def _follow(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _ended(task: Task, future: Any) -> Ended:
    if future.cancelled():
        return Ended(task, None, "cancelled")
    error = future.exception()
    return Ended(task, None, type(error).__name__) if error else Ended(task, future.result())
