"""The abilities of a file system are tried, not believed, and the folder is as it was afterwards."""

import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from outputs import tree

from dicomsort.doctor import folder
from dicomsort.doctor.finding import Finding, State


def examined(path: Path) -> dict[str, Finding]:
    return {one.name: one for one in folder.examine(str(path))}


def refuse(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_folder_is_as_it_was_and_all_it_needs_is_told(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("mine")
    found = examined(tmp_path)
    assert tree(tmp_path) == {"own": b"mine"}
    assert sorted(os.listdir(tmp_path)) == ["own"]
    assert {"writing", "hard links", "taken names", "locks", "renaming", "syncing", "space"} <= set(found)
    assert not [one for one in found.values() if one.state is State.PROBLEM]


def test_of_a_folder_that_is_not_there_the_one_above_is_tried_and_nothing_made(tmp_path: Path) -> None:
    found = examined(tmp_path / "new" / "sorted")
    assert "is not there yet" in found["folder"].told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["film.dcm", "film.dcm/sorted", "nowhere"])
def test_what_is_no_folder_is_a_problem(name: str, tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_text("mine")
    (tmp_path / "nowhere").symlink_to("/none/of/this")
    found = examined(tmp_path / name)
    assert list(found) == ["folder"]
    assert found["folder"].state is State.PROBLEM
    assert found["folder"].told == f"'{tmp_path / name.removesuffix('/sorted')}' is no folder"


def test_a_folder_that_is_full_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: str) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder, "_tried", full)
    found = examined(tmp_path)
    assert (found["files"].state, found["files"].told) == (
        State.PROBLEM,
        "none can be written (No space left on device)",
    )
    assert "space" in found
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    found = examined(tmp_path)
    assert found["writing"].state is State.PROBLEM
    assert "hard links" not in found


@pytest.mark.parametrize(
    ("function", "name", "state"),
    [("link", "hard links", State.WARNING), ("symlink", "symbolic links", State.WARNING),
     ("replace", "renaming", State.PROBLEM), ("fsync", "syncing", State.WARNING)],
)  # fmt: skip
def test_what_a_file_system_refuses_is_told(
    function: str, name: str, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, function, refuse)
    found = examined(tmp_path)
    assert (found[name].state, found[name].told) == (state, f"not possible ({os.strerror(errno.EPERM)})")
    assert found[name].advice
    assert found["taken names"].state is State.OK  # without links, a name is reserved
    assert not list(tmp_path.iterdir())


def test_a_link_that_replaces_what_is_there_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", shutil.copyfile)
    assert examined(tmp_path)["taken names"].state is State.PROBLEM


def test_locks_that_keep_nobody_out_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert examined(tmp_path)["locks"].state is State.WARNING


def test_little_space_and_few_inodes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(tmp_path)
    few = [*real[:2], 0, 0, 0, 1000, 10, 10, *real[8:]]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*few[:9], 143)))
    found = examined(tmp_path)
    assert [found[name].state for name in ("space", "inodes", "longest name")] == [State.WARNING] * 3
