"""Run a function over items in processes; a crash or a hang costs only its item."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain, islice
from multiprocessing import connection, forkserver, resource_tracker
from typing import Any, Generic, Protocol, TypeVar

from dicomsort.errors import InternalError
from dicomsort.system.inbox import NOTHING_NOW, NothingNow, RingingItems
from dicomsort.system.threads import processors
from dicomsort.system.worker import ENDED, STARTED, NewFunction, OneOf, work

Item = TypeVar("Item")
Result = TypeVar("Result")

_START_FAILURES_ALLOWED = 3
_START_SECONDS = 120.0
_POLL_SECONDS = 0.25
_LONGEST_TURN = 2 * _POLL_SECONDS
_MOST_DEATHS = 3
_AHEAD_SECONDS = 0.05
_FEWEST_AHEAD = 3
_PRELOAD = ["dicomsort.system.worker_pool", "dicomsort.dicom.reader"]


class Lost(Enum):
    """What is left of an item whose worker did not come back."""

    CRASH = "crash"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many processes, and what each may take.

    timeout: seconds for one item, from the moment a worker starts it. ahead: how many items a worker may hold
    at most, so that it never waits for the main process; slow ones, of which 50 ms hold fewer, are sent three
    at a time. recycle_after: items after which a worker is
    replaced, so that a leaking codec cannot grow without end. memory_bytes: limit of a worker's address
    space, where the system has one (RLIMIT_AS).
    """

    workers: int = 2
    timeout: float = 60.0
    ahead: int = 64
    recycle_after: int = 5000
    memory_bytes: int | None = 6 << 30


def pool_settings(workers: int | None = None, timeout: float = 60.0) -> PoolSettings:
    """Return how many processes read; by default one for each processor that this one may use."""
    return PoolSettings(workers=workers or processors(), timeout=timeout)


class ManyResults(Protocol):
    """An item that has many results, such as an archive read from front to back.

    A worker that has one is sent nothing else until it is done, for that may take long.
    """

    def after(self, given: int, lost: Lost | None) -> "ManyResults | None":
        """Return what is left to do after so many more results came and the process died.

        lost: what the next of its results has to be in place of reading it again; None to try that again.
        Returns None if that was to be so already: then the item as a whole is lost.
        """


@dataclass(slots=True, eq=False)
class _Task(Generic[Item]):
    """An item, how many deaths it has seen from near by, and whether it is to be run alone for that.

    given: how many of its many results have come.
    """

    item: Item
    deaths: int = 0
    suspect: bool = False
    given: int = 0

    @property
    def alone(self) -> bool:
        """Whether its worker is to have nothing else."""
        return self.suspect or self.is_many

    @property
    def is_many(self) -> bool:
        """Whether the item has many results."""
        return hasattr(self.item, "after")

    def go_on(self, lost: Lost | None) -> bool:
        """Leave out the results that have come; return whether there is anything left to do."""
        many: Any = self.item
        left = many.after(self.given, lost)
        if left is not None:
            self.item, self.given = left, 0
        return left is not None


@dataclass(slots=True, eq=False)
class _Worker(Generic[Item]):
    """A process, the pipe to it, and the tasks it was sent whose results have not come.

    gauge: see `worker`. done: results that have come. pace: seconds an item, of late. seen: when the item
    that is being worked on was started, by the gauge, and when the pool first saw that, by its own clock.
    """

    process: Any
    pipe: Any
    gauge: Any
    born: float = field(default_factory=time.monotonic)
    ready: bool = False
    done: int = 0
    pace: float = _AHEAD_SECONDS
    tasks: deque[_Task[Item]] = field(default_factory=deque)
    overdue: _Task[Item] | None = None
    overdue_at: int = 0
    seen: tuple[float, float] = (0.0, 0.0)

    def may_stay(self, settings: PoolSettings) -> bool:
        """Return whether the process can go on with another function: it has nothing to do, and is young."""
        return self.ready and not self.tasks and not self.overdue and self.done < settings.recycle_after

    def room(self, settings: PoolSettings) -> int:
        """Return how many more tasks to send; none until half of the last ones are done, for few messages."""
        if not self.ready or self.is_alone():
            return 0
        some = max(_FEWEST_AHEAD, int(_AHEAD_SECONDS / max(self.pace, 1e-6)))
        most = min(some, settings.ahead, settings.recycle_after - self.done)
        return most - len(self.tasks) if 2 * len(self.tasks) <= most else 0

    def is_alone(self) -> bool:
        """Return whether the process has an item that takes it for itself."""
        return bool(self.tasks) and self.tasks[-1].alone

    def serves_suspects(self) -> bool:
        """Return whether the process is fresh, or runs a suspect and will give way to a fresh one."""
        return self.done == 0 and (not self.tasks or self.tasks[0].suspect)

    def is_late(self) -> bool:
        """Return whether the process has not even come up, a long time after its start."""
        return not self.ready and time.monotonic() - self.born > _START_SECONDS and not self.pipe.poll()

    def over_time(self, settings: PoolSettings, awake: float) -> _Task[Item] | None:
        """Return the task that takes longer than it may, by the pool's own clock `awake`."""
        ended, started = self.gauge[ENDED], self.gauge[STARTED]
        if started != self.seen[0]:
            self.seen = started, awake
        if not self.ready or started == 0 or awake - self.seen[1] <= settings.timeout:
            return None
        if self.pipe.poll() or self.gauge[ENDED] != ended:  # it has just ended
            return None
        return self.tasks[int(ended) - self.done]

    def touched(self) -> list[_Task[Item]]:
        """Return the tasks that the process has begun and not answered; it died at the last of them."""
        ended, is_busy = int(self.gauge[ENDED]) - self.done, self.gauge[STARTED] > 0
        return list(islice(self.tasks, ended + is_busy))

    def take(self, seconds: float, results: Sequence[Any]) -> list[tuple[Item, Any]]:
        """Match results with their items."""
        self.pace = (self.pace + seconds / len(results)) / 2
        return [self._matched(result) for result in results]

    def _matched(self, result: Any) -> tuple[Item, Any]:
        if isinstance(result, OneOf):
            self.tasks[0].given += 1
            return self.tasks[0].item, result.result
        self.done += 1
        return self.tasks.popleft().item, result


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


