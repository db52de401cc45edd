"""A shell in a terminal, typed into as a person would, and programs of others that a test needs."""

import os
import pty
import re
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import needed

_CODES = re.compile(r"\x1b(\[[0-9;?<>=]*[A-Za-z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][0-9A-Z]|[=>])|[\x07\r]")


def found(name: str) -> str:
    """Return where a shell or a reader of manual pages is; skips, or in CI fails, without it."""
    return needed.program(name, "zsh, fish, mandoc, man-db, groff")


class Terminal:
    """A program in a terminal of 80 columns."""

    def __init__(self, screen: int) -> None:
        self._screen, self.seen = screen, ""

    def type(self, text: str) -> None:
        """Press these keys; forgets what was seen before."""
        self.seen = ""
        os.write(self._screen, text.encode())

    def wait_for(self, pattern: str, seconds: float = 30.0) -> str:
        """Wait until what is seen matches, and return it. Raises AssertionError if it never does."""
        ends = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            ready, _, _ = select.select([self._screen], [], [], max(0.0, ends - time.monotonic()))
            assert ready, f"{pattern!r} is not in {self.seen!r}"
            self.seen += _CODES.sub("", os.read(self._screen, 65536).decode(errors="replace"))
        return self.seen


@contextmanager
def terminal(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run a program in a terminal, in a folder, until the block ends."""
    child, screen = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve(words[0], list(words), {"TERM": "dumb", "COLUMNS": "80", "LINES": "40", **environment})  # noqa: S606
    try:
        yield Terminal(screen)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(screen)
