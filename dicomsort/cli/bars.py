"""What moves on a terminal while a command works; all of it fits the terminal's width."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.status import Status
from rich.table import Column
from rich.text import Text

from dicomsort.cli.console import plain

_WIDEST, _NARROWEST = 20, 6


def spinner(what: str, screen: Console) -> Status:
    """Return what turns while it is not known how long something takes."""
    return Status(what, console=screen)


class _Left(TimeRemainingColumn):
    """How long it will still take; nothing before that can be told."""

    def render(self, task: Task) -> Text:
        """Return the time in hours, minutes and seconds."""
        told = super().render(task)
        return told + Text(" left") if ":" in told.plain and "-" not in told.plain else told


class _Facts(TextColumn):
    """As many facts as fit, whole ones only; the first are those that matter most."""

    def __init__(self, facts: Callable[[], Sequence[str]], room: Callable[[Task], int]) -> None:
        column = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        super().__init__("", markup=False, table_column=column)
        self._facts, self._room = facts, room

    def render(self, task: Task) -> Text:
        """Return the facts on one line."""
        return Text(fitting(self._facts(), self._room(task)))


def fitting(facts: Sequence[str], room: int) -> str:
    """Join the first facts by commas, as many as fit into so many columns."""
    line = ""
    for fact in facts:
        longer = f"{line}, {fact}" if line else fact
        if len(longer) > room:
            break
        line = longer
    return line


def counting(screen: Console) -> Progress:
    """Return the bar of a command that counts: what it does, how far it is, how long it will take."""
    name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
    bar = BarColumn(_bar_width(screen))
    return Progress(name, bar, MofNCompleteColumn(), _Left(), console=screen, transient=True)


def sorting(screen: Console, facts: Callable[[], Sequence[str]]) -> Progress:
    """Return the bar of a sorting run: how far it is, how long it will take, then facts if there is room."""
    width = _bar_width(screen)

    def room(task: Task) -> int:
        total = "?" if task.total is None else f"{int(task.total)}"
        return screen.width - width - 2 * len(total) - len("/ 00:00:00 left   ") - 1

    columns = (BarColumn(width), MofNCompleteColumn(), _Left(), _Facts(facts, room))
    return Progress(*columns, console=screen, transient=True, expand=True)


@contextmanager
def redrawn(screen: Console) -> Iterator[Callable[[Sequence[str]], None]]:
    """Yield what draws lines in place of those that it has drawn before; the last ones stay."""
    with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as live:

        def draw(lines: Sequence[str]) -> None:
            whole = [
                part
                for line in lines
                for part in wrap(plain(line), screen.width, drop_whitespace=False) or [""]
            ]
            live.update(Text("\n".join(whole)), refresh=True)

        yield draw


def _bar_width(screen: Console) -> int:
    return max(_NARROWEST, min(_WIDEST, screen.width // 6))
