"""Several requests at a time, their answers in the order of what was asked."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def several(
    work: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with what `work` makes of it in one of `count` threads; at most twice as many wait.

    Raises whatever `work` raises, and begins nothing more.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    threads = ThreadPoolExecutor(count, thread_name_prefix="send")
    try:
        for item in items:
            waiting.append((item, threads.submit(work, item)))
            if len(waiting) > 2 * count:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    finally:
        threads.shutdown(cancel_futures=True)
