"""Labels and images to a bundle."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dicomsort import __version__
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TRAIN, VALIDATION, Sample, Unread, data_hash, listed
from dicomsort.data.splits import Split
from dicomsort.data.targets import heads_of, labels_in, truth_matrix
from dicomsort.errors import UsageError
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle, compact
from dicomsort.model.engines.devices import PRECISIONS, THREADS, choose_precision
from dicomsort.model.heads import Head
from dicomsort.model.networks import Network
from dicomsort.model.top import drop
from dicomsort.system.malloc import keep_freed_memory
from dicomsort.training import pretrained, probe, teacher
from dicomsort.training.augment import Augmentation
from dicomsort.training.finish import (
    adjust_logits,
    patients_of,
    with_calibration,
    with_evidence,
    with_reject_score,
)
from dicomsort.training.loader import CachedImages, images_of, turning_of
from dicomsort.training.recipe import Recipe
from dicomsort.training.trainer import Epoch, OnEpoch, Prepared, RunContext, Trainer, features_of


def check(recipe: Recipe, device: torch.device) -> None:
    """Try what can be tried without images, before hours are spent on reading them.

    Raises UsageError for an unknown augmentation, precision or network, or weights that do not fit.
    """
    Augmentation.parse(recipe.augment)
    choose_precision(recipe.precision, [device])
    network, _ = pretrained.create_for_training(recipe.arch, recipe.size, 1, recipe.pretrained, recipe.hidden)
    network.freeze(recipe.freeze)


def prepare(
    samples: Sequence[Sample],
    heads: Sequence[Head],
    split: Split,
    cache: Cache,
    unread: Sequence[Unread],
    recipe: Recipe | None = None,
) -> Prepared:
    """Gather the training and validation images of a split, all of which `cache` has been filled with.

    recipe: says which columns the samples' auxiliary cells are of, how many images are turned, and who
    teaches. unread: samples that are not in the cache. Raises UsageError if a class has no readable image in
    one of the two parts, or the teacher's scores do not fit.
    """
    recipe = recipe or Recipe()
    if missing := missing_class(samples, heads, split, unread):
        raise UsageError(f"class '{missing[0]}' has no readable image in the {missing[1]} part of the split")
    readable = _readable(samples, unread)
    parts = {part: images_of(listed(readable, split, part), heads, cache) for part in (TRAIN, VALIDATION)}
    with_auxiliary = [replace(sample, targets=sample.auxiliary) for sample in listed(readable, split, TRAIN)]
    further = heads_of(with_auxiliary, recipe.auxiliary) if recipe.auxiliary else ()
    if further:
        truth = [parts[TRAIN].truth, truth_matrix(with_auxiliary, further)]
        parts[TRAIN] = replace(parts[TRAIN], truth=np.concatenate(truth, axis=1))
    if recipe.teacher is not None:
        lessons = teacher.read(Path(recipe.teacher), heads[0])
        taught = teacher.taught(listed(readable, split, TRAIN), parts[TRAIN].truth, lessons, recipe.teaching)
        parts[TRAIN] = replace(parts[TRAIN], taught=taught)
    turning = turning_of(heads, recipe.turned)
    if turning is not None:
        parts[VALIDATION] = turning.with_turned(parts[VALIDATION])
    return Prepared(
        tuple(heads), parts[TRAIN], parts[VALIDATION], dict(split), tuple(samples), tuple(unread), further,
        turning,
    )  # fmt: skip


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

    Without patience the last epoch is taken: validation then chooses no epoch, and serves for temperature and
    thresholds alone. Deterministic for a given seed, data, machine and library versions, with and without
    interruption.

    Raises UsageError for an unknown network or device, unsuitable pretrained weights, or a loss that is no
    number; ModelError for a damaged checkpoint; TargetError if none can be written.
    """
    torch.manual_seed(recipe.seed)
    keep_freed_memory()
    torch.set_num_threads(max(1, THREADS // (place.ranks.world if place.ranks.device.type == "cpu" else 1)))
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    outputs = sum(head.width for head in (*prepared.heads, *prepared.auxiliary))
    network, spec = pretrained.create_for_training(
        recipe.arch, recipe.size, outputs, recipe.pretrained, recipe.hidden
    )
    if recipe.dropout:
        drop(network.body, recipe.dropout)
    if recipe.normalise != "network":
        spec = replace(spec, **_normalization(prepared.train, recipe))
        network.normalize(spec)
    network.freeze(recipe.freeze)
    quick = PRECISIONS[choose_precision(recipe.precision, [place.ranks.device])]
    if recipe.probe:
        network.to(place.ranks.device).to(memory_format=torch.channels_last)
        probe.fit(network, prepared.train, (*prepared.heads, *prepared.auxiliary), recipe, quick)
    start = {name: value.detach().clone() for name, value in network.state_dict().items()}
    trainer = Trainer(network, prepared, recipe, place)
    epochs = list(trainer.epochs(on_epoch))
    best = trainer.best()
    if recipe.interpolate < 1:
        interpolate(best, start, recipe.interpolate)
    best.keep(prepared.outputs)
    if recipe.adjust:
        adjust_logits(best, prepared, recipe.balance, recipe.adjust)
    bundle = Bundle(
        name=name,
        network=spec,
        preprocessing=prepared.train.cache.preprocessing,
        head=prepared.heads[0],
        further=prepared.heads[1:],
        weights=compact(networks.weights_of(best)),
        training=_record(prepared, recipe, epochs),
        split=prepared.split,
        study=prepared.samples[0].rule,
    )
    network = networks.build(bundle).to(place.ranks.device)
    known, unseen = features_of(network, prepared.train, quick), features_of(network, prepared.validation)
    calibrated = with_calibration(bundle, unseen[1], prepared.validation.truth, patients_of(prepared))
    upright = prepared.validation.turns.count(0) or len(prepared.validation)
    rejecting = with_reject_score(calibrated, known, (unseen[0][:upright], unseen[1][:upright]))
    return with_evidence(rejecting, prepared)


def interpolate(network: Network, start: Mapping[str, Tensor], share: float) -> None:
    """Take the mean of a network's weights and those that it started from; share: of its own, 0..1."""
    state = network.state_dict()
    mixed = {
        name: start[name].to(value).lerp(value, share) if value.is_floating_point() else value
        for name, value in state.items()
    }
    network.load_state_dict(mixed)


def _normalization(images: CachedImages, recipe: Recipe) -> dict[str, Any]:
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


def _record(prepared: Prepared, recipe: Recipe, epochs: Sequence[Epoch]) -> dict[str, Any]:
    """Return how the weights came about; no path of the machine goes into a bundle."""
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
