"""The folder of a training: nobody else's file is replaced, and one training writes there at a time."""

import shutil
from pathlib import Path

import pytest
from program import inside
from trainings import SMALL, table

from dicomsort.data.cache import NAME, forget_empty
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


REFUSED = [
    (["--target", "nothing"], "has no column 'nothing'"),
    (["--target", "light", "--device", "cuda:77"], "--device"),
    (["--target", "light", "--hold-out", "patient=nobody"], "no file has that value"),
    (["--target", "light", "--folds", "99"], "--folds 99"),
    (["--target", "light", "--folds", "99", "--audit", "deep/er/doubts.csv"], "--folds 99"),
    (["--target", "light", "--cache", "m/pictures"], "would put the pictures into the model"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_a_refused_training_leaves_nothing_behind(
    words: list[str],
    message: str,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither folders, also those above --out, nor a lock, nor a cache without pictures."""
    monkeypatch.chdir(tmp_path)
    words = ["train", str(pictures), "--out", "runs/m" if "--cache" not in words else "m", *SMALL, *words]
    ran = inside(capfd, *words)
    assert ran.code == ExitCode.USAGE, ran.err
    assert message in ran.err
    assert not list(tmp_path.iterdir())


def test_what_was_there_before_a_refused_training_stays(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    empty, full, store = tmp_path / "empty", tmp_path / "full", tmp_path / "store"
    for folder in (empty, full / "within", store):
        folder.mkdir(parents=True)
    words = ("train", pictures, "--target", "nothing", "--cache", store, *SMALL, "--out")
    for out in (empty, full):
        assert inside(capfd, *words, out).code == ExitCode.USAGE
    assert sorted(tmp_path.rglob("*")) == [empty, full, full / "within", store, store / NAME]


def test_a_cache_with_pictures_is_kept_whatever_is_refused(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = inside(
        capfd, "train", pictures, "--target", "light", *SMALL, "--teacher", pictures, "--out", tmp_path / "m"
    )
    assert "has no column 'score_bright'" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    forget_empty(tmp_path / "cache")
    assert (tmp_path / "cache" / NAME).exists()


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
