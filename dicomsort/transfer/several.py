"""Several requests at a time, their answers in the order of what was asked."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def several(
    work: Callable[[Item], Result], items: Iterable[Item], count: int, stop: Callable[[], None]
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with what `work` makes of it in one of `count` threads; at most twice as many wait.

    What `work` raises is raised once all that was under way has been yielded; nothing more is begun. stop:
    gives up what is under way, called if this generator is left before its end.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    threads = ThreadPoolExecutor(count, thread_name_prefix="send")
    try:
        for item in items:
            waiting.append((item, threads.submit(work, item)))
            if len(waiting) > 2 * count and waiting[0][1].exception() is None:
                yield _taken(waiting)
            elif len(waiting) > 2 * count:
                break
        while waiting and waiting[0][1].exception() is None:
            yield _taken(waiting)
        if waiting:
            threads.shutdown(cancel_futures=True)
            trouble = waiting[0][1].exception()
            assert trouble is not None  # noqa: S101
            yield from ((item, future.result()) for item, future in waiting if _is_good(future))
            raise trouble
    except (GeneratorExit, KeyboardInterrupt):
        stop()
        raise
    finally:
        threads.shutdown(cancel_futures=True)


def _taken(waiting: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    item, future = waiting.popleft()
    return item, future.result()


def _is_good(future: "Future[Result]") -> bool:
    return not future.cancelled() and future.exception() is None
