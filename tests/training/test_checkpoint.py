"""Checkpoints: a kill costs one epoch at most, and what is damaged or another's is refused."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from program import command, inside
from trainings import RECIPE, SMALL, place, prepared_from

from dicomsort.errors import ExitCode, ModelError, UsageError
from dicomsort.training import finish, train
from dicomsort.training.checkpoint import Checkpoint
from dicomsort.training.run_folder import CHECKPOINT
from dicomsort.training.trainer import Epoch


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": "sgdr", "optimizer": "adam", "ema": 0.0, "clip": 1.0},
        {"schedule": "constant", "patience": 1, "balance": 0.0},
    ],
    ids=["one-cycle", "restarts", "patience"],
)
def test_an_interrupted_training_ends_as_one_that_was_not(
    changes: dict[str, Any], pictures: Path, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, **changes)
    prepared = prepared_from(pictures, tmp_path / "cache")
    whole = train.train("m", prepared, recipe, place(tmp_path / "whole"))

    class KilledError(Exception):
        pass

    def kill(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise KilledError

    with pytest.raises(KilledError):
        train.train("m", prepared, recipe, place(tmp_path / "cut"), kill)
    assert (tmp_path / "cut" / CHECKPOINT).exists()
    seen: list[int] = []
    again = train.train("m", prepared, recipe, place(tmp_path / "cut", True), lambda e: seen.append(e.number))
    assert again.tag == whole.tag
    assert seen[:2] == [1, 2]
    finish.save(again, tmp_path / "cut")
    assert not (tmp_path / "cut" / CHECKPOINT).exists()


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / CHECKPOINT, "one")
    assert checkpoint.load() is None
    checkpoint.save({"weights": torch.ones(2), "history": [{"number": 1}]})
    state = checkpoint.load()
    assert state is not None
    assert state["weights"].tolist() == [1, 1]
    with pytest.raises(UsageError, match="of other data or settings"):
        Checkpoint(checkpoint.path, "two").load()
    data = checkpoint.path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"nonsense"):
        checkpoint.path.write_bytes(damaged)
        with pytest.raises(ModelError, match="is damaged; remove it"):
            checkpoint.load()


def test_a_checkpoint_can_hold_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"fingerprint": "one", "x": Evil()}, tmp_path / CHECKPOINT)
    with pytest.raises(ModelError, match="damaged"):
        Checkpoint(tmp_path / CHECKPOINT, "one").load()
    assert not (tmp_path / "owned").exists()


def test_a_corrupt_checkpoint_ends_with_6(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m"
    out.mkdir()
    (out / CHECKPOINT).write_bytes(b"half a chec")
    words = ("train", pictures, "--target", "light", "--out", out, *SMALL, "--epochs", "1", "--resume")
    ran = inside(capfd, *words)
    assert ran.code == ExitCode.MODEL
    assert "is damaged; remove it" in ran.err


@pytest.mark.slow
def test_a_killed_training_goes_on(pictures: Path, tmp_path: Path) -> None:
    words = ["train", str(pictures), "--target", "light", *SMALL, "--epochs", "40", "--seed", "3"]
    whole = command(*words, "--out", tmp_path / "whole" / "m", "--json", "--quiet")
    out = tmp_path / "cut" / "m"
    running = subprocess.Popen([sys.executable, "-m", "dicomsort", *words, "--out", str(out)])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (out / CHECKPOINT).exists():
        time.sleep(0.01)
    time.sleep(0.3)
    running.send_signal(signal.SIGKILL)
    running.wait()
    again = command(*words, "--out", out, "--resume", "--json", "--quiet")
    assert again.code == 0, again.err
    assert again.json["model"] == whole.json["model"]


@pytest.mark.parametrize("change", ["history", "best", "network", "optimizer"])
def test_a_checkpoint_with_parts_missing_is_damaged(change: str, pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path / "cache")
    train.train("m", prepared, replace(RECIPE, epochs=1), place(tmp_path / "m"))
    path = tmp_path / "m" / CHECKPOINT
    state = torch.load(path, weights_only=True)
    state[change] = {"x": 1} if change != "history" else [{"x": 1}]
    torch.save(state, path)
    with pytest.raises(ModelError, match="is damaged; remove it"):
        train.train("m", prepared, replace(RECIPE, epochs=1), place(tmp_path / "m", True))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_ends_after_its_step(
    number: int, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    from dicomsort.training import trainer

    steps = []
    original = trainer.Trainer._step

    def step(self: Any, *batch: Any) -> float:
        steps.append(1)
        if len(steps) == 5:
            signal.raise_signal(number)
        return original(self, *batch)

    monkeypatch.setattr(trainer.Trainer, "_step", step)
    words = ("train", pictures, "--target", "light", "--out", tmp_path / "m", *SMALL, "--epochs", "50")
    ran = inside(capfd, *words)
    assert ran.code == ExitCode.INTERRUPTED
    assert "--resume goes on" in ran.err
    assert len(steps) == 5
    assert (tmp_path / "m" / CHECKPOINT).exists()
