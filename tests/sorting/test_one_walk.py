"""One walk for all shards: who writes the list, who waits, who takes over, and when there is a newer one."""

import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from outputs import rows, settings
from predictors import FixedPredictor

from dicomsort.inputs import file_list, walk
from dicomsort.inputs.named import Archive, Shard
from dicomsort.inputs.walk import roots_of
from dicomsort.manifest.names import SHARDS
from dicomsort.sorting import one_walk
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.system import claims, owners
from dicomsort.system.pool_settings import PoolSettings

POOL = PoolSettings(2)
Tell = Callable[[str], None]


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are listed, each time."""
    seen: list[str] = []
    entries = walk._entries

    def noted(folder: str) -> "list[os.DirEntry[str]]":
        seen.append(folder)
        return entries(folder)

    monkeypatch.setattr(walk, "_entries", noted)
    return seen


def found(inbox: Path, out: Path, number: int, of: int, tell: Tell = lambda _: None) -> set[str]:
    """What a shard that comes to its end is to sort."""
    shard = Shard(number, of)
    with one_walk.shared(archive_of(inbox, out, shard), shard, str(out), tell) as listed:
        names = {file.relpath for file in listed.find()}
        assert listed.number == len(names)
    return names


def archive_of(inbox: Path, out: Path, shard: Shard) -> Archive:
    return Archive(roots_of([str(inbox)]), str(out), shard=shard)


def test_shards_walk_once_and_make_what_a_single_run_makes(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, walks: list[str]
) -> None:
    sort(settings(inbox, tmp_path / "one"), predictor)
    once = len(set(walks))
    walks.clear()
    totals = [
        sort(settings(inbox, tmp_path / "out", shard=Shard(number, 4)), predictor).total
        for number in range(1, 5)
    ]
    assert len(walks) == once
    assert merge(str(tmp_path / "out"), POOL).missing == []
    assert rows(tmp_path / "out") == rows(tmp_path / "one")
    assert sum(total or 0 for total in totals) == len(rows(tmp_path / "one"))
    assert not (tmp_path / "out" / SHARDS).exists()


def test_a_shard_that_is_done_and_started_again_finds_new_files(
    inbox: Path, tmp_path: Path, walks: list[str]
) -> None:
    out = tmp_path / "out"
    before = [found(inbox, out, number, 2) for number in (1, 2)]
    once = len(walks)
    for number in range(20):
        shutil.copy(inbox / "s0" / "0.dcm", inbox / f"new{number}.dcm")
    after = [found(inbox, out, number, 2) for number in (1, 2)]
    assert len(walks) == 2 * once
    assert len(after[0] | after[1]) == len(before[0] | before[1]) + 20
    assert all(Shard(1, 2).holds(name) for name in after[0])


def test_a_shard_that_was_cut_short_goes_on_with_the_same_list(
    inbox: Path, tmp_path: Path, walks: list[str]
) -> None:
    out, shard = tmp_path / "out", Shard(1, 2)
    shared = one_walk.shared(archive_of(inbox, out, shard), shard, str(out), lambda _: None)
    first = {file.relpath for file in shared.__enter__().find()}
    assert not shared.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    once = len(walks)
    assert found(inbox, out, 1, 2) == first
    assert len(walks) == once


def test_another_division_or_other_folders_have_a_list_of_their_own(inbox: Path, tmp_path: Path) -> None:
    shutil.copytree(inbox, tmp_path / "other" / "deeper")
    whole = found(inbox, tmp_path / "out", 1, 1)
    assert found(inbox, tmp_path / "out", 1, 2) < whole
    assert found(tmp_path / "other", tmp_path / "out", 1, 1) == {f"deeper/{name}" for name in whole}


def test_of_many_that_come_at_once_one_walks(
    inbox: Path, tmp_path: Path, walks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = Archive.stated

    def slow(archive: Archive) -> object:
        until = time.monotonic() + 60
        while len(waiting) < 5 and time.monotonic() < until:
            time.sleep(0.01)
        return stated(archive)

    monkeypatch.setattr(Archive, "stated", slow)
    told: list[str] = []
    waiting: set[int] = set()
    names: dict[int, set[str]] = {}

    def work(number: int) -> None:
        def tell(line: str) -> None:
            told.append(line)
            if line.startswith("waiting for the list of all files, which "):
                waiting.add(number)

        names[number] = found(inbox, tmp_path / "out", number, 6, tell)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(walks) == len(set(walks))
    assert sum(map(len, names.values())) == len(set().union(*names.values()))
    assert sum(one.startswith("writing the list") for one in told) == 1
    assert len(waiting) == 5


def claimed(inbox: Path, out: Path, **changes: object) -> Path:
    """The claim of somebody who is to write the first list."""
    archive = archive_of(inbox, out, Shard(1, 2))
    folder = out / SHARDS / one_walk._FOLDER
    folder.mkdir(parents=True)
    path = folder / f"{one_walk._series(archive, 2)}-000001.claim-000000"
    path.write_text(json.dumps({"host": "far", "boot": owners.boot_id(), "steps": 3, "beat": 0, **changes}))
    return path


def test_a_writer_of_this_machine_that_died_is_taken_over_at_once(inbox: Path, tmp_path: Path) -> None:
    claim = claimed(inbox, tmp_path / "out")
    told: list[str] = []
    assert found(inbox, tmp_path / "out", 1, 2, told.append)
    assert told == ["writing the list of all files, for all shards", ""], "nobody waited"
    assert not claim.exists()


def test_a_writer_elsewhere_is_taken_over_once_it_is_silent(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "SILENCE_SECONDS", 0.6)
    claimed(inbox, tmp_path / "out", boot="of another machine")
    told: list[str] = []
    began = time.monotonic()
    assert found(inbox, tmp_path / "out", 1, 2, told.append)
    assert time.monotonic() - began >= 0.6
    assert told[0] == "waiting for the list of all files, which far writes: 3 files so far"


@pytest.mark.parametrize("how", ["lock", "beat"])
def test_a_writer_that_lives_is_waited_for_without_limit(
    how: str, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of this machine by its lock, one elsewhere by what it keeps writing; the clock is the test's."""
    now, looks = [0.0], list[str]()
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(one_walk, "_waits", lambda: repeat(0.01))
    out = tmp_path / "out"
    claim = claimed(inbox, out, boot=owners.boot_id() if how == "lock" else "of another machine")
    ready: list[set[str]] = []
    waiting = threading.Thread(target=lambda: ready.append(found(inbox, out, 1, 2, looks.append)))

    def look(wanted: str) -> None:
        """Wait until a look has found this, and then for another one."""
        looks.clear()
        until = time.monotonic() + 60
        while not any(wanted in line for line in looks[:-1]) and time.monotonic() < until:
            time.sleep(0.005)
        assert waiting.is_alive()

    with claim.open("r+") as held:
        if how == "lock":
            fcntl.flock(held, fcntl.LOCK_EX)
        waiting.start()
        for beat in range(3, 10):
            if how == "beat":
                claim.write_text(json.dumps({"host": "far", "boot": "other", "steps": beat, "beat": beat}))
            look(f"{beat if how == 'beat' else 3} files so far")
            now[0] += 0.9 * claims.SILENCE_SECONDS
            look("files so far")
        assert not ready
    now[0] += claims.SILENCE_SECONDS
    waiting.join()
    assert ready[0]


