"""From labelled pictures to a bundle: where it starts, what teaches, and what is left at the end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from program import inside
from trainings import RECIPE, SMALL, place, prepared_from, table

from dicomsort.data.dataset import Sample
from dicomsort.errors import ExitCode, UsageError
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.heads import Head
from dicomsort.training import finish, pretrained, probe, teacher, train
from dicomsort.training.trainer import predict


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
    finish.adjust_logits(network, replace(prepared, train=images), balance=0.5, share=1.0)
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


def test_a_probe_knows_the_classes_before_anything_else_is_trained(pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path / "c")
    torch.manual_seed(0)
    network = networks.Network(networks.spec_for("test_resnet"), 2)
    probe.fit(network, prepared.train, prepared.heads, RECIPE, torch.float32)
    said = predict(network, prepared.validation).argmax(axis=1)
    assert (said == prepared.validation.truth.argmax(axis=1)).all()  # bright and dark: any features tell that


def test_the_mean_with_the_start_lies_between_both(pictures: Path, tmp_path: Path) -> None:
    prepared = prepared_from(pictures, tmp_path / "c")
    base = train.train("m", prepared, RECIPE, place(tmp_path / "m"))
    base.save(tmp_path / "m")
    start = replace(RECIPE, pretrained=str(tmp_path / "m" / bundles.WEIGHTS), seed=1, adjust=0.0)
    names = [name for name in base.weights if "conv" in name]
    whole, half, none = (
        train.train("m", prepared, replace(start, interpolate=share), place(tmp_path / f"i{share}")).weights
        for share in (1.0, 0.5, 0.0)
    )
    for name in names:
        middle = (whole[name].astype(np.float32) + none[name]) / 2
        assert np.allclose(half[name], middle, atol=1e-3)
        assert np.allclose(none[name], base.weights[name], atol=1e-3)
    assert any(not np.allclose(whole[name], none[name], atol=1e-3) for name in names)


def test_a_teacher_is_learnt_from_in_part_and_only_by_the_first_target(tmp_path: Path) -> None:
    scores = tmp_path / "t.csv"
    scores.write_text("file,score_a,score_b\nx.png,0.25,0.75\n")
    head, path = Head("part", ("a", "b")), tmp_path / "x.png"
    truth = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    samples = [Sample(str(path), name, ("a",), "p", name) for name in ("x.png", "y.png")]
    found = teacher.taught(samples, truth, teacher.read(scores, head), 0.4)
    assert found.tolist() == pytest.approx(np.array([[0.7, 0.3, 1], [0, 1, 0]]))
    with pytest.raises(UsageError, match="no scores for any image"):
        teacher.taught(samples[1:], truth[1:], teacher.read(scores, head), 0.4)
    for text, message in (
        ("file,score_a\nx.png,1\n", "no column 'score_b'"),
        ("file,score_a,score_b\nx.png,1,x\n", "no number"),
        ("file,score_a,score_b\nx.png,1,1\n", "no probabilities"),
        ("file,score_a,score_b\nx.png,nan,1\n", "no probabilities"),
    ):
        scores.write_text(text)
        with pytest.raises(UsageError, match=message):
            teacher.read(scores, head)
    with pytest.raises(UsageError, match="several labels"):
        teacher.read(scores, Head("parts", ("a", "b"), kind="multilabel"))


def test_a_model_that_tells_turned_pictures_is_trained_from_upright_ones(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data", 32)
    lessons = tmp_path / "lessons.csv"
    lessons.write_text(
        "file,score_bright,score_dark\n" + "".join(f"{n}.png,{1 - n % 2},{n % 2}\n" for n in range(32))
    )
    words = (
        *("--target", "light", "--epochs", "2", "--turned", "0.5", "--further", "0.5"),
        *("--teacher", lessons, "--teaching", "0.3", *SMALL),
    )
    ran = inside(capfd, "train", data, *words, "--out", tmp_path / "m", "--json")
    assert ran.code == 0, ran.err
    bundle = bundles.load(tmp_path / "m")
    assert [(head.name, head.labels) for head in bundle.further] == [("rotation", ("0", "90", "180", "270"))]
    assert (bundle.training["recipe"]["turned"], bundle.training["recipe"]["teacher"]) == (0.5, "lessons.csv")
    again = inside(capfd, "train", data, *words, "--out", tmp_path / "m", "--resume")
    assert "holds the finished model already" in again.err
    taken = inside(capfd, "train", data, *words, "--target", "Rotation", "--out", tmp_path / "n")
    assert (taken.code, "a head 'rotation' of its own" in taken.err) == (ExitCode.USAGE, True)
    folds = inside(capfd, "train", data, *words, "--folds", "2", "--out", tmp_path / "f", "--json")
    assert folds.code == 0, folds.err
    assert "rotation.label" in (tmp_path / "f" / "predictions.csv").read_text().splitlines()[0]
