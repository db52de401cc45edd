"""A tree of folders as a data set: a project keeps more beside its parts than data."""

from collections import Counter
from pathlib import Path

import pytest
from program import inside
from trainings import draw

from dicomsort.data.dataset import Columns, load
from dicomsort.errors import UsageError


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


REGISTRY = ("images/a.dcm", "models/m/w.h5", "plots/roc.png", "probs/p.csv", "plots/deep/er/x.png")


def test_the_parts_of_a_project_are_read_and_its_other_folders_named_and_left_alone(tmp_path: Path) -> None:
    write(tmp_path, *REGISTRY, "notes.txt", "train/hip/1", "train/knee/2", "validation/hip/3", "test/knee/4")
    found = load(tmp_path, Columns())
    assert {sample.name: (sample.label, sample.part) for sample in found.samples} == {
        "train/hip/1": ("hip", "train"),
        "train/knee/2": ("knee", "train"),
        "validation/hip/3": ("hip", "validation"),
        "test/knee/4": ("knee", "test"),
    }
    assert found.remarks == ("left alone beside the parts: images, models, plots, probs",)


@pytest.mark.parametrize("odd", ["vali", "training", "Tests", "validate"])
def test_a_part_that_is_misspelled_is_never_left_alone(odd: str, tmp_path: Path) -> None:
    write(tmp_path, "train/hip/1", "validation/hip/2", "test/knee/3", f"{odd}/hip/4")
    with pytest.raises(UsageError, match=f"but '{odd}' is none"):
        load(tmp_path, Columns())


def test_a_class_that_is_called_test_does_not_swallow_the_others(tmp_path: Path) -> None:
    write(tmp_path, "hip/1", "knee/2", "test/a/3")
    with pytest.raises(UsageError, match="but 'hip' is none"):
        load(tmp_path, Columns())


def test_the_tree_of_a_project_is_counted_part_by_part(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *REGISTRY)
    for number, place in enumerate(("train/hip", "train/knee", "train/hip", "validation/hip", "test/knee")):
        draw(tmp_path / place / f"{number}.png", 100, number)
    ran = inside(capfd, "stats", tmp_path, "--json", "--size", "32", "--workers", "1")
    assert ran.code == 0, ran.err
    assert "left alone beside the parts: images, models, plots, probs" in ran.err
    assert Counter(ran.json["parts"]) == {"train": 3, "validation": 1, "test": 1}
    assert ran.json["targets"]["label"]["labels"]["hip"]["parts"] == {"train": 2, "validation": 1}
