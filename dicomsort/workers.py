"""Run a function over items in processes; a crash or a hang costs only its item."""

import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain, islice
from multiprocessing import connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from dicomsort.errors import InternalError
from dicomsort.heap import keep_freed_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

_READY = "ready"
_START_FAILURES_ALLOWED = 3
_START_SECONDS = 120.0
_POLL_SECONDS = 0.25
_PRELOAD = ["dicomsort.workers", "dicomsort.reader", "dicomsort.cli"]


class Lost(Enum):
    """What is left of an item whose worker did not come back."""

    CRASH = "crash"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many processes, and what each may take.

    timeout: seconds for one item, from the moment a worker starts it. ahead: items sent to a worker at a
    time, so that it never waits for the main process. recycle_after: items after which a worker is
    replaced, so that a leaking codec cannot grow without end. memory_bytes: limit of a worker's address
    space, where the system has one (RLIMIT_AS).
    """

    workers: int = 2
    timeout: float = 60.0
    ahead: int = 4
    recycle_after: int = 5000
    memory_bytes: int | None = 6 << 30


@dataclass(slots=True, eq=False)
class _Task(Generic[Item]):
    item: Item
    suspect: bool = False


@dataclass(slots=True, eq=False)
class _Worker(Generic[Item]):
    """A process, the pipe to it, and the tasks it was sent; it works on the first of them."""

    process: Any
    pipe: Any
    clock: Any
    born: float = field(default_factory=time.monotonic)
    ready: bool = False
    done: int = 0
    tasks: deque[_Task[Item]] = field(default_factory=deque)
    overdue: _Task[Item] | None = None

    def has_room(self, settings: PoolSettings) -> bool:
        if not self.ready or self.done + len(self.tasks) >= settings.recycle_after:
            return False
        alone = bool(self.tasks) and self.tasks[-1].suspect
        return not alone and len(self.tasks) < settings.ahead

    def is_slow(self, settings: PoolSettings) -> bool:
        now = time.monotonic()
        if not self.ready:
            return now - self.born > _START_SECONDS
        started = self.clock.value
        return started > 0 and now - started > settings.timeout and not self.pipe.poll()


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    settings: PoolSettings,
    stop: threading.Event | None = None,
) -> Generator[tuple[Item, Result | Lost], None, None]:
    """Yield (item, result) in the order of completion, each item exactly once.

    `function` must be picklable and should return failures as values. An item whose process dies is run once
    more, alone in a fresh process, and is Lost.CRASH only if that one dies as well; a neighbour is never
    blamed. An item that takes longer than the time limit is Lost.TIMEOUT. Items are taken from `items` only
    as workers have room for them, so memory does not grow with their number. Raises InternalError if
    workers cannot start. Closing the generator, or setting `stop` from another thread, ends the workers.
    """
    source = iter(items)
    first = list(islice(source, 1))  # no item, no process
    if not first:
        return
    pool: _Pool[Item, Result] = _Pool(function, settings)
    try:
        yield from pool.results(chain(first, source), stop or threading.Event())
    finally:
        pool.close()


class _Pool(Generic[Item, Result]):
    """The workers, and the tasks to do again: those of a dead neighbour, and the suspects of its death."""

    def __init__(self, function: Callable[[Item], Result], settings: PoolSettings) -> None:
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self._context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload(_PRELOAD)
        self._function, self._settings = function, settings
        self._workers: list[_Worker[Item]] = []
        self._again: deque[_Task[Item]] = deque()
        self._suspects: deque[_Task[Item]] = deque()
        self._exhausted = False
        self._start_failures = 0

    def results(self, source: Iterator[Item], stop: threading.Event) -> Iterator[tuple[Item, Result | Lost]]:
        while not stop.is_set():
            self._feed(source)
            if self._finished():
                return
            pipes = {worker.pipe: worker for worker in self._workers}
            for pipe in connection.wait(list(pipes), timeout=_POLL_SECONDS):
                yield from self._receive(pipes[pipe])
            for worker in self._workers:
                if worker.is_slow(self._settings):
                    worker.overdue = worker.tasks[0] if worker.tasks else None
                    worker.process.kill()

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            self._forget(worker)

    def _finished(self) -> bool:
        waiting = self._again or self._suspects or any(worker.tasks for worker in self._workers)
        return self._exhausted and not waiting

    def _feed(self, source: Iterator[Item]) -> None:
        while len(self._workers) < self._settings.workers:
            self._workers.append(self._start())
        while worker := self._idlest():
            task = self._next(worker, source)
            if task is None:
                return
            worker.tasks.append(task)
            with suppress(OSError):  # it just died: its tasks come back when the pipe tells
                worker.pipe.send(task.item)

    def _idlest(self) -> _Worker[Item] | None:
        """Return the worker with the fewest tasks that has room, a fresh one first: suspects wait for it."""
        ready = (worker for worker in self._workers if worker.has_room(self._settings))
        return min(ready, key=lambda worker: (len(worker.tasks), worker.done > 0), default=None)

    def _next(self, worker: _Worker[Item], source: Iterator[Item]) -> _Task[Item] | None:
        fresh = worker.done == 0 and not worker.tasks
        if fresh and self._suspects:
            return self._suspects.popleft()
        if self._again:
            return self._again.popleft()
        for item in source:
            return _Task(item)
        self._exhausted = True
        return None

    def _receive(self, worker: _Worker[Item]) -> Iterator[tuple[Item, Result | Lost]]:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            yield from self._bury(worker)
            return
        if not worker.ready:
            worker.ready = True
            self._start_failures = 0
            return
        worker.done += 1
        yield worker.tasks.popleft().item, message
        if worker.done >= self._settings.recycle_after and not worker.tasks:
            self._workers.remove(worker)
            self._forget(worker)

    def _bury(self, worker: _Worker[Item]) -> Iterator[tuple[Item, Result | Lost]]:
        self._workers.remove(worker)
        self._forget(worker)
        if not worker.ready:
            self._count_start_failure()
        head = worker.tasks.popleft() if worker.tasks else None
        self._again.extend(worker.tasks)
        if head is None:
            return
        if head is worker.overdue:
            yield head.item, Lost.TIMEOUT
        elif head.suspect:
            yield head.item, Lost.CRASH
        else:
            self._suspects.append(_Task(head.item, suspect=True))

    def _count_start_failure(self) -> None:
        self._start_failures += 1
        if self._start_failures > _START_FAILURES_ALLOWED:
            raise InternalError(
                f"worker processes die while starting ({self._start_failures} in a row): "
                "check the memory limit of this session, or use fewer --workers"
            )

    def _start(self) -> _Worker[Item]:
        ours, theirs = self._context.Pipe()
        clock = self._context.RawValue("d", 0.0)
        arguments = (theirs, clock, self._function, self._settings)
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours, clock)

    def _forget(self, worker: _Worker[Item]) -> None:
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()
        worker.process.close()


def _work(pipe: Any, clock: Any, function: Callable[[Any], Any], settings: PoolSettings) -> None:
    """Answer items until the pipe closes. Runs in the worker process."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        _prepare(settings, nowhere.fileno())
        pipe.send(_READY)
        with suppress(EOFError, OSError):
            while True:
                item = pipe.recv()
                clock.value = time.monotonic()
                faulthandler.dump_traceback_later(settings.timeout * 1.5 + 5, exit=True, file=nowhere)
                result = _guarded(function, item)
                faulthandler.cancel_dump_traceback_later()
                clock.value = 0.0
                pipe.send(result)


def _guarded(function: Callable[[Any], Any], item: Any) -> Any:
    """Run the function; what it raises ends the process without a traceback, for headers may stand in it."""
    try:
        return function(item)
    except BaseException:  # noqa: BLE001
        os._exit(70)


def _prepare(settings: PoolSettings, nowhere: int) -> None:
    """Make a worker quiet and mortal.

    No output (codecs and pydicom quote headers), no Ctrl-C of its own, a memory limit, no core dump, and an
    end as soon as the main process is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    keep_freed_memory()
    _limit_memory(settings.memory_bytes)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _limit_memory(memory_bytes: int | None) -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  (Unix only)

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory_bytes is not None and sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
