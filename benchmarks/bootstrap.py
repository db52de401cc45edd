"""Seconds for the intervals of the figures, on one core.

    OMP_NUM_THREADS=1 python benchmarks/bootstrap.py [--bootstrap 10000] [--predictions 100000] [--ranked N]

Five classes. Predictions are right in 95 %, the truth of each image is drawn on its own, so that few patients
are alike: the hard case. Confusion figures: accuracy, kappa, precision, recall and F1. Rank figures: AUC and
average precision of each class, with log loss, Brier and ECE. `measure`: all of them. `differences`: two
models.
"""

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from dicomsort.evaluation import bootstrap as resampling
from dicomsort.evaluation import metrics
from dicomsort.evaluation.metrics import Predictions

CLASSES = 5


def answers(images: int, patients: int | None, seed: int = 0) -> Predictions:
    """Make up a model's answers; patients: None for unknown ones."""
    generator = np.random.default_rng(seed)
    truth = np.random.default_rng(0).integers(0, CLASSES, images)
    chosen = np.where(generator.random(images) < 0.95, truth, generator.integers(0, CLASSES, images))
    logits = generator.normal(size=(images, CLASSES)) + 4 * (chosen[:, None] == np.arange(CLASSES))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    clusters = None if patients is None else np.random.default_rng(0).integers(0, patients, images)
    labels = tuple("abcde")
    return Predictions("multiclass", labels, truth, scores.argmax(axis=1), scores, clusters)


def confusion_figures(given: Predictions, bootstrap: int) -> None:
    """Compute the figures of the confusion matrix alone."""
    patient, _ = metrics._patients(given)
    cell, table = metrics._cells(given)
    frequency, unit, cell = resampling.group_alike(cell, None if given.clusters is None else patient)
    counted = metrics._confusion_metrics(given, unit, cell, table)
    resampling.estimates(frequency, counted.scores, len(unit), bootstrap, np.random.default_rng(0))


def rank_figures(given: Predictions, bootstrap: int) -> None:
    """Compute the figures of the scores alone."""
    patient, patients = metrics._patients(given)
    judged = metrics._score_metrics(given, patient, patients)
    units = np.ones(patients, np.int64)
    resampling.estimates(units, judged.scores, len(patient), bootstrap, np.random.default_rng(0))


def report(name: str, action: Callable[[], object]) -> None:
    """Run once and print the seconds."""
    started = time.perf_counter()
    action()
    print(f"{name:60s} {time.perf_counter() - started:7.2f} s", flush=True)


def main() -> None:
    """Print the seconds of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap", type=int, default=10_000)
    parser.add_argument("--predictions", type=int, default=100_000)
    parser.add_argument("--ranked", type=int, default=6000)
    given = parser.parse_args()
    many, few = given.predictions, given.ranked
    print(f"{given.bootstrap} resamples")
    for patients in (None, many, 3 * many // 10):
        name, made = f"{many} predictions, patients {patients or 'unknown'}", answers(many, patients)
        report(f"confusion figures, {name}", partial(confusion_figures, made, given.bootstrap))
    for patients in (None, few // 3):
        name, made = f"{few} predictions, patients {patients or 'unknown'}", answers(few, patients)
        report(f"rank figures, {name}", partial(rank_figures, made, given.bootstrap))
        report(f"measure, {name}", partial(metrics.measure, made, given.bootstrap))
        report(
            f"compare, {name}", partial(metrics.differences, made, answers(few, patients, 1), given.bootstrap)
        )
    report(f"measure, {many} predictions, 1000 resamples", partial(metrics.measure, answers(many, None)))
    print(f"highest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
