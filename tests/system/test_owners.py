"""Two runs do not get into one folder, also where the lock of one is not seen by the other."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from committed import TESTS

from dicomsort.errors import UsageError
from dicomsort.system import locks, notices, owners

HOLD = [sys.executable, str(TESTS / "support" / "hold_lock.py")]


def begun(folder: Path, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*HOLD, str(folder), *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


@contextmanager
def letting_go(program: "subprocess.Popen[str]", word: str) -> Iterator[list[str]]:
    """Let a holder end once this program says a word; yields what it has said."""
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        if word in line and program.stdin is not None:
            program.stdin.close()
            program.stdin = None  # or `communicate` would flush it

    with notices.heard(hear):
        yield lines


@contextmanager
def holder(folder: Path, *more: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that has the lock of a folder, until its input is closed."""
    program = begun(folder, *more)
    assert program.stdout is not None
    try:
        for line in program.stdout:
            if line == "held\n":
                break
        yield program
    finally:
        program.kill()
        program.communicate()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a dead owner is watched for a short time."""
    monkeypatch.setattr(owners, "WATCH_SECONDS", 1.0)
    monkeypatch.setattr(owners, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(owners, "SETTLE_SECONDS", 0.1)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What a person is told."""
    lines: list[str] = []
    with notices.heard(lines.append):
        yield lines


def unseen(*_: Any) -> None:
    """A lock that nobody else sees."""


def left_by(folder: Path, **changes: Any) -> None:
    """The file that an owner has left who was killed, in place of any other."""
    owner = {"host": "node07", "pid": 17, "boot": "other", "started": "2026-01-01T00:00:00Z", "token": "x"}
    (folder / "new").write_text(json.dumps({**owner, "beats": "000000000009", **changes}))
    (folder / "new").replace(folder / owners.OWNER)


def test_an_owner_is_told_while_it_works_and_gone_with_it(tmp_path: Path) -> None:
    with locks.take(str(tmp_path), beats=True):
        told = json.loads((tmp_path / owners.OWNER).read_text())
        assert (told["pid"], told["host"]) == (os.getpid(), os.uname().nodename)
        with pytest.raises(
            UsageError, match=rf"another dicomsort is .* \(process {os.getpid()} on .*\); wait"
        ):
            locks.take(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [locks.LOCK]


def test_the_file_is_kept_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "BEAT_SECONDS", 0.05)
    with locks.take(str(tmp_path), beats=True):
        first = (tmp_path / owners.OWNER).read_bytes()
        until = time.monotonic() + 60
        while (tmp_path / owners.OWNER).read_bytes() == first and time.monotonic() < until:
            time.sleep(0.02)
        assert json.loads((tmp_path / owners.OWNER).read_text())["beats"] > json.loads(first)["beats"]
        assert len((tmp_path / owners.OWNER).read_bytes()) == len(first)


@pytest.mark.parametrize("shared", [False, True])
def test_a_living_run_on_another_machine_is_seen_without_its_lock(
    shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """By nobody's clock but ours, and long before the time is over."""
    monkeypatch.setattr(owners, "WATCH_SECONDS", 600.0)
    with holder(tmp_path, "its-boot", "alone"):
        monkeypatch.setattr(fcntl, "flock", unseen)
        os.utime(tmp_path / owners.OWNER, (0, 0))  # its clock is that of 1970
        began = time.monotonic()
        with pytest.raises(
            UsageError, match=r"another run, process [0-9]+ on node-its-boot, is writing into"
        ):
            locks.take(str(tmp_path), shared=shared, beats=not shared)
        assert time.monotonic() - began < 300
        assert len(said) == 1
        assert "looking for up to 600 s whether that is still at work" in said[0]


@pytest.mark.slow
def test_so_is_one_that_beats_as_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with holder(tmp_path, "its-boot", "alone", "slow"):
        monkeypatch.setattr(fcntl, "flock", unseen)
        with pytest.raises(UsageError, match="on node-its-boot, is writing into"):
            locks.take(str(tmp_path), beats=True)


def test_a_run_that_ends_while_it_is_watched_leaves_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "WATCH_SECONDS", 600.0)
    with (
        holder(tmp_path, "its-boot", "alone", "slow") as program,
        letting_go(program, "looking for") as said,
    ):
        monkeypatch.setattr(fcntl, "flock", unseen)
        locks.take(str(tmp_path), beats=True).close()
    assert len(said) == 1
    assert not (tmp_path / owners.OWNER).exists()


