"""The folder of a training: nobody else's file is replaced, and one training writes there at a time."""

import shutil
from pathlib import Path

import pytest
from program import inside
from trainings import SMALL, table

from dicomsort.errors import ExitCode


def test_nothing_of_somebody_else_is_replaced(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("my project")
    labels = tmp_path / "labels.csv"
    shutil.copy(pictures, labels)
    cases: list[tuple[list[str | Path], str]] = [
        (["--out", mine, "--resume"], "holds other things than a training"),
        (["--out", tmp_path / "m", "--folds", "2", "--audit", labels], "give a new file"),
        (
            ["--out", tmp_path / "m", "--folds", "2", "--audit", tmp_path / "m" / "predictions.csv"],
            "give a new",
        ),
        (["--out", tmp_path / "cache"], "would put the pictures into the model"),
        (["--out", tmp_path / "m", "--folds", "patient"], "would name people"),
    ]
    for words, message in cases:
        ran = inside(capfd, "train", labels, "--target", "light", *SMALL, "--epochs", "1", *words)
        assert ran.code == ExitCode.USAGE, ran.err
        assert message in ran.err
    assert (mine / "README.md").read_text() == "my project"
    assert labels.read_bytes() == pictures.read_bytes()


def test_a_failed_training_does_not_block_the_next(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path / "data", 24)
    (tmp_path / "data" / "0.png").unlink()
    words = ("train", data, "--target", "light", "--out", tmp_path / "m", *SMALL, "--epochs", "1")
    split = tmp_path / "split.csv"
    split.write_text("sha256,part\n")
    ran = inside(capfd, *words, "--split", split)
    assert ran.code == ExitCode.USAGE
    assert "has no readable image in the train part" in ran.err
    assert inside(capfd, *words).code == ExitCode.SOME_FAILED


def test_two_trainings_do_not_write_into_one_folder(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from dicomsort.training.run_folder import alone

    out = tmp_path / "m"
    out.mkdir()
    words = ("train", pictures, "--target", "light", "--out", out, *SMALL, "--epochs", "1")
    with alone(out):
        ran = inside(capfd, *words)
    assert ran.code == ExitCode.USAGE
    assert "another training is writing into" in ran.err
    assert inside(capfd, *words).code == 0
