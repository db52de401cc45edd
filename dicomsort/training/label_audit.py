"""Labels that predictions out of fold contradict: the largest source of errors in this field."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicomsort.data.dataset import Sample
from dicomsort.data.targets import split_by_head, truth_matrix
from dicomsort.errors import TargetError
from dicomsort.model.heads import Head
from dicomsort.system.escaping import cell, escape
from dicomsort.training.cross_validation import FoldResult
from dicomsort.training.run_folder import AUDIT_COLUMNS


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that looks wrong. margin: how much surer the model is of its own (0..1), the worst first."""

    sample: Sample
    head: str
    given: str
    suggested: str
    confidence_given: float
    confidence_suggested: float

    @property
    def margin(self) -> float:
        """How much surer the model is of the suggested label."""
        return self.confidence_suggested - self.confidence_given


def doubts(rounds: Sequence[FoldResult]) -> list[Doubt]:
    """List the labels that the models of other folds contradict, the most doubtful first.

    Confident learning (Northcutt et al. 2021): a class is confidently predicted for an image if its score
    reaches the mean score that images labeled with it get; where the surest such class is not the given one,
    the label is in doubt. A label of several, or a yes or no, is a question of two classes of its own.
    """
    found = [doubt for at in range(len(rounds[0].bundle.heads)) for doubt in _of_head(rounds, at)]
    return sorted(found, key=lambda doubt: (-doubt.margin, doubt.sample.name, doubt.given))


def _of_head(rounds: Sequence[FoldResult], at: int) -> Iterator[Doubt]:
    heads = rounds[0].bundle.heads
    samples = [sample for one in rounds for sample in one.samples]
    scores = np.concatenate([one.scores for one in rounds])
    head, known, truth, own = split_by_head(heads, truth_matrix(samples, heads), scores)[at]
    kept = [sample for sample, is_so in zip(samples, known, strict=True) if is_so]
    if head.kind == "multilabel":
        for column, label in enumerate(head.labels):
            two = np.stack([1 - own[:, column], own[:, column]], axis=1)
            yield from _contradicted(kept, head, (f"not {label}", label), truth[:, column], two)
    else:
        given = truth[:, 0] if head.kind == "binary" else truth.argmax(axis=1)
        yield from _contradicted(kept, head, head.labels, given, own)


def _contradicted(
    samples: Sequence[Sample],
    head: Head,
    labels: Sequence[str],
    given: NDArray[np.float32] | NDArray[np.int64],
    scores: NDArray[np.float32],
) -> Iterator[Doubt]:
    labeled = np.asarray(given, np.int64)
    for index, best in _off_diagonal(labeled, scores):
        own = int(labeled[index])
        yield Doubt(
            samples[index], head.name, labels[own], labels[best],
            float(scores[index, own]), float(scores[index, best]),
        )  # fmt: skip


def _off_diagonal(given: NDArray[np.int64], scores: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Yield (image, confidently predicted class) where that is not the given class."""
    classes = scores.shape[1]
    usual = np.array(
        [scores[given == each, each].mean() if (given == each).any() else np.inf for each in range(classes)]
    )
    confident = np.where(scores >= usual, scores, -1.0)
    best = confident.argmax(axis=1)
    for index in np.flatnonzero((confident.max(axis=1) >= 0) & (best != given)):
        if scores[index, best[index]] > scores[index, given[index]]:
            yield int(index), int(best[index])


def caption(doubt: Doubt) -> tuple[str, ...]:
    """Describe a doubt under its picture."""
    return (
        doubt.sample.name,
        f"given {doubt.given} {doubt.confidence_given:.2f}",
        f"model {doubt.suggested} {doubt.confidence_suggested:.2f}",
    )


def write(found: Sequence[Doubt], path: Path) -> None:
    """Write the doubts as CSV, the worst first. Raises TargetError if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(AUDIT_COLUMNS)
            for doubt in found:
                numbers = (doubt.confidence_given, doubt.confidence_suggested, doubt.margin)
                row = [cell(escape(doubt.sample.name)), doubt.head, doubt.given, doubt.suggested]
                writer.writerow([*row, *(f"{number:.6f}" for number in numbers)])
    except OSError as error:
        raise TargetError(f"'{path}' cannot be written: {error.strerror}") from error
