"""Threads: a few for one kind of work, or one that runs a generator ahead of its user."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING_PER_THREAD = 8


class LazyThreadPool(Generic[Item, Result]):
    """Runs a function over items in at most `threads` threads, in the order in which they were given.

    One thread does all as long as it keeps up; only where items wait (slow disks, network shares) others
    come to help. Threads that all do quick things would spend more time in handing over to each other.
    Used as a context manager, whose end forgets what has not been begun.
    """

    def __init__(self, function: Callable[[Item], Result], threads: int, name: str) -> None:
        self._function, self._most = function, threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._queue: deque[tuple[Item, Future[Result]]] = deque()
        self._busy: list[Future[None]] = []

    def __enter__(self) -> "LazyThreadPool[Item, Result]":
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Finish what has been begun, and nothing else."""
        self._queue.clear()
        self._executor.shutdown(cancel_futures=True)

    def submit(self, item: Item) -> Future[Result]:
        """Queue an item; get what the function returns for it with `result`."""
        future: Future[Result] = Future()
        self._queue.append((item, future))
        self._busy = [one for one in self._busy if not one.done()]
        if len(self._busy) < self._most and len(self._queue) > _WAITING_PER_THREAD * len(self._busy):
            self._call()
        return future

    def result(self, future: Future[Result]) -> Result:
        """Wait for a result. Raises what the function has raised."""
        if not future.done() and self._queue:  # the last thread may just be leaving
            self._call()
        return future.result()

    def _call(self) -> None:
        self._busy.append(self._executor.submit(self._work))

    def _work(self) -> None:
        while self._queue:
            try:
                item, future = self._queue.popleft()
            except IndexError:  # another thread has taken it
                return
            try:
                future.set_result(self._function(item))
            except BaseException as error:  # noqa: BLE001  (raised again where the result is asked for)
                future.set_exception(error)


class _Buffer(Generic[Item]):
    """A bounded queue between a thread that fills it and the one that uses it."""

    _END = object()

    def __init__(self, size: int, stop: threading.Event) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=size)
        self._stop = stop
        self._trouble: BaseException | None = None

    def fill(self, items: Generator[Item, None, None]) -> None:
        try:
            with closing(items):
                for item in items:
                    self._put(item)
                    if self._stop.is_set():
                        break
        except BaseException as error:  # noqa: BLE001  (raised again where the items are used)
            self._trouble = error
        self._put(self._END)

    def _put(self, item: Any) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return

    def __iter__(self) -> Iterator[Item]:
        while (item := self._queue.get()) is not self._END:
            yield item
        if self._trouble is not None:
            raise self._trouble


def prefetch(
    items: Generator[Item, None, None], size: int, stop: threading.Event
) -> Generator[Item, None, None]:
    """Run a generator in a thread, at most `size` items ahead. Closing it sets `stop` and ends the thread."""
    buffer: _Buffer[Item] = _Buffer(size, stop)
    thread = threading.Thread(target=buffer.fill, args=(items,), name="read ahead", daemon=True)
    thread.start()
    try:
        yield from buffer
    finally:
        stop.set()
        thread.join()
