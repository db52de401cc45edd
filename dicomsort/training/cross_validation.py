"""Cross-validation: a model for each fold, and what each says of the images it has not seen."""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TEST, Sample, Unread, listed
from dicomsort.data.splits import Fold
from dicomsort.data.targets import split_by_head, truth_matrix, truth_text
from dicomsort.errors import TargetError
from dicomsort.evaluation.metrics import Predictions, measure, without_nan
from dicomsort.evaluation.predictions import predictions_of
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head, decide_all, prediction_columns
from dicomsort.system.escaping import cell, escape
from dicomsort.training import finish, train
from dicomsort.training.loader import images_of
from dicomsort.training.log import TrainingLog
from dicomsort.training.recipe import Recipe
from dicomsort.training.trainer import RunContext, predict

_REJECTING = ("reject_score", "rejected")

FIGURES, PREDICTIONS = "folds.json", "predictions.csv"


@dataclass(frozen=True, slots=True)
class FoldResult:
    """One fold, its model, and the scores (n, labels of all heads) of the images that model has not seen.

    rejects: their reject scores (n,).
    """

    fold: str
    bundle: Bundle
    samples: tuple[Sample, ...]
    scores: NDArray[np.float32]
    rejects: NDArray[np.float32] | None = None


def cross_validate(
    samples: Sequence[Sample],
    heads: Sequence[Head],
    folds: Sequence[Fold],
    recipe: Recipe,
    work: "Work",
) -> Iterator[FoldResult]:
    """Train a model for each fold and let it answer the fold; a fold that was finished before is not again.

    Raises what `train.train` raises.
    """
    for fold in folds:
        folder = work.place.folder / _folder_name(fold.name)
        before = (
            finish.finished_bundle(folder, recipe, samples, heads, fold.split) if work.place.resume else None
        )
        bundle = before or _train(samples, heads, fold, recipe, work)
        bad = {sample.sha256 for sample, _ in work.unread}
        members = [sample for sample in listed(samples, fold.split, TEST) if sample.sha256 not in bad]
        network = networks.build(bundle).to(work.place.ranks.device)
        logits = predict(network, images_of(members, heads, work.cache)) if members else None
        if logits is not None:
            rejects = None if bundle.reject is None else logits[:, -1]
            yield FoldResult(fold.name, bundle, tuple(members), bundle.scores(logits), rejects)


@dataclass(frozen=True, slots=True)
class Work:
    """What every fold shares. watch: told of each epoch, with the fold's name."""

    cache: Cache
    unread: tuple[Unread, ...]
    place: RunContext
    on_epoch: Any = None


def _train(
    samples: Sequence[Sample], heads: Sequence[Head], fold: Fold, recipe: Recipe, work: Work
) -> Bundle:
    folder = work.place.folder / _folder_name(fold.name)
    prepared = train.prepare(samples, heads, fold.split, work.cache, work.unread, recipe)
    if work.place.ranks.is_main:
        folder.mkdir(parents=True, exist_ok=True)

    on_epoch = None if work.on_epoch is None else partial(work.on_epoch, fold.name)
    with TrainingLog(folder, on_epoch) as log:
        bundle = train.train(folder.name, prepared, recipe, replace(work.place, folder=folder), log)
    if work.place.ranks.is_main:
        finish.save(bundle, folder)
    return bundle


def _folder_name(fold: str) -> str:
    """Make a model's name of a fold's; what had to be changed gets a hash, so that two never meet."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", fold).lstrip("_-")[:50]
    if name == fold:
        return name
    return f"{name or 'fold'}-{hashlib.sha256(fold.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the folds: its mean, its standard deviation (n - 1), and the fold's own values."""

    mean: float
    deviation: float
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What the folds say together. pooled: figures of all predictions as one set, by head."""

    folds: tuple[str, ...]
    figures: dict[str, dict[str, Spread]]
    pooled: dict[str, dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        whole: dict[str, Any] = without_nan(asdict(self))
        return whole


def summarize(rounds: Sequence[FoldResult], bootstrap: int, seed: int) -> Summary:
    """Return each figure by fold, with mean and spread, and the figures of all predictions together."""
    figures: dict[str, dict[str, Spread]] = {}
    pooled: dict[str, dict[str, Any]] = {}
    for at, head in enumerate(rounds[0].bundle.heads):
        of_folds = [measure(_predictions([one], at), bootstrap=0).overall for one in rounds]
        figures[head.name] = {name: _spread([each[name].value for each in of_folds]) for name in of_folds[0]}
        pooled[head.name] = measure(_predictions(rounds, at), bootstrap, seed).as_dict()
    return Summary(tuple(one.fold for one in rounds), figures, pooled)


def _predictions(rounds: Sequence[FoldResult], at: int) -> Predictions:
    """Set the scores of a head against the truth, patients as clusters; thresholds are each fold's own."""
    parts = [_of_round(one, at) for one in rounds]
    names = [group for _, groups in parts for group in groups]
    _, clusters = np.unique(np.array(names), return_inverse=True)
    each = [predictions for predictions, _ in parts]
    return Predictions(
        each[0].kind, each[0].labels, np.concatenate([one.truth for one in each]),
        np.concatenate([one.chosen for one in each]), np.concatenate([one.scores for one in each]),
        clusters.astype(np.int64),
    )  # fmt: skip


def _of_round(one: FoldResult, at: int) -> tuple[Predictions, list[str]]:
    heads = one.bundle.heads
    part = split_by_head(heads, truth_matrix(one.samples, heads), one.scores)[at]
    groups = [sample.group for sample, known in zip(one.samples, part.known, strict=True) if known]
    return predictions_of(part.head, part.truth, part.values), groups


def _spread(values: Sequence[float]) -> Spread:
    known = np.array([value for value in values if not np.isnan(value)])
    mean = float(known.mean()) if known.size else float("nan")
    deviation = float(known.std(ddof=1)) if known.size > 1 else float("nan")
    return Spread(mean, deviation, tuple(values))


def write(rounds: Sequence[FoldResult], summary: Summary, folder: Path) -> None:
    """Write folds.json and predictions.csv, the predictions out of fold. Raises TargetError if that fails."""
    try:
        text = json.dumps(summary.as_dict(), indent=2) + "\n"
        (folder / FIGURES).write_text(text, encoding="utf-8")
        with (folder / PREDICTIONS).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            heads = rounds[0].bundle.heads
            truths = ["truth", *(f"{head.name}.truth" for head in heads[1:])]
            writer.writerow(
                ["file", "fold", *truths, "label", "confidence", *prediction_columns(heads), *_REJECTING]
            )
            writer.writerows(row for one in rounds for row in _rows(one))
    except OSError as error:
        raise TargetError(f"'{folder}' cannot be written: {error.strerror}") from error


def _rows(one: FoldResult) -> Iterator[list[str]]:
    rejects = np.full(len(one.samples), np.nan) if one.rejects is None else one.rejects
    for sample, scores, reject in zip(one.samples, one.scores, rejects, strict=True):
        heads = one.bundle.heads
        decision = decide_all(scores, heads)
        truths = [truth_text(text, head) for text, head in zip(sample.targets, heads, strict=True)]
        row = [cell(escape(sample.name)), cell(escape(one.fold)), *truths, decision.label]
        row += [f"{value:.6f}" for value in (decision.confidence, *decision.scores)]
        for further in decision.further:
            row += [further.label, *(f"{value:.6f}" for value in (further.confidence, *further.scores))]
        threshold = np.inf if one.bundle.reject is None else one.bundle.reject.threshold
        yield [*row, f"{reject:.4f}", str(int(reject > threshold))]
