"""What a network's outputs mean: heads, labels, thresholds, decision."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.outcome import Facts, Reason

REVIEW = "review"
"""Folder and status of what a person should look at; no label may have this name."""

_RESERVED = frozenset({REVIEW, "manifest.csv", "manifest.csv.part", "run.json", "run.json.part"})

Floats = NDArray[np.float32] | NDArray[np.float64]

_COLDEST = 1e-4  # temperature

_HEAD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,63}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


KINDS = ("multiclass", "multilabel", "binary")


@dataclass(frozen=True, slots=True)
class Head:
    """One question that a network answers, and what its logits mean.

    kind: `multiclass`, one label of several, whose scores add up to 1 (softmax); `multilabel`, any number of
    them, each with a score of its own (sigmoid); `binary`, the first label or the second, by the sigmoid of
    one logit, which is the score of the second.
    temperature: logits are divided by it (Guo et al. 2017, On Calibration of Modern Neural Networks).
    review_below: confidence 0..1 under which a person should look. thresholds: of multilabel one score per
    label from which it counts, of binary that of the second label; empty means 0.5.
    """

    name: str
    labels: tuple[str, ...]
    temperature: float = 1.0
    review_below: float = 0.0
    kind: str = "multiclass"
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"head '{self.name}' is of unknown kind '{self.kind}'")
        if not _HEAD.fullmatch(self.name):
            raise ValueError(
                f"'{self.name[:99]!a}' cannot be a target: use at most 64 letters, digits, '_-. '"
            )
        if len({label.casefold() for label in self.labels}) < max(2, len(self.labels)):
            raise ValueError(
                f"head '{self.name}' needs at least two labels, each once (a and A count as one): "
                f"{', '.join(self.labels[:9])}"
            )
        if self.kind == "binary" and len(self.labels) != 2:
            raise ValueError(f"head '{self.name}' is binary and needs exactly two labels")
        for label in self.labels:
            check_label(label)
        if not _COLDEST <= self.temperature <= 1 / _COLDEST or not 0 <= self.review_below <= 1:
            raise ValueError(f"head '{self.name}' has an impossible temperature or review threshold")
        wanted = {"multiclass": 0, "binary": 1, "multilabel": len(self.labels)}[self.kind]
        if len(self.thresholds) not in (0, wanted) or not all(0 < each < 1 for each in self.thresholds):
            raise ValueError(f"head '{self.name}' needs {wanted} thresholds between 0 and 1, or none")

    @property
    def width(self) -> int:
        """How many logits it takes."""
        return 1 if self.kind == "binary" else len(self.labels)

    def as_dict(self) -> dict[str, Any]:
        """Return the head as JSON values."""
        return asdict(self)

    def scores(self, logits: Floats) -> NDArray[np.float32]:
        """Turn logits (n, width) into calibrated probabilities (n, labels)."""
        scaled = np.asarray(logits, np.float64) / self.temperature
        if self.kind == "multiclass":
            exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)
        positive = 0.5 * (1 + np.tanh(scaled / 2))  # the logistic function, which cannot overflow so
        if self.kind == "binary":
            positive = np.concatenate([1 - positive, positive], axis=1)
        return np.asarray(positive, np.float32)

    def chosen(self, scores: Floats) -> NDArray[Any]:
        """Turn scores (n, labels) into choices: class indices (n,), or for multilabel bool (n, labels)."""
        if self.kind == "multiclass":
            return np.asarray(scores.argmax(axis=1), np.int64)
        if self.kind == "binary":
            return np.asarray(scores[:, 1] >= (self.thresholds or (0.5,))[0], np.int64)
        return np.asarray(scores >= np.asarray(self.thresholds or 0.5), np.bool_)

    def confidence(self, scores: Floats) -> NDArray[np.float64]:
        """Return how sure each choice is, 0..1 (n,); of several labels that of the least sure one."""
        scores, chosen = np.asarray(scores, np.float64), self.chosen(scores)
        if self.kind == "multilabel":
            return np.asarray(np.where(chosen, scores, 1 - scores).min(axis=1))
        return np.asarray(np.take_along_axis(scores, chosen[:, None], axis=1)[:, 0])


@dataclass(frozen=True, slots=True)
class Decision:
    """The label of one image, how sure the model is (0..1), every score, and why a person should look, if so.

    label: of a multilabel head all that were chosen, with `|` between them; empty if none was. further: the
    decisions of the model's other heads, and of other models. reject_score: how unlike its training data the
    image is to the model, if that can tell; higher is less like them. evidence: the facts of the header that
    were weighed, see `evidence`; pixels: what the pixels alone say, if some were.
    """

    label: str
    confidence: float
    scores: tuple[float, ...]
    why: tuple[Reason, ...] = ()
    further: "tuple[Decision, ...]" = ()
    reject_score: float | None = None
    evidence: Facts = ()
    pixels: "Decision | None" = None

    @property
    def pixel_label(self) -> str:
        """What the pixels alone say."""
        return (self.pixels or self).label

    @property
    def pixel_confidence(self) -> float:
        """How sure the model is of that by the pixels alone, 0..1."""
        return (self.pixels or self).confidence

    @property
    def review(self) -> bool:
        """Whether a person should look."""
        return bool(self.why)

    @property
    def folder(self) -> str:
        """The folder for the image: `review`, or its label, with `+` where there are several."""
        return REVIEW if self.review else self.label.replace("|", "+")


def check_label(label: str) -> None:
    """Raise ValueError unless a label can be a folder and part of a column name on any file system."""
    if not _LABEL.fullmatch(label) or label.casefold() in _RESERVED or label.endswith("."):
        raise ValueError(
            f"'{label}' cannot be a class: use at most 64 letters, digits, '_', '-', '.', and not 'review'"
        )


def decide(scores: Floats, head: Head, review_below: float | None = None) -> Decision:
    """Decide one image from its scores (labels,). `review_below` overrides the head's own threshold."""
    row = np.asarray(scores, np.float64)[None]
    threshold = head.review_below if review_below is None else review_below
    confidence, label = float(head.confidence(row)[0]), label_of(head, head.chosen(row)[0])
    why = Reason.NONE if confidence >= threshold else Reason.BELOW_THRESHOLD
    why = why if label else Reason.NO_LABEL
    return Decision(label, confidence, tuple(map(float, scores)), (why,) if why else ())


