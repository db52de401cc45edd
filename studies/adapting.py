"""What `train --adapt` is worth: 200 judged images of a source that a model has never seen.

    python studies/adapting.py labels.csv runs/a=unifesp runs/b=kermany,nih14 [--images 200] [--draws 20]
        [--corrections FILE] [--cache FOLDER]

MODEL=SOURCES: a bundle that was trained without the images of these data sets (column `dataset`): its split
calls them test, as it does those of its fixed test part. For each, patients of the sources are drawn until
they have so many images, the last layer is moved by these as `train --adapt` moves it, and both models answer
the other images of the sources, and the fixed test part. Draws differ in the patients alone.

Prints Markdown: means over the draws; of the differences the lowest and highest draw as well.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from told import table

from dicomsort.data import corrections
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TEST, Columns, Sample
from dicomsort.evaluation.predictions import patients_of, predictions_of
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle
from dicomsort.system.pool_settings import pool_settings
from dicomsort.training import head_shift
from dicomsort.training.loader import images_of
from dicomsort.training.trainer import features_of

FIGURES = ("mean recall of the classes there are", "accuracy")


@dataclass(frozen=True, slots=True)
class Seen:
    """The images of a source, or of the test part: features (n, d), logits (n, k), truth (n, k), patients."""

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    truth: NDArray[np.float32]
    patients: NDArray[np.int64]

    def take(self, members: NDArray[np.bool_]) -> "Seen":
        """Return some of the images."""
        return Seen(self.features[members], self.logits[members], self.truth[members], self.patients[members])


def answered(bundle: Bundle, samples: list[Sample], cache: Cache) -> Seen:
    """Ask a model about images that are in the cache."""
    images = images_of(samples, [bundle.head], cache)
    features, outputs = features_of(networks.build(bundle), images, torch.bfloat16)
    return Seen(features, outputs[:, : bundle.head.width], images.truth, patients_of(samples))


def figures(bundle: Bundle, seen: Seen, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return FIGURES of logits; a class that only answers name is no class of the source."""
    found = predictions_of(bundle.head, seen.truth, bundle.head.scores(logits))
    right = found.chosen == found.truth
    recalls = [right[found.truth == label].mean() for label in np.unique(found.truth)]
    return np.array([np.mean(recalls), right.mean()])


def drawn(seen: Seen, images: int, seed: int) -> NDArray[np.bool_]:
    """Draw patients until they have so many images; one who has more than are left is passed over."""
    chosen = np.zeros(len(seen.patients), np.bool_)
    for patient in np.random.default_rng(seed).permutation(np.unique(seen.patients)):
        own = seen.patients == patient
        if chosen.sum() + own.sum() <= images:
            chosen |= own
    return chosen


def one_draw(bundle: Bundle, place: Seen, fixed: Seen, images: int, seed: int) -> NDArray[np.float64]:
    """Return FIGURES (place and fixed, before and after, figure)."""
    chosen = drawn(place, images, seed)
    judged, rest = place.take(chosen), place.take(~chosen)
    shift = head_shift.fit(judged.features, judged.logits, judged.truth, bundle.head)
    return np.array(
        [
            [
                figures(bundle, each, each.logits),
                figures(bundle, each, shift.applied(each.features, each.logits)),
            ]
            for each in (rest, fixed)
        ]
    )


def lines(name: str, found: NDArray[np.float64], images: int) -> list[list[str]]:
    """Write what the draws (draws, 2, 2, figures) of a source gave, in cells."""
    rows = []
    for at, where in enumerate(("there", "fixed test part")):
        cells = [name, str(images), where]
        for figure in range(len(FIGURES)):
            before, after = found[:, at, 0, figure], found[:, at, 1, figure]
            gain = after - before
            apart = f"{gain.mean():+.3f}; {gain.min():+.3f} to {gain.max():+.3f}"
            cells.append(f"{before.mean():.3f} -> {after.mean():.3f} ({apart})")
        rows.append(cells)
    return rows


def main() -> None:
    """Read the command line, ask the models, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path)
    parser.add_argument("models", nargs="+", metavar="MODEL=SOURCES")
    parser.add_argument("--images", type=int, nargs="+", default=[200])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    asked = parser.parse_args()
    rows: list[list[Any]] = []
    for model in asked.models:
        folder, _, names = model.rpartition("=")
        bundle, sources = bundles.load(Path(folder)), set(names.split(","))
        cache = Cache(asked.cache, bundle.preprocessing)
        columns = Columns((bundle.head.name,), source="dataset")
        found, _ = corrections.load(asked.labels, columns, asked.corrections, cache.hash_of)
        unseen = [one for one in found.samples if bundle.split.get(one.sha256) == TEST]
        cache.fill(unseen, pool_settings(None))
        place = answered(bundle, [one for one in unseen if one.source in sources], cache)
        fixed = answered(bundle, [one for one in unseen if one.source not in sources], cache)
        for images in asked.images:
            draws = [one_draw(bundle, place, fixed, images, seed) for seed in range(asked.draws)]
            rows += lines(names, np.array(draws), images)
    print(table(["source left out", "judged", "measured", *FIGURES], rows))


if __name__ == "__main__":
    main()
