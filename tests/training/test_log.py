"""What a training writes down: log.jsonl, curves and TensorBoard's events, with figures on validation."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from trainings import RECIPE, place, prepared_from

from dicomsort.model import networks
from dicomsort.training import train
from dicomsort.training.log import BOARD, CURVES, TrainingLog
from dicomsort.training.run_folder import CHECKPOINT, LOG
from dicomsort.training.trainer import Epoch, Trainer, predict

EPOCH = Epoch(2, 0.5, 0.8, 0.7, 1e-3, 3.0, 0.6, 0.9)
OLD = Epoch(1, 0.7, 0.6, 0.5, 1e-3, 3.0)
"""As a checkpoint has it that was written before loss and accuracy on validation were measured."""


class Writer:
    """Takes TensorBoard's place and keeps what it is told."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.told: dict[tuple[str, int], float] = {}
        WRITERS.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert isinstance(value, float)
        self.told[name, step] = value

    def close(self) -> None:
        self.folder = ""


WRITERS: list[Writer] = []


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> list[Writer]:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    WRITERS.clear()
    return WRITERS


def test_every_figure_goes_into_the_log_and_to_tensorboard(tmp_path: Path, board: list[Writer]) -> None:
    with TrainingLog(tmp_path, None) as log:
        log(OLD)
        log(EPOCH)
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text(encoding="utf-8").splitlines()]
    assert lines[1] == {
        "number": 2, "loss": 0.5, "f1_macro": 0.8, "recall_macro": 0.7, "learning_rate": 1e-3, "seconds": 3.0,
        "validation_loss": 0.6, "accuracy": 0.9,
    }  # fmt: skip
    assert lines[0]["validation_loss"] is None
    (writer,) = board
    assert not (tmp_path / BOARD).exists()
    of_old = {name for name, step in writer.told if step == 1}
    assert of_old == {"loss", "f1_macro", "recall_macro", "learning_rate", "seconds"}
    assert {name for name, step in writer.told if step == 2} == {*of_old, "validation_loss", "accuracy"}


def test_the_curves_show_the_loss_on_validation_beside_that_of_training(tmp_path: Path) -> None:
    def drawn(*epochs: Epoch) -> np.ndarray:
        with TrainingLog(tmp_path, None) as log:
            for epoch in epochs:
                log(epoch)
        with Image.open(tmp_path / CURVES) as picture:
            return np.asarray(picture.convert("RGB")).astype(int)

    first = replace(EPOCH, number=1)
    flat, rising = drawn(first, EPOCH), drawn(first, replace(EPOCH, validation_loss=0.61))
    changed = np.abs(flat - rising).sum(axis=(0, 2)).nonzero()[0]
    third = flat.shape[1] / 3
    assert len(changed)
    assert changed.max() < third  # the left one of three panels
    better = np.abs(flat - drawn(first, replace(EPOCH, accuracy=0.95))).sum(axis=(0, 2)).nonzero()[0]
    assert third < better.min() < better.max() < 2 * third
    assert drawn(OLD, EPOCH).shape == flat.shape


def test_loss_and_accuracy_are_those_of_the_validation_part(pictures: Path, tmp_path: Path) -> None:
    """Cross entropy and argmax of the network after the last epoch, computed with PyTorch's own functions."""
    prepared = prepared_from(pictures, tmp_path / "cache")
    recipe = replace(RECIPE, epochs=2, label_smoothing=0.1)
    torch.manual_seed(0)
    network = networks.Network(networks.spec_for(recipe.arch, 32), 2)
    trainer = Trainer(network, prepared, recipe, place(tmp_path / "m"))
    *_, last = trainer.epochs(None)
    logits = torch.from_numpy(predict(trainer.best(), prepared.validation))
    truth = torch.from_numpy(prepared.validation.truth).argmax(dim=1)
    wanted = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(logits, truth)
    assert last.validation_loss == pytest.approx(float(wanted), rel=0.02)  # (validated in bfloat16, or not)
    assert last.accuracy == pytest.approx(float((logits.argmax(dim=1) == truth).float().mean()))


def test_a_checkpoint_from_before_these_figures_is_gone_on_with(pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path / "cache")
    whole = train.train("m", prepared, RECIPE, place(tmp_path / "whole"))

    class KilledError(Exception):
        pass

    def kill(epoch: Epoch) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        train.train("m", prepared, RECIPE, place(tmp_path / "cut"), kill)
    path = tmp_path / "cut" / CHECKPOINT
    state = torch.load(path, weights_only=True)
    for name in ("validation_loss", "accuracy"):
        del state["history"][0][name]
    torch.save(state, path)
    seen: list[Epoch] = []
    assert train.train("m", prepared, RECIPE, place(tmp_path / "cut", True), seen.append).tag == whole.tag
    assert [epoch.accuracy is None for epoch in seen] == [True, False, False]
