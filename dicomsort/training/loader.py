"""Labelled images in the cache: what a network should say of them, and in which order it sees them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dicomsort.data.cache import Cache
from dicomsort.data.dataset import Sample
from dicomsort.data.targets import label_counts, stratum, truth_matrix
from dicomsort.model import rotation
from dicomsort.model.heads import Head
from dicomsort.training.augment import Augmentation, transform
from dicomsort.training.random_transforms import side_by_side, with_grays_of, with_spectrum_of

_BATCH = 64  # images at a time where nothing is learned

QUARTERS = 4
ROTATION = Head(rotation.ROTATION, rotation.DEGREES)
"""By how many degrees a picture is turned clockwise; what is stored counts as upright."""


@dataclass(frozen=True, slots=True)
class CachedImages:
    """Labelled images in the cache.

    keys: content hashes. truth: float32 (n, outputs), what the network should say, NaN where unknown.
    strata: the class that each counts for when classes are balanced. sources: where each is from. turns: by
    how many quarters each is turned clockwise; empty if none is. taught: what the network is to learn, where
    that is not the truth alone. first: how many columns of the truth are the first head's; 0: all.
    """

    cache: Cache
    keys: tuple[str, ...]
    truth: NDArray[np.float32]
    strata: tuple[str, ...]
    sources: tuple[str, ...]
    turns: tuple[int, ...] = ()
    taught: NDArray[np.float32] | None = None
    first: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    def pixels(self, index: int) -> Tensor:
        """Return one image: uint8 (size, size)."""
        image = torch.from_numpy(self.cache.pixels(self.keys[index]).copy())
        return torch.rot90(image, -self.turns[index]) if self.turns else image

    def batches(self) -> Iterator[Tensor]:
        """Yield all images in order: uint8 (up to 64, size, size)."""
        for start in range(0, len(self), _BATCH):
            yield torch.stack([self.pixels(at) for at in range(start, min(start + _BATCH, len(self)))])


def images_of(samples: Sequence[Sample], heads: Sequence[Head], cache: Cache) -> CachedImages:
    """Gather samples that are in the cache."""
    counts = label_counts(samples)
    return CachedImages(
        cache=cache,
        keys=tuple(sample.sha256 for sample in samples),
        truth=truth_matrix(samples, heads),
        strata=tuple(stratum(sample, counts) for sample in samples),
        sources=tuple(sample.source for sample in samples),
        first=heads[0].width if heads else 0,
    )


def sampling_weights(strata: Sequence[str], sources: Sequence[str], balance: float) -> list[float]:
    """Return how often each image is to be drawn, relative to the others; see Recipe.balance."""
    groups = list(zip(strata, sources, strict=True))
    of_class, of_group = Counter(strata), Counter(groups)
    shares: Counter[str] = Counter()
    for (label, _), count in of_group.items():
        shares[label] += count ** (1 - balance)
    return [
        of_class[label] ** (1 - balance) / shares[label] * of_group[label, source] ** -balance
        for label, source in groups
    ]


@dataclass(frozen=True, slots=True)
class Turning:
    """How a head learns to tell turned images: its columns of the truth, and the share that is turned."""

    columns: slice
    share: float

    def applied(self, image: Tensor, truth: Tensor, quarters: int) -> tuple[Tensor, Tensor]:
        """Turn an image (size, size) clockwise, and tell so in a copy of its truth (outputs,)."""
        told = truth.clone()
        told[self.columns] = 0
        told[self.columns][quarters] = 1
        return torch.rot90(image, -quarters), told

    def with_turned(self, images: CachedImages) -> CachedImages:
        """Return images, upright, and all of them once more, turned by one, two or three quarters in turn.

        Of the turned ones only that is known.
        """
        quarters = [1 + at % (QUARTERS - 1) for at in range(len(images))]
        told = np.full_like(images.truth, np.nan)
        told[:, self.columns] = np.eye(QUARTERS, dtype=np.float32)[quarters]
        return replace(
            images,
            keys=images.keys * 2,
            truth=np.concatenate([images.truth, told]),
            strata=images.strata * 2,
            sources=images.sources * 2,
            turns=(*[0] * len(images), *quarters),
        )


def turning_of(heads: Sequence[Head], share: float) -> Turning | None:
    """Return how images are to be turned; None if no head is to tell it."""
    if ROTATION not in heads:
        return None
    first = sum(head.width for head in heads[: list(heads).index(ROTATION)])
    return Turning(slice(first, first + ROTATION.width), share)


class AugmentedImages(Dataset[tuple[Tensor, Tensor]]):
    """The images of one epoch in their order, each changed a little by a lot of its own."""

    def __init__(
        self,
        images: CachedImages,
        order: Sequence[int],
        augmentation: Augmentation,
        seed: int,
        turning: "Turning | None" = None,
    ) -> None:
        self._images, self._order, self._seed, self._turning = images, order, seed, turning
        self._augmentation, self._change = augmentation, transform(augmentation)
        self._first = images.first or images.truth.shape[1]
        self._alike = _alike(images, self._first) if augmentation.pair else []
        self._truth = torch.from_numpy(images.truth if images.taught is None else images.taught)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
        index = self._order[at]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(self._seed, at))
            picture, truth = self._picture(index)
            changed = self._change(picture).squeeze(0)
            if self._turning is not None and _happens(self._turning.share):
                return self._turning.applied(changed, truth, 1 + int(torch.randint(QUARTERS - 1, (1,))))
        return changed, truth

    def _picture(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image, as it may be with the help of others, uint8 (1, size, size), and its truth."""
        image, truth = self._images.pixels(index).unsqueeze(0), self._truth[index]
        if _happens(self._augmentation.greys):
            image = with_grays_of(image, self._pixels(_one_of(range(len(self._images)))))
        if _happens(self._augmentation.spectrum):
            image = with_spectrum_of(image, self._pixels(_one_of(range(len(self._images)))))
        if _happens(self._augmentation.pair):
            other = _one_of(self._alike[index])
            image = side_by_side(image, self._pixels(other))
            truth = torch.where(truth == self._truth[other], truth, torch.nan)
            truth[: self._first] = self._truth[index, : self._first]
        return image, truth

    def _pixels(self, index: int) -> Tensor:
        return self._images.pixels(index).unsqueeze(0)


def _happens(probability: float) -> bool:
    return probability > 0 and float(torch.rand(1)) < probability


def _one_of(indices: Sequence[int]) -> int:
    return indices[int(torch.randint(len(indices), (1,)))]


def _alike(images: CachedImages, first: int) -> list[list[int]]:
    """Return for each image those of which the first head knows the same, itself among them.

    first: how many columns of the truth that head has.
    """
    alike: dict[tuple[str, bytes], list[int]] = {}
    truth = images.truth[:, :first]
    keys = [(stratum, row.tobytes()) for stratum, row in zip(images.strata, truth, strict=True)]
    for index, key in enumerate(keys):
        alike.setdefault(key, []).append(index)
    return [alike[key] for key in keys]


def seed_of(*parts: int) -> int:
    """Make one seed of several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
