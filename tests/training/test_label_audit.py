"""Labels that several models contradict."""

import numpy as np

from dicomsort.data.dataset import Sample
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head
from dicomsort.training.cross_validation import FoldResult
from dicomsort.training.label_audit import doubts


def doubtful(kind: str, cells: list[str], scores: list[list[float]]) -> list[tuple[str, str, str]]:
    samples = [Sample(f"{n}", f"{n}", (cell,), f"{n}", f"{n:016}") for n, cell in enumerate(cells)]
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
