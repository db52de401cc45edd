"""Models against labeled images: predictions, figures, groups, and what could not be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dicomsort.data.targets import encode
from dicomsort.errors import UsageError
from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.metrics import Metrics, Predictions, differences, measure
from dicomsort.evaluation.operating import LabelPoints, operating_points
from dicomsort.evaluation.predictions import (
    EvalSettings,
    ModelPredictions,
    Prediction,
    Question,
    answers_of,
    clusters_of,
    predictions_of,
    questions,
)
from dicomsort.evaluation.subgroups import groups_of
from dicomsort.model.heads import label_of, split_columns
from dicomsort.system.telling import counted


@dataclass(frozen=True, slots=True)
class Measured:
    """A question's figures. known: the images whose truth is known, in the order of `predictions`.

    groups: column of `--by` -> value -> the figures of these images. pixels: the figures of the pixels alone,
    None where no header was weighed. points: operating points, of several classes only if they are asked for.
    tuned: images of the model's validation part that their thresholds were chosen on.
    """

    question: Question
    known: tuple[Prediction, ...]
    predictions: Predictions
    figures: Metrics
    groups: dict[str, dict[str, Metrics]]
    pixels: Metrics | None = None
    points: tuple[LabelPoints, ...] = ()
    tuned: int = 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's predictions and figures. unshared: images left out since another model cannot read them."""

    predicted: ModelPredictions
    measured: tuple[Measured, ...]
    unshared: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model takes: numbers learned, MB of weights, seconds an image from file to answer."""

    parameters: int
    megabytes: float
    seconds_per_image: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A row of a comparison. differences: to the first row on the same resamples, empty for that itself.

    cost: None for a baseline.
    """

    name: str
    figures: Metrics
    differences: dict[str, Estimate]
    cost: Cost | None = None


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
            _measured(question, kept, each, settings) for question in questions(each.bundle.heads, targets)
        )
        evaluations.append(Evaluation(each, measured, len(each.predictions) - len(kept)))
    return tuple(evaluations)


def _measured(
    question: Question, read: Sequence[Prediction], said: ModelPredictions, settings: EvalSettings
) -> Measured:
    known = _known(question, read)
    if not known:
        raise UsageError(f"no image that can be read has a label in '{question.target}'")
    widths, tuned = [len(head.labels) for head in said.bundle.heads], _known(question, said.tuning)
    predictions = _predictions(question, known, widths, settings)
    tuning = _predictions(question, tuned, widths, settings) if tuned else None
    resampled, head = (settings.bootstrap, settings.seed), question.head
    figures = measure(predictions, *resampled)
    return Measured(
        question,
        known,
        predictions,
        figures,
        {column: _by(column, known, predictions, figures, settings) for column in settings.by},
        _by_pixels(question, known, predictions, widths, settings),
        operating_points(head, predictions, tuning, settings.at, *resampled),
        len(tuned),
    )


def _known(question: Question, read: Sequence[Prediction]) -> tuple[Prediction, ...]:
    return tuple(one for one in read if one.sample.targets[question.cell])


def _predictions(
    question: Question, known: Sequence[Prediction], widths: Sequence[int], settings: EvalSettings
) -> Predictions:
    scores = split_columns(np.stack([one.scores for one in known]), widths)[question.at]
    samples = [one.sample for one in known]
    coded = {cell: encode(cell, question.head) for cell in {one.targets[question.cell] for one in samples}}
    truth = np.stack([coded[sample.targets[question.cell]] for sample in samples])
    return predictions_of(question.head, truth, scores, clusters_of(samples, settings.cluster))


def _by_pixels(
    question: Question,
    known: Sequence[Prediction],
    predictions: Predictions,
    widths: Sequence[int],
    settings: EvalSettings,
) -> Metrics | None:
    """Return the figures of the pixels alone, if the header was weighed for this head and some images."""
    if question.at or all(one.pixel_scores is None for one in known):
        return None
    every = [one.scores if one.pixel_scores is None else one.pixel_scores for one in known]
    alone = answers_of(question.head, predictions, split_columns(np.stack(every), widths)[0])
    return measure(alone, settings.bootstrap, settings.seed)


def _by(
    column: str,
    known: Sequence[Prediction],
    predictions: Predictions,
    every: Metrics,
    settings: EvalSettings,
) -> dict[str, Metrics]:
    values = [
        one.sample.metadata[column] if column in one.sample.metadata else str(getattr(one.header, column, ""))
        for one in known
    ]
    return {
        group: without_macro(measure(predictions.take(members), settings.bootstrap, settings.seed), every)
        for group, members in groups_of(column, values).items()
    }


def without_macro(figures: Metrics, every: Metrics) -> Metrics:
    """Leave out the means over classes (NaN) of a group in which a class of all images is not true at all.

    A class that is nowhere true counts as missed, or not at all: such a mean is of other classes than that of
    the next group.
    """
    if not absent_in(figures, every):
        return figures
    nan = Estimate(float("nan"), float("nan"), float("nan"))
    kept = {name: nan if name.endswith("_macro") else each for name, each in figures.overall.items()}
    return replace(figures, overall=kept)


def absent_in(figures: Metrics, every: Metrics) -> tuple[str, ...]:
    """Name the classes that are true in some of all images, but in none of a group."""
    return tuple(label for label, count in figures.support.items() if not count and every.support[label])


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