_kept: "list[tuple[PoolSettings, _Worker[Any]]] | None" = None


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
            _forget(worker)


def warm_up() -> Any:
    """Return the context in which workers are started.

    Lets the process from which they are forked load what they need in the background. It ignores
    Ctrl-C, which is for the main process.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with somewhere():
        resource_tracker.ensure_running()  # would be started below, and then let Ctrl-C through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def working_folder_is_gone() -> bool:
    """Return whether the current folder has been removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


@contextmanager
def somewhere() -> Iterator[None]:
    """Be in the root folder while a process is started, if the current one has been removed.

    multiprocessing asks for the name of the current folder, and takes the new process there.
    """
    if not working_folder_is_gone():
        yield
        return
    here = os.open(os.curdir, os.O_RDONLY)
    os.chdir(os.sep)
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)


class _Pool(Generic[Item, Result]):
    """The workers, and the tasks to do again: those of a dead neighbour, and the suspects of its death."""

    def __init__(
        self, function: Callable[[Item], Result], settings: PoolSettings, bell: Any | None = None
    ) -> None:
        self._context = warm_up()
        self._function, self._settings = function, settings
        self._bells, self._hungry = [] if bell is None else [bell], False
        self._workers: list[_Worker[Item]] = []
        self._again: deque[_Task[Item]] = deque()
        self._suspects: deque[_Task[Item]] = deque()
        self._alone: deque[_Task[Item]] = deque()
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
            _forget(worker)

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

    def _idlest(self) -> _Worker[Item] | None:
        """Return the worker with the fewest tasks that has room, a fresh one first: suspects wait for it."""
        kept = self._kept_free()
        ready = (worker for worker in self._workers if worker not in kept and worker.room(self._settings) > 0)
        return min(ready, key=lambda worker: (len(worker.tasks), worker.done > 0), default=None)

    def _kept_free(self) -> list[_Worker[Item]]:
        """Return the workers that get nothing more until they are empty, and have an item for themselves."""
        if not self._alone:
            return []
        others = sorted((one for one in self._workers if not one.is_alone()), key=lambda one: len(one.tasks))
        return [worker for worker in others[: len(self._alone)] if worker.tasks]

    def _next(self, worker: _Worker[Item], source: Iterator[Item | NothingNow]) -> list[_Task[Item]]:
        """Return as many tasks as the worker has room for; a suspect alone, and none if there are no more."""
        fresh = worker.done == 0 and not worker.tasks
        if fresh and self._suspects:
            return [self._suspects.popleft()]
        if not worker.tasks and self._alone:
            return [self._alone.popleft()]
        tasks: list[_Task[Item]] = []
        room = worker.room(self._settings)
        while len(tasks) < room and (task := self._one(source)):
            tasks.append(task)
        if not tasks and not worker.tasks and self._alone:
            return [self._alone.popleft()]
        return tasks

    def _one(self, source: Iterator[Item | NothingNow]) -> _Task[Item] | None:
        if self._again:
            return self._again.popleft()
        if len(self._alone) >= self._settings.workers:
            return None
        for item in source:
            if item is NOTHING_NOW:
                self._hungry = True
                return None
            task = _Task(item)
            if not task.alone:
                return task
            self._alone.append(task)
            if len(self._alone) >= self._settings.workers:
                return None
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
        yield from worker.take(*message)
        if not worker.tasks and (worker.done >= self._settings.recycle_after or self._suspects):
            self._workers.remove(worker)
            _forget(worker)

    def _bury(self, worker: _Worker[Item]) -> Iterator[tuple[Item, Result | Lost]]:
        self._workers.remove(worker)
        _forget(worker)
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

    def _verdict(self, task: _Task[Item], worker: _Worker[Item], is_near: bool) -> Lost | None:
        """Say what became of a task of a dead worker; None if it is to be tried again.

        Of an item of many results, the one after those that have come is judged: if some came since it was
        begun, another one has died before.
        """
        if task is worker.overdue and task.given == worker.overdue_at:
            return Lost.TIMEOUT
        if task.suspect and not task.given and (is_near or task.deaths > _MOST_DEATHS):
            return Lost.CRASH
        return None

    def _try_again(self, task: _Task[Item], is_culprit: bool) -> None:
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

    def _start(self) -> _Worker[Item]:
        """Start a process, or go on with one of the run before: not for suspects, which get a fresh one."""
        while _kept and not self._suspects:
            settings, kept = _kept.pop()
            with suppress(OSError):  # it has died meanwhile
                if settings == self._settings:
                    kept.pipe.send(NewFunction(self._function))
                    return kept
            _forget(kept)
        ours, theirs = self._context.Pipe()
        gauge = self._context.RawArray("d", 2)
        arguments = (theirs, gauge, self._function, self._settings.timeout, self._settings.memory_bytes)
        process = self._context.Process(target=work, args=arguments, daemon=True)
        with somewhere():
            process.start()
        theirs.close()
        return _Worker(process, ours, gauge)


def _forget(worker: _Worker[Any]) -> None:
    worker.pipe.close()
    worker.process.kill()
    worker.process.join()
    worker.process.close()
