"""Signals that ask for an end, noted instead of interrupting what is going on."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_POLL_SECONDS = 0.2  # an Event may not be set by a signal while it is waited for: its lock is not reentrant
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether somebody has asked for an end. number: by which signal, 0 if nobody has."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> bool:
        """Return whether somebody has asked for an end."""
        return self.number != 0

    def wait(self, seconds: float) -> None:
        """Wait so long, or until somebody asks for an end."""
        until = time.monotonic() + seconds
        while not self.number and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_SECONDS))


@contextmanager
def noting_signals() -> Iterator[Stop]:
    """Note the first Ctrl-C, SIGTERM or hang-up while the block runs; a second one interrupts as ever.

    A hang-up that is ignored, as under nohup, stays ignored. Outside the main thread signals are left alone.
    """
    stop = Stop()

    def note(number: int, frame: Any) -> None:
        if stop.number:
            signal.default_int_handler(number, frame)
        stop.number = number

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    wanted = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in wanted}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
