"""A few threads for one kind of work, no more of them than there is work waiting."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

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
        """Give an item to the crew; ask for its result by `result`."""
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
            except IndexError:  # somebody else has taken it
                return
            try:
                future.set_result(self._function(item))
            except BaseException as error:  # noqa: BLE001  (raised again where the result is asked for)
                future.set_exception(error)
