"""From a trained network to a whole bundle: shares of classes, calibration, reject score, and the files."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dicomsort.data.dataset import TRAIN, Sample, data_hash, listed
from dicomsort.data.splits import Split
from dicomsort.data.targets import split_by_head
from dicomsort.errors import ModelError
from dicomsort.evaluation import predictions
from dicomsort.evaluation.evidence import fitted
from dicomsort.evaluation.guarantee import guarantee_of, reviewed
from dicomsort.evaluation.thresholds import REVIEW_PRECISION, fitted_head, review_threshold, right
from dicomsort.model import bundle as bundles
from dicomsort.model import ood
from dicomsort.model.bundle import Bundle, Reject
from dicomsort.model.heads import Head, split_columns
from dicomsort.model.networks import Network
from dicomsort.training.loader import ROTATION, sampling_weights
from dicomsort.training.recipe import Recipe
from dicomsort.training.run_folder import CHECKPOINT
from dicomsort.training.trainer import Prepared

FALSE_REJECTIONS = 0.01
"""The share of radiographs, of validation, that the reject score may send to review."""

TURNED_PRECISION = 0.98
"""The share of pictures called turned that are turned so; a wrong quarter shows on the second look."""

_LEAST = 1e-6  # share of a class, so that its logarithm is a number


def save(bundle: Bundle, folder: Path) -> None:
    """Save a bundle, and forget the training's state only then. Raises TargetError if that fails."""
    bundle.save(folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def finished_bundle(
    folder: Path, recipe: Recipe, samples: Sequence[Sample], heads: Sequence[Head], split: Split
) -> Bundle | None:
    """Return the bundle that an earlier training of the same settings and data has left, whole, if it has."""
    try:
        bundle = bundles.load(folder)
    except ModelError:
        return None
    facts = (bundle.training.get("recipe"), bundle.training.get("data_sha256"), bundle.split)
    named = [(head.name, head.kind, head.labels) for head in bundle.heads]
    wanted = [(head.name, head.kind, head.labels) for head in heads]
    return bundle if facts == (recipe.as_dict(), data_hash(samples), split) and named == wanted else None


def with_calibration(
    bundle: Bundle, logits: NDArray[np.float32], truth: NDArray[np.float32], patients: NDArray[np.int64]
) -> Bundle:
    """Fit temperatures and thresholds on images that were not trained on: logits and truth (n, outputs).

    patients: a number for each image (n,), as `patients_of` gives it. The review threshold is the one that
    guarantees REVIEW_PRECISION right answers; where none does, that of as many among these images; where
    even the surest are not right, the highest possible. `metrics` say which. How sure a head must be that a
    picture is turned goes by the turned ones alone.
    """
    heads, facts = [], []
    for head, known, wanted, own in split_by_head(bundle.heads, truth, logits):
        fitted = fitted_head(head, own, wanted)
        scores, who = fitted.scores(own), patients[known]
        found, _, guaranteed = reviewed(fitted, scores, wanted, who, REVIEW_PRECISION)
        if head.name == ROTATION.name:
            found, guaranteed = replace(fitted, review_below=_sure_to_turn(fitted, scores, wanted)), False
        promise = guarantee_of(found, scores, wanted, who, REVIEW_PRECISION, guaranteed)
        heads.append(found)
        facts.append(
            {
                "head": head.name,
                "images": len(wanted),
                "accuracy": float(right(found, scores, wanted).mean()),
                "review_precision": REVIEW_PRECISION,
                "coverage": promise.coverage,
                "guarantee": asdict(promise),
            }
        )
    return replace(bundle, head=heads[0], further=tuple(heads[1:]), metrics={"validation": facts})


def _sure_to_turn(head: Head, scores: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the confidence from which TURNED_PRECISION of those that are called turned are turned so."""
    turned = head.chosen(scores) != head.labels.index(ROTATION.labels[0])
    confidence, correct = head.confidence(scores)[turned], right(head, scores, truth)[turned]
    return review_threshold(confidence, correct, TURNED_PRECISION) if turned.any() else 1.0


def patients_of(prepared: Prepared) -> NDArray[np.int64]:
    """Give each validation image (n,) a number that the images of its patient share."""
    of_key = {sample.sha256: sample for sample in prepared.samples}
    return predictions.patients_of([of_key[key] for key in prepared.validation.keys])


Seen = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Features (n, dimensions) and logits (n, outputs) of images."""


def with_reject_score(bundle: Bundle, known: Seen, unseen: Seen) -> Bundle:
    """Give a bundle a reject score, fitted to its training images, with a threshold.

    known: the training images; unseen: radiographs that it was not trained on, of which FALSE_REJECTIONS lie
    above the threshold.
    """
    weights = ood.fit(*known, bundle.head)
    found = ood.scores(weights, *unseen, bundle.head)
    threshold = float(np.quantile(found, 1 - FALSE_REJECTIONS))
    weights = {**bundle.weights, **weights}
    return replace(bundle, weights=weights, reject=Reject(round(threshold, 4)), graph=None)


def with_evidence(bundle: Bundle, prepared: Prepared) -> Bundle:
    """Give a bundle the rules of evidence that its training images bear out, and those that are stated."""
    cache = prepared.train.cache
    known = [
        (sample.label, sample.facts or cache.facts(sample.sha256))
        for sample in listed(prepared.samples, prepared.split, TRAIN)
        if sample.label
    ]
    return replace(bundle, evidence=fitted(bundle.head, known))


def adjust_logits(network: Network, prepared: Prepared, balance: float, share: float) -> None:
    """Take the classes' frequencies in training out of the outputs (Menon et al. 2021, logit adjustment).

    A network learns to prefer what it has seen often. In a multiclass head what counts is the mean of the
    classes' recalls, so all classes become alike; in the others the balanced drawing is undone.
    share: in which part, 0..1. The whole serves images like those of the training best; where these come from
    elsewhere, a rare class is then answered too often.
    """
    bias = network.last.bias
    with torch.no_grad():
        bias -= share * torch.from_numpy(shifts_of(prepared, balance)).to(bias)


def shifts_of(prepared: Prepared, balance: float) -> NDArray[np.float64]:
    """Return what `adjust_logits` takes from each output (outputs,) where it adjusts them wholly."""
    images = prepared.train
    weights = np.array(sampling_weights(images.strata, images.sources, balance))
    shifts = [
        _shift(head, truth, weights) if head.name != ROTATION.name else np.zeros(head.width)
        for head, truth in zip(
            prepared.heads,
            split_columns(images.truth[:, : prepared.outputs], [head.width for head in prepared.heads]),
            strict=True,
        )
    ]
    return np.concatenate(shifts)


def _shift(head: Head, truth: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(truth).any(axis=1)
    drawn = np.clip(np.average(truth[known], axis=0, weights=weights[known]), _LEAST, 1 - _LEAST)
    if head.kind == "multiclass":
        return np.asarray(np.log(drawn))
    natural = np.clip(truth[known].mean(axis=0), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(drawn / (1 - drawn)) - np.log(natural / (1 - natural)))
