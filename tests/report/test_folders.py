"""Folders and archives are rendered in order, under names of their own, with an index; nothing twice."""

import csv
import os
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from outputs import tree
from PIL import Image
from program import inside
from written import picture, write_dicom

from dicomsort import read_image
from dicomsort.dicom import render
from dicomsort.errors import ExitCode
from dicomsort.report import folders

Capture = pytest.CaptureFixture[str]
FULL = ("--full", "--workers", "2")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with radiographs at several depths, and what is none."""
    for number, name in enumerate(("b.dcm", "a/c.dcm", "a/d e.dcm", "z/a.dcm")):
        write_dicom(tmp_path / "in" / name, picture(number))
    (tmp_path / "in" / "note.txt").write_text("nothing")
    return tmp_path / "in"


def index(out: Path) -> list[dict[str, str]]:
    with (out / "index.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pictures(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*.png")}


def test_a_folder_is_rendered_in_the_order_of_names_under_the_names_of_its_files(
    archive: Path, tmp_path: Path, capfd: Capture
) -> None:
    before = tree(archive)
    ran = inside(capfd, "render", archive, "--out", tmp_path / "out", *FULL)
    assert (ran.code, ran.out) == (0, "")
    assert "wrote 4 pictures: " in ran.err
    assert "1 file left out" in ran.err
    listed = index(tmp_path / "out")
    assert [row["picture"] for row in listed] == [
        "b.dcm.png",
        "",
        "a/c.dcm.png",
        "a/d e.dcm.png",
        "z/a.dcm.png",
    ]
    assert [row["result"] for row in listed] == ["written", "not_dicom", "written", "written", "written"]
    for row in listed:
        if row["picture"]:
            shown = np.asarray(Image.open(tmp_path / "out" / row["picture"]))
            assert np.array_equal(shown, read_image(row["path"], None))
    assert tree(archive) == before


def test_the_page_shows_them_in_the_same_order_and_loads_nothing_else(
    archive: Path, tmp_path: Path, capfd: Capture
) -> None:
    inside(capfd, "render", archive, "--out", tmp_path / "out", *FULL, "--quiet")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    places = [
        page.index(f'src="{name}"') for name in ("b.dcm.png", "a/c.dcm.png", "a/d%20e.dcm.png", "z/a.dcm.png")
    ]
    assert places == sorted(places)
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_no_value_of_a_header_stands_in_names_or_index(archive: Path, tmp_path: Path, capfd: Capture) -> None:
    """The files are of CANARY^NAME."""
    ran = inside(capfd, "render", archive, "--out", tmp_path / "out", *FULL)
    told = "".join(pictures(tmp_path / "out")) + ran.err
    told += "".join((tmp_path / "out" / name).read_text() for name in ("index.csv", "index.html"))
    assert "CANARY" not in told


def test_the_same_command_writes_only_what_is_missing_and_the_index_has_all(
    archive: Path, tmp_path: Path, capfd: Capture
) -> None:
    words = ("render", archive, "--out", tmp_path / "out", *FULL)
    inside(capfd, *words)
    (tmp_path / "out" / "a" / "c.dcm.png").unlink()
    kept = tmp_path / "out" / "b.dcm.png"
    kept.write_bytes(b"mine")
    ran = inside(capfd, *words)
    assert "wrote 1 picture (3 pictures there already)" in ran.err
    assert kept.read_bytes() == b"mine"
    assert [row["result"] for row in index(tmp_path / "out") if row["picture"]] == [
        "there already", "written", "there already", "there already",
    ]  # fmt: skip


def test_the_picture_of_another_file_is_never_taken_for_that_of_this_one(
    archive: Path, tmp_path: Path, capfd: Capture
) -> None:
    """As with two CDs whose files have the same names, or another one at the same place."""
    out, other = tmp_path / "out", tmp_path / "other"
    write_dicom(other / "b.dcm", picture(9))
    inside(capfd, "render", archive, "--out", out, *FULL)
    before = tree(out)
    ran = inside(capfd, "render", other, "--out", out, *FULL)
    assert ran.code == ExitCode.SOME_FAILED
    assert f"{other}/b.dcm: io_error: another file already has the destination's name" in ran.err
    assert [(row["picture"], row["result"]) for row in index(out)] == [("", "io_error")]
    assert (out / "b.dcm.png").read_bytes() == before["b.dcm.png"]
    write_dicom(archive / "b.dcm", picture(9))
    os.utime(archive / "b.dcm", ns=(10**18, 10**18))
    ran = inside(capfd, "render", archive, "--out", out, *FULL)
    assert ran.code == ExitCode.SOME_FAILED
    assert "wrote 0 pictures (3 pictures there already)" in ran.err


def test_what_cannot_be_rendered_of_an_archive_is_told_and_listed(
    archive: Path, tmp_path: Path, capfd: Capture
) -> None:
    zipped(tmp_path / "whole.zip", archive / "b.dcm", ("1.dcm", "2.dcm"))
    content = (tmp_path / "whole.zip").read_bytes()
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "cut.zip").write_bytes(content[: len(content) * 3 // 4])
    locked = bytearray(content)
    for place, flags in ((0, 6), (content.index(b"PK\x01\x02"), 8)):
        locked[place + flags] |= 1
    (tmp_path / "films" / "locked.zip").write_bytes(locked)
    ran = inside(capfd, "render", tmp_path / "films", "--out", tmp_path / "out", *FULL)
    assert ran.code == ExitCode.SOME_FAILED
    listed = {
        row["path"].removeprefix(f"{tmp_path}/films/"): row["result"] for row in index(tmp_path / "out")
    }
    assert listed == {
        "cut.zip!/1.dcm": "written", "cut.zip!/2.dcm": "decode_error", "cut.zip": "decode_error",
        "locked.zip!/1.dcm": "unsupported", "locked.zip!/2.dcm": "written",
    }  # fmt: skip
    for name, result in listed.items():
        assert (f"not written: {tmp_path}/films/{name}: " in ran.err) == (result != "written")


def zipped(packed: Path, file: Path, names: tuple[str, ...]) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w") as made:
        warnings.simplefilter("ignore")  # of a name that comes twice
        for name in names:
            made.write(file, name)


def tarred(packed: Path, file: Path, names: tuple[str, ...]) -> None:
    with tarfile.open(packed, "w:gz" if packed.suffix == ".gz" else "w") as made:
        for name in names:
            made.add(file, name)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_is_looked_into_and_names_that_come_twice_get_a_number(
    kind: str, archive: Path, tmp_path: Path, capfd: Capture
) -> None:
    packed = tmp_path / f"films.{kind}"
    names = ("x/b.dcm", "x/b.dcm", "X/B.dcm", "../up.dcm")
    make = zipped if kind == "zip" else tarred
    make(packed, archive / "b.dcm", names)
    ran = inside(capfd, "render", packed, "--out", tmp_path / "out", *FULL)
    assert ran.code == 0, ran.err
    inner = f"{packed.name}/"
    assert [row["picture"] for row in index(tmp_path / "out")] == [
        f"{inner}x/b.dcm.png", f"{inner}x/b.dcm.2.png", f"{inner}X/B.dcm.3.png", f"{inner}__/up.dcm.png",
    ]  # fmt: skip
    assert len(pictures(tmp_path / "out")) == 4


def test_several_inputs_keep_the_order_in_which_they_were_given(
    archive: Path, tmp_path: Path, capfd: Capture
) -> None:
    ran = inside(
        capfd, "render", archive / "z", archive / "b.dcm", archive / "a", "--out", tmp_path / "out", *FULL
    )
    assert ran.code == 0
    assert [row["picture"] for row in index(tmp_path / "out")] == [
        "z/a.dcm.png", "b.dcm.png", "a/c.dcm.png", "a/d e.dcm.png",
    ]  # fmt: skip


def test_a_damaged_file_is_told_and_ends_with_3_and_the_others_are_written(
    archive: Path, tmp_path: Path, capfd: Capture
) -> None:
    whole = (archive / "b.dcm").read_bytes()
    (archive / "cut.dcm").write_bytes(whole[: len(whole) - 200])
    ran = inside(capfd, "render", archive, "--out", tmp_path / "out", *FULL)
    assert ran.code == ExitCode.SOME_FAILED
    assert "not written: " in ran.err
    assert len(pictures(tmp_path / "out")) == 4


def test_a_folder_without_a_radiograph_ends_with_4(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note.txt").write_text("nothing")
    ran = inside(capfd, "render", tmp_path / "in", "--out", tmp_path / "out", *FULL)
    assert ran.code == ExitCode.NOTHING_FOUND
    assert index(tmp_path / "out")[0]["result"] == "not_dicom"


def test_an_index_that_is_none_of_ours_is_left_alone(archive: Path, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("mine")
    ran = inside(capfd, "render", archive, "--out", tmp_path / "out", *FULL)
    assert ran.code == ExitCode.USAGE
    assert tree(tmp_path / "out") == {"index.html": b"mine"}


def test_the_folder_of_the_pictures_may_lie_in_the_one_that_is_rendered(
    archive: Path, tmp_path: Path, capfd: Capture
) -> None:
    for _ in range(2):
        assert inside(capfd, "render", archive, "--out", archive / "shown", *FULL).code == 0
    assert len(pictures(archive / "shown")) == 4


def test_names_are_made_for_every_file_system() -> None:
    taken: set[int] = set()
    long = "x" * 250
    names = [
        folders._free(name, taken)
        for name in ("a:b.dcm", "a?b.dcm", os.fsdecode(b"\xff.dcm"), long, long + "y")
    ]
    assert names[:3] == ["a_b.dcm.png", "a_b.dcm.2.png", "_.dcm.png"]
    assert all(len(name.encode()) < 255 for name in names)
    assert len(set(names)) == 5


def test_only_some_thousand_files_are_held_at_a_time(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three at a time, no more are asked for before the first have been written."""
    monkeypatch.setattr(folders, "_AT_A_TIME", 2)
    asked: list[str] = []

    def sources() -> list[folders.Source]:
        return list(folders.find([str(archive)], str(tmp_path / "out")))

    def slowly() -> object:
        for source in sources():
            asked.append(source.path)
            yield source

    (tmp_path / "out").mkdir()
    seen: list[int] = []
    settings = render.PictureSettings(None)
    folders.write(slowly(), str(tmp_path / "out"), settings, lambda *_: seen.append(len(asked)))  # type: ignore[arg-type]
    assert seen[0] == 2
    assert len(seen) == len(asked) == 5
