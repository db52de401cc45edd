"""What an epoch does: the loss, the schedules, which parameters learn, and when it ends."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.models import group_parameters
from trainings import HEADS, RECIPE, place, prepared_from

from dicomsort.errors import UsageError
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.bundle import compact
from dicomsort.training import pretrained, train
from dicomsort.training.recipe import Recipe
from dicomsort.training.trainer import loss_of, predict, validation_figures


def test_the_loss_is_that_of_pytorch_and_leaves_out_what_nobody_knows() -> None:
    from torch.nn import functional

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 6, generator=generator, requires_grad=True)
    truth = torch.tensor([[1, 0, 0, 1, 0, 1], [0, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, 1]] * 2).float()
    truth[1, :3] = truth[2, 3:5] = truth[3, 5:] = float("nan")
    loss = loss_of(logits, truth, HEADS, 0.1)
    known = [0, 2, 3, 4, 5]
    wanted = functional.cross_entropy(logits[known, :3], truth[known, :3].argmax(1), label_smoothing=0.1)
    for rows, columns in (([0, 1, 3, 4, 5], slice(3, 5)), ([0, 1, 2, 4, 5], slice(5, 6))):
        smooth = truth[rows, columns] * 0.9 + 0.05
        each = functional.binary_cross_entropy_with_logits(logits[rows, columns], smooth, reduction="sum")
        wanted = wanted + each / len(rows)
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad[1, :3] == 0).all()
    assert torch.isfinite(logits.grad).all()
    nobody = torch.full_like(truth, float("nan"))
    assert float(loss_of(logits, nobody, HEADS, 0.1).detach()) == 0


def test_several_heads_learn_together(pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path / "cache", ("light", "level", "metal"))
    assert [head.kind for head in prepared.heads] == ["multiclass", "multilabel", "binary"]
    assert np.isnan(prepared.train.truth).any()
    recipe = replace(RECIPE, epochs=12, patience=0)
    bundle = train.train("m", prepared, recipe, place(tmp_path / "m"))
    assert bundle.outputs == 2 + 2 + 1
    bundle.save(tmp_path / "m")
    again = bundles.load(tmp_path / "m")
    assert again.tag == bundle.tag
    assert len(again.heads[1].thresholds) == 2
    logits = predict(networks.build(again), prepared.train)
    light = bundle.heads[0].chosen(bundle.heads[0].scores(logits[:, :2]))
    assert (light == prepared.train.truth[:, :2].argmax(axis=1)).mean() > 0.9


def test_every_parameter_learns(pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path / "cache")
    before: dict[str, Any] = {}
    original = pretrained.create_for_training

    def begin(*arguments: Any) -> Any:
        network, spec = original(*arguments)
        before.update({name: value.detach().clone() for name, value in network.named_parameters()})
        return network, spec

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "create_for_training", begin)
        bundle = train.train("m", prepared, replace(RECIPE, ema=0.0, epochs=1), place(tmp_path / "m"))
    after = {f"body.{name}": torch.from_numpy(value).float() for name, value in bundle.weights.items()}
    still = [name for name, value in before.items() if torch.allclose(value, after[name], atol=1e-6)]
    assert not still


def test_frozen_stages_keep_weights_and_statistics(pictures: Path, tmp_path: Path) -> None:
    weights = tmp_path / "start.safetensors"
    prepared = prepared_from(pictures, tmp_path / "c")
    start = pretrained.create_for_training(RECIPE.arch, RECIPE.size, 1, None)[0]
    save_file({name: value.clone() for name, value in start.body.state_dict().items()}, weights)
    recipe = replace(RECIPE, pretrained=str(weights), freeze=2, epochs=1)
    bundle = train.train("m", prepared, recipe, place(tmp_path))
    before = compact({name: value.numpy() for name, value in start.body.state_dict().items()})
    same = {
        name
        for name, value in before.items()
        if name in bundle.weights and np.array_equal(bundle.weights[name], value)
    }
    groups = group_parameters(start.body, start.body.group_matcher(coarse=True))
    kept = {name for stage in (0, 1) for name in groups[stage]}
    assert kept <= same
    changed = {name for stage in list(groups)[2:] for name in groups[stage]}
    assert not changed & same
    statistics = {name for name in bundle.weights if name.endswith(("running_mean", "running_var"))}
    assert statistics & same
    assert statistics - same
    with pytest.raises(UsageError, match="this network has"):
        start.freeze(99)


def test_a_network_whose_stages_nobody_tells_can_be_trained_but_not_frozen() -> None:
    network = pretrained.create_for_training("pit_ti_224", 224, 2, None)[0]
    network.freeze(0)
    assert all(value.requires_grad for value in network.parameters())
    with pytest.raises(UsageError, match="timm does not tell the stages"):
        network.freeze(1)


def test_a_loss_that_is_no_number_ends_with_advice(pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path / "cache")
    with pytest.raises(UsageError, match="use a lower --learning-rate"):
        train.train("m", prepared, replace(RECIPE, learning_rate=1e20, epochs=9), place(tmp_path / "m"))


def test_patience_takes_the_best_epoch(pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path / "cache")
    figures = iter([0.5, 0.9, 0.8, 0.7, 0.6])
    states: list[Any] = []
    from dicomsort.training import trainer

    def validate(self: Any) -> dict[str, float]:
        states.append({name: value.clone() for name, value in self._steady().state_dict().items()})
        return {"f1_macro": next(figures), "recall_macro": 0.0}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "_validate", validate)
        recipe = replace(RECIPE, epochs=9, patience=2, adjust=0.0)
        bundle = train.train("m", prepared, recipe, place(tmp_path / "m"))
    assert len(states) == 4
    name = next(name for name in bundle.weights if name.endswith("bias"))
    assert np.array_equal(bundle.weights[name], states[1][f"body.{name}"].numpy())


def test_the_schedules_end_where_they_should() -> None:
    from dicomsort.training import trainer

    network = networks.Network(networks.spec_for("test_resnet"), 2)
    rates: dict[str, list[float]] = {}
    for kind in ("onecycle", "sgdr", "constant"):
        recipe = Recipe(schedule=kind, epochs=7, learning_rate=0.1)
        optimizer = trainer._optimizer(network, recipe)
        schedule = trainer._schedule(optimizer, recipe, steps=10)
        rates[kind] = []
        for _ in range(70):
            rates[kind].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    assert max(rates["onecycle"]) == pytest.approx(0.1, rel=1e-3)
    assert rates["onecycle"][-1] < 1e-3
    assert [index for index, rate in enumerate(rates["sgdr"]) if rate == pytest.approx(0.1)] == [0, 10, 30]
    assert set(rates["constant"]) == {0.1}


def test_validation_figures_are_means_over_heads() -> None:
    truth = np.array([[1, 0, 0, 1, 0, 1], [0, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, np.nan]], np.float32)
    logits = np.where(np.nan_to_num(truth) > 0, 5.0, -5.0).astype(np.float32)
    assert validation_figures(logits, truth, HEADS) == {"f1_macro": 1.0, "recall_macro": 1.0, "accuracy": 1.0}
    logits[:, 5] = 5.0
    assert validation_figures(logits, truth, HEADS)["accuracy"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert 0.6 < validation_figures(logits, truth, HEADS)["f1_macro"] < 0.9


@pytest.mark.parametrize("kind", ["onecycle", "sgdr", "constant"])
def test_a_training_may_have_any_number_of_steps(kind: str) -> None:
    from dicomsort.training import trainer

    network = networks.Network(networks.spec_for("test_resnet"), 2)
    for steps in range(1, 25):
        recipe = Recipe(schedule=kind, epochs=1, learning_rate=0.1)
        optimizer = trainer._optimizer(network, recipe)
        schedule = trainer._schedule(optimizer, recipe, steps)
        for _ in range(steps):
            assert 0 <= optimizer.param_groups[0]["lr"] <= 0.1 + 1e-9
            optimizer.step()
            schedule.step()
