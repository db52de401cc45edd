"""Figures of one part: the part that a training has, and a column of parts as ever."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import write_csv
from PIL import Image
from program import inside
from trainings import SMALL, read_csv, table

from dicomsort.data.parts import PartOptions, options_of
from dicomsort.errors import UsageError
from dicomsort.model import bundle as bundles

Said = pytest.CaptureFixture[str]
STATS = ("--target", "light", "--size", "32", "--workers", "1", "--json")


def stats(capfd: Said, data: Path, *words: str | Path) -> Any:
    ran = inside(capfd, "stats", data, *STATS, *words)
    assert ran.code == 0, ran.err
    return ran.json


def parts_of(path: Path) -> Path:
    """A table whose rows also say their part: of the train part alone the pictures are much brighter."""
    rows = read_csv(path)
    for at, row in enumerate(rows):
        row["part"] = ("train", "Test", "val")[at // 2 % 3]
        level = {"train": 240, "Test": 20, "val": 100}[row["part"]]
        Image.fromarray(np.full((32, 32), level + at % 2, np.uint8)).save(path.parent / row["file"])
    return write_csv(path, rows)


def test_mean_and_deviation_of_the_train_part_are_those_that_a_training_takes(
    tmp_path: Path, capfd: Said
) -> None:
    data = table(tmp_path / "data", 40, patient=[f"p{at // 2}" for at in range(40)])
    words = ("--target", "light", *SMALL, "--epochs", "1", "--normalise", "data", "--seed", "3")
    assert inside(capfd, "train", data, *words, "--out", tmp_path / "m").code == 0
    trained = bundles.load(tmp_path / "m")
    found = stats(capfd, data, "--part", "train", "--seed", "3")
    assert found["files"] == found["parts"]["train"] == trained.training["images"]["train"] < 40
    assert round(found["canvas"]["mean"], 4) == trained.network.mean
    assert found["canvas"]["deviation"] == pytest.approx(trained.network.std, abs=1e-4)
    held = stats(capfd, data, "--part", "test", "--split", tmp_path / "m" / "split.csv")
    assert held["parts"] == {"test": trained.training["images"]["test"]}
    every = stats(capfd, data, "--split", tmp_path / "m" / "split.csv")
    assert every["parts"] == trained.training["images"]


def test_a_part_that_the_data_tell_is_counted_alone(tmp_path: Path, capfd: Said) -> None:
    data = parts_of(table(tmp_path / "data", 24))
    found = stats(capfd, data, "--split-column", "part", "--part", "train")
    assert (found["files"], found["parts"]) == (8, {"train": 8})
    assert found["canvas"]["mean"] == pytest.approx(240.5 / 255)
    for row in read_csv(data):
        place = tmp_path / "tree" / row["part"].lower() / row["light"] / row["file"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((data.parent / row["file"]).read_bytes())
    words = ("--size", "32", "--workers", "1", "--json", "--part", "valid")
    folders = inside(capfd, "stats", tmp_path / "tree", *words)
    assert folders.json["parts"] == {"validation": 8}
    assert folders.json["canvas"]["mean"] == pytest.approx(100.5 / 255)
    assert "these are the 8 files of the validation part, as the data say" in folders.err


def test_part_names_a_column_as_ever(tmp_path: Path, capfd: Said) -> None:
    data = parts_of(table(tmp_path / "data", 24))
    wanted = {"train": 8, "validation": 8, "test": 8}
    assert stats(capfd, data, "--part", "part")["parts"] == wanted
    assert stats(capfd, data, "--split-column", "part")["parts"] == wanted
    rows = [
        {("train" if name == "part" else name): cell for name, cell in row.items()} for row in read_csv(data)
    ]
    odd = write_csv(data.parent / "odd.csv", rows)
    assert stats(capfd, odd, "--part", "train")["parts"] == wanted
    assert stats(capfd, odd, "--part", "train", "--split-column", "train")["parts"] == {"train": 8}


def test_what_is_neither_a_part_nor_a_column_is_refused(tmp_path: Path, capfd: Said) -> None:
    data = table(tmp_path / "data", 4)
    ran = inside(capfd, "stats", data, *STATS, "--part", "trian")
    assert (ran.code, "has no column 'trian'" in ran.err) == (2, True)
    assert options_of(data, None, None, None, 0) == PartOptions()
    with pytest.raises(UsageError, match="exclude each other"):
        options_of(data, None, "part", Path("split.csv"), 0)
    with pytest.raises(UsageError, match="'trian' is none: use train, validation or test"):
        options_of(data, "trian", "part", None, 0)
    (tmp_path / "split.csv").write_text("sha256,part\n")
    ran = inside(capfd, "stats", data, *STATS, "--part", "train", "--split", tmp_path / "split.csv")
    assert (ran.code, "no file is in the train part" in ran.err) == (2, True)


def test_a_class_too_rare_for_a_part_is_refused_by_what_this_command_takes(
    tmp_path: Path, capfd: Said
) -> None:
    data = table(tmp_path / "data", 24)
    rows = read_csv(data)
    write_csv(data, [{**rows[0], "light": "odd"}, *rows[1:]])
    ran = inside(capfd, "stats", data, *STATS, "--part", "train")
    assert (ran.code, "class 'odd' in every part: give a --split" in ran.err) == (2, True), ran.err
    assert "--rare" not in ran.err
