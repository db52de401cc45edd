"""What is known of samples: the heads that their labels call for, and the labels as numbers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dicomsort.data.dataset import Sample
from dicomsort.data.table import as_whole
from dicomsort.errors import UsageError
from dicomsort.model.heads import Head, label_of, split_columns


def heads_of(samples: Sequence[Sample], targets: Sequence[str]) -> tuple[Head, ...]:
    """Make a head for each target column of what stands in its cells.

    Only 0 and 1 make a binary head, with the labels `no_<column>` and `<column>`; several labels in any cell
    a multilabel head; anything else a multiclass head. Raises UsageError for fewer than two labels.
    """
    names = list(targets) or ["label"]
    if len({name.casefold() for name in names}) < len(names):
        raise UsageError(f"--target: each column only once, not {', '.join(names)}")
    return tuple(
        _head(name, {sample.targets[at] for sample in samples} - {""}) for at, name in enumerate(names)
    )


def _head(name: str, cells: set[str]) -> Head:
    labels = tuple(sorted({label for cell in cells for label in cell.split("|")}))
    if len(labels) < 2:
        raise UsageError(
            f"a classifier needs at least two classes; the data has {len(labels)}: {', '.join(labels)}"
        )
    try:
        if set(labels) == {"0", "1"}:
            return Head(name, (f"no_{name}", name), kind="binary")
        several = any("|" in cell for cell in cells)
        return Head(name, labels, kind="multilabel" if several else "multiclass")
    except ValueError as error:
        raise UsageError(str(error)) from error


def encode(cell: str, head: Head) -> NDArray[np.float32]:
    """Return what a network should answer: float32 (head.width,) of 0 and 1, NaN where unknown.

    Raises UsageError for a label that the head does not have.
    """
    if not cell:
        return np.full(head.width, np.nan, np.float32)
    if head.kind == "binary":
        known = {"0": 0.0, "1": 1.0, head.labels[0]: 0.0, head.labels[1]: 1.0}
        if cell in known:
            return np.array([known[cell]], np.float32)
    names = [name if name in head.labels else _alike(name, head) for name in cell.split("|")]
    if unknown := [name for name in names if name not in head.labels]:
        raise UsageError(
            f"the model does not know the label '{unknown[0]}'; it knows {', '.join(head.labels)}"
        )
    if head.kind != "multilabel" and len(names) > 1:
        raise UsageError(
            f"'{cell}' holds several labels, but '{head.name}' takes one: choose another --target"
        )
    return np.array([label in names for label in head.labels], np.float32)


def _alike(name: str, head: Head) -> str:
    """Return the head's label that is the same number, such as 2.0 for 2, or else the name itself."""
    return next((label for label in head.labels if as_whole(label) == as_whole(name)), name)


def truth_text(cell: str, head: Head) -> str:
    """Name what is true in the labels that the head answers; empty where unknown. Raises UsageError."""
    truth = head.truth(encode(cell, head)[None])[0]
    if np.isnan(truth).any():
        return ""
    if head.kind == "multilabel":
        return label_of(head, truth > 0.5)
    return label_of(head, truth[0] if head.kind == "binary" else truth.argmax())


def truth_matrix(samples: Sequence[Sample], heads: Sequence[Head]) -> NDArray[np.float32]:
    """Return `encode` all samples and heads: float32 (n, outputs). Raises UsageError."""
    outputs = sum(head.width for head in heads)
    rows = [
        np.concatenate([encode(cell, head) for cell, head in zip(sample.targets, heads, strict=True)])
        for sample in samples
    ]
    return np.stack(rows) if rows else np.zeros((0, outputs), np.float32)


class Part(NamedTuple):
    """What belongs to one head, of the m images whose truth is known; known: which of n these are, bool (n,).

    truth: float32 (m, width). values: logits (m, width) or scores (m, labels).
    """

    head: Head
    known: NDArray[np.bool_]
    truth: NDArray[np.float32]
    values: NDArray[np.float32]


def split_by_head(
    heads: Sequence[Head], truth: NDArray[np.float32], values: NDArray[np.float32]
) -> list[Part]:
    """Divide truth (n, outputs) and logits (n, outputs), or scores (n, labels of all), among the heads."""
    widths = [head.width for head in heads]
    labels = [len(head.labels) for head in heads]
    wanted = split_columns(truth, widths)
    given = split_columns(values, widths if values.shape[1] == sum(widths) else labels)
    parts = []
    for head, own, its_values in zip(heads, wanted, given, strict=True):
        known = ~np.isnan(own).any(axis=1)
        parts.append(Part(head, known, own[known], its_values[known]))
    return parts


def labels_in(sample: Sample, heads: Sequence[Head]) -> list[tuple[str, str]]:
    """Name what is known of a sample: (head, label) pairs; a binary head counts 0 and 1 as labels."""
    pairs = zip(heads, sample.targets, strict=True)
    return [(head.name, label) for head, cell in pairs for label in cell.split("|") if label]


def contradictions(samples: Iterable[Sample]) -> int:
    """Count the contents that occur with different labels."""
    cells: dict[str, set[tuple[str, ...]]] = {}
    for sample in samples:
        cells.setdefault(sample.sha256, set()).add(sample.targets)
    return sum(len(different) > 1 for different in cells.values())


def stratum(sample: Sample, counts: Counter[str], first: int = 0) -> str:
    """Name the class that a sample counts for in a split or a balance: of several labels the rarest."""
    labels = sample.targets[first].split("|")
    return min(labels, key=lambda label: (counts[label], label))


def label_counts(samples: Iterable[Sample], target: int = 0) -> Counter[str]:
    """Count the labels of a target."""
    return Counter(label for sample in samples for label in sample.targets[target].split("|"))
