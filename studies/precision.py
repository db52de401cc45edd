"""How much a model's answers change with the precision of the network.

    python studies/precision.py labels.csv --target group [--model router5] [--precision bfloat16]

Reads every image of a labelled data set (see `dicomsort train`), runs the network in float32 and in the other
precision, and prints on how many images both give the same label, on how many the same decision (label or
review), and the difference of the calibrated probabilities. Also compares batches of 1 and of 64 in float32.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicomsort.data import dataset
from dicomsort.model import bundle as bundles
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.heads import decide
from dicomsort.outcome import Failure
from dicomsort.system.worker_pool import PoolSettings


def scores(classifier: TorchClassifier, images: NDArray[np.uint8], batch: int) -> NDArray[np.float64]:
    """Return calibrated probabilities (n, labels)."""
    logits = [classifier.logits(images[at : at + batch]) for at in range(0, len(images), batch)]
    return np.asarray(classifier.bundle.scores(np.concatenate(logits)))


def compare(
    name: str, ours: NDArray[np.float64], exact: NDArray[np.float64], classifier: TorchClassifier
) -> None:
    """Print how far two sets of probabilities (n, labels) lie apart."""
    head = classifier.bundle.head
    decisions = [[decide(row, head) for row in rows] for rows in (ours, exact)]
    same = [one.label == other.label for one, other in zip(*decisions, strict=True)]
    alike = [
        is_same and one.review == other.review for is_same, one, other in zip(same, *decisions, strict=True)
    ]
    far = np.abs(ours - exact).max(axis=1)
    print(
        f"{name}: same label {sum(same)} of {len(same)} ({100 * np.mean(same):.3f} %), same decision "
        f"{100 * np.mean(alike):.3f} %; difference of probability: greatest {far.max():.4f}, "
        f"99.9 % below {np.quantile(far, 0.999):.4f}, mean {far.mean():.5f}"
    )
    for index in np.flatnonzero(~np.array(same)):
        pair = decisions[1][index], decisions[0][index]
        print("   " + " -> ".join(f"{one.label} {one.confidence:.3f}" for one in pair))


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--target")
    parser.add_argument("--model", default="router5")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    bundle = bundles.load(bundles.locate(given.model))
    columns = dataset.Columns((given.target,) if given.target else ())
    samples = dataset.load(given.data, columns).samples
    readings = dataset.read_all(samples, bundle.preprocessing, PoolSettings())
    images = np.stack([reading.image for _, reading in readings if not isinstance(reading, Failure)])
    print(f"{len(images)} images of {len(samples)} files, {bundle.tag}, {given.device}")
    exact = TorchClassifier(bundle, given.device, "float32")
    reference = scores(exact, images, 8)
    other = TorchClassifier(bundle, given.device, given.precision)
    compare(f"{other.precision} against float32", scores(other, images, 8), reference, other)
    some = images[:640]
    compare("float32, batches of 1 against 64", scores(exact, some, 1), scores(exact, some, 64), exact)


if __name__ == "__main__":
    main()
