"""An inbox that fills: passes, trouble that passes, how it ends, and what a monitor is told."""

import json
import os
import shutil
import signal
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from outputs import check_places, rows, settings, tree
from predictors import FixedPredictor
from program import inside
from written import picture

from dicomsort.cli.watch import WatchCommand
from dicomsort.errors import DicomsortError, ExitCode, UsageError
from dicomsort.outcome import Action, Status
from dicomsort.sorting import health, pipeline
from dicomsort.sorting.pipeline import SortSettings
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.summary import SortSummary
from dicomsort.sorting.watching import WatchSettings, watch
from dicomsort.system.locks import take
from dicomsort.system.stopping import Stop, noting_signals

Write = Callable[..., Path]
NOW = WatchSettings(every=0.0, quiet_for=0.0)


class Told:
    """What was told, and what is done at each look: the next of `steps`; after the last one it is stopped."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self.steps = [*steps]
        self.passes: list[SortSummary] = []
        self.failures: list[str] = []

    def sorted(self, summary: SortSummary) -> None:
        self.passes.append(summary)

    def failed(self, error: DicomsortError) -> None:
        self.failures.append(str(error))


class Steps(Stop):
    """Does the next step instead of waiting."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._steps = iter(told.steps)

    def wait(self, seconds: float) -> None:  # noqa: ARG002
        step = next(self._steps, None)
        if step is None:
            self.number = signal.SIGTERM
        else:
            step()


def watched(run: SortSettings, predictor: FixedPredictor, told: Told, **changes: Any) -> health.Health:
    def sort(run: SortSettings, files: Any, seen: Any) -> SortSummary:
        return pipeline.sort(run, predictor, seen, (), files)

    return watch(
        run, changes.get("timing", NOW), changes.get("sort", sort), changes.get("stop", Steps(told)), told
    )


