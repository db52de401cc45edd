"""Labels that are too rare to answer, and the tree that says which other label is answered for them."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import UsageError
from dicomsort.model.heads import Head, split_columns
from dicomsort.model.rotation import ROTATION

LEAST = 20
"""A label with fewer training images is rare."""

Tree = tuple[tuple[str, str], ...]
"""Pairs of a label and its parent, which holds it too."""

_COLUMNS = ["label", "parent"]


def read_tree(path: Path) -> Tree:
    """Read a CSV with the columns label,parent. Raises UsageError for anything else, or a second parent."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--tree '{path}' cannot be read: {_why(error)}") from error
    pairs = tuple((row[0].strip(), row[1].strip()) for row in rows[1:] if len(row) == len(_COLUMNS))
    if not rows or rows[0] != _COLUMNS or len(pairs) < len([row for row in rows[1:] if row]):
        raise UsageError(f"--tree '{path}': give a CSV with the columns label,parent")
    if len(dict(pairs)) < len(pairs):
        raise UsageError(f"--tree '{path}' gives a label two parents")
    return pairs


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "it is no text in UTF-8"


def with_tree(heads: Sequence[Head], tree: Tree, truth: NDArray[np.float32]) -> tuple[Head, ...]:
    """Give heads what of the tree concerns them, and the labels that are rare in training.

    truth: of the training images (n, outputs of the heads, or more), NaN where unknown. Raises UsageError for
    a pair whose labels no head has, a circle, or too few labels that are left.
    """
    for label, parent in tree:
        if not any({label, parent} <= set(head.labels) for head in heads):
            raise UsageError(f"--tree: no target has both labels '{label}' and '{parent}'")
    widths = [head.width for head in heads]
    parts = split_columns(truth[:, : sum(widths)], widths)
    try:
        return tuple(_planted(head, tree, part) for head, part in zip(heads, parts, strict=True))
    except ValueError as error:
        raise UsageError(f"--tree: {error}") from error


def _planted(head: Head, tree: Tree, truth: NDArray[np.float32]) -> Head:
    if head.name == ROTATION:  # what is stored is upright, and turned as it is learnt
        return head
    parents = {label: parent for label, parent in tree if {label, parent} <= set(head.labels)}
    few = [label for label, count in zip(head.labels, _counts(head, truth), strict=True) if count < LEAST]
    return replace(head, parents=parents, rare=tuple(few))


def _counts(head: Head, truth: NDArray[np.float32]) -> list[int]:
    """Count the images of each label, as far as it is known."""
    known = truth[~np.isnan(truth).any(axis=1)] > 0.5
    counts = known.sum(axis=0).tolist()
    return [len(known) - counts[0], counts[0]] if head.kind == "binary" else counts


def lines_of(heads: Sequence[Head]) -> Iterator[str]:
    """Say of which labels too few training images were there, and what is answered for them."""
    for head in heads:
        if head.rare:
            names = (f"{label} (answered as {head.merged[label]})" if label in head.merged else label
                     for label in head.rare)  # fmt: skip
            yield f"'{head.name}': fewer than {LEAST} training images: {', '.join(names)}"
