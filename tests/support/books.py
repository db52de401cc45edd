"""An item with many results, as a job: worker processes import what lies in this folder, and no test."""

import os
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import held_time

from dicomsort.system.pool_worker import Lost
from dicomsort.system.worker import TICK


@dataclass(frozen=True)
class Book:
    """Pages to read: what they do, from one on, and which of them is not to be read."""

    pages: tuple[str, ...]
    since: int = 0
    lost: tuple[int, str] | None = None

    def after(self, given: int, lost: Lost | None) -> "Book | None":
        at = self.since + given
        if lost is not None and self.lost is not None and self.lost[0] == at:
            return None
        return replace(self, since=at, lost=(at, lost.value) if lost else self.lost)


def read(item: Any) -> Any:
    return _pages(item) if isinstance(item, Book) else item


def _pages(book: Book) -> Generator[Any, None, str]:
    for number, page in enumerate(book.pages):
        if number < book.since:
            yield TICK
        elif book.lost and book.lost[0] == number:
            yield number, book.lost[1]
        else:
            if page == "crash":
                os._exit(9)
            if page == "hang":
                held_time.hang()
            if page == "long":
                for _ in range(5):
                    time.sleep(0.4)
                    yield TICK
            yield number, page
    return "end"


def dies_at_once(book: Book) -> Generator[Any, None, None]:
    yield from (os._exit(9) for _ in book.pages)
