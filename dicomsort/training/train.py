"""Labels and images to a bundle."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dicomsort import __version__
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TRAIN, VALIDATION, Sample, Unread, listed
from dicomsort.data.splits import Split
from dicomsort.data.targets import heads_of, labels_in, split_by_head, truth_matrix
from dicomsort.errors import ModelError, UsageError
from dicomsort.evaluation.calibrate import REVIEW_PRECISION, fitted_head, review_threshold, right
from dicomsort.model import bundle as bundles
from dicomsort.model import networks, ood
from dicomsort.model.bundle import Bundle, Reject, compact
from dicomsort.model.devices import PRECISIONS, THREADS, choose_precision
from dicomsort.model.heads import Head, split_columns
from dicomsort.model.networks import Network
from dicomsort.training.augment import Augmentation
from dicomsort.training.loader import CachedImages, images_of, sampling_weights
from dicomsort.training.recipe import Recipe
from dicomsort.training.run_folder import CHECKPOINT
from dicomsort.training.trainer import Epoch, OnEpoch, Prepared, RunContext, Trainer, features_of

FALSE_REJECTIONS = 0.01
"""The share of radiographs, of validation, that the reject score may send to review."""

_LEAST = 1e-6  # share of a class, so that its logarithm is a number


def check(recipe: Recipe, device: torch.device) -> None:
    """Try what can be tried without images, before hours are spent on reading them.

    Raises UsageError for an unknown augmentation, precision or network, or weights that do not fit.
    """
    Augmentation.parse(recipe.augment)
    choose_precision(recipe.precision, [device])
    network, _ = networks.create_for_training(recipe.arch, recipe.size, 1, recipe.pretrained)
    network.freeze(recipe.freeze)


def prepare(
    samples: Sequence[Sample],
    heads: Sequence[Head],
    split: Split,
    cache: Cache,
    unread: Sequence[Unread],
    auxiliary: Sequence[str] = (),
) -> Prepared:
    """Gather the training and validation images of a split, all of which `cache` has been filled with.

    auxiliary: the columns of the samples' auxiliary cells.
    unread: samples that are not in the cache. Raises UsageError if a class has no readable image in one of
    the two parts.
    """
    if missing := missing_class(samples, heads, split, unread):
        raise UsageError(f"class '{missing[0]}' has no readable image in the {missing[1]} part of the split")
    readable = _readable(samples, unread)
    parts = {part: images_of(listed(readable, split, part), heads, cache) for part in (TRAIN, VALIDATION)}
    with_auxiliary = [replace(sample, targets=sample.auxiliary) for sample in listed(readable, split, TRAIN)]
    further = heads_of(with_auxiliary, auxiliary) if auxiliary else ()
    if further:
        truth = [parts[TRAIN].truth, truth_matrix(with_auxiliary, further)]
        parts[TRAIN] = replace(parts[TRAIN], truth=np.concatenate(truth, axis=1))
    return Prepared(
        tuple(heads), parts[TRAIN], parts[VALIDATION], dict(split), tuple(samples), tuple(unread), further
    )


def missing_class(
    samples: Sequence[Sample], heads: Sequence[Head], split: Split, unread: Sequence[Unread]
) -> tuple[str, str] | None:
    """Return a class without a readable image in the training or validation part, and that part."""
    wanted = {pair for sample in samples for pair in labels_in(sample, heads)}
    readable = _readable(samples, unread)
    for part in (TRAIN, VALIDATION):
        held = {pair for sample in listed(readable, split, part) for pair in labels_in(sample, heads)}
        if wanted - held:
            return min(wanted - held)[1], part
    return None


def _readable(samples: Sequence[Sample], unread: Sequence[Unread]) -> list[Sample]:
    bad = {sample.sha256 for sample, _ in unread}
    return [sample for sample in samples if sample.sha256 not in bad]


def train(
    name: str, prepared: Prepared, recipe: Recipe, place: RunContext, on_epoch: OnEpoch | None = None
) -> Bundle:
    """Train a network and return its bundle, with the weights averaged over the last steps.

    Without patience the end is taken and validation chooses no epoch: it serves for temperature and
    thresholds alone. Deterministic for a given seed, data, machine and library versions, with and without
    interruption.
    Raises UsageError for an unknown network or device, unsuitable pretrained weights, or a loss that is no
    number; ModelError for a damaged checkpoint; TargetError if none can be written.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(max(1, THREADS // (place.ranks.world if place.ranks.device.type == "cpu" else 1)))
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    outputs = sum(head.width for head in (*prepared.heads, *prepared.auxiliary))
    network, spec = networks.create_for_training(recipe.arch, recipe.size, outputs, recipe.pretrained)
    if recipe.normalise != "network":
        spec = replace(spec, **_normalising(prepared.train, recipe))
        network.normalise(spec)
    network.freeze(recipe.freeze)
    trainer = Trainer(network, prepared, recipe, place)
    epochs = list(trainer.epochs(on_epoch))
    best = trainer.best()
    best.keep(prepared.outputs)
    if recipe.adjust:
        adjust_logits(best, prepared, recipe.balance)
    bundle = Bundle(
        name=name,
        network=spec,
        preprocessing=prepared.train.cache.preprocessing,
        head=prepared.heads[0],
        further=prepared.heads[1:],
        weights=compact(networks.weights_of(best)),
        training=_record(prepared, recipe, epochs),
        split=prepared.split,
    )
    network = networks.build(bundle).to(place.ranks.device)
    quick = PRECISIONS[choose_precision(recipe.precision, [place.ranks.device])]
    known, unseen = features_of(network, prepared.train, quick), features_of(network, prepared.validation)
    return with_reject_score(with_calibration(bundle, unseen[1], prepared.validation.truth), known, unseen)


def _normalising(images: CachedImages, recipe: Recipe) -> dict[str, Any]:
    """Return mean and deviation of the grays that a network is to expect, both 0..1."""
    if recipe.normalise == "unit":
        return {"mean": 0.0, "std": 1.0}
    sums = np.zeros(3)
    for batch in images.batches():
        gray = batch.numpy().astype(np.float64) / 255
        sums += (gray.size, gray.sum(), np.square(gray).sum())
    mean = sums[1] / sums[0]
    deviation = np.sqrt(max(sums[2] / sums[0] - mean**2, 1e-4))
    return {"mean": round(float(mean), 4), "std": round(float(deviation), 4)}


def finish(bundle: Bundle, folder: Path) -> None:
    """Save a bundle, and forget the training's state only then. Raises TargetError if that fails."""
    bundle.save(folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def finished(
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


def with_calibration(bundle: Bundle, logits: NDArray[np.float32], truth: NDArray[np.float32]) -> Bundle:
    """Fit temperatures and thresholds on images that were not trained on: logits and truth (n, outputs).

    The threshold for review is that of 99.5 % right predictions among these images, without a margin; where
    none reaches that, it is the highest possible.
    """
    heads, facts = [], []
    for head, _, wanted, own in split_by_head(bundle.heads, truth, logits):
        fitted = fitted_head(head, own, wanted)
        scores = fitted.scores(own)
        confidence, correct = fitted.confidence(scores), right(fitted, scores, wanted)
        threshold = review_threshold(confidence, correct, REVIEW_PRECISION)
        heads.append(replace(fitted, review_below=threshold))
        facts.append(
            {
                "head": head.name,
                "images": len(correct),
                "accuracy": float(correct.mean()),
                "review_precision": REVIEW_PRECISION,
                "coverage": float((confidence >= threshold).mean()),
            }
        )
    return replace(bundle, head=heads[0], further=tuple(heads[1:]), metrics={"validation": facts})


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
    return replace(bundle, weights={**bundle.weights, **weights}, reject=Reject(round(threshold, 4)))


def adjust_logits(network: Network, prepared: Prepared, balance: float) -> None:
    """Take what was seen how often out of the outputs (Menon et al. 2021, logit adjustment).

    A network learns to prefer what it has seen often. In a multiclass head what counts is the mean of the
    classes' recalls, so all classes become alike; in the others the balanced drawing is undone.
    """
    images = prepared.train
    weights = np.array(sampling_weights(images.strata, images.sources, balance))
    bias = network.body.get_classifier().bias
    shifts = [
        _shift(head, truth, weights)
        for head, truth in zip(
            prepared.heads,
            split_columns(images.truth[:, : prepared.outputs], [head.width for head in prepared.heads]),
            strict=True,
        )
    ]
    with torch.no_grad():
        bias -= torch.from_numpy(np.concatenate(shifts)).to(bias)


def _shift(head: Head, truth: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(truth).any(axis=1)
    drawn = np.clip(np.average(truth[known], axis=0, weights=weights[known]), _LEAST, 1 - _LEAST)
    if head.kind == "multiclass":
        return np.asarray(np.log(drawn))
    natural = np.clip(truth[known].mean(axis=0), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(drawn / (1 - drawn)) - np.log(natural / (1 - natural)))


def data_hash(samples: Sequence[Sample]) -> str:
    """Hash contents and labels of a data set, whatever its files are called."""
    content = json.dumps(sorted((sample.sha256, *sample.targets, *sample.auxiliary) for sample in samples))
    return hashlib.sha256(content.encode()).hexdigest()


def _record(prepared: Prepared, recipe: Recipe, epochs: Sequence[Epoch]) -> dict[str, Any]:
    """Tell how the weights came about; no path of the machine goes into a bundle."""
    parts = Counter(prepared.split[sample.sha256] for sample in prepared.samples)
    return {
        "recipe": recipe.as_dict(),
        "data_sha256": data_hash(prepared.samples),
        "images": dict(sorted(parts.items())),
        "unreadable": len(prepared.unread),
        "last_epoch": asdict(epochs[-1]),
        "dicomsort": __version__,
        "torch": torch.__version__,
    }
