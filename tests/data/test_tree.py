"""Labelled data as a tree of pictures: parts, classes, no patient in two, no name of a file or person."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import write_csv
from PIL import Image
from program import inside
from trainings import read_csv

from dicomsort.data.dataset import Columns, content_hash, load
from dicomsort.dicom.reader import read_any
from dicomsort.imaging.canvas import Preprocessing

PARTS = ("train", "validation", "test")
Said = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """48 pictures of 24 patients, two of each, in two classes."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for number in range(48):
        name, label = f"MEIER-{number}.png", ("dark", "bright")[number // 2 % 2]
        gray = np.random.default_rng(number).normal({"dark": 60, "bright": 180}[label], 9, (90, 60))
        Image.fromarray(gray.astype(np.uint8)).save(folder / name)
        rows.append(
            {"file": name, "light": label, "patient": f"MRN-{number // 2}", "side": PARTS[number // 2 % 3]}
        )
    return write_csv(folder / "labels.csv", rows)


def exported(capfd: Said, data: Path, out: Path, *words: str | Path) -> Any:
    asked = ("--to", "png", "--target", "light", "--size", "64", "--workers", "1", "--out", out, *words)
    return inside(capfd, "export", data, *asked)


def files_of(tree: Path) -> set[str]:
    return {path.relative_to(tree).as_posix() for path in tree.rglob("*.png")}


def test_a_tree_has_parts_and_classes_and_no_patient_in_two_parts(
    data: Path, tmp_path: Path, capfd: Said
) -> None:
    tree = tmp_path / "tree"
    ran = exported(capfd, data, tree)
    assert ran.code == 0, ran.err
    told = read_csv(tree / "labels.csv")
    assert {row["file"] for row in told} == files_of(tree)
    assert {tuple(file.split("/")[:2]) for file in files_of(tree)} == {
        (part, label) for part in PARTS for label in ("dark", "bright")
    }
    given = {content_hash(data.parent / row["file"]): row for row in read_csv(data)}
    parts, numbers = defaultdict(set), defaultdict(set)
    for row in told:
        part, label, name = row["file"].split("/")
        source = given[name.removesuffix(".png")]
        assert (part, label) == (row["part"], source["light"]) == (row["part"], row["light"])
        parts[source["patient"]].add(part)
        numbers[source["patient"]].add(row["patient"])
    assert len(told) == 48
    assert {len(found) for found in (*parts.values(), *numbers.values())} == {1}
    assert len(set.union(*numbers.values())) == 24


def test_nothing_in_a_tree_names_a_file_or_a_patient_of_the_data(
    data: Path, tmp_path: Path, capfd: Said
) -> None:
    exported(capfd, data, tmp_path / "tree")
    for path in (tmp_path / "tree").rglob("*"):
        words = str(path.relative_to(tmp_path)).encode() + (path.read_bytes() if path.is_file() else b"")
        assert b"MRN" not in words
        assert b"MEIER" not in words


def test_pictures_are_what_training_reads_and_are_never_enlarged(
    tmp_path: Path, write_dicom: Callable[..., Path], capfd: Said
) -> None:
    rows = []
    for number, side in enumerate((200, 40, 120, 64)):
        pixels = (np.add.outer(np.arange(side), np.arange(side)) * 4 + number).astype(np.uint16)
        write_dicom(tmp_path / "data" / f"{number}.dcm", pixels, WindowCenter=400, WindowWidth=600)
        rows.append(
            {"file": f"{number}.dcm", "light": "ab"[number % 2], "part": ("train", "test")[number // 2]}
        )
    labels = write_csv(tmp_path / "data" / "labels.csv", rows)
    assert exported(capfd, labels, tmp_path / "tree", "--split-column", "part").code == 0
    for row, side in zip(rows, (64, 40, 64, 64), strict=True):
        file = tmp_path / "data" / row["file"]
        with Image.open(
            tmp_path / "tree" / row["part"] / row["light"] / f"{content_hash(file)}.png"
        ) as picture:
            assert (picture.mode, picture.size) == ("L", (side, side))
            wanted = read_any(str(file), Preprocessing(size=side))
            assert np.array_equal(np.asarray(picture), wanted.image)  # type: ignore[union-attr]


def test_a_split_that_is_given_is_kept(data: Path, tmp_path: Path, capfd: Said) -> None:
    assert exported(capfd, data, tmp_path / "a", "--split-column", "side").code == 0
    rows = {content_hash(data.parent / row["file"]): row["side"] for row in read_csv(data)}
    assert {file.split("/")[2][:16]: file.split("/")[0] for file in files_of(tmp_path / "a")} == rows
    split = tmp_path / "split.csv"
    split.write_text("sha256,part\n" + "".join(f"{key},validation\n" for key in sorted(rows)[:40]))
    assert exported(capfd, data, tmp_path / "b", "--split", split).code == 0
    assert {
        file.split("/")[2][:16] for file in files_of(tmp_path / "b") if file.startswith("validation/")
    } == set(sorted(rows)[:40])
    assert not list((tmp_path / "b").glob("train"))


def test_a_patient_on_two_sides_of_a_given_split_is_told(data: Path, tmp_path: Path, capfd: Said) -> None:
    rows = read_csv(data)
    rows[0]["side"] = "test"
    ran = exported(capfd, write_csv(data.parent / "odd.csv", rows), tmp_path / "a", "--split-column", "side")
    assert (ran.code, "1 patient is on two sides" in ran.err) == (0, True)


def test_a_tree_is_data_of_every_command_and_keeps_its_parts(data: Path, tmp_path: Path, capfd: Said) -> None:
    exported(capfd, data, tmp_path / "tree")
    columns = Columns(("light",), part="part")
    table = load(tmp_path / "tree" / "labels.csv", columns)
    folders = load(tmp_path / "tree", Columns())
    assert table.has_patients
    assert {(one.path, one.part, one.label) for one in table.samples} == {
        (one.path, one.part, one.label) for one in folders.samples
    }
    ran = inside(
        capfd, "export", tmp_path / "tree", "--to", "png", "--out", tmp_path / "again", "--workers", "1"
    )
    assert ran.code == 0
    assert {file.rpartition("/")[0] for file in files_of(tmp_path / "again")} == {
        file.rpartition("/")[0] for file in files_of(tmp_path / "tree")
    }


def test_the_same_command_does_what_is_missing_and_another_one_is_refused(
    data: Path, tmp_path: Path, capfd: Said
) -> None:
    tree = tmp_path / "tree"
    exported(capfd, data, tree)
    first = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    lost = min(path for path in first if path.suffix == ".png")
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in first if path.suffix == ".png" and path != lost}
    ran = exported(capfd, data, tree, "--json")
    assert (ran.code, ran.json["written"], ran.json["already_there"]) == (0, 1, 47)
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == first
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    for words in (("--size", "32"), ("--split-column", "side")):
        assert "take another folder" in exported(capfd, data, tree, *words).err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    assert "is not empty" in exported(capfd, data, tmp_path / "mine").err
    shutil.copytree(tree, tmp_path / "other")
    (tmp_path / "other" / ".dicomsort-tree.json").write_text("no")
    assert "is damaged" in exported(capfd, data, tmp_path / "other").err


def test_files_that_cannot_be_read_are_told_and_rows_that_repeat_a_picture_are_one(
    data: Path, tmp_path: Path, capfd: Said
) -> None:
    (data.parent / "MEIER-3.png").write_bytes(b"no picture")
    (data.parent / "MEIER-1.png").write_bytes((data.parent / "MEIER-0.png").read_bytes())
    (data.parent / "MEIER-5.png").unlink()
    ran = exported(capfd, data, tmp_path / "tree", "--json")
    assert ran.code == 3
    assert {each["file"] for each in ran.json["unread"]} == {"MEIER-3.png", "MEIER-5.png"}
    assert (ran.json["written"], ran.json["repeated"]) == (45, 1)
    assert len(read_csv(tmp_path / "tree" / "labels.csv")) == len(files_of(tmp_path / "tree")) == 45
    assert sum(sum(counts.values()) for counts in ran.json["parts"].values()) == 45


def test_a_yes_or_no_and_several_labels_become_folders_that_can_be_read(
    data: Path, tmp_path: Path, capfd: Said
) -> None:
    rows = read_csv(data)
    for at, row in enumerate(rows):
        row["metal"], row["parts"] = str(at // 2 % 2), ("hand|finger", "hand")[at // 2 % 2]
    labels = write_csv(data.parent / "more.csv", rows)
    for target, names in (("metal", {"metal", "no_metal"}), ("parts", {"finger+hand", "hand"})):
        words = ("--to", "png", "--target", target, "--out", tmp_path / target, "--workers", "1")
        assert inside(capfd, "export", labels, *words).code == 0
        assert {path.name for path in (tmp_path / target).glob("*/*")} == names
        again = load(tmp_path / target / "labels.csv", Columns((target,)))
        assert {one.label for one in again.samples} == {
            one.label for one in load(labels, Columns((target,))).samples
        }


def test_a_dry_run_counts_and_writes_nothing(data: Path, tmp_path: Path, capfd: Said) -> None:
    ran = exported(capfd, data, tmp_path / "tree", "--dry-run", "--json")
    assert (ran.code, ran.json["written"], (tmp_path / "tree").exists()) == (0, 48, False)
    told = ran.json["parts"]
    exported(capfd, data, tmp_path / "tree")
    assert json.loads(exported(capfd, data, tmp_path / "tree", "--json").out)["parts"] == told


REFUSED = [
    (("--labels", "dark"), "--labels is for outputs"),
    (("--where", "confidence > 0.9"), "--where is for outputs"),
    (("--image", "png16"), "writes 8 bits"),
    (("--split", "0.8/0.1/0.1"), "is no file"),
    (("--split", "labels.csv", "--split-column", "side"), "exclude each other"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_options_of_outputs_are_refused(
    words: tuple[str, ...], message: str, data: Path, tmp_path: Path, capfd: Said
) -> None:
    ran = exported(capfd, data, tmp_path / "tree", *words)
    assert (ran.code, message in ran.err) == (2, True), ran.err
    assert not (tmp_path / "tree").exists()


def test_a_tree_does_not_lie_among_its_sources_and_outputs_are_no_labelled_data(
    tmp_path: Path, capfd: Said
) -> None:
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "x.png").write_bytes(b"x")
    ran = inside(capfd, "export", tmp_path / "data", "--to", "png", "--out", tmp_path / "data" / "tree")
    assert (ran.code, "choose a folder outside" in ran.err) == (2, True)
    (tmp_path / "data" / "manifest.csv").write_text("path\n")
    ran = inside(capfd, "export", tmp_path / "data", "--to", "png", "--out", tmp_path / "tree")
    assert ran.code == 2
    ran = inside(
        capfd, "export", tmp_path / "data", "--to", "imagefolder", "--target", "x", "--out", tmp_path / "t"
    )
    assert (ran.code, "--target is for --to png" in ran.err) == (2, True)


def test_a_folder_that_cannot_be_written_ends_with_5(data: Path, tmp_path: Path, capfd: Said) -> None:
    (tmp_path / "file").write_text("")
    assert exported(capfd, data, tmp_path / "file" / "tree").code == 5


def test_an_image_of_two_classes_is_told(data: Path, tmp_path: Path, capfd: Said) -> None:
    rows = read_csv(data)
    other = {"dark": "bright", "bright": "dark"}[rows[0]["light"]]
    write_csv(data, [*rows, {**rows[0], "light": other}])
    ran = exported(capfd, data, tmp_path / "t")
    assert (ran.code, "1 image has different labels in different rows" in ran.err) == (0, True), ran.err
