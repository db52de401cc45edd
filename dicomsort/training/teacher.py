"""What another model says of the training images, to learn from beside their labels.

Hinton et al. 2015, Distilling the Knowledge in a Neural Network, at temperature 1.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicomsort.data.dataset import Sample
from dicomsort.data.table import FILE, opened
from dicomsort.errors import UsageError
from dicomsort.model.heads import Head
from dicomsort.system.escaping import escape, uncell

Lessons = Mapping[str, NDArray[np.float32]]
"""By an image's name in its data set, a probability for each label of a head: float32 (labels,)."""


def read(path: Path, head: Head) -> Lessons:
    """Read a teacher's scores: a CSV with the columns `file` and `score_<label>` for every label of a head.

    What `dicomsort eval --out` and `train --folds` write as predictions.csv is such a file. Raises UsageError
    for another kind of head, missing columns, or what are no probabilities.
    """
    what = f"--teacher '{path}'"
    if head.kind != "multiclass":
        raise UsageError(f"{what}: '{head.name}' has several labels at once; a teacher needs one of several")
    names = [f"score_{label}" for label in head.labels]
    with opened(path, what) as file:
        rows = csv.DictReader(file)
        if missing := [name for name in (FILE, *names) if name not in (rows.fieldnames or ())]:
            raise UsageError(f"{what} has no column '{missing[0]}'")
        return {uncell(row[FILE]): _scores([row[name] for name in names], what) for row in rows}


def _scores(cells: Sequence[str], what: str) -> NDArray[np.float32]:
    try:
        scores = np.array([float(cell) for cell in cells], np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} holds a score that is no number") from error
    if not np.all(scores >= 0) or not 0.99 < scores.sum() < 1.01:  # NaN is neither
        raise UsageError(f"{what} holds scores that are no probabilities: each image's must add up to 1")
    return np.asarray(scores / scores.sum(), np.float32)


def taught(
    samples: Sequence[Sample], truth: NDArray[np.float32], lessons: Lessons, share: float
) -> NDArray[np.float32]:
    """Return what to learn: the truth (n, outputs), of the first head mixed with the teacher's scores.

    share: of the teacher, 0..1. What the teacher has not seen, and what has no label, stays as it is. Raises
    UsageError if the teacher has seen none of the images.
    """
    found = [lessons.get(escape(sample.name)) for sample in samples]
    if all(scores is None for scores in found):
        raise UsageError("--teacher: it has no scores for any image of the training part")
    mixed = truth.copy()
    for row, scores in zip(mixed, found, strict=True):
        if scores is not None:
            row[: len(scores)] = (1 - share) * row[: len(scores)] + share * scores
    return mixed
