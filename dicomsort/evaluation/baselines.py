"""What a model must beat: the most common answer, and a small regression on a few pixels."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.data.dataset import Sample, read_all
from dicomsort.data.targets import encode
from dicomsort.evaluation.evaluate import Measured
from dicomsort.evaluation.metrics import Predictions
from dicomsort.evaluation.predictions import EvalSettings, Question, known_of
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure
from dicomsort.system.reporting import Count
from dicomsort.system.telling import counted

_CANVAS, _SIDE = 32, 16
_REGULARISATION, _STEPS = 0.1, 500

Pixels = Mapping[int, NDArray[np.float32]]
"""16 x 16 gray values of each sample that can be read, by the sample's id()."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """The predictions of the baselines by name, and remarks on how they came about."""

    predictions: dict[str, Predictions]
    remarks: tuple[str, ...]


def read_pixels(samples: Sequence[Sample], settings: EvalSettings, progress: Count | None = None) -> Pixels:
    """Read samples as 16 x 16 gray values; what cannot be read is left out."""
    pixels = {}
    for sample, reading in read_all(samples, Preprocessing(size=_CANVAS), settings.pool):
        if not isinstance(reading, Failure):
            squares = reading.image.reshape(_SIDE, _CANVAS // _SIDE, _SIDE, _CANVAS // _SIDE)
            pixels[id(sample)] = squares.mean(axis=(1, 3), dtype=np.float32).ravel()
        if progress is not None:
            progress(1)
    return pixels


def baselines(measured: Measured, trained: Sequence[Sample], pixels: Pixels) -> Baselines:
    """Answer a question by the most common class, and by a logistic regression on 16 x 16 pixels.

    trained: the training samples of the model that is compared, of which both learn. Without any the most
    common class is that of the images evaluated, and there is no regression.
    """
    question, predictions = measured.question, measured.predictions
    known = [sample for sample in trained if sample.targets[question.cell]]
    if not known:
        remark = f"'{question.target}': majority is that of the images evaluated, for none was trained on"
        truth = np.asarray(predictions.truth)
        return Baselines({"majority": _of(predictions, _majority(truth, len(truth), predictions))}, (remark,))
    found = {
        "majority": _of(predictions, _majority(_truth(known, question), len(predictions.truth), predictions))
    }
    known = [sample for sample in known if id(sample) in pixels]
    images = [pixels.get(id(one.sample), np.zeros(_SIDE**2, np.float32)) for one in measured.known]
    truth = _truth(known, question) if known else np.zeros(0, np.int64)
    if truth.ndim == 1 and len(np.unique(truth)) < 2:
        return Baselines(found, (f"'{question.target}': no logistic row, too few classes to train it on",))
    scores = _logistic(
        np.stack([pixels[id(sample)] for sample in known]), truth, np.stack(images), predictions
    )
    return Baselines(found | {"logistic": _of(predictions, scores)}, _seen(measured, known))


def _seen(measured: Measured, trained: Sequence[Sample]) -> tuple[str, ...]:
    """Warn if the regression is asked about images that it has learned from."""
    learned = {sample.sha256 for sample in trained}
    seen = sum(one.sample.sha256 in learned for one in measured.known)
    if not seen:
        return ()
    told = f"{seen} of the {counted(len(measured.known), 'image')} evaluated, so its figures are too good"
    return (f"warning: '{measured.question.target}': the logistic row has learned from {told}",)


def _truth(samples: Sequence[Sample], question: Question) -> NDArray[Any]:
    """Return class indices (n,), or for multilabel bool (n, labels)."""
    head = question.head
    truth = np.stack([encode(sample.targets[question.cell], head) for sample in samples])
    return known_of(head, truth)


def _of(predictions: Predictions, scores: NDArray[np.float64]) -> Predictions:
    chosen = scores > 0.5 if predictions.kind == "multilabel" else scores.argmax(axis=1)
    return replace(predictions, chosen=chosen, scores=scores)


def _majority(truth: NDArray[Any], images: int, predictions: Predictions) -> NDArray[np.float64]:
    """Score every image alike: by the share of each class (n, labels)."""
    if predictions.kind == "multilabel":
        shares = truth.mean(axis=0)
    else:
        shares = np.bincount(truth, minlength=len(predictions.labels)) / len(truth)
    return np.tile(np.asarray(shares, np.float64), (images, 1))


def _logistic(
    pixels: NDArray[np.float32], truth: NDArray[Any], images: NDArray[np.float32], predictions: Predictions
) -> NDArray[np.float64]:
    """Score images (n, labels) by a regression; for multilabel one for each label."""
    if truth.ndim == 1:
        return _fitted(pixels, truth, images, len(predictions.labels))
    columns = [_fitted(pixels, column.astype(np.int64), images, 2)[:, 1] for column in truth.T]
    return np.stack(columns, axis=1)


def _fitted(
    pixels: NDArray[np.float32], truth: NDArray[np.int64], images: NDArray[np.float32], classes: int
) -> NDArray[np.float64]:
    from sklearn.dummy import DummyClassifier  # noqa: PLC0415  (few evaluations fit anything)
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    several = len(np.unique(truth)) > 1
    last: Any = LogisticRegression(C=_REGULARISATION, max_iter=_STEPS) if several else DummyClassifier()
    model = make_pipeline(StandardScaler(), last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a baseline that has not quite converged is still one
        found = model.fit(pixels, truth).predict_proba(images)
    scores = np.zeros((len(images), classes))
    scores[:, model.classes_] = found
    return scores
