"""Tasks on the workers of a dask cluster, as futures of `distributed`."""

import logging
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NoReturn

from dicomsort.cluster.backends import Backend
from dicomsort.cluster.hands import ClusterLostError, Ended, Run, drain, library
from dicomsort.cluster.task import Summary, Task, summary_of
from dicomsort.errors import UsageError
from dicomsort.system.escaping import escape

_CONNECT_SECONDS = 10
_GATHER_SECONDS = 30
_LOOK_SECONDS = 1.0
_AHEAD = 16


@contextmanager
def connected(engine: Backend) -> Iterator["Dask"]:
    """Yield the workers of a scheduler, however many there are. Raises UsageError if it does not answer."""
    distributed = library("distributed", "dask")
    _check_address(distributed, engine.address or "")
    with distributed.utils.silence_logging_cmgr(logging.CRITICAL):  # it is told in our own words
        try:
            client = distributed.Client(engine.address, set_as_default=False, timeout=_CONNECT_SECONDS)
        except (OSError, ValueError, TimeoutError) as error:
            raise UsageError(
                f"no dask scheduler answers at '{escape(engine.address or '')}': check --address"
            ) from error
        try:
            yield Dask(client, engine.address or "", engine.tasks)
        finally:
            with suppress(OSError, TimeoutError):
                client.close(timeout=_CONNECT_SECONDS)


def _check_address(distributed: Any, address: str) -> None:
    """Raise UsageError for what no address can be; a client would fail later, and not tidily."""
    try:
        distributed.comm.get_address_host_port(address)
    except ValueError as error:
        raise UsageError(
            f"--address '{escape(address)}' is none of a dask scheduler: give one such as tcp://head:8786"
        ) from error
    secret = distributed.security.Security().get_connection_args("client")["ssl_context"]
    if address.startswith(("tls:", "wss:")) and secret is None:
        raise UsageError(
            f"--address '{escape(address)}' needs certificates: name them in dask's configuration, "
            "as distributed.comm.tls"
        )


class Dask:
    """The workers of a scheduler. It finds a task another worker itself if one dies with it, three times."""

    def __init__(self, client: Any, address: str, tasks: int | None) -> None:
        self._client, self._tasks = client, tasks
        self._ended: queue.SimpleQueue[tuple[Task, Any]] = queue.SimpleQueue()
        self._open: dict[str, Any] = {}
        self._threads: dict[str, int] = {}
        self._looked = -_LOOK_SECONDS
        self._count = 0
        self.who = f"the dask scheduler at {escape(address)}"

    def nodes(self) -> int:
        """Return how many workers there are."""
        return len(self._workers())

    def room(self) -> int:
        """Return how many tasks may be out: one for each worker, and some that wait for workers to come.

        A worker with several threads would take several at a time: then none waits.
        """
        threads = self._workers().values()
        if self._tasks is not None:
            return self._tasks
        is_plain = all(each == 1 for each in threads)
        return 2 * len(threads) + _AHEAD if is_plain else len(threads)

    def _workers(self) -> dict[str, int]:
        self._check()
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            try:
                self._threads = self._client.nthreads()
            except Exception as error:  # noqa: BLE001  (whatever a closed connection raises)
                self._lost(error)
            self._looked = time.monotonic()
        return self._threads

    def hand_out(self, run: Run, task: Task) -> None:
        """Hand a task to the scheduler."""
        self._check()
        self._count += 1
        key = f"dicomsort-{task.name}-{self._count}-{self._client.id}"
        try:
            future = self._client.submit(run, task, is_limited=True, key=key, pure=False)
        except Exception as error:  # noqa: BLE001  (whatever a closed connection raises)
            self._lost(error)
        self._open[task.name] = future  # the scheduler forgets what nobody holds
        future.add_done_callback(partial(self._note, task))

    def _note(self, task: Task, future: Any) -> None:
        self._ended.put((task, future))

    def ended(self, seconds: float) -> list[Ended]:
        """Return the tasks that have ended since; waits so long at most for the first."""
        self._check()
        found = [self._one(task, future) for task, future in drain(self._ended, seconds)]
        self._check()
        return found

    def _one(self, task: Task, future: Any) -> Ended:
        self._open.pop(task.name, None)
        if future.status == "finished":
            summary = self._summary(task, future)
            return Ended(task, summary, "" if summary else "no answer")
        if future.status != "error":
            self._lost()  # nobody cancels here but a client that has lost its scheduler
        return Ended(task, None, type(future.exception(timeout=_GATHER_SECONDS)).__name__)

    def _summary(self, task: Task, future: Any) -> Summary | None:
        """Fetch how a task ended; its worker may have died since."""
        try:
            summary: Summary = future.result(timeout=_GATHER_SECONDS)
        except Exception:  # noqa: BLE001  (whatever a lost worker raises)
            self._check()
            return summary_of(task)
        return summary

    def _check(self) -> None:
        if self._client.status != "running":
            self._lost()

    def _lost(self, error: Exception | None = None) -> NoReturn:
        raise ClusterLostError(
            f"{self.who} is gone: what was done is kept; start one, and the same command goes on"
        ) from error
