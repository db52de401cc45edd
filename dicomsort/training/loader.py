"""Labelled images in the cache: what a network should say of them, and in which order it sees them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dicomsort.data.cache import Cache
from dicomsort.data.dataset import Sample
from dicomsort.data.targets import label_counts, stratum, truth_matrix
from dicomsort.model.heads import Head
from dicomsort.training.augment import Augmentation, transform
from dicomsort.training.random_transforms import side_by_side, with_grays_of

_BATCH = 64  # images at a time where nothing is learned


@dataclass(frozen=True, slots=True)
class CachedImages:
    """Labelled images in the cache.

    keys: content hashes. truth: float32 (n, outputs), what the network should say, NaN where unknown.
    strata: the class that each counts for when classes are balanced. sources: where each is from.
    """

    cache: Cache
    keys: tuple[str, ...]
    truth: NDArray[np.float32]
    strata: tuple[str, ...]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def pixels(self, index: int) -> Tensor:
        """Return one image: uint8 (size, size)."""
        return torch.from_numpy(self.cache.pixels(self.keys[index]).copy())

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


class AugmentedImages(Dataset[tuple[Tensor, Tensor]]):
    """The images of one epoch in their order, each changed a little by a lot of its own."""

    def __init__(
        self, images: CachedImages, order: Sequence[int], augmentation: Augmentation, seed: int
    ) -> None:
        self._images, self._order, self._seed = images, order, seed
        self._augmentation, self._change = augmentation, transform(augmentation)
        self._alike = _alike(images) if augmentation.pair else []
        self._truth = torch.from_numpy(images.truth)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
        index = self._order[at]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(self._seed, at))
            changed = self._change(self._picture(index))
        return changed.squeeze(0), self._truth[index]

    def _picture(self, index: int) -> Tensor:
        """Return one image, at times as it may be with the help of others: uint8 (1, size, size)."""
        image = self._images.pixels(index).unsqueeze(0)
        if _happens(self._augmentation.greys):
            image = with_grays_of(image, self._one_of(range(len(self._images))))
        if _happens(self._augmentation.pair):
            image = side_by_side(image, self._one_of(self._alike[index]))
        return image

    def _one_of(self, indices: Sequence[int]) -> Tensor:
        chosen = indices[int(torch.randint(len(indices), (1,)))]
        return self._images.pixels(chosen).unsqueeze(0)


def _happens(probability: float) -> bool:
    return probability > 0 and float(torch.rand(1)) < probability


def _alike(images: CachedImages) -> list[list[int]]:
    """Return for each image those of which the same is known, itself among them."""
    alike: dict[tuple[str, bytes], list[int]] = {}
    keys = [(stratum, row.tobytes()) for stratum, row in zip(images.strata, images.truth, strict=True)]
    for index, key in enumerate(keys):
        alike.setdefault(key, []).append(index)
    return [alike[key] for key in keys]


def seed_of(*parts: int) -> int:
    """Make one seed of several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
