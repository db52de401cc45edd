"""Rare labels: a parent is answered in their place, in decisions, truth and figures alike."""

import json
import shutil
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from dicomsort.data.targets import encode, truth_text
from dicomsort.errors import ModelError
from dicomsort.evaluation.predictions import predictions_of
from dicomsort.evaluation.thresholds import fitted_head, right
from dicomsort.model import bundle as bundles
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head, decide

LABELS = ("arm", "finger", "hand", "nail")
OLD = ("name", "labels", "temperature", "review_below", "kind", "thresholds")
OLD_NETWORK = ("timm", "options", "mean", "std")
TREE = {"nail": "finger", "finger": "hand"}


def head(kind: str, rare: tuple[str, ...] = ("finger", "nail"), **changes: Any) -> Head:
    return Head("part", LABELS, kind=kind, parents=TREE, rare=rare, **changes)


def test_the_nearest_ancestor_that_is_not_rare_is_answered() -> None:
    assert head("multilabel").merged == {"finger": "hand", "nail": "hand"}
    assert head("multilabel", ("nail",)).merged == {"nail": "finger"}
    assert head("multilabel", ()).merged == {}
    assert head("multilabel", ("arm", "hand")).merged == {}, "there is nothing above them"
    assert head("multilabel", ("finger", "hand", "nail")).merged == {}, "what is above is rare, too"
    assert replace(head("multilabel"), parents={}).merged == {}
    assert head("multilabel").answering.labels == ("arm", "hand")


def test_of_several_labels_the_greater_score_counts_and_the_rare_one_stays_in_its_column() -> None:
    several = head("multilabel", thresholds=(0.5, 0.5, 0.4, 0.5))
    scores = several.scores(np.array([[-3, 1, -1, -2], [-3, -3, 1, -3], [-3, -3, -3, -3]], np.float32))
    plain = replace(several, rare=()).scores(np.array([[-3, 1, -1, -2]], np.float32))[0]
    assert scores[0] == pytest.approx([plain[0], plain[1], plain[1], plain[3]])
    decisions = [decide(row, several) for row in scores]
    assert [one.label for one in decisions] == ["hand", "hand", ""]
    assert decisions[0].confidence == pytest.approx(1 - (1 - plain[1]) / (2 * 0.6))
    assert decide(plain[None][0], replace(several, rare=())).label == "finger"


def test_of_one_label_the_scores_add_up_for_they_exclude_each_other() -> None:
    single = head("multiclass")
    logits = np.log(np.array([[0.4, 0.25, 0.2, 0.15], [0.1, 0.7, 0.1, 0.1]], np.float32))
    scores = single.scores(logits)
    assert scores[:, 2] == pytest.approx([0.6, 0.9])
    assert scores[:, [1, 3]] == pytest.approx(np.array([[0.25, 0.15], [0.7, 0.1]]))
    assert [decide(row, single).label for row in scores] == ["hand", "hand"]
    assert single.confidence(scores) == pytest.approx([0.6, 0.9])
    assert decide(replace(single, rare=()).scores(logits)[0], replace(single, rare=())).label == "arm"


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_the_truth_is_mapped_as_the_answer_is(kind: str) -> None:
    asked = head(kind, thresholds=(0.5,) * 4 if kind == "multilabel" else ())
    truth = np.stack([encode(cell, asked) for cell in ("finger", "hand", "arm", "nail")])
    scores = np.array([[0.1, 0.0, 0.9, 0.0]] * 3 + [[0.8, 0.0, 0.2, 0.0]], np.float32)
    assert right(asked, scores, truth).tolist() == [True, True, False, False]
    found = predictions_of(asked, truth, scores)
    assert found.labels == ("arm", "hand")
    assert found.scores == pytest.approx(scores[:, [0, 2]].astype(float))
    wanted = [1, 1, 0, 1] if kind == "multiclass" else [[0, 1], [0, 1], [1, 0], [0, 1]]
    assert found.truth.astype(int).tolist() == wanted
    chosen = [1, 1, 1, 0] if kind == "multiclass" else [[0, 1], [0, 1], [0, 1], [1, 0]]
    assert found.chosen.astype(int).tolist() == chosen
    assert truth_text("nail", asked) == "hand"
    assert truth_text("", asked) == ""


def test_thresholds_are_fitted_to_what_is_answered() -> None:
    generator = np.random.default_rng(0)
    fingers = generator.random(200) < 0.5
    logits = np.full((200, 4), -4, np.float32)
    logits[fingers, 1] = 2
    truth = np.zeros((200, 4), np.float32)
    truth[fingers, 1] = 1
    fitted = fitted_head(head("multilabel"), logits, truth)
    assert right(fitted, fitted.scores(logits), truth).all()
    assert 0.02 < fitted.thresholds[2] < 0.9, "it is the hand's that finds the fingers"


WRONG: list[dict[str, Any]] = [
    {"parents": {"a": "nobody"}},
    {"parents": {"a": "b", "b": "c", "c": "a"}},
    {"parents": {"a": "a"}},
    {"parents": ["a"]},
    {"parents": {"a": ["b"]}},
    {"rare": ["nobody"]},
    {"rare": 3},
    {"parents": {"a": "c", "b": "c"}, "rare": ["a", "b"]},
    {"kind": "binary", "labels": ["a", "b"], "parents": {"a": "b"}},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_an_impossible_tree_is_refused(change: dict[str, Any], small_model: Path, tmp_path: Path) -> None:
    shutil.copytree(small_model, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    config["heads"][0].update({"labels": ["a", "b", "c"], **change})
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="damaged"):
        bundles.load(tmp_path / "model")


def test_a_tree_is_kept_in_the_bundle_and_none_leaves_it_as_it_was(
    small_bundle: Bundle, tmp_path: Path
) -> None:
    planted = replace(small_bundle.head, parents={"spine": "others"}, rare=("spine",))
    changed = replace(small_bundle, head=planted)
    changed.save(tmp_path / "model")
    assert bundles.load(tmp_path / "model").head == planted
    assert bundles.load(tmp_path / "model").digest == changed.digest != small_bundle.digest
    small_bundle.save(tmp_path / "plain")
    assert not {"parents", "rare"} & set(
        json.loads((tmp_path / "plain" / "config.json").read_text())["heads"][0]
    )


def test_a_model_without_a_tree_keeps_its_digest(small_bundle: Bundle) -> None:
    """As version 0.2.0 computed it, which knew no trees."""
    head = {name: value for name, value in asdict(small_bundle.head).items() if name in OLD}
    network = {name: value for name, value in asdict(small_bundle.network).items() if name in OLD_NETWORK}
    parts = [network, asdict(small_bundle.preprocessing), head]
    parts += [{"reject": asdict(small_bundle.reject)}] if small_bundle.reject else []
    described = json.dumps(parts, sort_keys=True).encode()
    assert small_bundle.digest == sha256(save(dict(small_bundle.weights)) + described).hexdigest()
