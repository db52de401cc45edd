"""A run that moves is killed at any moment, and so is an undo: no byte is lost, and nothing stands twice."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from committed import MOVE_ONCE
from outputs import rows, tree
from written import picture, write_dicom

OURS = ("manifest.csv", "run.json")
PACE = 0.002


def make(folder: Path) -> Path:
    """Twenty-four images, two that repeat others (one byte by byte), and what is no image."""
    for number in range(24):
        write_dicom(folder / f"s{number % 3}" / f"{number}.dcm", picture(number))
    shutil.copy(folder / "s1" / "1.dcm", folder / "again.dcm")
    write_dicom(folder / "s2" / "other.dcm", picture(2), SOPInstanceUID="2.25.9", PatientComments="a")
    write_dicom(folder / "s2" / "twice.dcm", picture(2), SOPInstanceUID="2.25.9", PatientComments="b")
    (folder / "notes.txt").write_text("no picture")
    return folder


def everything(*folders: Path) -> Counter[bytes]:
    """All bytes that lie in some folders, but for what is ours: no half file, and no name that is left."""
    files = [file for folder in folders for file in tree(folder).items() if file[0] not in OURS]
    assert not [name for name, _ in files if ".dicomsort-" in name]
    return Counter(data for _, data in files)


def start(source: Path, out: Path, what: str, way: str, pace: float) -> "subprocess.Popen[bytes]":
    words = [sys.executable, str(MOVE_ONCE), str(source), str(out), what, way, str(pace)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def whole(source: Path, out: Path, what: str, way: str) -> None:
    program = start(source, out, what, way, 0)
    _, err = program.communicate(timeout=120)
    assert program.returncode == 0, err.decode()


def killed(source: Path, out: Path, what: str, way: str, share: float) -> bool:
    """Kill the program at a moment of its work, by share of 1; returns whether it was still at it.

    Its work begins with the first change of what is there.
    """
    before, program = look(source, out), start(source, out, what, way, PACE)
    seconds = 0.7  # after which it would be done on an idle machine
    deadline = time.monotonic() + 60
    while look(source, out) == before and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(share * seconds)
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=30)
    return program.returncode == -signal.SIGKILL


def look(*folders: Path) -> list[str]:
    """Return the names that are there, without those that any run makes."""
    names = [name for folder in folders for _, _, files in os.walk(folder) for name in files]
    return sorted(name for name in names if not name.startswith((".dicomsort.", *OURS)))


def check_moved(source: Path, out: Path, before: Counter[bytes]) -> None:
    """All is where its row says, and the source has what was not placed."""
    assert everything(source, out) == before
    assert set(tree(source)) == {"notes.txt", "s1/1.dcm", "s2/twice.dcm"}
    for path, row in rows(out).items():
        assert Path(path).exists() is not bool(row["action"])
        assert row["action"] in ("move", "")
        assert (out / row["destination"]).stat().st_nlink == 1 or not row["action"]
    placed = sorted(row["destination"] for row in rows(out).values() if row["action"])
    assert placed == sorted(name for name in tree(out) if name not in OURS)


def moved_through_kills(folder: Path, way: str, what: str, seed: int) -> None:
    """Kill a move, then the same command again, and let the third come to its end; then do so with undo."""
    source, out, rng = make(folder / "in"), folder / "out", random.Random(seed)
    original = tree(source)
    before = everything(source)
    if what == "apply":
        whole(source, out, "plan", way)
    hits = 0
    for _ in range(2):
        hits += killed(source, out, what, way, rng.random())
        assert set(everything_whole(source, out)) >= set(before), "nothing is lost at any moment"
    finish(source, out, what, way)
    check_moved(source, out, before)
    for _ in range(2):
        hits += killed(source, out, "undo", way, rng.random())
        assert set(everything_whole(source, out)) >= set(before), "nothing is lost at any moment"
    assert hits, "at least one of the kills has met its program at work"
    whole(source, out, "undo", way)
    assert tree(source) == original
    assert not set(tree(out)) - set(OURS)


def finish(source: Path, out: Path, what: str, way: str) -> None:
    """Let the command come to its end; apply has nothing to do where the last one was killed at its end."""
    program = start(source, out, what, way, 0)
    _, err = program.communicate(timeout=120)
    assert program.returncode == 0 or (what == "apply" and b"holds no plan" in err), err.decode()


def everything_whole(*folders: Path) -> Counter[bytes]:
    """All bytes that lie in some folders just after a kill, half files and all."""
    return Counter(data for folder in folders for data in tree(folder).values())


def test_a_killed_move_and_a_killed_undo_lose_nothing_and_place_nothing_twice(tmp_path: Path) -> None:
    moved_through_kills(tmp_path, "copied", "sort", 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 23))
@pytest.mark.parametrize("way", ["linked", "copied"])
def test_a_move_killed_at_any_moment(way: str, seed: int, tmp_path: Path) -> None:
    moved_through_kills(tmp_path, way, "sort", seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("way", ["linked", "copied"])
def test_an_apply_that_moves_killed_at_any_moment(way: str, seed: int, tmp_path: Path) -> None:
    moved_through_kills(tmp_path, way, "apply", seed)
