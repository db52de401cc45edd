"""Finding files: links, loops, odd names, and what can never be read."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomsort.inputs.walk import find, roots_of
from dicomsort.outcome import Reason, SourceFile, Status


def found(*roots: Path, avoid: Path | None = None, follow_links: bool = False) -> dict[str, SourceFile]:
    files = list(find(roots_of([str(root) for root in roots]), str(avoid or "/nowhere"), follow_links))
    assert len({file.path for file in files}) == len(files), "no file twice"
    return {file.relpath: file for file in files}


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    for name in ("a/1.dcm", "a/deep/er/2.dcm", "b/3.dcm", "top.dcm"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "in"


def test_every_file_in_the_order_of_names(trees: Path) -> None:
    assert list(found(trees)) == ["top.dcm", "a/1.dcm", "a/deep/er/2.dcm", "b/3.dcm"]


def test_several_roots_get_unique_names(tmp_path: Path) -> None:
    for name in ("x/in/1", "y/in/1", "z/IN/1"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.touch()
    names = set(found(tmp_path / "x/in", tmp_path / "y/in", tmp_path / "z/IN"))
    assert names == {"in/1", "in-2/1", "IN-3/1"}


def test_roots_inside_others_and_twice_the_same_count_once(trees: Path) -> None:
    assert len(found(trees, trees / "a", trees / "." / "b", trees)) == 4
    assert list(found(trees / "top.dcm")) == ["top.dcm"]


@pytest.mark.parametrize("spelled", ["{}/", "/{}", "{}/a/..", "{}//"])
def test_a_root_has_one_name_however_it_is_spelled(spelled: str, trees: Path) -> None:
    """Files that came from it before would be taken for others else."""
    assert roots_of([spelled.format(trees)]) == roots_of([str(trees)])


def test_the_output_is_never_entered(trees: Path) -> None:
    assert len(found(trees, avoid=trees / "a")) == 2


def test_links_to_files_are_files_and_linked_folders_are_entered_on_demand(trees: Path) -> None:
    (trees / "link.dcm").symlink_to(trees / "b/3.dcm")
    (trees / "linked").symlink_to(trees / "a")
    assert set(found(trees)) == {"top.dcm", "a/1.dcm", "a/deep/er/2.dcm", "b/3.dcm", "link.dcm"}
    assert "linked/deep/er/2.dcm" in found(trees, follow_links=True)


def test_a_link_into_the_output_is_not_entered(trees: Path) -> None:
    (trees / "sneaky").symlink_to(trees / "a" / "deep")
    assert len(found(trees, avoid=trees / "a", follow_links=True)) == 2


def test_a_loop_of_links_ends(trees: Path) -> None:
    (trees / "a/deep/up").symlink_to(trees)
    (trees / "self").symlink_to(trees / "self")
    names = found(trees, follow_links=True)
    assert len(names) == 5
    assert names["self"].failure is not None
    assert names["self"].failure.reason is Reason.LINK_LOOP


def test_what_cannot_be_read_has_its_reason(trees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(trees / "pipe")
    (trees / "dangling").symlink_to(trees / "gone")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(trees)
        server.bind("socket")
    reasons = {name: file.failure.reason for name, file in found(trees).items() if file.failure}
    assert reasons == {
        "pipe": Reason.SPECIAL_FILE,
        "socket": Reason.SPECIAL_FILE,
        "dangling": Reason.DANGLING_LINK,
    }


def test_a_folder_that_cannot_be_listed_is_one_row(trees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refusing(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    names = found(trees)
    failure = names["a/deep"].failure
    assert failure is not None
    assert (failure.status, failure.reason) == (Status.IO_ERROR, Reason.UNREADABLE_FOLDER)
    assert len(names) == 4


def test_names_of_any_bytes_are_found(tmp_path: Path) -> None:
    names = [b"caf\xe9.dcm", b"new\nline", b"quo'\"te", b"a" * 255, "Röntgen №1".encode(), b"\\x41", b"=1+1"]
    folder = os.fsencode(tmp_path)
    for name in names:
        with open(os.path.join(folder, name), "wb"):
            pass
    assert {os.fsencode(name) for name in found(tmp_path)} == set(names)


def test_no_depth_is_too_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(600):
        os.mkdir("d")
        os.chdir("d")
    Path("bottom").touch()
    assert len(found(tmp_path)) == 1
