"""The words of a card: wrapped lines, Markdown tables, and shares with their intervals."""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.metrics import Metrics, Predictions
from dicomsort.evaluation.tables import figure_text

WIDTH = 120  # characters

Measure = Callable[[Predictions], Metrics]
"""Computes figures, always with the same resamples."""

Flags = NDArray[np.bool_]


def wrapped(text: str) -> str:
    """Break a paragraph, or a point of a list, into lines."""
    return textwrap.fill(text, WIDTH, subsequent_indent="  " * text.startswith("*"), break_on_hyphens=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    head, *lines = (f"| {' | '.join(cell.replace('|', ', ') for cell in row)} |" for row in (columns, *rows))
    return "\n".join([head, f"|{'---|' * len(columns)}", *lines])


def named(figures: Metrics, names: Mapping[str, str]) -> str:
    """Write figures of all images in a sentence. names: words -> figure."""
    words = ", ".join(f"{words} {figure_text(figures.overall[name])}" for name, words in names.items())
    return wrapped(f"{words[0].upper()}{words[1:]}.")


def right_ones(predictions: Predictions) -> Flags:
    """Return which answers are right (n,), of several labels: right in all of them."""
    same = predictions.chosen == predictions.truth
    return np.asarray(same.all(axis=1) if predictions.kind == "multilabel" else same, np.bool_)


def share(flags: Flags, clusters: NDArray[np.int64] | None, measure: Measure) -> Estimate:
    """Return the share of images that are flagged, with its interval. clusters: as in `Predictions`."""
    chosen, always = flags.astype(np.int64), np.ones(len(flags), np.int64)
    made = Predictions("binary", ("no", "yes"), always, chosen, np.eye(2)[chosen], clusters)
    return measure(made).overall["accuracy"]


def share_text(flags: Flags, clusters: NDArray[np.int64] | None, measure: Measure) -> str:
    """Write the share of images that are flagged, with its interval; `-` without any image."""
    return figure_text(share(flags, clusters, measure)) if len(flags) else "-"
