"""Training: what goes in, what comes out, and that a kill costs one epoch at most."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TESTS, Ran, command, inside
from PIL import Image
from safetensors.torch import save_file
from timm.models import group_parameters

from dicomsort.data import dataset, splits
from dicomsort.data.cache import NAME as CACHE
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import Columns, Sample
from dicomsort.data.targets import heads_of
from dicomsort.errors import ExitCode, ModelError, TargetError, UsageError
from dicomsort.imaging.canvas import Preprocessing, beside
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle, compact
from dicomsort.model.devices import choose_device
from dicomsort.model.heads import Head
from dicomsort.system.worker_pool import PoolSettings
from dicomsort.training import finish, pretrained, train
from dicomsort.training.augment import Augmentation
from dicomsort.training.checkpoint import Checkpoint
from dicomsort.training.cross_validation import FoldResult
from dicomsort.training.distributed import ProcessGroup
from dicomsort.training.label_audit import doubts
from dicomsort.training.loader import AugmentedImages, sampling_weights
from dicomsort.training.recipe import RECIPES, Recipe, make_recipe
from dicomsort.training.run_folder import CHECKPOINT
from dicomsort.training.trainer import Epoch, Prepared, RunContext, loss_of, predict, validation_figures

SMALL = ("--arch", "test_resnet", "--size", "32", "--batch-size", "8", "--augment", "light", "--workers", "1")
LEVELS = {"dark": 50, "bright": 200}


def draw(path: Path, level: int, seed: int) -> None:
    gray = np.clip(np.random.default_rng(seed).normal(level, 20, (40, 48)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(gray).save(path)


def table(folder: Path, count: int = 24, **columns: Sequence[str]) -> Path:
    """Draw bright and dark pictures in turn; extra columns repeat their values."""
    rows = []
    for number in range(count):
        label = ("bright", "dark")[number % 2]
        draw(folder / f"{number}.png", LEVELS[label], number)
        extra = {name: values[number % len(values)] for name, values in columns.items()}
        rows.append({"file": f"{number}.png", "light": label, **extra})
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    columns = {
        "patient": [f"p{n // 2}" for n in range(24)], "site": ["x", "x", "y", "y", "z", "z"],
        "level": ["10|200", "10", "200"], "metal": ["0", "0", "1", "", "1"],
    }  # fmt: skip
    return table(folder, 24, **columns)


def prepared_from(data: Path, cache: Path, targets: tuple[str, ...] = ("light",), size: int = 32) -> Prepared:
    preprocessing = Preprocessing(size=size)
    store = Cache(cache, preprocessing)
    found = dataset.load(data, Columns(targets), store.hash_of)
    heads = heads_of(found.samples, targets)
    unread = store.fill(found.samples, PoolSettings(1, 30))
    return train.prepare(found.samples, heads, splits.make_split(found.samples, heads), store, unread)


def place(folder: Path, resume: bool = False) -> RunContext:
    folder.mkdir(parents=True, exist_ok=True)
    return RunContext(folder, ProcessGroup(0, 1, choose_device("cpu")), PoolSettings(1, 30), resume)


RECIPE = Recipe(arch="test_resnet", size=32, epochs=3, batch_size=8, learning_rate=3e-3, augment="light")


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


def test_pictures_are_read_once(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared_from(pictures, tmp_path)
    (pictures.parent / "none").touch()

    def fail(*_: object) -> Any:
        raise AssertionError

    monkeypatch.setattr("dicomsort.data.cache.read_all", lambda *_: iter(()))
    monkeypatch.setattr("dicomsort.data.cache.content_hash", fail)
    again = prepared_from(pictures, tmp_path)
    assert again.train.keys == first.train.keys
    assert torch.equal(next(again.train.batches()), next(first.train.batches()))
    other = Cache(tmp_path, Preprocessing(size=48))
    with pytest.raises(KeyError):
        other.pixels(first.train.keys[0])
    (tmp_path / CACHE).write_bytes(b"no database, but long enough to be taken for one" * 100)
    with pytest.raises(TargetError, match="remove it, or give another --cache"):
        Cache(tmp_path, Preprocessing(size=32))


def test_what_the_cache_holds_is_what_is_read(pictures: Path, tmp_path: Path) -> None:
    from dicomsort.dicom.reader import read_any

    prepared = prepared_from(pictures, tmp_path)
    of_key = {sample.sha256: sample for sample in prepared.samples}
    for index, key in enumerate(prepared.validation.keys):
        reading = read_any(str(of_key[key].path), Preprocessing(size=32))
        assert np.array_equal(prepared.validation.pixels(index).numpy(), reading.image)  # type: ignore[union-attr]


HEADS = (
    Head("part", ("a", "b", "c")),
    Head("parts", ("x", "y"), kind="multilabel"),
    Head("metal", ("no_metal", "metal"), kind="binary"),
)


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

    def create_for_training(*arguments: Any) -> Any:
        network, spec = original(*arguments)
        before.update({name: value.detach().clone() for name, value in network.named_parameters()})
        return network, spec

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "create_for_training", create_for_training)
        bundle = train.train("m", prepared, replace(RECIPE, ema=0.0, epochs=1), place(tmp_path / "m"))
    after = {f"body.{name}": torch.from_numpy(value).float() for name, value in bundle.weights.items()}
    still = [name for name, value in before.items() if torch.allclose(value, after[name], atol=1e-6)]
    assert not still


def test_a_training_can_start_from_another_bundle(pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path / "c")
    first = train.train("m", prepared, replace(RECIPE, epochs=1), place(tmp_path / "m"))
    first.save(tmp_path / "m")
    weights = str(tmp_path / "m" / bundles.WEIGHTS)
    network, _ = pretrained.create_for_training(RECIPE.arch, RECIPE.size, 1, weights)
    started = networks.weights_of(network)
    classifier = network.body.pretrained_cfg["classifier"]
    for name, value in first.weights.items():
        if not name.startswith(("reject.", classifier)):
            assert np.allclose(started[name], value, atol=1e-6), name


def test_only_images_with_the_same_labels_stand_side_by_side(pictures: Path, tmp_path: Path) -> None:
    images = prepared_from(pictures, tmp_path / "c").train
    paired = AugmentedImages(images, range(len(images)), Augmentation.parse("none,pair=1"), seed=0)
    alone = AugmentedImages(images, range(len(images)), Augmentation.parse("none"), seed=0)
    for at in range(len(images)):
        (both, known), (one, _) = paired[at], alone[at]
        assert both.shape == one.shape
        assert not torch.equal(both, one)
        gray = float(both[both > 0].float().mean())
        assert gray == pytest.approx(LEVELS["bright" if known[0] else "dark"], abs=25)
    again = AugmentedImages(images, range(len(images)), Augmentation.parse("none,pair=1"), seed=0)
    assert all(torch.equal(paired[at][0], again[at][0]) for at in range(len(images)))


def test_auxiliary_columns_teach_and_are_gone_at_the_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data", 32, site=["p|q", "q", "", "p"], level=["1", "0"])
    words = ("--target", "light", "--auxiliary", "site", "--auxiliary", "level", "--epochs", "2", *SMALL)
    ran = inside(capfd, "train", data, *words, "--out", tmp_path / "m", "--json")
    assert ran.code == 0, ran.err
    bundle = bundles.load(tmp_path / "m")
    assert [head.name for head in bundle.heads] == ["light"]
    assert bundle.training["recipe"]["auxiliary"] == ["site", "level"]
    assert networks.build(bundle).body.get_classifier().weight.shape[0] == 2
    alone = inside(
        capfd, "train", data, "--target", "light", "--epochs", "2", *SMALL, "--out", tmp_path / "n"
    )
    assert alone.code == 0
    stem = min(name for name in bundle.weights if "conv" in name)
    assert not np.array_equal(bundle.weights[stem], bundles.load(tmp_path / "n").weights[stem])
    again = inside(capfd, "train", data, *words, "--out", tmp_path / "m", "--resume")
    assert again.code == 0, again.err
    assert "holds the finished model already" in again.err
    ran = inside(capfd, "train", data, "--target", "light", "--auxiliary", "light", "--out", tmp_path / "o")
    assert (ran.code, "is a target already" in ran.err) == (ExitCode.USAGE, True)


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
        recipe = replace(RECIPE, epochs=9, patience=2, adjust=False)
        bundle = train.train("m", prepared, recipe, place(tmp_path / "m"))
    assert len(states) == 4
    name = next(name for name in bundle.weights if name.endswith("bias"))
    assert np.array_equal(bundle.weights[name], states[1][f"body.{name}"].numpy())


def test_recipes_of_papers_and_what_is_given_beside_them() -> None:
    recipe = make_recipe("imaging-router", {"epochs": 3, "size": None})
    assert (recipe.size, recipe.epochs, recipe.schedule) == (512, 3, "sgdr")
    assert make_recipe("unifesp", {}).normalise == "unit"
    assert make_recipe("registry", {}).normalise == "data"
    assert make_recipe(None, {}).learning_rate == 1e-4
    for name in RECIPES:
        make_recipe(name, {})
    for given, message in (({"optimizer": "sgd"}, "--optimizer 'sgd' is unknown"),
                           ({"ema": 1.0}, "--ema must lie")):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            make_recipe(None, given)
    with pytest.raises(UsageError, match="--recipe 'vindr' is unknown"):
        make_recipe("vindr", {})


@pytest.mark.parametrize(("normalise", "mean", "std"), [("unit", 0.0, 1.0), ("data", None, None)])
def test_grays_are_normalised_as_asked(
    normalise: str, mean: float | None, std: float | None, pictures: Path, tmp_path: Path
) -> None:
    prepared = prepared_from(pictures, tmp_path / "cache")
    bundle = train.train("m", prepared, replace(RECIPE, normalise=normalise, epochs=1), place(tmp_path / "m"))
    if mean is None:
        pixels = torch.cat(list(prepared.train.batches())).numpy() / 255
        mean, std = pixels.mean(), pixels.std()
    assert (bundle.network.mean, bundle.network.std) == pytest.approx((mean, std), abs=1e-4)


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


def test_sampling_weights_lift_rare_classes_and_sources() -> None:
    labels = ["a"] * 100 + ["b"] * 25
    sources = ["big"] * 80 + ["small"] * 20 + ["big"] * 25
    for balance, shares in ((0.0, (80, 20, 25)), (1.0, (0.5, 0.5, 1.0)), (0.5, (80**0.5, 20**0.5, None))):
        weights = np.array(sampling_weights(labels, sources, balance))
        sums = [weights[:80].sum(), weights[80:100].sum(), weights[100:].sum()]
        assert sums[0] / sums[1] == pytest.approx(shares[0] / shares[1])
        assert (sums[0] + sums[1]) / sums[2] == pytest.approx((100 / 25) ** (1 - balance))


def test_classes_count_alike_after_training(pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path, ("light", "metal"))
    truth = np.zeros((100, 3), np.float32)
    truth[:90, 0] = truth[90:, 1] = 1
    truth[95:, 2] = 1  # the rare thing lies among the rare class, which is drawn more often
    strata = ("dark",) * 90 + ("bright",) * 10
    images = replace(prepared.train, truth=truth, strata=strata, sources=("",) * 100, keys=("",) * 100)
    network = networks.Network(networks.spec_for("test_resnet"), 3)
    drawn = 0.25 / 2  # half of the rare class, which is drawn in proportion to the root of its size
    with torch.no_grad():
        network.body.get_classifier().bias[:] = torch.log(torch.tensor([0.75, 0.25, drawn / (1 - drawn)]))
    finish.adjust_logits(network, replace(prepared, train=images), balance=0.5)
    first, second, third = network.body.get_classifier().bias.tolist()
    assert first == pytest.approx(second, abs=1e-6)
    assert third == pytest.approx(np.log(0.05 / 0.95), abs=1e-5)


def test_validation_figures_are_means_over_heads() -> None:
    truth = np.array([[1, 0, 0, 1, 0, 1], [0, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, np.nan]], np.float32)
    logits = np.where(np.nan_to_num(truth) > 0, 5.0, -5.0).astype(np.float32)
    assert validation_figures(logits, truth, HEADS) == {"f1_macro": 1.0, "recall_macro": 1.0}
    logits[:, 5] = 5.0
    assert 0.6 < validation_figures(logits, truth, HEADS)["f1_macro"] < 0.9


def test_views_of_a_study_lie_side_by_side() -> None:
    preprocessing = Preprocessing(size=64)
    one, two = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    one[:, 16:48], two[16:48, :] = 100, 200  # a tall picture and a wide one
    both = beside([one, two], preprocessing)
    assert both.shape == (64, 64)
    filled = np.flatnonzero((both > 0).any(axis=1))
    assert len(filled) == pytest.approx(64 * 32 / 80, abs=1)  # 32 x 16 and 32 x 64 pixels beside each other
    middle = both[32]
    assert (middle[2:11] == 100).all()
    assert (middle[15:62] == 200).all()


def doubtful(kind: str, cells: list[str], scores: list[list[float]]) -> list[tuple[str, str, str]]:
    samples = [Sample(Path(f"{n}"), f"{n}", (cell,), f"{n}", f"{n:016}") for n, cell in enumerate(cells)]
    labels = {"binary": ("no_x", "x"), "multilabel": ("a", "b"), "multiclass": ("a", "b", "c")}[kind]
    head = Head("x", labels, kind=kind)
    bundle = Bundle("m", networks.spec_for("test_resnet"), Preprocessing(), head, {})
    half = len(cells) // 2
    rounds = [
        FoldResult(f"fold-{at}", bundle, tuple(samples[part]), np.array(scores[part], np.float32))
        for at, part in enumerate((slice(0, half), slice(half, None)))
    ]
    return [(doubt.sample.name, doubt.given, doubt.suggested) for doubt in doubts(rounds)]


def test_confident_contradictions_are_doubts_and_unsure_ones_are_not() -> None:
    cells = ["a", "a", "a", "b", "b", "b", "c", "c", "a", "b"]
    scores = [
        [0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.02, 0.95, 0.03], [0.1, 0.8, 0.1], [0.1, 0.9, 0.0],
        [0.85, 0.1, 0.05], [0.1, 0.1, 0.8], [0.1, 0.0, 0.9], [0.35, 0.4, 0.25], [0.0, 1.0, 0.0],
    ]  # fmt: skip
    assert doubtful("multiclass", cells, scores) == [("2", "a", "b"), ("5", "b", "a")]
    yes = [[0.1, 0.9], [0.2, 0.8], [0.97, 0.03], [0.9, 0.1], [0.8, 0.2], [0.05, 0.95]]
    assert doubtful("binary", ["1", "1", "1", "0", "0", "0"], yes) == [("2", "x", "no_x"), ("5", "no_x", "x")]
    several = [[0.9, 0.9], [0.9, 0.1], [0.1, 0.9], [0.9, 0.02], [0.05, 0.9], [0.9, 0.9]]
    assert doubtful("multilabel", ["a|b", "a", "b", "a|b", "b", "a|b"], several) == [("3", "b", "not b")]


# What follows goes through the command line.


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def width_of(path: Path) -> int:
    with Image.open(path) as image:
        return int(image.size[0])


def test_train_leaves_a_log_curves_and_the_unreadable(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data")
    (tmp_path / "data" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    (tmp_path / "data" / "4.png").unlink()
    words = ("train", data, "--target", "light", "--out", tmp_path / "m", *SMALL, "--epochs", "2")
    ran = inside(capfd, *words, "--json")
    assert ran.code == ExitCode.SOME_FAILED, ran.err
    names = {path.name for path in (tmp_path / "m").iterdir()} - {"tensorboard"}
    bundle = {"model.safetensors", "config.json", "split.csv", "README.md"}
    assert names == bundle | {"log.jsonl", "curves.png", "unreadable.csv"}
    log = [json.loads(line) for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]
    assert [line["number"] for line in log] == [1, 2]
    assert {"loss", "f1_macro", "learning_rate", "seconds"} <= set(log[0])
    assert width_of(tmp_path / "m" / "curves.png") > 500
    unread = {row["file"]: row["status"] for row in read_csv(tmp_path / "m" / "unreadable.csv")}
    assert unread["4.png"] == "io_error"
    assert str(tmp_path) not in (tmp_path / "m" / "config.json").read_text()
    again = inside(capfd, *words)
    assert again.code == ExitCode.USAGE
    assert "not an empty folder" in again.err
    before = (tmp_path / "m" / "model.safetensors").stat().st_mtime_ns
    again = inside(capfd, *words, "--resume", "--json")
    assert again.code == ExitCode.SOME_FAILED
    assert "holds the finished model already" in again.err
    assert again.json["model"] == ran.json["model"]
    assert (tmp_path / "m" / "model.safetensors").stat().st_mtime_ns == before
    again = inside(capfd, *words, "--resume", "--seed", "5")
    assert again.code == ExitCode.USAGE
    assert "holds a finished model of other data or settings" in again.err


def test_folds_and_audit(pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "data"
    shutil.copytree(pictures.parent, wrong)
    rows = read_csv(wrong / "labels.csv")
    rows[5]["light"] = "bright"  # it is dark
    with (wrong / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    out, audit = tmp_path / "m", tmp_path / "doubts.csv"
    words: list[str | Path] = [
        "train", wrong / "labels.csv", "--target", "light", "--out", out, *SMALL, "--epochs", "6",
        "--learning-rate", "0.003", "--folds", "3", "--audit", audit, "--json",
    ]  # fmt: skip
    ran = inside(capfd, *words)
    assert ran.code == 0, ran.err
    accuracy = ran.json["figures"]["light"]["accuracy"]
    assert len(accuracy["values"]) == 3
    assert accuracy["mean"] == pytest.approx(np.mean(accuracy["values"]))
    assert accuracy["deviation"] == pytest.approx(np.std(accuracy["values"], ddof=1))
    predictions = read_csv(out / "predictions.csv")
    assert len(predictions) == len({row["file"] for row in predictions}) == 24
    assert {row["fold"] for row in predictions} == {"fold-1", "fold-2", "fold-3"}
    right = np.mean([row["truth"] == row["label"] for row in predictions])
    assert ran.json["pooled"]["light"]["overall"]["accuracy"]["value"] == pytest.approx(right)
    assert ran.json["pooled"]["light"]["clusters"] == 12
    assert read_csv(audit)[0]["file"] == "5.png"
    assert width_of(audit.with_suffix(".png")) > 100
    for fold in (out / "fold-1", out / "fold-3"):
        assert bundles.load(fold).head.labels == ("bright", "dark")
    shutil.rmtree(out / "fold-3")
    before = (out / "fold-1" / "config.json").stat().st_mtime_ns
    again = inside(capfd, *words, "--resume")
    assert again.json["figures"] == ran.json["figures"]
    assert (out / "fold-1" / "config.json").stat().st_mtime_ns == before


WRONG = [
    (["--target", "nothing"], ExitCode.USAGE, "has no column 'nothing'"),
    (["--target", "light", "--balance", "nothing"], ExitCode.USAGE, "has no column 'nothing'"),
    (["--target", "site", "--hold-out", "site=q"], ExitCode.USAGE, "no file has that value"),
    (["--target", "light", "--hold-out", "site"], ExitCode.USAGE, "write COLUMN=VALUE"),
    (["--target", "light", "--folds", "99"], ExitCode.USAGE, "--folds 99"),
    (
        ["--target", "light", "--folds", "3", "--split-column", "site"],
        ExitCode.USAGE,
        "makes splits of its own",
    ),
    (["--target", "light", "--audit", "x.csv"], ExitCode.USAGE, "--audit needs"),
    (["--target", "light", "--folds", "3", "--audit", "x.png"], ExitCode.USAGE, "ends in .csv"),
    (["--target", "light", "--arch", "levit_128s"], ExitCode.USAGE, "one plain layer"),
    (["--target", "light", "--split-column", "site"], ExitCode.USAGE, "is not train, validation or test"),
    (["--target", "light", "--augment", "wild"], ExitCode.USAGE, "'wild' is unknown"),
    (["--target", "light", "--schedule", "linear"], ExitCode.USAGE, "--schedule 'linear' is unknown"),
    (["--target", "light", "--recipe", "vindr"], ExitCode.USAGE, "--recipe 'vindr' is unknown"),
    (["--target", "light", "--arch", "vgg99"], ExitCode.USAGE, "no network 'vgg99'"),
    (["--target", "light", "--pretrained", "x.safetensors"], ExitCode.USAGE, "cannot be read"),
    (["--target", "light", "--freeze", "2"], ExitCode.USAGE, "--freeze keeps weights that are there already"),
    (["--target", "light", "--corrections", "x.csv"], ExitCode.USAGE, "corrections 'x.csv' cannot be read"),
    (["--target", "light", "--folds", "x.csv"], ExitCode.USAGE, "--folds 'x.csv' cannot be read"),
    (["--target", "light", "--precision", "int8"], ExitCode.USAGE, "--precision 'int8' is unknown"),
    (["--target", "light", "--smooth", "box"], ExitCode.USAGE, "'box' is unknown"),
    (["--target", "light", "--device", "cuda:77"], ExitCode.USAGE, "--device"),
    (["--target", "light", "--arch", "test_vit", "--size", "33"], ExitCode.USAGE, "33 pixels"),
]


@pytest.mark.parametrize(("words", "code", "message"), WRONG, ids=[" ".join(words) for words, _, _ in WRONG])
def test_wrong_input_gets_one_clear_line(
    words: list[str],
    code: ExitCode,
    message: str,
    pictures: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    base = dict(zip(SMALL[::2], SMALL[1::2], strict=True)) | dict(zip(words[::2], words[1::2], strict=True))
    flat = [word for pair in base.items() for word in pair]
    cache = pictures.parent.parent / "shared-cache"
    ran = inside(capfd, "train", pictures, "--out", tmp_path / "m", "--cache", cache, "--quiet", *flat)
    assert ran.code == code, ran.err
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1 or "usage" in ran.err.lower()


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


@pytest.mark.slow
def test_two_processes_train_one_network(pictures: Path, tmp_path: Path) -> None:
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
        "dicomsort", "train", str(pictures), "--target", "light", "--out", str(tmp_path / "m"), *SMALL,
        "--epochs", "6", "--learning-rate", "0.003", "--device", "cpu", "--json",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told = Ran(0, done.stdout, done.stderr).json
    assert told["last_epoch"]["number"] == 6
    assert done.stderr.count("epoch 6:") == 1
    assert bundles.load(tmp_path / "m").tag == told["model"]


PAPERS = {
    # millions of parameters with 1000 classes and three colors, as the papers give them
    "mobilenet_v1": 4.2, "mobilenet_v2": 3.5, "resnet18": 11.7, "resnet34": 21.8, "resnet101": 44.5,
    "efficientnet_b0": 5.3, "efficientnet_b1": 7.8, "efficientnet_b2": 9.2, "xception": 22.9,
    "vit_small": 22.1, "vit_base": 86.6, "convnext_tiny": 28.6,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.ALIASES)
def test_every_network_is_the_one_it_is_named_after(name: str) -> None:
    import timm

    spec = networks.spec_for(name)
    network = timm.create_model(spec.timm, **spec.options)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions == pytest.approx(PAPERS[name], abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.ALIASES)
def test_every_network_trains_and_sorts_an_archive(name: str, tmp_path: Path) -> None:
    """One epoch on the radiographs of the committed archive, which have a label."""
    with (TESTS / "expected.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] and row["file"].startswith("archive/")]
    for row in rows:
        shutil.copy(TESTS / row["file"], tmp_path / row["file"].replace("/", "_"))
    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "chest"])
        for row in rows:
            writer.writerow([row["file"].replace("/", "_"), int("chest" in row["label"])])
    model = tmp_path / "m"
    size = "64" if name != "vit_base" else "32"
    ran = command(
        "train", labels, "--target", "chest", "--arch", name, "--size", size, "--epochs", "1", "--batch-size",
        "8", "--out", model, "--json", "--quiet",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    out = tmp_path / "sorted"
    ran = command("classify", TESTS / "archive", "--out", out, "--model", model, "--json")
    assert ran.code == 0, ran.err
    assert set(ran.json["labels"]) <= {"chest", "no_chest"}
    assert sum(ran.json["labels"].values()) > 30
    network = networks.Network(bundles.load(model).network, 1).train()
    loss = network(torch.randint(0, 255, (2, int(size), int(size)), dtype=torch.uint8)).sum()
    loss.backward()
    assert all(value.grad is not None for value in network.parameters())


def test_weights_from_the_hub_without_a_network_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    original: Any = timm.create_model

    def refuse(*words: object, **options: Any) -> Any:
        if options.get("pretrained"):
            raise OSError("no route to host")
        return original(*words, **options)

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UsageError, match="cannot be fetched; without a network connection"):
        pretrained.create_for_training("resnet18", 64, 2, "hub")


def test_a_model_of_whole_studies_is_measured_on_whole_studies(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data", 48, study=[f"s{n // 4}-{n % 2}" for n in range(48)])
    words = ("--target", "light", "--out", tmp_path / "m", *SMALL, "--epochs", "1", "--concat-by", "study")
    ran = inside(capfd, "train", data, *words, "--json")
    assert ran.code == 0, ran.err
    assert sum(ran.json["images"].values()) == 24
    options = ("--target", "light", "--model", tmp_path / "m", "--part", "all", "--json")
    ran = inside(capfd, "eval", data, *options, "--bootstrap", "50")
    assert ran.json["images"] == 24
    places = ("--out", tmp_path / "o", "--model", tmp_path / "m", "--dry-run")
    ran = inside(capfd, "classify", TESTS / "archive" / "2020", *places)
    assert ran.code == 0
    assert "warning: m@" in ran.err


def test_a_model_of_several_heads_answers_in_columns_of_its_own(
    pictures: Path, tmp_path: Path, write_dicom: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    targets = ("--target", "level", "--target", "light", "--target", "metal")
    words = (*targets, "--out", tmp_path / "m", *SMALL, "--epochs", "8", "--learning-rate", "0.003")
    assert inside(capfd, "train", pictures, *words).code == 0
    for number in range(3):
        write_dicom(tmp_path / "in" / f"{number}.dcm", (np.eye(40, 30) * 900 + number).astype(np.uint16))
    options = ("--out", tmp_path / "out", "--model", tmp_path / "m", "--review-below", "0")
    assert inside(capfd, "classify", tmp_path / "in", *options).code == 0
    rows = read_csv(tmp_path / "out" / "manifest.csv")
    for row in rows:
        chosen = {label for label in ("10", "200") if float(row[f"score_{label}"]) >= 0}
        assert set(row["label"].split("|")) - {""} <= chosen
        folder = row["label"].replace("|", "+") if row["status"] == "sorted" else "review"
        assert row["destination"].split("/")[0] == folder
        assert (tmp_path / "out" / row["destination"]).exists()
        assert row["light.label"] in ("bright", "dark")
        scores = [float(row[f"light.score_{label}"]) for label in ("bright", "dark")]
        assert sum(scores) == pytest.approx(1, abs=1e-5)
        assert float(row["light.confidence"]) == pytest.approx(max(scores))
        assert float(row["metal.score_metal"]) + float(row["metal.score_no_metal"]) == pytest.approx(
            1, abs=1e-5
        )
        assert row["metal.label"] in ("metal", "no_metal")
    ran = inside(capfd, "classify", tmp_path / "in", *options, "--json")
    assert ran.json["already_done"] == 3
    ran = inside(capfd, "eval", pictures, *targets, "--model", tmp_path / "m", "--part", "all", "--json")
    assert set(ran.json["heads"]) == {"level", "light", "metal"}
    assert ran.json["heads"]["metal"]["images"] < ran.json["heads"]["light"]["images"] == 24


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


@pytest.mark.parametrize("name", ["mobilenet_v1", "efficientnet_b0", "test_resnet"])
def test_batch_norms_over_several_gpus_keep_their_activations(name: str) -> None:
    from dicomsort.training.distributed import synchronised

    network = networks.Network(networks.spec_for(name), 3).eval()
    images = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = network(images)
    kinds = {type(module).__name__ for module in synchronised(network).modules()}
    assert any("SyncBatchNorm" in kind for kind in kinds)
    assert not any(kind.startswith("BatchNorm") for kind in kinds)
    assert torch.allclose(network(images), before)


def test_a_fold_without_truth_has_no_figures_and_shifts_no_others() -> None:
    heads = (Head("light", ("a", "b")), Head("metal", ("no_metal", "metal"), kind="binary"))
    bundle = Bundle("m", networks.spec_for("test_resnet"), Preprocessing(), heads[0], {}, further=heads[1:])
    scores = np.array([[0.9, 0.1, 0.2, 0.8], [0.2, 0.8, 0.7, 0.3]], np.float32)
    rounds = []
    for fold, cells in (
        ("x", (("a", "1"), ("b", "0"))),
        ("y", (("a", ""), ("b", ""))),
        ("z", (("b", "0"), ("b", "0"))),
    ):
        samples = tuple(
            Sample(Path(f"{fold}{n}"), f"{fold}{n}", cell, f"{fold}{n}", f"{fold}{n:015}")
            for n, cell in enumerate(cells)
        )
        rounds.append(FoldResult(fold, bundle, samples, scores))
    from dicomsort.training.cross_validation import summarize

    summary = summarize(rounds, 10, 0)
    told = json.loads(json.dumps(summary.as_dict(), allow_nan=False))
    assert told["figures"]["metal"]["accuracy"]["values"] == [1.0, None, 0.5]
    assert told["figures"]["metal"]["accuracy"]["mean"] == 0.75
    assert told["figures"]["light"]["accuracy"]["values"] == [1.0, 1.0, 0.5]
    assert told["pooled"]["metal"]["images"] == 4


def test_a_label_of_every_image_breaks_nothing(pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path / "cache", ("level",))
    truth = prepared.train.truth.copy()
    truth[:, 0] = 1
    prepared = replace(prepared, train=replace(prepared.train, truth=truth))
    bundle = train.train("m", prepared, replace(RECIPE, epochs=1), place(tmp_path / "m"))
    assert all(np.isfinite(value).all() for value in bundle.weights.values())


def test_folds_of_any_name_have_folders_of_their_own() -> None:
    from dicomsort.training.cross_validation import _folder_name

    names = ["北京", "上海", "a b", "a_b", "fold-1", "x" * 90, "x" * 91, ".."]
    folders = [_folder_name(name) for name in names]
    assert len(set(folders)) == len(names)
    assert folders[3:5] == ["a_b", "fold-1"]
    for folder in folders:
        bundles.check_name(folder)


def test_a_class_whose_only_file_of_a_part_is_broken_is_split_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = read_csv(table(tmp_path / "data", 24))
    kept = [row for row in rows if row["light"] == "bright" or int(row["file"].partition(".")[0]) < 8]
    data = tmp_path / "data" / "few.csv"
    data.write_text("\n".join(["file,light", *(f"{row['file']},{row['light']}" for row in kept)]) + "\n")
    unread = []
    for number in (1, 3, 5, 7):  # the four dark ones
        path = tmp_path / "data" / f"{number}.png"
        whole = path.read_bytes()
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([number]))
        out = tmp_path / str(number)
        ran = inside(capfd, "train", data, "--target", "light", "--out", out, *SMALL, "--epochs", "1")
        assert ran.code in (0, ExitCode.SOME_FAILED), ran.err
        if ran.code:  # it is not in the test part, which is not read
            unread.append(number)
            assert [row["file"] for row in read_csv(out / "unreadable.csv")] == [f"{number}.png"]
        path.write_bytes(whole)
    assert len(unread) >= 2


def test_the_same_image_with_two_labels_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path / "data", 24)
    shutil.copy(tmp_path / "data" / "0.png", tmp_path / "data" / "1.png")
    ran = inside(capfd, "train", data, "--target", "light", "--out", tmp_path / "m", *SMALL, "--epochs", "1")
    assert "warning: 1 images occur more than once and with different labels" in ran.err
    assert f"dicomsort eval {data} --target light --model" in ran.err


LEAKS = [
    ("light,patient,patient", ["has two columns 'patient'"], []),
    ("light,PatientID,n", ["no column 'patient', but 'PatientID' looks like it"], ["--patient", "PatientID"]),
    ("light, patient,n", ["say --patient patient, or --patient none"], ["--patient", "patient"]),
    ("light,Subject ID,n", ["say --patient 'Subject ID', or"], ["--patient", "Subject ID"]),
]


@pytest.mark.parametrize(("head", "messages", "words"), LEAKS, ids=[head for head, _, _ in LEAKS])
def test_no_patient_is_on_two_sides_for_want_of_a_name(
    head: str, messages: list[str], words: list[str], pictures: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(pictures.parent, tmp_path / "data")
    data = tmp_path / "data" / "labels.csv"
    lines = [f"{n}.png,{('bright', 'dark')[n % 2]},p{n // 2},{n}" for n in range(24)]
    data.write_text("\n".join([f"file,{head}", *lines]) + "\n", encoding="utf-8")
    commands: list[tuple[list[str], list[str | Path]]] = [
        (["train"], ["--out", tmp_path / "m", *SMALL, "--epochs", "1"]), (["stats"], []), (["eval"], []),
        (["preview"], ["--out", tmp_path / "x.png"]), (["calibrate", "router5"], ["--out", tmp_path / "c"]),
    ]  # fmt: skip
    for begin, rest in commands:
        ran = inside(capfd, *begin, data, "--target", "light", *rest)
        assert (ran.code, len(ran.err.splitlines())) == (ExitCode.USAGE, 1), ran.err
        assert all(message in ran.err for message in messages)
    if words:
        out = tmp_path / "n"
        ran = inside(capfd, "train", data, "--target", "light", "--out", out, *SMALL, "--epochs", "1", *words)
        assert ran.code == 0, ran.err
        assert "warning" not in ran.err
        assert f" --patient {shlex.quote(words[1])} --model" in ran.err
        parts = {row["sha256"]: row["part"] for row in read_csv(out / "split.csv")}
        hashes = [dataset.content_hash(tmp_path / "data" / f"{n}.png") for n in range(24)]
        assert all(parts[hashes[n]] == parts[hashes[n + 1]] for n in range(0, 24, 2))


def test_unknown_patients_are_told_unless_the_split_is_given(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data", 24, part=["train"] * 8 + ["val"] * 4 + ["test"] * 4)
    words = ("train", data, "--target", "light", *SMALL, "--epochs", "1", "--quiet")
    cases: list[tuple[list[str], int]] = [
        ([], 1), (["--folds", "2"], 1), (["--patient", "none"], 0), (["--split-column", "part"], 0),
    ]  # fmt: skip
    for at, (more, lines) in enumerate(cases):
        ran = inside(capfd, *words, "--out", tmp_path / str(at), *more)
        assert ran.code == 0, ran.err
        assert ran.err.count("no patient is known") == len(ran.err.splitlines()) == lines


def test_a_column_of_patients_makes_no_folds(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--folds", "site", "--patient", "site")
    ran = inside(capfd, "train", pictures, "--target", "light", "--out", tmp_path / "m", *SMALL, *words)
    assert ran.code == ExitCode.USAGE
    assert "--folds site would name people" in ran.err


def test_pictures_that_are_nearly_black_are_told_once_each_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data", 24, patient=[f"p{n // 2}" for n in range(24)])
    for n in range(24):
        gray = np.random.default_rng(n).integers(0, 4096, (40, 48)).astype(np.uint16)
        gray[0, :2] = 0, 4095
        Image.fromarray(gray).save(tmp_path / "data" / f"{n}.png")
    wanted = (
        r"warning: (\d+) files are 16-bit pictures that use less than a quarter of their range, such as \d+."
        r"png \(values from 0 to 4095 of 65535\): they are read nearly black; stretch them to 0..65535"
    )
    words = (data, "--target", "light", "--quiet")
    train_words = ("train", *words, *SMALL, "--epochs", "1", "--cache", tmp_path / "cache")
    model = ("--model", tmp_path / "1", "--part", "all", "--bootstrap", "0")
    for run, files in (
        ((*train_words, "--out", tmp_path / "1"), 20),
        ((*train_words, "--out", tmp_path / "2"), 20),
        (("eval", *words, *model, *model[:2]), 24),
        (("stats", *words), 24),
        (("preview", *words, "--out", tmp_path / "x.png", "--images", "5"), 5),
        (("calibrate", tmp_path / "1", *words, "--part", "all", "--target-precision", "0.1"), 24),
    ):
        ran = inside(capfd, *run)
        assert ran.code == 0, ran.err
        told = re.findall(wanted, ran.err)
        assert len(told) == 1, ran.err
        if files == 20:  # the test part is not read
            assert 14 <= int(told[0]) <= 20
        else:
            assert int(told[0]) == files


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


def test_a_damaged_cache_ends_with_5_and_advice(pictures: Path, tmp_path: Path) -> None:
    import sqlite3

    prepared_from(pictures, tmp_path)
    with sqlite3.connect(tmp_path / CACHE) as connection:
        connection.execute("UPDATE pixels SET image = substr(image, 1, 10)")
    connection.close()
    prepared = prepared_from(pictures, tmp_path)
    with pytest.raises(TargetError, match="a picture is cut short"):
        prepared.train.pixels(0)
    assert (tmp_path / CACHE).stat().st_mode & 0o077 == 0


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
