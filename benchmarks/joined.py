"""Processor time of one model, of three that share all but the last layer, and of three apart.

    python benchmarks/joined.py [--model router5] [--turns 40] [--precision float32]

The three are the model itself and two copies of it with last layers of random numbers: one with two heads of
9 outputs in all, as for views and rotation, and one of 24, as for body parts. In each turn all of them are
asked about one batch of four images of noise; the figure is the median processor time of an image, over all
threads of the process.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dicomsort.model.batching import Predictor
from dicomsort.model.bundle import WEIGHTS, Bundle, load, locate
from dicomsort.model.graph import widened
from dicomsort.model.heads import Head
from dicomsort.model.joined import outputs_of
from dicomsort.model.load import predictors_for

LAYER = "classifier"
_IMAGES = 4
_WARM = 5


def with_other_rows(bundle: Bundle, name: str, *widths: int) -> Bundle:
    """Return a copy whose last layer has random rows, for heads of these widths."""
    draw, outputs = np.random.default_rng(sum(widths)), sum(widths)
    old = [bundle.weights[f"{LAYER}.{kind}"] for kind in ("weight", "bias")]
    new = (draw.normal(0, 0.1, (outputs, *each.shape[1:])).astype(each.dtype) for each in old)
    rows = dict(zip((f"{LAYER}.weight", f"{LAYER}.bias"), new, strict=True))
    weights = {**bundle.weights, **rows}
    assert bundle.graph is not None  # noqa: S101
    graph = widened(bundle.graph, bundle.weights, weights, LAYER, WEIGHTS)
    first, *further = (Head(f"h{width}", tuple(map(str, range(width)))) for width in widths)
    return replace(bundle, name=name, head=first, further=tuple(further), weights=weights, graph=graph)


def spent(predictors: Sequence[Predictor]) -> float:
    """Return processor seconds for an image."""
    size = predictors[0].bundle.preprocessing.size
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, size, size), dtype=np.uint8)
    started = time.process_time()
    outputs_of(predictors, lambda each: each.logits(images))
    return (time.process_time() - started) / _IMAGES


def main() -> None:
    """Print a line for each engine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="router5")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--precision", default="float32")
    given = parser.parse_args()
    bundle = load(locate(given.model))
    bundles = [bundle, with_other_rows(bundle, "view", 5, 4), with_other_rows(bundle, "parts", 24)]
    print(f"{bundle.tag}, {given.precision}: ms of processor time an image")
    for engine in ("openvino", "torch"):
        alone = []
        for each in bundles:
            with predictors_for([each], "cpu", given.precision, engine) as found:
                alone += found
        with predictors_for(bundles, "cpu", given.precision, engine) as together:
            ways = {"one": alone[:1], "three as one": together, "three apart": alone}
            turns = [{name: spent(each) for name, each in ways.items()} for _ in range(given.turns)]
        told = {name: statistics.median(turn[name] for turn in turns[_WARM:]) for name in ways}
        print(f"{engine:10}" + "".join(f"{name} {1000 * each:.1f}   " for name, each in told.items()))


if __name__ == "__main__":
    main()
