"""Where the time goes: seconds by stage, added up from many threads."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class StageTimer:
    """Seconds by stage; may be used by many threads at a time.

    Processor time is that of the thread that asks: what a library does in threads of its own, or a GPU, is
    not in it.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage."""
        with self._lock:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    @contextmanager
    def busy(self, stage: str, clock: Callable[[], float] = time.thread_time) -> Iterator[None]:
        """Add the time that this thread spends in the block: processor time, or another clock's."""
        started = clock()
        try:
            yield
        finally:
            self.add(stage, clock() - started)

    def making(
        self, stage: str, items: Iterable[Item], clock: Callable[[], float] = time.thread_time
    ) -> Iterator[Item]:
        """Pass items on, and add what making them takes: processor time, or another clock's."""
        spent, source = 0.0, iter(items)
        try:
            while True:
                started = clock()
                try:
                    item = next(source)
                except StopIteration:
                    return
                finally:
                    spent += clock() - started
                yield item
        finally:
            self.add(stage, spent)

    def as_dict(self) -> dict[str, float]:
        """Return the seconds as JSON values."""
        with self._lock:
            return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}