def test_what_comes_is_sorted_pass_by_pass_as_one_run_would(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    out = tmp_path / "out"

    def more() -> None:
        for number in range(20, 23):
            write_dicom(inbox / "late" / f"{number}.dcm", picture(number))
        (inbox / "notes.txt").unlink()

    told = Told(more, lambda: None)
    ended = watched(settings(inbox, out), predictor, told)
    assert [(each.found, each.already_done) for each in told.passes] == [(14, 0), (3, 0)]
    assert (ended.passes, ended.files, ended.failures, ended.state) == (2, 17, 0, "stopped")
    assert told.failures == []
    pipeline.sort(settings(inbox, tmp_path / "once"), predictor)
    once, several = rows(tmp_path / "once"), rows(out)
    notes = several.pop(str(inbox / "notes.txt"))
    assert notes["status"] == "not_dicom"
    assert several == once
    (out / "health.json").unlink()
    check_places(inbox, out)


def test_an_archive_is_looked_into_once_it_has_come_whole(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for number in range(40, 43):
            archive.write(write_dicom(tmp_path / f"{number}.dcm", picture(number)), f"{number}.dcm")
    now = [0.0]

    def part() -> None:
        (inbox / "late.zip").write_bytes(whole.read_bytes()[:5000])

    def rest() -> None:
        (inbox / "late.zip").write_bytes(whole.read_bytes())

    def later() -> None:
        now[0] += 10

    told = Told(later, part, rest, later, lambda: None)
    watched(
        settings(inbox, tmp_path / "out"), predictor, told, timing=WatchSettings(0.0, 10.0, lambda: now[0])
    )
    assert [(each.found, each.inside) for each in told.passes] == [(14, 0), (4, 3)]
    found = rows(tmp_path / "out")
    assert found[str(inbox / "late.zip")]["reason"] == "archive: each file in it has a row of its own"
    assert found[f"{inbox}/late.zip!/41.dcm"]["status"] in ("sorted", "review")


def test_nothing_new_is_no_pass_and_no_look_at_the_manifest(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    told = Told(*[lambda: None] * 3)
    opened: list[int] = []

    def sort(run: SortSettings, files: Any, seen: Any) -> SortSummary:
        opened.append(1)
        return pipeline.sort(run, predictor, seen, (), files)

    watched(settings(inbox, out), predictor, told, sort=sort)
    assert len(told.passes) == 1
    assert len(opened) == 2, "once with nothing, and one pass"


def test_it_goes_on_where_an_earlier_one_stopped(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    watched(settings(inbox, out), predictor, Told())
    told = Told()
    ended = watched(settings(inbox, out), predictor, told)
    assert [(each.found, each.already_done) for each in told.passes] == [(14, 14)]
    assert (ended.files, len(rows(out))) == (0, 14)


def test_an_empty_inbox_is_waited_for(tmp_path: Path, predictor: FixedPredictor, write_dicom: Write) -> None:
    (tmp_path / "in").mkdir()

    def comes() -> None:
        write_dicom(tmp_path / "in" / "a.dcm")

    told = Told(lambda: None, comes)
    watched(settings(tmp_path / "in", tmp_path / "out"), predictor, told)
    assert [each.found for each in told.passes] == [1]


def test_what_contradicts_ends_it_at_the_start(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    pipeline.sort(settings(inbox, tmp_path / "out"), predictor)
    with pytest.raises(UsageError, match="layout"):
        watched(settings(inbox, tmp_path / "out", layout="{label}/x/{relpath}"), predictor, Told())
    assert not (tmp_path / "out" / "health.json").exists()


def test_an_output_that_is_busy_or_gone_and_an_inbox_that_is_gone_are_waited_for(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    out, aside, held, seen = tmp_path / "out", tmp_path / "aside", [], []

    def busy() -> None:
        write_dicom(inbox / "late.dcm", picture(30))
        held.append(take(str(out)))

    def free() -> None:
        seen.append(health.read(str(out)))
        held.pop().close()

    def unmounted() -> None:
        seen.append(health.read(str(out)))
        inbox.rename(aside)

    def mounted() -> None:
        aside.rename(inbox)
        out.rename(aside)
        out.mkdir()

    def back() -> None:
        shutil.rmtree(out)
        aside.rename(out)

    told = Told(busy, lambda: None, free, unmounted, mounted, back)
    ended = watched(settings(inbox, out), predictor, told)
    assert [each.found for each in told.passes] == [14, 1]
    assert [words.split("'")[0] for words in told.failures] == [
        "another dicomsort is writing into ",
        "there is no ",
        "there is no ",
    ]
    assert seen[0].error.startswith("another dicomsort is writing into")
    assert seen[0].error_time
    assert (seen[1].error, seen[1].error_time, ended.error) == ("", "", "")
    assert rows(out)[str(inbox / "late.dcm")]["status"] in ("sorted", "review")


def test_a_stop_in_the_middle_of_a_pass_ends_it_with_a_row_for_all_that_was_taken(
    tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    for number in range(400):
        write_dicom(tmp_path / "in" / f"{number:03}.dcm", picture(number))
    told = Told()
    stop = Steps(told)

    def sort(run: SortSettings, files: Any, seen: Any) -> SortSummary:
        def after_a_few(tally: SortSummary) -> None:
            if tally.ended == 3:
                stop.number = signal.SIGTERM

        return pipeline.sort(run, predictor, after_a_few, (), files)

    ended = watched(settings(tmp_path / "in", tmp_path / "out"), predictor, told, sort=sort, stop=stop)
    assert 3 <= ended.files < 400
    assert len(rows(tmp_path / "out")) == ended.files
    pipeline.sort(settings(tmp_path / "in", tmp_path / "out"), predictor)
    assert len(rows(tmp_path / "out")) == 400


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_a_signal_ends_the_command_cleanly(
    number: int,
    code: int,
    inbox: Path,
    tmp_path: Path,
    small_model: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"

    def stop() -> None:
        while not (out / "health.json").exists() or health.read(str(out)).files < 14:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    words = ("--out", out, "--model", small_model, "--device", "cpu", "--quiet-for", "0.1", "--json")
    ran = inside(capfd, "classify", inbox, *words, "--watch", "0.2")
    thread.join()
    assert ran.code == code
    assert json.loads(ran.out)["found"] == len(rows(out)) == 14
    told = inside(capfd, "health", out)
    assert (told.code, told.err.split(" at ")[0]) == (3, "dicomsort: stopped")
    assert inside(capfd, "health", out, "--json").json["files"] == 14


def test_a_second_signal_interrupts_as_ever() -> None:
    with noting_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        stop.wait(10)
        assert stop.number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_an_ignored_hang_up_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noting_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({}, 0, "watching; 5 files since"),
        ({"state": "sorting"}, 0, "sorting; 5 files since"),
        ({"time": "2026-01-01T00:00:00+00:00"}, 3, "not heard of since 2026-01-01"),
        (
            {"error": "the disk is full", "error_time": "2026-01-01T00:00:00+00:00"},
            3,
            "the disk is full (since",
        ),
        ({"state": "stopped"}, 3, "stopped at"),
    ],
)
def test_a_monitor_is_told_by_the_exit_code(
    changes: dict[str, Any], code: int, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    well = health.Health(time=health.now(), started=health.now(), files=5, every=30.0)
    health.write(str(tmp_path), health.Health(**{**well.as_dict(), **changes}))
    ran = inside(capfd, "health", tmp_path)
    assert ran.code == code
    assert words in ran.err
    quiet = inside(capfd, "health", tmp_path, "--quiet")
    assert bool(quiet.err) == bool(code)
    assert inside(capfd, "health", tmp_path, "--json").json["well"] is (code == 0)


@pytest.mark.parametrize("content", [None, "", "{}", '{"time": 3}', "[]"])
def test_a_health_that_is_missing_or_damaged_is_told(
    content: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "health.json").write_text(content)
    ran = inside(capfd, "health", tmp_path)
    assert ran.code == ExitCode.USAGE
    assert "health.json" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("--watch", "--shard", "1/2"),
        ("--watch", "--from-list", "-"),
        ("--watch", "--report"),
        ("--watch", "--backend", "loky"),
        ("--quiet-for", "3"),
        ("--watch", "0"),
    ],
)
def test_what_does_not_go_together_is_refused(
    words: tuple[str, ...], inbox: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = inside(capfd, "classify", inbox, "--out", tmp_path / "out", *words)
    assert ran.code == ExitCode.USAGE
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (["in", "--watch"], 30),
        (["--watch", "in"], 30),
        (["--watch", "5", "in"], 5),
        (["--watch", "0.5", "--quiet", "in"], 0.5),
        (["--watch=7", "in"], 7),
        (["in", "--watch", "--quiet"], 30),
        (["in"], None),
    ],
)
def test_the_seconds_may_be_left_out(words: list[str], seconds: float | None) -> None:
    import typer

    from dicomsort.cli.main import app

    command = typer.main.get_command(app).commands["classify"]  # type: ignore[attr-defined]
    assert isinstance(command, WatchCommand)
    context = command.make_context("classify", ["--out", "out", *words])
    assert (context.params["watch"], context.params["inputs"]) == (seconds, ["in"])


def test_a_file_of_status_trouble_is_counted_and_the_rest_goes_on(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    cut = (inbox / "s0" / "0.dcm").read_bytes()[:-1000]
    (inbox / "cut.dcm").write_bytes(cut)
    told = Told()
    ended = watched(settings(inbox, tmp_path / "out"), predictor, told)
    assert (ended.failures, told.passes[0].statuses[Status.DECODE_ERROR]) == (1, 1)


def test_an_inbox_that_is_watched_empties_itself(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    out, told = tmp_path / "out", Told()
    first = shutil.copy2(inbox / "s0" / "0.dcm", tmp_path / "first")

    def more() -> None:
        assert set(tree(inbox)) == {"ct.dcm", "notes.txt"}
        write_dicom(inbox / "late" / "20.dcm", picture(20))

    def again() -> None:
        shutil.copy2(first, inbox / "s0" / "0.dcm")

    told.steps = [more, again, lambda: None]
    watched(settings(inbox, out, placing=PlacementSettings(Action.MOVE)), predictor, told)
    assert [summary.removed.files for summary in told.passes] == [12, 1, 1]
    assert set(tree(inbox)) == {"ct.dcm", "notes.txt"}
    assert len([name for name in tree(out) if name.endswith(".dcm")]) == 13
