"""Run a function over items in processes; a crash or a hang costs only its item."""

import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from multiprocessing import connection
from typing import Any, Generic, TypeVar

from dicomsort.errors import InternalError
from dicomsort.system.inbox import NOTHING_NOW, NothingNow, RingingItems
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.pool_worker import Lost, Task, Worker
from dicomsort.system.starting import somewhere, warm_up
from dicomsort.system.worker import NewFunction, work

Item = TypeVar("Item")
Result = TypeVar("Result")

_START_FAILURES_ALLOWED = 3
_POLL_SECONDS = 0.25
_LONGEST_TURN = 2 * _POLL_SECONDS
_MOST_DEATHS = 3


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item] | RingingItems[Item],
    settings: PoolSettings,
    stop: threading.Event | None = None,
) -> Generator[tuple[Item, Result | Lost], None, None]:
    """Yield (item, result) in the order of completion, each item exactly once.

    Of an item that is ManyResults the function returns a generator; each value comes with its item, the last
    is what the generator returned. A value at which the process dies is tried once more and then skipped, as
    the item says; those that came before do not come again.

    `function` must be picklable and should return failures as values. An item whose process dies is run once
    more, alone in a fresh process, and is Lost.CRASH only if that one dies as well; a neighbour is never
    blamed. An item that takes longer than the time limit is Lost.TIMEOUT. Items are taken from `items` only
    as workers have room for them, so memory does not grow with their number; a source with a bell may have
    none just now, and is asked again once it rings. Raises InternalError if workers cannot start. Closing
    the generator, or setting `stop` from another thread, ends the workers.
    """
    source: Iterator[Item | NothingNow] = iter(items)
    first = list(islice(source, 1))  # no item, no process
    if not first:
        return
    pool: _Pool[Item, Result] = _Pool(function, settings, getattr(items, "bell", None))
    try:
        yield from pool.results(chain(first, source), stop or threading.Event())
    finally:
        pool.close()


_kept: "list[tuple[PoolSettings, Worker[Any]]] | None" = None


@contextmanager
def keeping() -> Iterator[None]:
    """Keep the processes of a run that has ended for the next one within the block, one run at a time.

    Their start takes longer than reading some files.
    """
    global _kept  # noqa: PLW0603
    _kept = []
    try:
        yield
    finally:
        kept, _kept = _kept, None
        for _, worker in kept:
            worker.end()


