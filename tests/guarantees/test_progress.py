"""What moves on a terminal fits its width, says what goes on from the start, and is never in a pipe."""

import io
import os
import pty
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import command, without
from rich.console import Console
from rich.progress import Progress

from dicomsort.cli import bars, console, progress
from dicomsort.cli.reporter import ConsoleReporter
from dicomsort.outcome import Status
from dicomsort.sorting.summary import SortSummary

WIDTHS = (40, 60, 80, 100, 150, 200)
LABELS = {"abdominal": 1234, "adult_chest": 56789, "others": 12345, "pediatric_chest": 999, "spine": 12}


def drawn(shown: Progress, width: int) -> str:
    """The line of a bar as it stands on a terminal of that width."""
    out = Console(width=width, file=io.StringIO(), force_terminal=False)
    out.print(shown.get_renderable(), soft_wrap=False)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().rstrip("\n")


def tally(**changes: object) -> SortSummary:
    found = SortSummary()
    found.total = 1_000_000
    found.statuses.update({Status.SORTED: 71_379, Status.CRASH: 3, Status.DECODE_ERROR: 17})
    found.labels.update(Counter(LABELS))
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def sorting_line(width: int, found: SortSummary, monkeypatch: pytest.MonkeyPatch) -> str:
    screen = Console(width=width, file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(console, "console", lambda: screen)
    times = iter(float(second) for second in range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    with progress.sorting(quiet=False) as watch:
        watch(found)
        watch(found)
        assert watch._progress is not None
        return drawn(watch._progress, width)


@pytest.mark.parametrize("quiet", [False, True])
def test_a_long_count_off_a_terminal_says_how_far_it_is_unless_quiet(
    quiet: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line every half a minute, and none with --quiet, however long it takes."""
    with progress.counting("training", 100, quiet) as count:
        count(7)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 60)
        count(5)
    monkeypatch.undo()
    assert capfd.readouterr().err == ("" if quiet else "dicomsort: training: 12 of 100\n")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_sorting_run_shows_total_and_time_at_any_width_and_labels_where_there_is_room(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = sorting_line(width, tally(), monkeypatch)
    assert "\n" not in line
    assert len(line.rstrip()) <= width
    assert "71399/1000000" in line
    assert "-:--:--" in line or " left" in line
    assert ("files/s" in line) == (width >= 60)
    labels = [label for label in LABELS if label in line]
    assert labels == (list(LABELS) if width >= 200 else [])
    assert ("crash 3" in line) == (width >= 80)


def test_between_its_bar_and_its_figures_an_evaluation_shows_that_it_is_at_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Intervals and plots take seconds, and once the bar was gone the screen was blank."""
    screen = Console(width=80, file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(console, "console", lambda: screen)
    with progress.loading(quiet=False):
        with ConsoleReporter(quiet=False).counting("evaluating", 2) as count:
            count(2)
        shown = progress.loading._spinner
        assert shown is not None
        assert shown.status == "working it out"
    with ConsoleReporter(quiet=False).counting("training", 2) as count:
        count(2)
    assert progress.loading._spinner is None, "a command that shows none from the start gets none"


@pytest.mark.parametrize(("before", "shards", "line"), [
    (0, 0, "looking for what is new"),
    (12, 0, "done before, looking for what is new"),
    (0, 4, "shards 0/4, 0.0 files/s"),
    (12, 4, "shards 0/4, 0.0 files/s"),
])  # fmt: skip
def test_before_its_first_file_a_run_says_what_it_is_at(
    before: int, shards: int, line: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off a terminal, where a line stands for itself: nothing was done before unless it says so."""
    found = SortSummary(total=40, shards=shards)
    found.count_all_done(Counter({Status.SORTED: before}), Counter())
    times = iter(range(0, 1000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    with progress.sorting(quiet=False) as watch:
        watch(found)
    assert capfd.readouterr().err == f"dicomsort: {before} of 40 files, {line}\n"


def test_the_end_of_a_run_is_told_while_it_is_still_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    found = tally(total=71_399)
    assert "finishing: duplicates and the manifest" in sorting_line(100, found, monkeypatch)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("total", [None, 1_000_000])
def test_a_bar_that_counts_fits_any_width(width: int, total: int | None) -> None:
    screen = Console(width=width, file=io.StringIO(), force_terminal=True)
    with bars.counting(screen) as shown:
        shown.add_task("rendering", total=total, completed=123_456)
        line = drawn(shown, width)
    assert "\n" not in line
    assert len(line.rstrip()) <= width
    assert "123456/" + ("?" if total is None else "1000000") in line
    assert "left" not in line, "of one that has just begun, or of an unknown number, nothing can be told"


def test_a_bar_takes_its_total_when_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(width=80, file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(console, "console", lambda: screen)
    with progress.counting("images", None, quiet=False) as count:
        count.expect(7)
        count(3)
        assert count._progress is not None
        assert "3/7" in drawn(count._progress, 80)


@pytest.mark.parametrize(
    ("room", "line"),
    [(100, "one, two, three"), (14, "one, two"), (8, "one, two"), (7, "one"), (2, ""), (-5, "")],
)
def test_facts_are_left_out_whole(room: int, line: str) -> None:
    assert bars.fitting(["one", "two", "three"], room) == line


def on_terminal(words: list[str], env: dict[str, str]) -> str:
    """Run the program with a terminal for its messages; returns all that it wrote there."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen([sys.executable, "-m", "dicomsort", *words], stderr=theirs, env=env)
    os.close(theirs)
    said = b"".join(_read(ours))
    running.wait()
    os.close(ours)
    return said.decode(errors="replace")


def _read(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            more = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            return
        if not more:
            return
        yield more


def test_a_terminal_shows_something_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    """Even typer, rich and numpy are still to come: here they cannot be found at all."""
    said = on_terminal(["classify", "in", "--out", "out"], without(tmp_path, "typer", "rich", "numpy"))
    assert said.startswith("loading ...\r")
    assert "ModuleNotFoundError" in said


def test_what_is_announced_stands_until_the_command_shows_something(tmp_path: Path) -> None:
    """A command may load for seconds before it has anything to say; a screen that went blank seems stuck."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nimport dicomsort.cli.main as cli\nfrom dicomsort.cli import console\n"
        "def slow():\n    sys.stderr.write('<at work>')\n    console.info('there')\ncli.main = slow\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path[1:]])}
    said = on_terminal(["undo", "out"], env)
    assert re.fullmatch(r"loading \.\.\.\r<at work> +\rdicomsort: there\r\n", said)
    assert "loading" not in on_terminal(["--show-completion", "bash"], env)


@pytest.mark.parametrize(
    "words", [["models", "--json"], ["classify", "--help"], ["classify", "x", "--out", "y", "-q"]]
)
def test_who_wants_no_progress_gets_none(words: list[str], tmp_path: Path) -> None:
    assert "loading" not in on_terminal(words, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[1:])})


def test_a_pipe_gets_plain_lines_alone(tmp_path: Path) -> None:
    ran = command("models", "nothing")
    assert ran.err.startswith("dicomsort: no model 'nothing'")
    assert "\r" not in ran.err + ran.out
    assert "\x1b" not in ran.err + ran.out
