"""Models against labeled images: predictions, figures, groups, and what could not be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dicomsort.data.targets import encode
from dicomsort.errors import UsageError
from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.metrics import Metrics, Predictions, differences, measure
from dicomsort.evaluation.predictions import (
    EvalSettings,
    ModelPredictions,
    Prediction,
    Question,
    clusters_of,
    predictions_of,
    questions,
)
from dicomsort.evaluation.subgroups import groups_of
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import label_of, split_columns
from dicomsort.system.telling import counted


@dataclass(frozen=True, slots=True)
class Measured:
    """A question's figures. known: the images whose truth is known, in the order of `predictions`.

    groups: column of `--by` -> value -> the figures of these images. pixels: the figures of the pixels alone,
    None where no header was weighed.
    """

    question: Question
    known: tuple[Prediction, ...]
    predictions: Predictions
    figures: Metrics
    groups: dict[str, dict[str, Metrics]]
    pixels: Metrics | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's predictions and figures. unshared: images left out since another model cannot read them."""

    predicted: ModelPredictions
    measured: tuple[Measured, ...]
    unshared: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """A row of a comparison. differences: to the first row on the same resamples, empty for that itself."""

    name: str
    figures: Metrics
    differences: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer: what is true, what was said, and how sure the model was (0..1)."""

    prediction: Prediction
    truth: str
    label: str
    confidence: float


def evaluate(
    answered: Sequence[ModelPredictions], targets: Sequence[str], settings: EvalSettings
) -> tuple[Evaluation, ...]:
    """Compute the figures of each model, on the images that all of them could read.

    Raises UsageError if there is none, or none whose answer to a target is known.
    """
    shared = set.intersection(*({id(one.sample) for one in each.predictions} for each in answered))
    if not shared:
        files = len(answered[0].predictions) + len(answered[0].failures)
        raise UsageError(f"{counted(files, 'file')} given, and none can be read as an image")
    evaluations = []
    for each in answered:
        kept = tuple(one for one in each.predictions if id(one.sample) in shared)
        measured = tuple(
            _measured(question, kept, each.bundle, settings)
            for question in questions(each.bundle.heads, targets)
        )
        evaluations.append(Evaluation(each, measured, len(each.predictions) - len(kept)))
    return tuple(evaluations)


def _measured(
    question: Question, read: Sequence[Prediction], bundle: Bundle, settings: EvalSettings
) -> Measured:
    known = tuple(one for one in read if one.sample.targets[question.cell])
    if not known:
        raise UsageError(f"no image that can be read has a label in '{question.target}'")
    widths = [len(head.labels) for head in bundle.heads]
    scores = split_columns(np.stack([one.scores for one in known]), widths)[question.at]
    samples = [one.sample for one in known]
    truth = np.stack([encode(sample.targets[question.cell], question.head) for sample in samples])
    predictions = predictions_of(question.head, truth, scores, clusters_of(samples, settings.cluster))
    return Measured(
        question,
        known,
        predictions,
        measure(predictions, settings.bootstrap, settings.seed),
        {column: _by(column, known, predictions, settings) for column in settings.by},
        _by_pixels(question, known, truth, widths, settings),
    )


def _by_pixels(
    question: Question,
    known: Sequence[Prediction],
    truth: NDArray[np.float32],
    widths: Sequence[int],
    settings: EvalSettings,
) -> Metrics | None:
    """Return the figures of the pixels alone, if the header was weighed for this head and some images."""
    if question.at or all(one.pixel_scores is None for one in known):
        return None
    every = [one.scores if one.pixel_scores is None else one.pixel_scores for one in known]
    clusters = clusters_of([one.sample for one in known], settings.cluster)
    alone = predictions_of(question.head, truth, split_columns(np.stack(every), widths)[0], clusters)
    return measure(alone, settings.bootstrap, settings.seed)


def _by(
    column: str, known: Sequence[Prediction], predictions: Predictions, settings: EvalSettings
) -> dict[str, Metrics]:
    values = [
        one.sample.metadata[column] if column in one.sample.metadata else str(getattr(one.header, column, ""))
        for one in known
    ]
    return {
        group: measure(predictions.take(members), settings.bootstrap, settings.seed)
        for group, members in groups_of(column, values).items()
    }


def compare(
    contenders: Mapping[str, Predictions], first: Metrics, settings: EvalSettings
) -> tuple[Comparison, ...]:
    """Compare predictions for the same images, each with the first, whose figures are known.

    Raises UsageError if they do not have the same labels.
    """
    (name, reference), *others = contenders.items()
    comparisons = [Comparison(name, first, {})]
    for other, given in others:
        predictions = _ordered(given, reference, f"'{name}' and '{other}'")
        against = differences(reference, predictions, settings.bootstrap, settings.seed)
        figures = measure(predictions, settings.bootstrap, settings.seed)
        comparisons.append(Comparison(other, figures, against))
    return tuple(comparisons)


def _ordered(predictions: Predictions, reference: Predictions, names: str) -> Predictions:
    """Give the labels the order that they have in another's predictions."""
    if (predictions.kind, predictions.labels) == (reference.kind, reference.labels):
        return predictions
    same = predictions.kind == reference.kind != "binary" and set(predictions.labels) == set(reference.labels)
    if not same:
        raise UsageError(f"{names} cannot be compared: they do not choose among the same labels")
    order = np.array([predictions.labels.index(label) for label in reference.labels])
    if predictions.kind == "multilabel":
        truth, chosen = predictions.truth[:, order], predictions.chosen[:, order]
    else:
        truth, chosen = np.argsort(order)[predictions.truth], np.argsort(order)[predictions.chosen]
    scores = predictions.scores[:, order]
    return replace(predictions, labels=reference.labels, truth=truth, chosen=chosen, scores=scores)


def worst(measured: Measured, most: int = 24) -> tuple[Mistake, ...]:
    """Return the wrong predictions it was most sure of; of several labels the surest wrong one counts."""
    predictions, head = measured.predictions, measured.question.head.answering
    if predictions.kind == "multilabel":
        wrong, sure = predictions.chosen != predictions.truth, head.certainty(predictions.scores)
        confidence = np.where(wrong, sure, -1.0).max(axis=1)
    else:
        sure = head.confidence(predictions.scores)
        confidence = np.where(predictions.chosen != predictions.truth, sure, -1.0)
    order = [int(index) for index in np.argsort(-confidence, kind="stable")[:most] if confidence[index] >= 0]
    return tuple(
        Mistake(
            measured.known[index],
            label_of(head, predictions.truth[index]),
            label_of(head, predictions.chosen[index]),
            float(confidence[index]),
        )
        for index in order
    )