@pytest.mark.parametrize("is_published", [True, False])
def test_a_writer_that_was_held_up_and_taken_over_goes_on(
    is_published: bool, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is taken for that of a dead one: there is another list by then, or there soon will be."""
    write, turns = file_list.write, []

    def held_up(path: str, *args: Any) -> None:
        write(path, *args)
        turns.append(path)
        if len(turns) == 1:
            name, _, _ = path.removesuffix(".part").rpartition(".")
            os.replace(path, f"{name}.list" if is_published else f"{path}.gone")

    monkeypatch.setattr(one_walk, "write", held_up)
    files = {name for number in (1, 2) for name in found(inbox, tmp_path / "out", number, 2)}
    assert len(files) == sum(path.is_file() for path in inbox.rglob("*"))
    assert len(turns) == (1 if is_published else 2)


def test_a_list_of_paths_is_cut_too(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    names = sorted(str(path) for path in inbox.rglob("*") if path.is_file())
    paths = tmp_path / "paths.txt"
    paths.write_text("\n".join([*names, names[0], str(inbox / "gone.dcm"), "/elsewhere/x.dcm"]))
    for out, shards in (("one", [None]), ("out", [Shard(1, 3), Shard(2, 3), Shard(3, 3)])):
        for shard in shards:
            sort(settings(inbox, tmp_path / out, shard=shard, from_list=str(paths)), predictor)
    assert merge(str(tmp_path / "out"), POOL).missing == []
    assert rows(tmp_path / "out") == rows(tmp_path / "one")


def test_the_newest_list_tells_how_many_files_each_shard_has(inbox: Path, tmp_path: Path) -> None:
    assert one_walk.latest(str(tmp_path / "out")) is None
    sizes = [len(found(inbox, tmp_path / "out", number, 3)) for number in (1, 2, 3)]
    latest = one_walk.latest(str(tmp_path / "out"))
    assert latest is not None
    assert list(latest.about.shards) == sizes
    latest.close()


@pytest.mark.parametrize("late", [0, -5])
def test_of_two_lists_the_later_number_is_the_newest_whatever_the_clock_says(
    inbox: Path, tmp_path: Path, late: int
) -> None:
    """Both within one tick of a file system's clock, or after the clock was set back."""
    for _ in range(2):
        sizes = [len(found(inbox, tmp_path / "out", 1, 1))]
        (inbox / "new.dcm").write_bytes(b"new")
    first, second = sorted((tmp_path / "out").rglob("*.list"))
    for path, at in ((first, 10), (second, 10 + late)):
        os.utime(path, (at, at))
    for name in (
        "0" * 16,
        "f" * 16,
    ):  # of an earlier division: an older list, wherever it stands in the folder
        shutil.copy(first, first.with_name(f"{name}-000001.list"))
        os.utime(first.with_name(f"{name}-000001.list"), (1, 1))
    latest = one_walk.latest(str(tmp_path / "out"))
    assert latest is not None
    assert list(latest.about.shards) == sizes
    latest.close()
