"""Whether every network of the table answers from its graph as it does in PyTorch.

    python studies/exports.py labels.csv --target group [--images 300] [--part test]

Makes each network of `networks.ALIASES` with random weights, whose batch norms have seen some of the images,
exports it, and asks both engines in float32 about images of one part of router5's split. Prints the greatest
difference of a logit, relative to the greatest logit, on how many images the labels agree, the size of the
graph and the seconds that the export took.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dicomsort.data import dataset
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model import bundle as bundles
from dicomsort.model import export, networks
from dicomsort.model.bundle import Bundle, compact
from dicomsort.model.heads import Head
from dicomsort.model.load import classifier_for
from dicomsort.outcome import Failure
from dicomsort.system.pool_settings import PoolSettings

SIZE, CLASSES, SEEN = 224, "abcde", 32


def random_bundle(name: str, images: NDArray[np.uint8]) -> Bundle:
    """Return a bundle of a network with random weights, whose batch norms have seen some of the images."""
    torch.manual_seed(0)
    spec = networks.spec_for(name, SIZE)
    network = networks.Network(spec, len(CLASSES))
    with torch.no_grad():
        for start in range(0, SEEN, SEEN // 4):
            network.train()(torch.from_numpy(images[start : start + SEEN // 4]))
    head = Head("label", tuple(CLASSES))
    return Bundle("random", spec, Preprocessing(size=SIZE), head, compact(networks.weights_of(network)))


def logits(bundle: Bundle, engine: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits (n, classes) of one engine in float32."""
    classifier = classifier_for(bundle, "cpu", "float32", engine)
    return np.concatenate([classifier.logits(images[at : at + 8]) for at in range(0, len(images), 8)])


def main() -> None:
    """Print a line for each network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--target")
    parser.add_argument("--part", default="test")
    parser.add_argument("--images", type=int, default=300)
    given = parser.parse_args()
    columns = dataset.Columns((given.target,) if given.target else ())
    split = bundles.load(bundles.locate("router5")).split
    wanted = dataset.in_part(dataset.load(given.data, columns).samples, split, given.part)
    drawn = np.random.default_rng(0).permutation(len(wanted))[: given.images]
    samples = [wanted[int(place)] for place in sorted(drawn)]
    readings = dataset.read_all(samples, Preprocessing(size=SIZE), PoolSettings())
    images = np.stack([reading.image for _, reading in readings if not isinstance(reading, Failure)])
    print(f"{len(images)} images of the {given.part} part")
    for name in networks.ALIASES:
        bundle = random_bundle(name, images)
        started = time.perf_counter()
        bundle = export.with_graph(bundle)
        seconds = time.perf_counter() - started
        ours, theirs = (logits(bundle, engine, images) for engine in ("openvino", "torch"))
        apart = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        same = int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
        size = len(bundle.graph or b"") / 1000
        print(f"{name:16} {apart:.1e}  {same} of {len(images)}  {size:4.0f} kB  {seconds:4.1f} s", flush=True)


if __name__ == "__main__":
    main()
