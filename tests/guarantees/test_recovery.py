"""Disasters by name, to a program of its own: whatever happens, no file is lost, and the next run goes on."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from committed import SORT_ONCE
from outputs import check_places, rows, tree
from small_world import in_a_small_world
from written import picture

PROGRAM = [sys.executable, str(SORT_ONCE)]
Write = Callable[..., Path]


@pytest.fixture
def archive_(tmp_path: Path, write_dicom: Write) -> Path:
    folder = tmp_path / "in"
    for number in range(60):
        write_dicom(folder / f"s{number % 7}" / f"{number}.dcm", picture(number))
    (folder / "notes.txt").write_text("no picture")
    return folder


def start(*words: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*PROGRAM, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(*words: object) -> dict[str, Any]:
    program = start(*words)
    out, err = program.communicate(timeout=120)
    assert program.returncode in (0, 3), err
    tally: dict[str, Any] = json.loads(out)
    return tally


@pytest.mark.parametrize("disaster", ["segfault", "abort", "hang", "hog"])
def test_a_disaster_costs_exactly_its_own_file(disaster: str, archive_: Path, tmp_path: Path) -> None:
    for folder in ("s0", "s3", "s6"):
        shutil.copy(archive_ / "s1" / "1.dcm", archive_ / folder / f"{disaster}.dcm")
    tally = finish(archive_, tmp_path / "out")
    assert tally["found"] == 64
    status = "timeout" if disaster == "hang" else "crash"
    assert tally["statuses"][status] == 3
    assert tally["statuses"]["sorted"] + tally["statuses"]["review"] == 60
    check_places(archive_, tmp_path / "out")


def killed_and_resumed(source: Path, out: Path, seed: int, action: str) -> None:
    """Kill the program somewhere in its run, then let it finish."""
    rng = random.Random(seed)
    program = start(source, out, action)
    deadline = time.monotonic() + 60
    while not (out / "manifest.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 1.5))
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=120)
    before = len((out / "manifest.csv").read_bytes().splitlines()) - 1
    tally = finish(source, out, action)
    assert tally["found"] == 61
    assert tally["already_done"] <= max(before, 0)
    assert len(rows(out)) == 61
    check_places(source, out)
    assert not [name for name in tree(out) if name.endswith(".part")]
    again = finish(source, out, action)
    assert again["already_done"] == 61


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_goes_on(seed: int, archive_: Path, tmp_path: Path) -> None:
    killed_and_resumed(archive_, tmp_path / "out", seed, ("copy", "symlink", "hardlink")[seed])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 23))
def test_a_run_killed_at_any_moment_goes_on(seed: int, archive_: Path, tmp_path: Path) -> None:
    killed_and_resumed(archive_, tmp_path / "out", seed, "copy")


def test_a_torn_line_is_done_again(archive_: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finish(archive_, out)
    whole = (out / "manifest.csv").read_bytes()
    (out / "manifest.csv").write_bytes(whole[:-30])
    tally = finish(archive_, out)
    assert tally["already_done"] == 60
    check_places(archive_, out)


def test_what_vanished_from_the_output_or_lost_bytes_is_placed_again(archive_: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finish(archive_, out)
    placed = sorted(out / row["destination"] for row in rows(out).values() if row["destination"])
    placed[0].unlink()
    kept = placed[1].read_bytes()
    os.truncate(placed[1], 100)
    tally = finish(archive_, out)
    assert tally["already_done"] == 59
    assert placed[0].exists()
    # half a file is no longer what was placed, so it is not replaced: a person may have put it there
    assert tally["statuses"]["io_error"] == 1
    assert placed[1].stat().st_size == 100
    placed[1].write_bytes(kept)


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_an_interrupted_run_keeps_whole_rows(number: int, archive_: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = start(archive_, out)
    deadline = time.monotonic() + 60
    while not (out / "manifest.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1.2)
    program.send_signal(number)
    _, err = program.communicate(timeout=120)
    assert program.returncode in (0, 130), err
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert all(None not in row and None not in row.values() for row in table)
    finish(archive_, out)
    check_places(archive_, out)


def test_a_full_disk_ends_with_5_and_the_next_run_goes_on(archive_: Path, tmp_path: Path) -> None:
    """60 files of about 5 kB, and 100 kB for them: a real file system that really is full."""
    small, out = tmp_path / "small", tmp_path / "out"
    small.mkdir()
    program = " ".join(PROGRAM)
    done = in_a_small_world(f"""
        mount -t tmpfs -o size=100k none '{small}'
        code=0; {program} '{archive_}' '{small}/out' || code=$?
        find '{small}/out' -name '*.part' | grep . && exit 90
        cp -a '{small}/out' '{out}'
        exit $code
    """)
    assert done.returncode == 5, done.stderr
    assert "no space left" in done.stderr or "cannot be written" in done.stderr
    for target in out.rglob("*.dcm"):
        assert (
            target.read_bytes()
            == (archive_ / target.relative_to(out / target.relative_to(out).parts[0])).read_bytes()
        )
    finish(archive_, out)
    check_places(archive_, out)


def test_a_move_to_a_full_disk_removes_nothing_and_the_next_one_goes_on(
    archive_: Path, tmp_path: Path
) -> None:
    """Another file system that really is full: what had its place there has it, and every source stands."""
    small, out = tmp_path / "small", tmp_path / "out"
    small.mkdir()
    before = tree(archive_)
    done = in_a_small_world(f"""
        mount -t tmpfs -o size=100k none '{small}'
        code=0; {" ".join(PROGRAM)} '{archive_}' '{small}/out' move || code=$?
        find '{small}/out' -name '*.part' | grep . && exit 90
        cp -a '{small}/out' '{out}'
        exit $code
    """)
    assert done.returncode == 5, done.stderr
    assert tree(archive_) == before
    assert finish(archive_, out, "move")["sources_removed"] == 60
    assert set(tree(archive_)) == {"notes.txt"}
    placed = [data for name, data in tree(out).items() if name.endswith(".dcm")]
    assert Counter(placed) == Counter(data for name, data in before.items() if name != "notes.txt")


def test_a_read_only_source_that_is_to_be_moved_is_copied(archive_: Path, tmp_path: Path) -> None:
    before, out = tree(archive_), tmp_path / "out"
    done = in_a_small_world(f"""
        mount --bind '{archive_}' '{archive_}'
        mount -o remount,ro,bind '{archive_}'
        {" ".join(PROGRAM)} '{archive_}' '{out}' move
    """)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sources_left"] == {"read_only": 60}
    assert tree(archive_) == before
    assert {row["action"] for row in rows(out).values()} == {"copy", ""}
    check_places(archive_, out)


def test_a_read_only_target_ends_with_5(archive_: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    done = in_a_small_world(f"""
        mount -t tmpfs -o size=1m none '{small}'
        mount -o remount,ro '{small}'
        code=0; {" ".join(PROGRAM)} '{archive_}' '{small}/out' || code=$?
        exit $code
    """)
    assert done.returncode == 5, done.stderr
    assert "cannot be written: Read-only file system" in done.stderr


def test_no_worker_outlives_a_killed_run(
    archive_: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(archive_ / "s1" / "1.dcm", archive_ / "s0" / "hang.dcm")
    monkeypatch.setenv("HANGS_LAST", "1")
    program = start(archive_, tmp_path / "out")
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "manifest.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1)
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=60)  # waits until nobody holds the pipes any more
    assert Counter(program.poll() for _ in range(1)) == {-signal.SIGKILL: 1}
