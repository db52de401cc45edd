"""Train on all data sets but a group, group by group, and let each model answer the group it has not seen.

    python studies/left_out.py labels.csv --weights tf_efficientnet_lite0.safetensors --out runs/lite0 \
        [--adjust 0 0.4 1] [--only FOLD ...]

The recipe is that of tools/rebuild_models.py with three epochs. `dicomsort train --folds` does the same for
one target; here are several, and a label of a further target that only the group has is no obstacle. Which
share of the classes' frequencies is taken out of the answers changes nothing but the last biases, so several
shares are tried on one training. --out gets a folder for each share, as `train --folds` writes it, for
studies/hospitals.py. A fold that is there is not trained again, so folds may be trained side by side.
"""

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dicomsort.data import corrections, targets
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TEST, TRAIN, VALIDATION, Columns, Sample, listed
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.bundle import CONFIG, Bundle
from dicomsort.model.engines.devices import PRECISIONS, choose_device, choose_precision
from dicomsort.model.heads import Head
from dicomsort.system.pool_settings import PoolSettings, pool_settings
from dicomsort.training import cross_validation, finish, train
from dicomsort.training.cross_validation import FoldResult
from dicomsort.training.distributed import ProcessGroup
from dicomsort.training.loader import ROTATION, images_of, turning_of
from dicomsort.training.recipe import Recipe
from dicomsort.training.trainer import Epoch, Prepared, RunContext, predict

MODELS = Path(__file__).resolve().parents[1] / "models"
TARGETS = ("group", "view", "body_parts", "hardware", "fracture")
SIZE = 160


def recipe_from(weights: str) -> Recipe:
    """Return how each model is trained, from a file of ImageNet weights."""
    return Recipe(
        arch="efficientnet_lite0", pretrained=weights, size=SIZE, freeze=5, epochs=3, learning_rate=5e-4,
        ema=0.995, turned=0.15, further=0.2, augment="standard,greys=0.5,pair=0.2",
    )  # fmt: skip


@dataclass(frozen=True)
class Data:
    """The pictures, what is known of them, and the group of each data set; parts: of the fixed split."""

    cache: Cache
    samples: tuple[Sample, ...]
    heads: tuple[Head, ...]
    groups: Mapping[str, str]
    parts: Mapping[str, str]

    def split(self, fold: str) -> dict[str, str]:
        """Return the split of a fold: all of its group is left out, also from validation."""
        return {
            one.sha256: TEST if self.groups.get(one.source) == fold
            else VALIDATION if self.parts.get(one.sha256) == VALIDATION else TRAIN
            for one in self.samples
        }  # fmt: skip

    def prepared(self, fold: str, recipe: Recipe) -> Prepared:
        """Gather the images that a fold's model is trained and validated on, whatever labels they lack."""
        split = self.split(fold)
        alike = [replace(sample, source="") for sample in self.samples]
        readable = [one for part in (TRAIN, VALIDATION) for one in listed(alike, split, part)]
        known = {label for sample in readable for label in targets.labels_in(sample, self.heads)}
        heads = tuple(
            replace(head, labels=tuple(each for each in head.labels if (head.name, each) in known))
            if head.kind == "multilabel" else head for head in self.heads
        )  # fmt: skip
        named = [replace(one, targets=_within(one.targets, heads)) for one in alike]
        parts = {
            part: images_of(listed(named, split, part), heads, self.cache) for part in (TRAIN, VALIDATION)
        }
        turning = turning_of(heads, recipe.turned)
        seen = parts[VALIDATION] if turning is None else turning.with_turned(parts[VALIDATION])
        return Prepared(heads, parts[TRAIN], seen, split, tuple(named), (), (), turning)


def _within(cells: Sequence[str], heads: Sequence[Head]) -> tuple[str, ...]:
    """Leave out the labels that a multilabel head does not have."""
    return tuple(
        "|".join(label for label in cell.split("|") if label in head.labels)
        if head.kind == "multilabel" else cell for cell, head in zip(cells, heads, strict=True)
    )  # fmt: skip


