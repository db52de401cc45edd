"""Items for workers that come as they are wanted, for as long as the program runs."""

import threading
from collections.abc import Iterable, Iterator
from enum import Enum
from multiprocessing import connection
from typing import Any, Generic, Literal, Protocol, TypeVar

Item = TypeVar("Item")


class Pause(Enum):
    """What an inbox hands out in place of an item."""

    NOTHING_NOW = "nothing now"


NOTHING_NOW = Pause.NOTHING_NOW
NothingNow = Literal[Pause.NOTHING_NOW]


Given_co = TypeVar("Given_co", covariant=True)


class RingingItems(Protocol[Given_co]):
    """A source of items that may have none just now, and then rings.

    bell: readable once something has come, or the end, after there was NOTHING_NOW.
    """

    bell: Any

    def __iter__(self) -> "Iterator[Given_co | NothingNow]": ...
    def __next__(self) -> "Given_co | NothingNow": ...


class Inbox(Generic[Item]):
    """A source of items that never blocks: an item, NOTHING_NOW, or the end once it is closed.

    What somebody waits for comes first, of that the last wanted; then what will be wanted later, in order.
    No item stands in it twice. Thread-safe. bell: readable once something has come, or the inbox was closed,
    after it had nothing; to be waited for by whoever takes the items.
    """

    def __init__(self, most: int) -> None:
        """Take at most so many items that somebody waits for, and so many for later."""
        self._most = most
        self._now: dict[Item, None] = {}
        self._later: dict[Item, None] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.bell, self._rope = connection.Pipe(duplex=False)

    def want(self, item: Item) -> Item | None:
        """Put an item before all others. Returns the one for which there is no room any more, if there is."""
        with self._lock:
            self._later.pop(item, None)
            self._now.pop(item, None)
            self._now[item] = None
            oldest = next(iter(self._now)) if len(self._now) > self._most else None
            if oldest is not None:
                del self._now[oldest]
            self._ring()
            return oldest

    def hurry(self, item: Item) -> None:
        """Put an item before all others if it is still waiting."""
        with self._lock:
            if item in self._now or item in self._later:
                self._later.pop(item, None)
                self._now.pop(item, None)
                self._now[item] = None

    def expect(self, items: Iterable[Item]) -> list[Item]:
        """Take these for later, in place of those that were; returns the latter that are let go."""
        with self._lock:
            before, self._later = self._later, {}
            for item in items:
                if len(self._later) < self._most and item not in self._now:
                    self._later[item] = None
            self._ring()
            return [item for item in before if item not in self._later]

    def close(self) -> None:
        """Let go of all items, and hand out no more."""
        with self._lock:
            self._closed = True
            self._now.clear()
            self._later.clear()
            self._ring()

    def _ring(self) -> None:
        if not self.bell.poll():  # one ring is enough, and never waits for room in the pipe
            self._rope.send_bytes(b"")

    def __iter__(self) -> "Iterator[Item | NothingNow]":
        return self

    def __next__(self) -> Item | NothingNow:
        with self._lock:
            if self._closed:
                raise StopIteration
            if self.bell.poll():
                self.bell.recv_bytes()
            if self._now:
                return self._now.popitem()[0]
            if self._later:
                item = next(iter(self._later))
                del self._later[item]
                return item
            return NOTHING_NOW
