"""The part of a card that tells what the header's evidence brings, beside the figures of the pixels alone."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from card_text import Flags, Measure, right_ones, share_text, table, wrapped

from dicomsort.evaluation import predictions as predicting
from dicomsort.evaluation.evaluate import Measured
from dicomsort.evaluation.metrics import Predictions
from dicomsort.evaluation.predictions import ModelPredictions
from dicomsort.evaluation.tables import figure_text
from dicomsort.model.bundle import Bundle

CHESTS = ("adult_chest", "pediatric_chest")


def pixels_alone(said: ModelPredictions) -> ModelPredictions:
    """Return what a model says of images by the pixels alone."""
    alone = (
        one if one.pixel_scores is None
        else replace(one, scores=one.pixel_scores, pixel_scores=None, evidence=(), contradicted=False)
        for one in said.predictions
    )  # fmt: skip
    return replace(said, predictions=tuple(alone))


def filed(measured: Measured, bundle: Bundle) -> Flags:
    """Return which images (n,) no review threshold, missing label or contradiction sends to review."""
    decisions = [predicting.decision_of(one, bundle.heads) for one in measured.known]
    return np.array([not (one, *one.further)[measured.question.at].review for one in decisions], np.bool_)


def chests_of(predictions: Predictions) -> Predictions | None:
    """Return children's chests against adults', any other answer being wrong; None without both."""
    if not set(CHESTS) <= set(predictions.labels):
        return None
    adult, child = (predictions.labels.index(name) for name in CHESTS)
    some = predictions.take(np.isin(predictions.truth, (adult, child)))
    if len(np.unique(some.truth)) < len(CHESTS):
        return None
    truth = (some.truth == child).astype(np.int64)
    chosen = np.where(some.chosen == some.truth, truth, 1 - truth)
    return Predictions("binary", CHESTS, truth, chosen, np.eye(2)[chosen], some.clusters)


def evidence_text(pixels: Measured, header: Measured, bundle: Bundle, measure: Measure) -> list[str]:
    """Write what the header brings. header: the same images, in the same order, with the header weighed."""
    told = np.array([bool(one.evidence) for one in header.known])
    counts = Counter(fact for one in header.known for fact in one.evidence)
    facts = ", ".join(f"`{fact}` {count:,}" for fact, count in sorted(counts.items()))
    words = wrapped(
        "All other figures are those of the pixels alone. With the header (`--evidence header`, the default) "
        f"they are as follows. For {told.sum():,} of the {len(told):,} images there is a fact that the model "
        f"has a rule for: {facts}."
    )
    columns = ("figure", "images", "pixels alone", "with the header")
    rows = [
        *_rows("all", np.ones(len(told), np.bool_), (pixels, header), bundle, measure),
        *_rows("with a fact", told, (pixels, header), bundle, measure),
    ]
    return ["### With the header's evidence", words, table(columns, rows), _rules(bundle)]


def _rows(
    which: str, some: Flags, both: tuple[Measured, Measured], bundle: Bundle, measure: Measure
) -> Iterator[list[str]]:
    """Yield the rows of some of the images, each with its figure by the pixels and by the header."""
    taken = [each.predictions.take(some) for each in both]
    yield [f"{which}: accuracy", f"{some.sum():,}", *(_accuracy(each, measure) for each in taken)]
    chests = [two for each in taken if (two := chests_of(each)) is not None]
    if chests:
        figures = [figure_text(measure(each).overall["recall_macro"]) for each in chests]
        yield [f"{which}: children's chests against adults'", f"{len(chests[0].truth):,}", *figures]
    above = [filed(each, bundle)[some] for each in both]
    shares = [share_text(kept, each.clusters, measure) for kept, each in zip(above, taken, strict=True)]
    yield [f"{which}: not sent to review", f"{some.sum():,}", *shares]
    wrong = [
        f"{(~right_ones(each) & kept).sum():,} of {kept.sum():,}"
        for kept, each in zip(above, taken, strict=True)
    ]
    yield [f"{which}: wrong among those", "", *wrong]


def _accuracy(predictions: Predictions, measure: Measure) -> str:
    return share_text(right_ones(predictions), predictions.clusters, measure)


def _rules(bundle: Bundle) -> str:
    """List the rules that the bundle holds."""
    rules = bundle.evidence.rules if bundle.evidence else ()
    rows = (
        [f"`{rule.fact}`", ", ".join(_odds(*each) for each in sorted(rule.log_ratios.items()) if each[1] < 0),
         rule.basis]
        for rule in rules
    )  # fmt: skip
    return table(("fact", "how much less likely it makes", "rests on"), rows)


def _odds(label: str, log_ratio: float) -> str:
    times = math.exp(-log_ratio)
    return f"{label} 1 in {times:,.0f}" if times >= 100 else f"{label} 1 in {times:.3g}"
