"""What a network's outputs mean: heads, labels, thresholds, decision."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.outcome import EXCLUDED, REVIEW, UNSURE, Facts, Reason

_RESERVED = frozenset(
    {
        *(REVIEW, EXCLUDED, UNSURE, "manifest.csv", "manifest.csv.part", "run.json", "run.json.part"),
        *("decisions.csv", "review.json", "report.html", "registry.csv"),
        *("audit.csv", "studies.csv", "audit.html", "health.json"),
    }
)

Floats = NDArray[np.float32] | NDArray[np.float64]

_OPTIONAL = ("parents", "rare")  # of a head; what is empty is not written, so digests stay what they were

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
    review_below: confidence 0..1, as `confidence` gives it, under which a person should look. thresholds: of
    multilabel one score per label from which it counts, of binary that of the second label; empty means 0.5.
    parents: label -> the label that holds it too, if less exactly (finger -> hand). rare: labels with too few
    training images to be answered; where they have one that is not rare itself, an ancestor is answered in
    their place, see `merged`.

    A multiclass head `rotation` with the labels 0, 90, 180 and 270 tells how a film lies; see `rotation`.
    """

    name: str
    labels: tuple[str, ...]
    temperature: float = 1.0
    review_below: float = 0.0
    kind: str = "multiclass"
    thresholds: tuple[float, ...] = ()
    parents: Mapping[str, str] = field(default_factory=dict)
    rare: tuple[str, ...] = ()

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
        self._check_tree()

    def _check_tree(self) -> None:
        """Raise ValueError for unknown labels, a label above itself, or fewer than two that are answered."""
        named = [*self.parents, *self.parents.values(), *self.rare]
        if unknown := [label for label in named if label not in self.labels]:
            raise ValueError(f"head '{self.name}' has no label '{unknown[0]}' for its tree")
        if self.parents and self.kind == "binary":
            raise ValueError(f"head '{self.name}' is binary and takes no tree of labels")
        for label in self.parents:
            if label in self._above(label):
                raise ValueError(f"head '{self.name}' has a circle in its tree: '{label}' is above itself")
        if len(self.labels) - len(self.merged) < 2:
            raise ValueError(f"head '{self.name}' is left with fewer than two labels that are not rare")

    def _above(self, label: str) -> list[str]:
        """Return the ancestors of a label, the nearest first; of a circle each once."""
        found: list[str] = []
        while (parent := self.parents.get(label)) is not None and parent not in found:
            found.append(parent)
            label = parent
        return found

    @property
    def merged(self) -> dict[str, str]:
        """Return the rare labels that another is answered for: the nearest ancestor that is not rare."""
        if not self.parents or not self.rare:
            return {}
        found = {}
        for label in self.rare:
            answered = [each for each in self._above(label) if each not in self.rare]
            if answered:
                found[label] = answered[0]
        return found

    @property
    def kept(self) -> NDArray[np.int64]:
        """Return the places of the labels that are answered, all but the merged ones."""
        merged = self.merged
        return np.array([at for at, label in enumerate(self.labels) if label not in merged], np.int64)

    @property
    def answering(self) -> "Head":
        """Return the head with the labels that are answered alone."""
        if not self.merged:
            return self
        labels = tuple(self.labels[at] for at in self.kept)
        thresholds = tuple(self.thresholds[at] for at in self.kept) if self.thresholds else ()
        rare = tuple(label for label in self.rare if label in labels)
        return replace(self, labels=labels, thresholds=thresholds, parents={}, rare=rare)

    def truth(self, known: Floats) -> NDArray[np.float32]:
        """Let ancestors stand for merged labels in truth (n, width) of 0 and 1, NaN where unknown."""
        truth = np.array(known, np.float32)
        for label, answered in self.merged.items():
            at, place = self.labels.index(label), self.labels.index(answered)
            truth[:, place] = np.maximum(truth[:, place], truth[:, at])
            truth[:, at] *= 0
        return truth

    @property
    def width(self) -> int:
        """How many logits it takes."""
        return 1 if self.kind == "binary" else len(self.labels)

    def as_dict(self) -> dict[str, Any]:
        """Return the head as JSON values; without a tree and rare labels if there are none."""
        return {name: value for name, value in asdict(self).items() if value or name not in _OPTIONAL}

    def scores(self, logits: Floats) -> NDArray[np.float32]:
        """Turn logits (n, width) into calibrated probabilities (n, labels).

        The score of a label that stands for merged ones too is the sum of theirs and its own (multiclass),
        or the greatest (multilabel, where they do not exclude each other); theirs stay what they are.
        """
        scores = self._own_scores(logits)
        merge = np.add if self.kind == "multiclass" else np.maximum
        own = scores.copy() if self.merged else scores
        for label, answered in self.merged.items():
            place = self.labels.index(answered)
            scores[:, place] = merge(scores[:, place], own[:, self.labels.index(label)])
        return scores

    def _own_scores(self, logits: Floats) -> NDArray[np.float32]:
        scaled = np.asarray(logits, np.float64) / self.temperature
        if self.kind == "multiclass":
            exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)
        positive = 0.5 * (1 + np.tanh(scaled / 2))  # the logistic function, which cannot overflow so
        if self.kind == "binary":
            positive = np.concatenate([1 - positive, positive], axis=1)
        return np.asarray(positive, np.float32)

    def chosen(self, scores: Floats) -> NDArray[Any]:
        """Turn scores (n, labels) into choices: class indices (n,), or for multilabel bool (n, labels).

        Merged labels are never chosen.
        """
        scores = np.asarray(scores, np.float64)
        if self.kind == "multiclass":
            return np.asarray(self.kept[scores[:, self.kept].argmax(axis=1)], np.int64)
        if self.kind == "binary":
            return np.asarray(scores[:, 1] >= (self.thresholds or (0.5,))[0], np.int64)
        answered = np.isin(np.arange(len(self.labels)), self.kept)
        return np.asarray((scores >= np.asarray(self.thresholds or 0.5)) & answered, np.bool_)

    def confidence(self, scores: Floats) -> NDArray[np.float64]:
        """Return how sure each choice is, 0..1 (n,); of several labels that of the least sure one.

        Of multiclass the label's score; else see `certainty`.
        """
        if self.kind == "multiclass":
            return np.asarray(np.max(scores[:, self.kept], axis=1), np.float64)
        sure = self.certainty(scores)
        return np.asarray((sure[:, self.kept] if self.kind == "multilabel" else sure).min(axis=1))

    def certainty(self, scores: Floats) -> NDArray[np.float64]:
        """Return how sure each yes or no is that a binary or multilabel head says: 0.5..1 (n, width).

        Its probability, or its place relative to the threshold, if that is more: 0.5 at the threshold, 1 for
        a no at score 0 and for a yes at score 1, straight in between. So the answer that a low or high
        threshold makes easier is never less than half sure, and the other keeps its probability: stretching
        that, too, would take a score of 0.005 under a threshold of 0.01 for a doubtful no.
        """
        values = np.asarray(scores, np.float64)[:, -self.width :]
        limits = np.asarray(self.thresholds or 0.5, np.float64)
        yes = np.maximum(values, 1 - (1 - values) / (2 * (1 - limits)))
        no = np.maximum(1 - values, 1 - values / (2 * limits))
        return np.where(values < limits, no, yes)


@dataclass(frozen=True, slots=True)
class Decision:
    """The label of one image, how sure the model is (0..1), every score, and why a person should look, if so.

    confidence: of one label of several its score; of yes and no at least 0.5 (`Head.certainty`).
    label: of a multilabel head all that were chosen, with `|` between them; empty if none was. further: the
    decisions of the model's other heads, and of other models. reject_score: how unlike its training data the
    image is to the model, if that can tell; higher is less like them. rotation: by how many degrees,
    clockwise, the picture is seen turned from upright, if a model is sure: 0, 90, 180 or 270; see `rotation`.
    evidence: the facts of the header that
    were weighed, see `evidence`; pixels: what the pixels alone say, if some were.
    """

    label: str
    confidence: float
    scores: tuple[float, ...]
    why: tuple[Reason, ...] = ()
    further: "tuple[Decision, ...]" = ()
    reject_score: float | None = None
    rotation: int | None = None
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
            f"'{label}' cannot be a class: use at most 64 letters, digits, '_', '-', '.', and not 'review', "
            "'excluded' or 'unsure'"
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
