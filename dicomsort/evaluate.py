"""A bundle against labelled images: predictions, figures, and what could not be read."""

import csv
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dicomsort.dataset import Sample, read_all
from dicomsort.errors import TargetError, UsageError
from dicomsort.labels import Decision, Head, decide
from dicomsort.metrics import Figures, confusion, figures
from dicomsort.names import escape
from dicomsort.outcome import Failure
from dicomsort.predict import Predictor, predict
from dicomsort.spent import Spent
from dicomsort.workers import PoolSettings

Watch = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image: what it is, and what the model says."""

    sample: Sample
    decision: Decision


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything `dicomsort eval` tells. seconds_per_image: reading and network, wall clock."""

    figures: Figures
    predictions: tuple[Prediction, ...]
    failures: tuple[tuple[Sample, Failure], ...]
    seconds_per_image: float
    device: str
    precision: str


@dataclass(slots=True)
class _Tally:
    predictions: list[Prediction] = field(default_factory=list)
    failures: list[tuple[Sample, Failure]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """How to evaluate: resamples of the bootstrap, its seed, images a batch, and the reading processes.

    batch_size: None for what suits the device.
    """

    bootstrap: int = 1000
    seed: int = 0
    batch_size: int | None = None
    pool: PoolSettings = field(default_factory=PoolSettings)


def evaluate(
    predictor: Predictor, samples: Sequence[Sample], settings: EvalSettings, watch: Watch | None = None
) -> Evaluation:
    """Predict every sample and compare. Files that cannot be read are told apart, never dropped silently.

    Raises UsageError if a label is unknown to the model, or if no sample can be read.
    """
    head = predictor.bundle.head
    _check_labels(samples, head)
    started = time.perf_counter()
    tally = _predict_all(predictor, samples, settings, watch)
    seconds = time.perf_counter() - started
    if not tally.predictions:
        raise UsageError(f"none of the {len(samples)} files can be read as an image")
    truth = np.array([head.labels.index(prediction.sample.label) for prediction in tally.predictions])
    answers = np.array([head.labels.index(prediction.decision.label) for prediction in tally.predictions])
    counts = confusion(truth, answers, len(head.labels))
    return Evaluation(
        figures=figures(counts, head.labels, settings.bootstrap, settings.seed),
        predictions=tuple(sorted(tally.predictions, key=lambda prediction: prediction.sample.name)),
        failures=tuple(sorted(tally.failures, key=lambda failure: failure[0].name)),
        seconds_per_image=seconds / len(samples),
        device=predictor.name,
        precision=predictor.precision,
    )


def _check_labels(samples: Sequence[Sample], head: Head) -> None:
    if unknown := sorted({sample.label for sample in samples} - set(head.labels)):
        raise UsageError(
            f"the model does not know the label '{unknown[0]}'; it knows {', '.join(head.labels)}"
        )


def _predict_all(
    predictor: Predictor, samples: Sequence[Sample], settings: EvalSettings, watch: Watch | None
) -> _Tally:
    tally, head = _Tally(), predictor.bundle.head
    readings = read_all(samples, predictor.bundle.preprocessing, settings.pool)
    batch_size = settings.batch_size or predictor.batch_size
    for sample, reading, scores in predict(readings, predictor, batch_size, Spent()):
        if isinstance(reading, Failure):
            tally.failures.append((sample, reading))
        elif scores is not None:
            tally.predictions.append(Prediction(sample, decide(scores, head)))
        if watch is not None:
            watch(1)
    return tally


def report(
    result: Evaluation, tag: str, part: str, overlap: dict[str, int], settings: EvalSettings
) -> dict[str, Any]:
    """Return what `metrics.json` holds, as JSON values. overlap: samples in the parts the model has seen."""
    reasons = Counter(f"{failure.status}: {failure.reason}" for _, failure in result.failures)
    return {
        "model": tag,
        "part": part,
        "bootstrap": settings.bootstrap,
        "seed": settings.seed,
        "overlap_with_training": overlap["train"],
        "overlap_with_validation": overlap["validation"],
        "not_read": dict(reasons),
        "seconds_per_image": result.seconds_per_image,
        "device": result.device,
        "precision": result.precision,
        **result.figures.as_dict(),
    }


def write(result: Evaluation, metrics: dict[str, Any], labels: Sequence[str], folder: Path) -> None:
    """Write metrics.json and predictions.csv into `folder`. Raises TargetError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", "truth", "label", "confidence", *(f"score_{label}" for label in labels)])
            for prediction in result.predictions:
                writer.writerow(_prediction_row(prediction))
    except OSError as error:
        raise TargetError(f"'{folder}' cannot be written: {error.strerror}") from error


def _prediction_row(prediction: Prediction) -> list[str]:
    sample, decision = prediction.sample, prediction.decision
    numbers = (decision.confidence, *decision.scores)
    return [escape(sample.name), sample.label, decision.label, *(f"{number:.6f}" for number in numbers)]
