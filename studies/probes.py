"""What networks know before they are trained on radiographs: linear probes on their frozen features.

    python studies/probes.py labels.csv --weights FOLDER [--size 160] [--networks mobilenet_v1 ...]

A penalized logistic regression on the features of ImageNet networks, each averaged over a picture and its
mirror image. Classes count alike; within a class, a data set of n images counts as the root of n. Measured on
the fixed test part, after a fit to the training part, and on data sets left out in groups
(models/sources.csv), where the mean of several networks' logarithms is measured, too. FOLDER holds the
networks' weights as timm names them. Ambiguous images count 0.3 in a fit, and nothing where sources are left
out. Prints Markdown.
"""

import argparse
import csv
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from candidates import AMBIGUOUS, macro_recall
from numpy.typing import NDArray
from told import table

from dicomsort.data import dataset
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TEST, TRAIN, Columns
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model.networks import spec_for
from dicomsort.system.pool_settings import pool_settings
from dicomsort.training.pretrained import create_for_training

MODELS = Path(__file__).resolve().parents[1] / "models"
NETWORKS = ("efficientnet_lite0", "efficientnet_lite2", "mobilenet_v1", "mobilenet_v2")
RIDGE, STEPS, SMOOTHING = 0.1, 60, 0.05
AMBIGUOUS_WEIGHT = 0.3

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Known:
    """What is known of n pictures: class indices, source, its group, part of the fixed split, doubt (n,)."""

    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    sources: NDArray[np.str_]
    groups: NDArray[np.str_]
    parts: NDArray[np.str_]
    doubtful: NDArray[np.bool_]

    def weights(self, members: NDArray[np.bool_]) -> Floats:
        """Return what each of some pictures counts in a fit; their mean is about 1."""
        pairs = list(zip(self.truth[members].tolist(), self.sources[members].tolist(), strict=True))
        sizes, of_class = Counter(pairs), Counter[int]()
        for (label, _), count in sizes.items():
            of_class[label] += count**0.5
        each = np.array([sizes[pair] ** -0.5 / of_class[pair[0]] for pair in pairs])
        doubt = np.where(self.doubtful[members], AMBIGUOUS_WEIGHT, 1.0)
        return np.asarray(each / each.mean() * doubt, np.float32)


def features(name: str, folder: Path, pictures: Sequence[NDArray[np.uint8]]) -> Floats:
    """Return the features of a frozen network, means of a picture's and its mirror image's."""
    weights = folder / f"{spec_for(name).timm}.safetensors"
    network, _ = create_for_training(name, pictures[0].shape[0], 1, str(weights))
    network.eval().to(memory_format=torch.channels_last)
    found = []
    with torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(pictures), 64):
            batch = torch.from_numpy(np.stack(pictures[start : start + 64]))
            both = [network.features(each)[0].numpy() for each in (batch, batch.flip(2))]
            found.append((both[0] + both[1]) / 2)
    return np.concatenate(found)


def fitted(values: Floats, known: Known, members: NDArray[np.bool_]) -> Floats:
    """Fit the regression to some pictures; return the logarithms of all pictures' probabilities."""
    scaled = (values - values[members].mean(axis=0)) / (values[members].std(axis=0) + 1e-3)
    every = torch.from_numpy(scaled.astype(np.float32))
    own, weights = every[torch.from_numpy(members)], torch.from_numpy(known.weights(members))
    classes = len(known.labels)
    wanted = np.eye(classes, dtype=np.float32)[known.truth[members]] * (1 - SMOOTHING) + SMOOTHING / classes
    slope, start = (
        torch.zeros(shape, requires_grad=True) for shape in ((classes, every.shape[1]), (classes,))
    )
    search = torch.optim.LBFGS([slope, start], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")
    target = torch.from_numpy(wanted)

    def step() -> float:
        search.zero_grad()
        each = torch.nn.functional.cross_entropy(own @ slope.T + start, target, reduction="none")
        loss = (weights * each).mean() + RIDGE * slope.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    search.step(step)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        logs: Floats = torch.log_softmax(every @ slope.T + start, dim=1).numpy()
    return logs


def row(name: str, logs: Floats, known: Known, members: NDArray[np.bool_]) -> list[str]:
    """Sum up the answers to some pictures."""
    truth, said = known.truth[members], logs[members].argmax(axis=1)
    precision = np.mean([(truth[said == each] == each).mean() for each in np.unique(said)])
    figures = (macro_recall(truth, said == truth), float(precision), float((said == truth).mean()))
    return [name, *(f"{figure:.3f}" for figure in figures)]


def load(labels: Path, size: int) -> tuple[Known, list[NDArray[np.uint8]]]:
    """Read all labeled pictures."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder), Preprocessing(size=size))
        columns = Columns(("group",), "dataset", metadata=(AMBIGUOUS,))
        samples = dataset.load(labels, columns, cache.hash_of).samples
        cache.fill(samples, pool_settings())
        pictures = [cache.pixels(sample.sha256).copy() for sample in samples]
    names = tuple(sorted({sample.label for sample in samples}))
    groups, parts = _column("sources.csv", "dataset", "fold"), _column("xray-split.csv", "sha256", "part")
    known = Known(
        names,
        np.array([names.index(sample.label) for sample in samples]),
        np.array([sample.source for sample in samples]),
        np.array([groups.get(sample.source, "") for sample in samples]),
        np.array([parts.get(sample.sha256, "") for sample in samples]),
        np.array([sample.metadata.get(AMBIGUOUS) == "1" for sample in samples]),
    )
    return known, pictures


def _column(name: str, key: str, value: str) -> dict[str, str]:
    with (MODELS / name).open(encoding="utf-8", newline="") as file:
        return {line[key]: line[value] for line in csv.DictReader(file)}


def main() -> None:
    """Fit, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    given = parser.parse_args()
    known, pictures = load(given.labels, given.size)
    grouped, test = (known.groups != "") & ~known.doubtful, known.parts == TEST
    tested, unseen, all_logs = [], [], []
    for name in given.networks:
        values = features(name, given.weights, pictures)
        tested.append(row(name, fitted(values, known, known.parts == TRAIN), known, test))
        logs = np.zeros((len(values), len(known.labels)), np.float32)
        for group in sorted(set(known.groups.tolist()) - {""}):
            logs[known.groups == group] = fitted(values, known, known.groups != group)[known.groups == group]
        unseen.append(row(name, logs, known, grouped))
        all_logs.append(logs)
    unseen.append(row("the mean of all", np.mean(all_logs, axis=0), known, grouped))
    columns = ["network", "macro recall", "macro precision", "accuracy"]
    print(f"Fixed test part, {test.sum()} images\n\n{table(columns, tested)}\n")
    print(f"Sources left out, {grouped.sum()} images\n\n{table(columns, unseen)}")


if __name__ == "__main__":
    main()