class _Pool(Generic[Item, Result]):
    """The workers, and the tasks to do again: those of a dead neighbour, and the suspects of its death."""

    def __init__(
        self, function: Callable[[Item], Result], settings: PoolSettings, bell: Any | None = None
    ) -> None:
        self._context = warm_up()
        self._function, self._settings = function, settings
        self._bells, self._hungry = [] if bell is None else [bell], False
        self._workers: list[Worker[Item]] = []
        self._again: deque[Task[Item]] = deque()
        self._suspects: deque[Task[Item]] = deque()
        self._alone: deque[Task[Item]] = deque()
        self._exhausted = False
        self._start_failures = 0
        self._awake, self._turned = 0.0, time.monotonic()

    def results(
        self, source: Iterator[Item | NothingNow], stop: threading.Event
    ) -> Iterator[tuple[Item, Result | Lost]]:
        while not stop.is_set():
            self._count_time()
            self._feed(source)
            if self._finished():
                return
            pipes = {worker.pipe: worker for worker in self._workers}
            bells = self._bells if self._hungry else []  # with no room for items, none is waited for
            for pipe in connection.wait([*pipes, *bells], timeout=_POLL_SECONDS):
                if pipe in pipes:
                    yield from self._receive(pipes[pipe])
            for worker in self._workers:
                if not worker.overdue and (late := worker.over_time(self._settings, self._awake)):
                    worker.overdue, worker.overdue_at = late, late.given
                if worker.overdue or worker.is_late():
                    worker.process.kill()

    def close(self) -> None:
        if _kept is not None:
            stay = [worker for worker in self._workers if worker.may_stay(self._settings)]
            self._workers = [worker for worker in self._workers if worker not in stay]
            _kept.extend((self._settings, worker) for worker in stay)
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.end()

    def _count_time(self) -> None:
        """Count the time in which the pool was awake: no item is charged for a Ctrl-Z."""
        now = time.monotonic()
        self._awake += min(now - self._turned, _LONGEST_TURN)
        self._turned = now

    def _finished(self) -> bool:
        queued = self._again or self._suspects or self._alone
        waiting = queued or any(worker.tasks for worker in self._workers)
        return self._exhausted and not waiting

    def _feed(self, source: Iterator[Item | NothingNow]) -> None:
        self._hungry = False
        while len(self._workers) < self._settings.workers and not self._finished():
            self._workers.append(self._start())
        if self._suspects and not any(worker.serves_suspects() for worker in self._workers):
            return  # a worker will have nothing to do soon, and give way to a fresh one
        while worker := self._idlest():
            tasks = self._next(worker, source)
            if not tasks:
                return
            worker.tasks.extend(tasks)
            with suppress(OSError):  # it just died: its tasks come back when the pipe tells
                worker.pipe.send([task.item for task in tasks])

    def _idlest(self) -> Worker[Item] | None:
        """Return the worker with the fewest tasks that has room, a fresh one first: suspects wait for it."""
        kept = self._kept_free()
        ready = (worker for worker in self._workers if worker not in kept and worker.room(self._settings) > 0)
        return min(ready, key=lambda worker: (len(worker.tasks), worker.done > 0), default=None)

    def _kept_free(self) -> list[Worker[Item]]:
        """Return the workers that get nothing more until they are empty, and have an item for themselves."""
        if not self._alone:
            return []
        others = sorted((one for one in self._workers if not one.is_alone()), key=lambda one: len(one.tasks))
        return [worker for worker in others[: len(self._alone)] if worker.tasks]

    def _next(self, worker: Worker[Item], source: Iterator[Item | NothingNow]) -> list[Task[Item]]:
        """Return as many tasks as the worker has room for; a suspect alone, and none if there are no more."""
        fresh = worker.done == 0 and not worker.tasks
        if fresh and self._suspects:
            return [self._suspects.popleft()]
        if not worker.tasks and self._alone:
            return [self._alone.popleft()]
        tasks: list[Task[Item]] = []
        room = worker.room(self._settings)
        while len(tasks) < room and (task := self._one(source)):
            tasks.append(task)
        if not tasks and not worker.tasks and self._alone:
            return [self._alone.popleft()]
        return tasks

    def _one(self, source: Iterator[Item | NothingNow]) -> Task[Item] | None:
        if self._again:
            return self._again.popleft()
        if len(self._alone) >= self._settings.workers:
            return None
        for item in source:
            if item is NOTHING_NOW:
                self._hungry = True
                return None
            task = Task(item)
            if not task.alone:
                return task
            self._alone.append(task)
            if len(self._alone) >= self._settings.workers:
                return None
        self._exhausted = True
        return None

    def _receive(self, worker: Worker[Item]) -> Iterator[tuple[Item, Result | Lost]]:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            yield from self._bury(worker)
            return
        if not worker.ready:
            worker.ready = True
            self._start_failures = 0
            return
        yield from worker.take(*message)
        if not worker.tasks and (worker.done >= self._settings.recycle_after or self._suspects):
            self._workers.remove(worker)
            worker.end()

    def _bury(self, worker: Worker[Item]) -> Iterator[tuple[Item, Result | Lost]]:
        self._workers.remove(worker)
        worker.end()
        if not worker.ready:
            self._count_start_failure()
        touched = worker.touched()
        near = touched or list(islice(worker.tasks, 1))
        for task in worker.tasks:
            task.deaths += task in near
            lost = self._verdict(task, worker, bool(touched))
            if lost is None or (task.is_many and task.go_on(lost)):
                task.deaths *= lost is None
                self._try_again(task, is_culprit=bool(touched) and task is touched[-1])
            else:
                yield task.item, lost

    def _verdict(self, task: Task[Item], worker: Worker[Item], is_near: bool) -> Lost | None:
        """Say what became of a task of a dead worker; None if it is to be tried again.

        Of an item of many results, the one after those that have come is judged: if some came since it was
        begun, another one has died before.
        """
        if task is worker.overdue and task.given == worker.overdue_at:
            return Lost.TIMEOUT
        if task.suspect and not task.given and (is_near or task.deaths > _MOST_DEATHS):
            return Lost.CRASH
        return None

    def _try_again(self, task: Task[Item], is_culprit: bool) -> None:
        """Run a task of a dead worker again: alone if it was the last to be begun, or if deaths recur."""
        if task.is_many and task.given:
            task.go_on(None)
        if is_culprit or task.suspect or task.deaths > 1:
            task.suspect = True
            self._suspects.append(task)
        else:
            (self._alone if task.is_many else self._again).append(task)

    def _count_start_failure(self) -> None:
        self._start_failures += 1
        if self._start_failures > _START_FAILURES_ALLOWED:
            raise InternalError(
                f"worker processes die while starting ({self._start_failures} in a row): "
                "check the memory limit of this session, or use fewer --workers"
            )

    def _start(self) -> Worker[Item]:
        """Start a process, or go on with one of the run before: not for suspects, which get a fresh one."""
        while _kept and not self._suspects:
            settings, kept = _kept.pop()
            with suppress(OSError):  # it has died meanwhile
                if settings == self._settings:
                    kept.pipe.send(NewFunction(self._function))
                    return kept
            kept.end()
        ours, theirs = self._context.Pipe()
        gauge = self._context.RawArray("d", 2)
        arguments = (theirs, gauge, self._function, self._settings.timeout, self._settings.memory_bytes)
        process = self._context.Process(target=work, args=arguments, daemon=True)
        with somewhere():
            process.start()
        theirs.close()
        return Worker(process, ours, gauge)
