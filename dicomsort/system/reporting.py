"""Where progress is reported to: nowhere, unless a reporter is handed in."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Count = Callable[[int], None]
"""Counts steps that have been done."""


class Reporter(Protocol):
    """Receives progress, and what a person should know."""

    def info(self, line: str) -> None:
        """Take a line that a quiet run leaves out."""

    def warn(self, line: str) -> None:
        """Take a line that a person must see, however quiet a run is."""

    def counting(self, what: str, total: int | None) -> AbstractContextManager[Count]:
        """Return what counts `total` steps (None: unknown) while a block runs."""


class Silent:
    """A reporter that reports nothing."""

    def info(self, line: str) -> None:
        """Ignore it."""

    def warn(self, line: str) -> None:
        """Ignore it."""

    def counting(self, what: str, total: int | None) -> AbstractContextManager[Count]:  # noqa: ARG002
        """Count without showing it."""
        return nullcontext(lambda _: None)
