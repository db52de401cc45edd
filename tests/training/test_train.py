"""From labelled pictures to a bundle: where it starts, what teaches, and what is left at the end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from program import inside
from trainings import RECIPE, SMALL, place, prepared_from, table

from dicomsort.errors import ExitCode
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.training import finish, pretrained, train


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


def test_a_label_of_every_image_breaks_nothing(pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path / "cache", ("level",))
    truth = prepared.train.truth.copy()
    truth[:, 0] = 1
    prepared = replace(prepared, train=replace(prepared.train, truth=truth))
    bundle = train.train("m", prepared, replace(RECIPE, epochs=1), place(tmp_path / "m"))
    assert all(np.isfinite(value).all() for value in bundle.weights.values())