def test_two_runs_that_see_no_lock_and_begin_at_once_do_not_both_go_on(tmp_path: Path) -> None:
    running = [begun(tmp_path, boot, "alone") for boot in "ab"]
    until = time.monotonic() + 60
    while all(program.poll() is None for program in running) and time.monotonic() < until:
        time.sleep(0.05)
    said = [program.communicate(timeout=60)[0] for program in running]
    assert sorted(program.returncode for program in running) == [0, 2], said
    assert sum("held" in text for text in said) == 1


@pytest.mark.usefixtures("quick")
def test_what_a_dead_machine_has_left_costs_a_wait(tmp_path: Path, said: list[str]) -> None:
    left_by(tmp_path)
    began = time.monotonic()
    with locks.take(str(tmp_path), beats=True):
        assert 1.0 <= time.monotonic() - began < 60
        assert json.loads((tmp_path / owners.OWNER).read_text())["pid"] == os.getpid()
    assert len(said) == 1
    assert "holds a .dicomsort.owner of process 17 on node07: looking for up to 1 s" in said[0]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("changes", [{"boot": "before"}, {"boot": ""}])
def test_so_does_what_this_machine_has_left_before_it_was_started_again(
    changes: dict[str, str], tmp_path: Path
) -> None:
    left_by(tmp_path, host=os.uname().nodename, **changes)
    with locks.take(str(tmp_path), beats=True):
        pass


@pytest.mark.usefixtures("quick")
def test_half_a_file_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / owners.OWNER).write_text('{"host": "no')
    with locks.take(str(tmp_path), beats=True):
        assert json.loads((tmp_path / owners.OWNER).read_text())["pid"] == os.getpid()


def test_a_full_disk_leaves_no_file_that_names_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run would take it for another machine's."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    with locks.take(str(tmp_path), beats=True):
        assert not (tmp_path / owners.OWNER).exists()


def test_a_killed_run_on_this_machine_costs_nothing(tmp_path: Path, said: list[str]) -> None:
    with holder(tmp_path) as program:
        program.send_signal(signal.SIGKILL)
        program.wait()
        assert (tmp_path / owners.OWNER).exists()
        locks.take(str(tmp_path), beats=True).close()
    assert said == [], "it was not even watched"


def test_without_any_locks_it_is_said_and_the_owner_keeps_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    def none_here(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none_here)
    with (
        holder(tmp_path, "its-boot", "none"),
        pytest.raises(UsageError, match="on node-its-boot, is writing"),
    ):
        locks.take(str(tmp_path), beats=True)
    assert any(
        line.startswith("this file system has no locks (No locks available): a file .dicomsort.owner")
        for line in said
    )


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    """As NFS keeps that of a dead node for a while."""
    with holder(tmp_path) as program, letting_go(program, "120 s at most") as said:
        with pytest.raises(UsageError, match="another dicomsort is writing into"):
            locks.take(str(tmp_path))
        with pytest.raises(UsageError, match="another dicomsort is writing into"):
            locks.take(str(tmp_path), wait=0.2)
        locks.take(str(tmp_path), wait=120, beats=True).close()
    assert len(said) == 2
    assert said[1].endswith(": waiting for it, 120 s at most")


def test_who_was_taken_for_dead_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "BEAT_SECONDS", 0.05)
    found, other = threading.Event(), []

    def taken_over(owner: owners.Owner) -> None:
        other.append(owner.host)
        found.set()

    monkeypatch.setattr(owners, "_stop_this", taken_over)
    with locks.take(str(tmp_path), beats=True):
        left_by(tmp_path)
        assert found.wait(60)
    assert other == ["node07"]
    assert json.loads((tmp_path / owners.OWNER).read_text())["host"] == "node07"
