"""Shards that ended before their first row are missing, and nothing else: every command goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from outputs import check_places, rows, settings, tree
from predictors import FixedPredictor
from program import inside
from written import picture

from dicomsort.errors import ExitCode, MissingError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest.names import SHARDS
from dicomsort.sorting import shards
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.progress_of import status
from dicomsort.system import locks
from dicomsort.system.pool_settings import PoolSettings

POOL = PoolSettings(2)
Write = Callable[..., Path]

HALF = ["nothing", "no manifest", "empty manifest", "only names", "no run.json", "driver's list", "driver's"]
"""What a shard that was killed at once may have left."""


@pytest.fixture(params=HALF)
def half(request: pytest.FixtureRequest, inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> Path:
    """An output in which nothing has got a row."""
    out = tmp_path / "out"
    parts, kind = out / SHARDS, request.param
    part = parts / ("task-000001" if kind.startswith("driver") else "shard-001-of-002")
    sort(settings(inbox, tmp_path / "model", shard=Shard(1, 2)), predictor)
    made = tmp_path / "model" / SHARDS
    names = (made / "shard-001-of-002" / "manifest.csv").read_text().partition("\n")[0] + "\n"
    if kind == "driver's list":
        parts.mkdir(parents=True)
        (parts / "files.jsonl.zst").write_bytes(b"whatever")
        (parts / "driver").write_text("1")
        return out
    part.mkdir(parents=True)
    if kind in ("no manifest", "empty manifest", "only names", "driver's"):
        shutil.copy(made / "run.json", parts)
    if kind == "driver's":
        (parts / "driver").write_text("1")
    if kind != "nothing":
        (part / locks.LOCK).touch()
    if kind in ("empty manifest", "only names", "no run.json", "driver's"):
        (part / "manifest.csv").write_text("" if kind == "empty manifest" else names)
    return out


def test_a_plain_run_goes_on(half: Path, inbox: Path, predictor: FixedPredictor) -> None:
    sort(settings(inbox, half), predictor)
    assert len(rows(half)) == 14
    assert not (half / SHARDS).exists()
    check_places(inbox, half)


@pytest.mark.parametrize("of", [2, 3])
def test_shards_go_on(of: int, half: Path, inbox: Path, predictor: FixedPredictor) -> None:
    """Also those of another division."""
    for number in range(1, of + 1):
        sort(settings(inbox, half, shard=Shard(number, of)), predictor)
    assert merge(str(half), POOL).missing == []
    assert len(rows(half)) == 14
    assert not (half / SHARDS).exists()


def test_a_merge_says_that_nothing_is_there_yet(half: Path) -> None:
    before = tree(half)
    with pytest.raises(MissingError, match="has a row yet: give its command again, then merge"):
        merge(str(half), POOL)
    assert tree(half) == before


def test_an_empty_shard_beside_a_whole_one_is_missing(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, shard=Shard(2, 2)), predictor)
    (out / SHARDS / "shard-001-of-002").mkdir()
    merged = merge(str(out), POOL)
    assert (merged.missing, merged.exit_code, merged.shards) == (["1/2"], ExitCode.MISSING, 1)
    assert not (out / SHARDS).exists()
    sort(settings(inbox, out, shard=Shard(1, 2)), predictor)
    assert merge(str(out), POOL).missing == []
    assert len(rows(out)) == 14


@pytest.mark.parametrize("left", [None, 0, 1, -1], ids=["gone", "empty", "names", "all but one"])
def test_one_that_has_lost_rows_is_missing(
    left: int | None, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    """It came to its end: joined as one without files, its files would be in no row."""
    out = tmp_path / "out"
    for number in (1, 2):
        sort(settings(inbox, out, shard=Shard(number, 2)), predictor)
    lost = out / SHARDS / "shard-001-of-002" / "manifest.csv"
    lines = lost.read_text().splitlines(keepends=True)
    assert len(lines) > 2
    lost.unlink() if left is None else lost.write_text("".join(lines[:left]))
    assert status(str(out)).missing == ("1/2",)
    merged = merge(str(out), POOL)
    assert (merged.missing, merged.exit_code) == (["1/2"], ExitCode.MISSING)
    sort(settings(inbox, out, shard=Shard(1, 2)), predictor)
    assert merge(str(out), POOL).missing == []
    assert len(rows(out)) == 14
    check_places(inbox, out)


def test_one_that_is_at_work_is_not_taken_for_dead(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, part = tmp_path / "out", tmp_path / "out" / SHARDS / "shard-001-of-002"
    part.mkdir(parents=True)
    with locks.take(str(out), shared=True):  # a node that loads its models
        with pytest.raises(UsageError, match="another dicomsort is writing"):
            sort(settings(inbox, out), predictor)
        with pytest.raises(UsageError, match="another dicomsort is writing"):
            sort(settings(inbox, out, shard=Shard(1, 3)), predictor)
    with (
        locks.take(str(part)),
        pytest.raises(UsageError, match=r"shard-001-of-002 of .* is still being written"),
    ):
        sort(settings(inbox, out), predictor)
    assert part.exists()


def test_commands_say_what_is_to_be_done(half: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nothing = inside(capfd, "merge", half)
    assert (nothing.code, len(nothing.err.splitlines())) == (ExitCode.MISSING, 1)
    assert inside(capfd, "status", half).code == ExitCode.DONE


@pytest.mark.slow
def test_a_driver_goes_on(
    half: Path, inbox: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("classify", inbox, "--out", half, "--model", small_model, "--workers", "1", "-q")
    done = inside(capfd, *words, "--backend", "loky")
    assert (done.code, done.err) == (ExitCode.DONE, "")
    assert len(rows(half)) == 14
    assert not (half / SHARDS).exists()


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.7])
def test_a_driver_that_is_killed_before_its_first_row_goes_on(
    delay: float, tmp_path: Path, small_model: Path, write_dicom: Write
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for number in range(12):
        write_dicom(source / f"{number}.dcm", picture(number))
    words = [sys.executable, "-m", "dicomsort", "classify", str(source), "--out", str(out)]
    words += ["--model", str(small_model), "--workers", "1", "-q", "--backend", "loky", "--shard-size", "3"]
    driver = subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True)
    until = time.monotonic() + 120
    while not list((out / SHARDS).glob("task-*")) and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(delay)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    time.sleep(1)  # its nodes see that it is gone
    left = ExitCode.DONE if shards.waiting(str(out)) else ExitCode.MISSING
    merging = subprocess.run([*words[:3], "merge", str(out)], check=False, capture_output=True, text=True)
    assert merging.returncode == left, merging.stderr
    again = subprocess.run(words, check=False, capture_output=True, text=True)
    assert again.returncode == ExitCode.DONE, again.stderr
    assert len(rows(out)) == 12
    check_places(source, out)
