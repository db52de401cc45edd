"""Images by the score of a label: the area under the ROC curve and average precision of resamples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicomsort.evaluation.bootstrap import Counts, Values, Weights


@dataclass(frozen=True, slots=True)
class Ranking:
    """The images by falling score of one label, ties as one step; only steps with a relevant image matter.

    units: of each image (n,). relevant: units of the relevant ones (p,); steps: where in these each step
    starts (g,). before, upto: how many images lie before each step, and up to its end (g,).
    """

    units: Counts
    relevant: Counts
    steps: Counts
    before: Counts
    upto: Counts

    def scores(self, counts: Weights) -> tuple[Values, Values]:
        """Compute AUC and average precision of resamples (b, units): (b,), (b,)."""
        if not self.steps.size:
            nothing = np.full(len(counts), np.nan)
            return nothing, nothing
        ranked = np.zeros((len(counts), len(self.units) + 1), np.int32)
        np.cumsum(np.take(counts, self.units, axis=1), axis=1, dtype=np.int32, out=ranked[:, 1:])
        hits = np.take(counts, self.relevant, axis=1)
        if len(self.steps) < len(self.relevant):
            hits = np.add.reduceat(hits, self.steps, axis=1)
        found = np.cumsum(hits, axis=1, dtype=np.int32)
        upto, before = np.take(ranked, self.upto, axis=1), np.take(ranked, self.before, axis=1)
        positive = found[:, -1].astype(np.float64)
        negative = ranked[:, -1] - positive
        above = (upto + before - 2.0 * found + hits) / 2
        auc = 1 - np.einsum("bg,bg->b", hits, above) / (positive * negative)
        precision = found / np.maximum(upto, 1)
        return auc, np.einsum("bg,bg->b", hits, precision) / positive


def ranking_of(relevant: NDArray[np.bool_], scores: Values, unit: Counts) -> Ranking:
    """Rank images by their scores (n,) of a label that the relevant have; unit: what each is drawn with."""
    order = np.argsort(-scores, kind="stable")
    upto = np.flatnonzero(np.diff(scores[order], append=-np.inf)) + 1
    before = upto - np.diff(upto, prepend=0)
    found = np.append(0, np.cumsum(relevant[order]))
    kept = found[upto] > found[before]
    chosen = order[relevant[order]]
    return Ranking(unit[order], unit[chosen], found[before[kept]], before[kept], upto[kept])
