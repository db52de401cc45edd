"""Average the weights of two models of one network, start and question, and fit what follows from them anew.

    python tools/average_weights.py labels.csv A B --corrections models/corrections.csv --out C
    python tools/average_weights.py labels.csv A B --folds --out C

Networks that were trained from the same weights in different ways lie close enough together that the mean of
their weights is a network too, often one that is better on data like the training data and on other data
(Wortsman et al. 2022, "Model soups"). Temperature and review threshold are fitted on the validation part of
B's split, the reject score on its training part, as `dicomsort train` does it; A must have seen no more.

--folds: A and B are what `dicomsort train --folds` has written, of the same folds; C gets the answers of each
fold's mean to what both have left out, for studies/sources.py. Its temperatures are the means of theirs,
its folds, thresholds and rejections those of A.
"""

import argparse
import csv
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicomsort.data import corrections, targets
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TRAIN, Columns
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.bundle import CONFIG, Bundle
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.export import with_graph
from dicomsort.model.ood import PREFIX
from dicomsort.system.worker_pool import pool_settings
from dicomsort.training import cross_validation, finish, train
from dicomsort.training.trainer import features_of

BATCH = 32


def averaged(one: Bundle, other: Bundle) -> dict[str, NDArray[np.generic]]:
    """Return the mean of two models' weights, without what belongs to their reject scores.

    Raises ValueError if the models do not fit, or the first has seen what the second is to be judged by.
    """
    if one.network != other.network or one.preprocessing != other.preprocessing:
        raise ValueError("the models differ in network or canvas")
    if [head.labels for head in one.heads] != [head.labels for head in other.heads]:
        raise ValueError("the models answer other questions")
    if any(part == TRAIN and other.split.get(sample, TRAIN) != TRAIN for sample, part in one.split.items()):
        raise ValueError("the first model was trained on images that the second was not")
    names = [name for name in other.weights if not name.startswith(PREFIX)]
    pairs = ((name, one.weights[name], other.weights[name]) for name in names)
    return {name: ((a.astype(np.float32) + b) / 2).astype(b.dtype) for name, a, b in pairs}


def shipped(data: Path, models: list[Path], target: str, right: Path | None, out: Path) -> None:
    """Average two bundles into one that can be shipped."""
    one, other = map(bundles.load, models)
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder), other.preprocessing)
        found, _ = corrections.load(data, Columns((target,)), right, cache.hash_of)
        samples = list(found.samples)
        unread = cache.fill(samples, pool_settings(), lambda _: None)
        heads = targets.heads_of(samples, (target,))
        prepared = train.prepare(samples, heads, other.split, cache, unread)
        made = {"average_of": [one.tag, other.tag], "parts": [one.training, other.training]}
        mean = replace(other, name=out.name, weights=averaged(one, other), training=made, reject=None)
        network = networks.build(mean)
        known, unseen = (features_of(network, images) for images in (prepared.train, prepared.validation))
    who = finish.patients_of(prepared)
    fitted = finish.with_calibration(mean, unseen[1], prepared.validation.truth, who)
    with_graph(finish.with_reject_score(fitted, known, unseen)).save(out)


def out_of_fold(data: Path, runs: list[Path], target: str, out: Path) -> None:
    """Write what the means of two runs' folds answer, in the place of what the first run's answer."""
    tables = [{row["file"]: row for row in rows_of(run)} for run in runs]
    rows = [row for name, row in tables[0].items() if name in tables[1]]
    out.mkdir(parents=True)
    shutil.copy(runs[0] / cross_validation.FIGURES, out)
    with (out / cross_validation.PREDICTIONS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for fold in sorted({row["fold"] for row in rows}):
            ours = [row for row in rows if row["fold"] == fold]
            writer.writerows(answered(data, [folder_of(run, fold) for run in runs], target, ours))
            left = out / folder_of(runs[0], fold).name
            left.mkdir()
            for name in (CONFIG, "model.safetensors", "split.csv"):
                shutil.copy(folder_of(runs[0], fold) / name, left)


def rows_of(run: Path) -> list[dict[str, str]]:
    """Read the answers of a run."""
    with (run / cross_validation.PREDICTIONS).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def folder_of(run: Path, fold: str) -> Path:
    """Return where a run keeps the model of a fold."""
    return next(path.parent for path in run.glob(f"{fold.replace('+', '_')}*/{CONFIG}"))


def answered(
    data: Path, models: list[Path], target: str, rows: list[dict[str, str]]
) -> Iterator[dict[str, str]]:
    """Yield the rows of a fold with the answers of the mean of two models."""
    one, other = map(bundles.load, models)
    weights = averaged(replace(one, split={}), other)
    temperature = (one.head.temperature + other.head.temperature) / 2
    head = replace(one.head, temperature=temperature)
    classifier = TorchClassifier(replace(one, weights=weights, reject=None, head=head), "cpu", "bfloat16")
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder), one.preprocessing)
        found, _ = corrections.load(data, Columns((target,)), None, cache.hash_of)
        wanted = {row["file"] for row in rows}
        samples = {sample.name: sample for sample in found.samples if sample.name in wanted}
        cache.fill(list(samples.values()), pool_settings(), lambda _: None)
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            images = np.stack([cache.pixels(samples[row["file"]].sha256) for row in some])
            for row, scores in zip(some, head.scores(classifier.logits(images)), strict=True):
                each = {
                    f"score_{label}": f"{score:.6f}" for label, score in zip(head.labels, scores, strict=True)
                }
                best = int(scores.argmax())
                yield {**row, **each, "label": head.labels[best], "confidence": f"{scores[best]:.6f}"}


def main() -> None:
    """Average, fit and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("models", type=Path, nargs=2, metavar="MODEL")
    parser.add_argument("--target", default="group")
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--folds", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.folds:
        out_of_fold(given.data, given.models, given.target, given.out)
    else:
        shipped(given.data, given.models, given.target, given.corrections, given.out)


if __name__ == "__main__":
    main()