def with_rejection(decision: Decision, reject_score: float, threshold: float) -> Decision:
    """Add how unlike the training data the image is; a person should look if that is above the threshold."""
    why = decision.why if reject_score <= threshold else (Reason.UNLIKE, *decision.why)
    return replace(decision, reject_score=reject_score, why=why)


def prediction_columns(heads: Sequence[Head]) -> list[str]:
    """Name the columns of predictions: the first head's scores; label, confidence and scores of others."""
    first, *further = heads
    names = [f"score_{label}" for label in first.labels]
    for head in further:
        names += [f"{head.name}.{name}" for name in ("label", "confidence")]
        names += [f"{head.name}.score_{label}" for label in head.labels]
    return names


def label_of(head: Head, chosen: Any) -> str:
    """Name one choice of `Head.chosen`."""
    if head.kind == "multilabel":
        return "|".join(label for label, is_so in zip(head.labels, chosen, strict=True) if is_so)
    return head.labels[int(chosen)]


def decide_all(scores: Floats, heads: Sequence[Head], review_below: float | None = None) -> Decision:
    """Decide one image from the scores of all heads in a row; the first head decides where it goes."""
    parts = split_columns(np.asarray(scores)[None], [len(head.labels) for head in heads])
    first, *further = (part[0] for part in parts)
    decision = decide(first, heads[0], review_below)
    others = tuple(decide(part, head) for part, head in zip(further, heads[1:], strict=True))
    return replace(decision, further=others)


def split_columns(values: NDArray[Any], widths: Sequence[int]) -> list[NDArray[Any]]:
    """Split (n, sum of widths) into one (n, width) for each."""
    return np.split(values, np.cumsum(widths)[:-1], axis=1)
