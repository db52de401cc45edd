"""How much a model's answers change with the engine and the precision of the network.

    python studies/precision.py labels.csv --target group [--model router5] [--part all]

Reads the images of a labeled data set (see `dicomsort train`), or one part of the split, and asks
the network by both engines in float32 and in bfloat16, on a processor. Prints for each pair on how many
images both give the same label and decision (label or review), how far probabilities and scores lie
apart, and every image whose label differs; for each alone its accuracy and macro recall and precision.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicomsort.data import dataset
from dicomsort.data.dataset import Sample
from dicomsort.evaluation import metrics
from dicomsort.evaluation.metrics import Predictions
from dicomsort.model import bundle as bundles
from dicomsort.model.batching import Predictor
from dicomsort.model.bundle import Bundle
from dicomsort.model.load import predictor_for
from dicomsort.outcome import Failure
from dicomsort.system.pool_settings import PoolSettings

Logits = NDArray[np.float32]

CONTENDERS = (
    *(("torch", "float32"), ("torch", "bfloat16")),
    *(("openvino", "float32"), ("openvino", "bfloat16")),
)
PAIRS = ((1, 0), (2, 0), (3, 0), (3, 1))
"""Places in CONTENDERS: each against what it is to agree with."""
_FIGURES = ("accuracy", "recall_macro", "precision_macro", "f1_macro")


def outputs(predictor: Predictor, images: NDArray[np.uint8]) -> Logits:
    """Return logits and reject scores (n, width), asked in as many lanes as the predictor has."""
    size = predictor.batch_size
    with ThreadPoolExecutor(predictor.concurrency) as lanes:
        batches = [images[at : at + size] for at in range(0, len(images), size)]
        return np.concatenate(list(lanes.map(predictor.logits, batches)))


def compare(bundle: Bundle, ours: Logits, theirs: Logits, samples: Sequence[Sample]) -> None:
    """Print how far the outputs (n, width) of one network by two roads lie apart."""
    decisions = [bundle.decisions(each) for each in (ours, theirs)]
    pairs = list(zip(*decisions, strict=True))
    same = np.array([one.label == other.label for one, other in pairs])
    alike = np.array([one.folder == other.folder for one, other in pairs])
    far = np.abs(bundle.scores(ours) - bundle.scores(theirs)).max(axis=1)
    print(
        f"  same label {same.sum()} of {len(same)} ({100 * same.mean():.3f} %), same decision "
        f"{100 * alike.mean():.3f} %; difference of probability: greatest {far.max():.4f}, "
        f"99.9 % below {np.quantile(far, 0.999):.4f}, mean {far.mean():.5f}"
    )
    if bundle.reject is not None:
        apart = np.abs(ours[:, -1] - theirs[:, -1])
        rejected = [each[:, -1] > bundle.reject.threshold for each in (ours, theirs)]
        print(
            f"  reject score: greatest difference {apart.max():.4f}, mean {apart.mean():.5f}; "
            f"{(rejected[0] != rejected[1]).sum()} on another side of the threshold"
        )
    for index in np.flatnonzero(~same):
        one, other = pairs[index]
        print(
            f"    {samples[int(index)].name}: {other.label} {other.confidence:.3f} ({other.folder}) -> "
            f"{one.label} {one.confidence:.3f} ({one.folder})"
        )


def figures(bundle: Bundle, given: Logits, samples: Sequence[Sample]) -> str:
    """Return the figures of the first head's labels."""
    head = bundle.head
    scores = bundle.scores(given)[:, : len(head.labels)]
    truth = np.array([head.labels.index(sample.targets[0]) for sample in samples])
    predictions = Predictions(head.kind, head.labels, truth, head.chosen(scores), scores.astype(np.float64))
    overall = metrics.measure(predictions, bootstrap=0).overall
    return ", ".join(f"{name} {overall[name].value:.4f}" for name in _FIGURES)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--target")
    parser.add_argument("--model", default="router5")
    parser.add_argument("--part", default="all")
    given = parser.parse_args()
    bundle = bundles.load(bundles.locate(given.model))
    columns = dataset.Columns((given.target,) if given.target else ())
    wanted = dataset.in_part(dataset.load(given.data, columns).samples, bundle.split, given.part)
    readings = list(dataset.read_all(wanted, bundle.preprocessing, PoolSettings()))
    read = [(sample, reading.image) for sample, reading in readings if not isinstance(reading, Failure)]
    read.sort(key=lambda pair: pair[0].name)
    samples, images = [sample for sample, _ in read], np.stack([image for _, image in read])
    print(f"{len(images)} images of {len(wanted)} files, {bundle.tag}, part {given.part}")
    found: list[Logits] = []
    for engine, precision in CONTENDERS:
        with predictor_for(bundle, "cpu", precision, engine) as predictor:
            found.append(outputs(predictor, images))
        print(f"{engine} {precision}: {figures(bundle, found[-1], samples)}")
    for ours, theirs in PAIRS:
        print(f"{' '.join(CONTENDERS[ours])} against {' '.join(CONTENDERS[theirs])}:")
        compare(bundle, found[ours], found[theirs], samples)


if __name__ == "__main__":
    main()
