"""How many threads there may be, and one that runs a generator ahead of its user, by a bounded number."""

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


def processors() -> int:
    """Return how many processors this process may use."""
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ours or 1


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
    items: Generator[Item, None, None],
    size: int,
    stop: threading.Event,
    let_go: Callable[[], None] = lambda: None,
) -> Generator[Item, None, None]:
    """Run a generator in a thread, at most `size` items ahead. Closing it sets `stop` and ends the thread.

    let_go: called then too, to end what the thread may be waiting for.
    """
    buffer: _Buffer[Item] = _Buffer(size, stop)
    thread = threading.Thread(target=buffer.fill, args=(items,), name="read ahead", daemon=True)
    thread.start()
    try:
        yield from buffer
    finally:
        stop.set()
        let_go()
        thread.join()
