"""Standard streams that are there whatever was done to them: none may end a run, or be taken for a file."""

import io
import os
import sys
from contextlib import suppress
from typing import Any, cast


def prepare() -> None:
    """Open what is closed of the standard streams on the null device; what stderr refuses is let go.

    What an encoding has no sign for is written as an escape.

    To be called before anything else is opened: the next file or pipe would get the number of a closed
    stream, and be written into or closed for it.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        if not _is_open(number):
            os.set_inheritable(os.open(os.devnull, flags), True)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = _forgiving(2, sys.stderr.encoding if sys.stderr else "utf-8")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _forgiving(number: int, encoding: str) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(cast(Any, _Forgiving(number, "w", closefd=False)))
    return io.TextIOWrapper(buffer, encoding, errors="backslashreplace", line_buffering=True)


class _Forgiving(io.FileIO):
    """Lets go of what cannot be written: a full disk or a closed pipe behind stderr ends no run."""

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        with suppress(OSError):
            written = cast(int | None, super().write(data))
            return size if written is None else written
        return size


_announced = ""


def announce(what: str) -> None:
    """Show on a terminal what goes on before anything else is loaded; what is written next replaces it."""
    global _announced  # noqa: PLW0603
    if sys.stderr.isatty():
        _announced = what
        sys.stderr.write(f"{what}\r")
        sys.stderr.flush()


def end_announcement() -> None:
    """Take away what was announced, if it still stands."""
    global _announced  # noqa: PLW0603
    if _announced:
        sys.stderr.write(" " * len(_announced) + "\r")
        sys.stderr.flush()
        _announced = ""


def give_up_stdout() -> None:
    """Send to the null device what stdout still holds, so that the end of the program does not fail on it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
