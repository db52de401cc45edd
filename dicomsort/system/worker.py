"""What runs in a reading process: items come in handfuls, results go back in handfuls."""

import faulthandler
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from enum import Enum
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from dicomsort.system.malloc import keep_freed_memory

STARTED, ENDED = 0, 1
"""Places in the gauge, which the main process reads at any time: when the item that is being worked on was
started (monotonic seconds; 0 between items), and how many have ended."""

_FLUSH_SECONDS = 0.005
_MOST_RESULTS = 64


class Tick(Enum):
    """What an item of many results yields to tell that it still gets on: its time begins anew."""

    TICK = "tick"


TICK = Tick.TICK


class OneOf(NamedTuple):
    """One result of an item that has many; its last one comes as it is."""

    result: Any


class NewFunction(NamedTuple):
    """Sent in place of items: what to do with those that follow."""

    function: Callable[[Any], Any]


def work(
    pipe: Any, gauge: Any, function: Callable[[Any], Any], timeout: float, memory_bytes: int | None
) -> None:
    """Answer handfuls of items until the pipe closes.

    An answer is (seconds, results): results of the next items in their order, and what they took. It is sent
    as soon as 5 ms have passed, so slow items go one by one and quick ones share the price of a message.
    Where the function returns an iterator, everything it yields is sent at once as a OneOf, so that the pool
    knows how far an item had come if this process dies; what the generator returns is the item's last result.
    Handfuls are taken from the pipe by a thread, so that sending them never waits for an answer to be taken.
    """
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        _prepare(memory_bytes, nowhere.fileno())
        pipe.send("ready")
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_fill, args=(inbox, pipe), daemon=True).start()
        with suppress(OSError):
            _Work(pipe, gauge, function, timeout, nowhere).go_on(inbox)


def _fill(inbox: "queue.SimpleQueue[Any]", pipe: Any) -> None:
    """Put what comes into the inbox; None when nothing more will. What cannot be read ends the process."""
    try:
        while True:
            inbox.put(pipe.recv())
    except (EOFError, OSError):
        inbox.put(None)
    except BaseException:  # noqa: BLE001  (its message might quote a path)
        os._exit(70)


class _Work:
    """The results that have not been sent yet, and since when they have been gathered."""

    def __init__(
        self, pipe: Any, gauge: Any, function: Callable[[Any], Any], timeout: float, nowhere: TextIO
    ) -> None:
        self._pipe, self._gauge, self._function = pipe, gauge, function
        self._seconds, self._nowhere = timeout * 1.5 + 5, nowhere
        self._results: list[Any] = []
        self._since = 0.0

    def go_on(self, inbox: "queue.SimpleQueue[Any]") -> None:
        while True:
            if self._results and inbox.empty():
                self._send()
            items = inbox.get()
            if items is None:
                return
            if isinstance(items, NewFunction):
                self._function = items.function
            else:
                self._answer(items)

    def _answer(self, items: Sequence[Any]) -> None:
        for item in items:
            self._begin()
            result = _guarded(self._function, item)
            if isinstance(result, Iterator):
                result = self._go_through(result)
            self._results.append(result)
            self._gauge[STARTED] = 0.0
            self._gauge[ENDED] += 1
            if time.monotonic() - self._since > _FLUSH_SECONDS or len(self._results) >= _MOST_RESULTS:
                self._send()

    def _begin(self) -> None:
        now = self._gauge[STARTED] = time.monotonic()
        if not self._results:
            self._since = now
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._nowhere)

    def _go_through(self, several: Iterator[Any]) -> Any:
        """Send what an item yields, each with its own time; returns its last result."""
        while True:
            one, last = _guarded(_next, several)
            if last:
                return one
            if one is not TICK:
                self._results.append(OneOf(one))
                self._send()
            faulthandler.cancel_dump_traceback_later()
            self._begin()

    def _send(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        results, self._results = self._results, []
        self._pipe.send((time.monotonic() - self._since, results))


def _next(several: Iterator[Any]) -> tuple[Any, bool]:
    """Return what an iterator yields next, or what it returns and True."""
    try:
        return next(several), False
    except StopIteration as end:
        return end.value, True


def _guarded(function: Callable[[Any], Any], item: Any) -> Any:
    """Run the function; what it raises ends the process without a traceback, for headers may stand in it."""
    try:
        return function(item)
    except BaseException:  # noqa: BLE001
        os._exit(70)


def _prepare(memory_bytes: int | None, nowhere: int) -> None:
    """Make a worker quiet and mortal.

    No output (codecs and pydicom quote headers), no Ctrl-C of its own, a memory limit, no core dump, and an
    end as soon as the main process is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    keep_freed_memory()
    _limit_memory(memory_bytes)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _limit_memory(memory_bytes: int | None) -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  (Unix only)

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory_bytes is not None and sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