def load(labels: Path, folder: Path) -> Data:
    """Read all labeled pictures."""
    cache = Cache(folder, Preprocessing(size=SIZE))
    found, _ = corrections.load(
        labels, Columns(TARGETS, "dataset"), MODELS / "corrections.csv", cache.hash_of
    )
    heads = (*targets.heads_of(found.samples, TARGETS), ROTATION)
    samples = tuple(replace(one, targets=(*one.targets, ROTATION.labels[0])) for one in found.samples)
    cache.fill(samples, pool_settings())
    return Data(
        cache,
        samples,
        heads,
        _column("sources.csv", "dataset", "fold"),
        _column("xray-split.csv", "sha256", "part"),
    )


def _column(name: str, key: str, value: str) -> dict[str, str]:
    with (MODELS / name).open(encoding="utf-8", newline="") as file:
        return {row[key]: row[value] for row in csv.DictReader(file)}


def trained(data: Data, fold: str, recipe: Recipe, folder: Path) -> Bundle:
    """Train a fold's model, or load it."""
    if (folder / CONFIG).is_file():
        return bundles.load(folder)
    place = RunContext(folder, ProcessGroup(0, 1, choose_device("cpu")), PoolSettings(1), resume=True)
    folder.mkdir(parents=True, exist_ok=True)

    def tell(epoch: Epoch) -> None:
        print(fold, epoch.number, f"{epoch.loss:.3f}", f"{epoch.seconds:.0f} s", flush=True)

    bundle = train.train("fold", data.prepared(fold, recipe), recipe, place, tell)
    finish.save(bundle, folder)
    return bundle


def answers(
    data: Data, fold: str, recipe: Recipe, bundle: Bundle, shares: Sequence[float]
) -> Iterator[tuple[float, FoldResult]]:
    """Yield what a fold's model says of its group, with each share of the frequencies taken out."""
    prepared = data.prepared(fold, recipe)
    members = listed(prepared.samples, prepared.split, TEST)
    device = choose_device("cpu")
    quick = PRECISIONS[choose_precision("auto", [device])]
    network = networks.build(bundle)
    group = replace(bundle, further=(), metrics={})
    seen, unseen = (
        predict(network, images, quick)
        for images in (prepared.validation, images_of(members, prepared.heads, data.cache))
    )
    width = bundle.head.width
    shifts = finish.shifts_of(prepared, recipe.balance)[:width]
    upright = len(prepared.validation) // 2
    for share in shares:
        back = (recipe.adjust - share) * shifts
        own = np.asarray(seen[:upright, :width] + back, np.float32)
        fitted = finish.with_calibration(
            group, own, prepared.validation.truth[:upright, :width], finish.patients_of(prepared)[:upright]
        )
        outputs = np.concatenate([unseen[:, :width] + back, unseen[:, -1:]], axis=1).astype(np.float32)
        told = [replace(sample, targets=sample.targets[:1]) for sample in members]
        yield share, FoldResult(fold, fitted, tuple(told), fitted.scores(outputs), outputs[:, -1])


def main() -> None:
    """Train, answer and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--adjust", type=float, nargs="+", default=[0.0, 0.4, 1.0])
    parser.add_argument("--only", nargs="+", help="train these folds, and answer nothing")
    given = parser.parse_args()
    recipe = recipe_from(given.weights)
    data = load(given.labels, given.out / "cache")
    folds = sorted(set(data.groups.values()))
    made = {fold: trained(data, fold, recipe, given.out / fold) for fold in given.only or folds}
    if given.only:
        return
    results: dict[float, list[FoldResult]] = {share: [] for share in given.adjust}
    for fold, bundle in made.items():
        for share, result in answers(data, fold, recipe, bundle, given.adjust):
            results[share].append(result)
    for share, rounds in results.items():
        folder = given.out / f"adjust-{share:g}"
        for one in rounds:
            one.bundle.save(folder / cross_validation._folder_name(one.fold))
        cross_validation.write(rounds, cross_validation.summarize(rounds, 1000, 0), folder)


if __name__ == "__main__":
    main()
