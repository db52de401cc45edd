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

from dicomsort import __version__, networks
from dicomsort import bundle as bundles
from dicomsort.bundle import CONFIG, Bundle, compact
from dicomsort.cache import Cache
from dicomsort.calibrate import REVIEW_PRECISION, fitted_head, review_threshold, right
from dicomsort.checkpoint import NAME as CHECKPOINT
from dicomsort.dataset import TRAIN, VALIDATION, Sample, Unread, labels_in, listed
from dicomsort.devices import THREADS
from dicomsort.errors import UsageError
from dicomsort.images import Images, images_of, sampling_weights
from dicomsort.labels import Head, split_columns
from dicomsort.networks import Network
from dicomsort.preprocess import Preprocessing
from dicomsort.recipe import Recipe
from dicomsort.splits import Split
from dicomsort.trainer import Epoch, Place, Prepared, Trainer, Watch, predict


def preprocessing_of(recipe: Recipe) -> Preprocessing:
    """Return how a recipe wants images. Raises UsageError for an impossible canvas."""
    try:
        return Preprocessing(size=recipe.size, smooth=recipe.smooth)
    except ValueError as error:
        raise UsageError(str(error)) from error


def prepare(
    samples: Sequence[Sample], heads: Sequence[Head], split: Split, cache: Cache, unread: Sequence[Unread]
) -> Prepared:
    """Gather the training and validation images of a split, all of which `cache` has been filled with.

    unread: samples that are not in the cache. Raises UsageError if a class has no readable image in one of
    the two parts.
    """
    bad = {sample.sha256 for sample, _ in unread}
    readable = [sample for sample in samples if sample.sha256 not in bad]
    wanted = {pair for sample in samples for pair in labels_in(sample, heads)}
    parts = {}
    for part in (TRAIN, VALIDATION):
        members = listed(readable, split, part)
        if missing := wanted - {pair for sample in members for pair in labels_in(sample, heads)}:
            raise UsageError(
                f"class '{min(missing)[1]}' has no readable image in the {part} part of the split"
            )
        parts[part] = images_of(members, heads, cache)
    return Prepared(tuple(heads), parts[TRAIN], parts[VALIDATION], dict(split), tuple(samples), tuple(unread))


def train(name: str, prepared: Prepared, recipe: Recipe, place: Place, watch: Watch | None = None) -> Bundle:
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
    outputs = sum(head.width for head in prepared.heads)
    network, spec = networks.begin(recipe.arch, recipe.size, outputs, recipe.pretrained)
    if recipe.normalise != "network":
        spec = replace(spec, **_normalising(prepared.train, recipe))
        network.normalise(spec)
    trainer = Trainer(network, prepared, recipe, place)
    epochs = list(trainer.epochs(watch))
    best = trainer.best()
    if recipe.adjust:
        let_classes_count_alike(best, prepared, recipe.balance)
    bundle = Bundle(
        name=name,
        network=spec,
        preprocessing=preprocessing_of(recipe),
        head=prepared.heads[0],
        further=prepared.heads[1:],
        weights=compact(networks.weights_of(best)),
        training=_record(prepared, recipe, epochs),
        split=prepared.split,
    )
    logits = predict(networks.build(bundle).to(place.ranks.device), prepared.validation)
    return calibrated(bundle, logits, prepared.validation.truth)


def _normalising(images: Images, recipe: Recipe) -> dict[str, Any]:
    """Return mean and deviation of the greys that a network is to expect, both 0..1."""
    if recipe.normalise == "unit":
        return {"mean": 0.0, "std": 1.0}
    sums = np.zeros(3)
    for batch in images.batches():
        grey = batch.numpy().astype(np.float64) / 255
        sums += (grey.size, grey.sum(), np.square(grey).sum())
    mean = sums[1] / sums[0]
    deviation = np.sqrt(max(sums[2] / sums[0] - mean**2, 1e-4))
    return {"mean": round(float(mean), 4), "std": round(float(deviation), 4)}


def finish(bundle: Bundle, folder: Path) -> None:
    """Save a bundle, and forget the training's state only then. Raises TargetError if that fails."""
    bundle.save(folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def finished(folder: Path, recipe: Recipe, samples: Sequence[Sample], split: Split) -> Bundle | None:
    """Return the bundle that an earlier training of the same settings and data has left, if it has.

    Raises ModelError if there is a damaged one.
    """
    if not (folder / CONFIG).is_file():
        return None
    bundle = bundles.load(folder)
    same = (recipe.as_dict(), data_hash(samples)) == tuple(
        bundle.training.get(name) for name in ("recipe", "data_sha256")
    )
    return bundle if same and bundle.split == split else None


def calibrated(bundle: Bundle, logits: NDArray[np.float32], truth: NDArray[np.float32]) -> Bundle:
    """Fit temperatures and thresholds on images that were not trained on: logits and truth (n, outputs).

    Where no threshold reaches 99.5 % of right answers, everything is for review.
    """
    heads, facts = [], []
    widths = [head.width for head in bundle.heads]
    for head, answers, wanted in zip(
        bundle.heads, split_columns(logits, widths), split_columns(truth, widths), strict=True
    ):
        known = ~np.isnan(wanted).any(axis=1)
        fitted = fitted_head(head, answers, wanted)
        scores = fitted.scores(answers[known])
        confidence, correct = fitted.confidence(scores), right(fitted, scores, wanted[known])
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


def let_classes_count_alike(network: Network, prepared: Prepared, balance: float) -> None:
    """Take what was seen how often out of the answers (Menon et al. 2021, logit adjustment).

    A network learns to prefer what it has seen often. In a multiclass head what counts is the mean of the
    classes' recalls, so all classes become alike; in the others the balanced drawing is undone.
    """
    images = prepared.train
    weights = np.array(sampling_weights(images.strata, images.sources, balance))
    bias = getattr(network.body.get_classifier(), "bias", None)
    shifts = [
        _shift(head, truth, weights)
        for head, truth in zip(
            prepared.heads, split_columns(images.truth, [head.width for head in prepared.heads]), strict=True
        )
    ]
    if bias is None:
        raise UsageError("this network's classifier has no bias to adjust: use --no-adjust")
    with torch.no_grad():
        bias -= torch.from_numpy(np.concatenate(shifts)).to(bias)


def _shift(head: Head, truth: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(truth).any(axis=1)
    drawn = np.average(truth[known], axis=0, weights=weights[known])
    if head.kind == "multiclass":
        return np.asarray(np.log(drawn))
    natural = truth[known].mean(axis=0)
    return np.asarray(np.log(drawn / (1 - drawn)) - np.log(natural / (1 - natural)))


def data_hash(samples: Sequence[Sample]) -> str:
    """Hash contents and labels of a data set, whatever its files are called."""
    content = json.dumps(sorted((sample.sha256, *sample.cells) for sample in samples))
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
