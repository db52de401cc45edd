"""Images a second of the network alone, asked of whatever build of dicomsort this interpreter has.

    ENVIRONMENT/bin/python benchmarks/alone.py [--model router5] [--device cpu] [--engine torch]

Asks the build's own predictor, with as many batches at a time as it takes and of the size that it prefers.
Works with builds before and after the package was divided into rooms, and prints one JSON object.
"""

import argparse
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]


def rate(run: Callable[[Images], object], concurrency: int, batch: Images, seconds: float) -> float:
    """Return images a second of `concurrency` threads that do nothing else."""
    run(batch)
    end = time.perf_counter() + seconds

    def lane(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            run(batch)
            done += len(batch)
        return done

    started = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as threads:
        done = sum(threads.map(lane, range(concurrency)))
    return done / (time.perf_counter() - started)


@contextmanager
def predictor(given: argparse.Namespace) -> Iterator[Any]:
    """Make the model ready as this build's commands do."""
    try:
        bundles, loading = import_module("dicomsort.model.bundle"), import_module("dicomsort.model.load")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("dicomsort"):
            raise
        yield before_the_rooms(given)
        return
    engine = engine_words(loading.predictor_for, given.engine)
    bundle = bundles.load(bundles.locate(given.model))
    with loading.predictor_for(bundle, given.device, given.precision, **engine) as ready:
        yield ready


def before_the_rooms(given: argparse.Namespace) -> Any:
    """Make the classifier of a build ready that is a flat package, as of version 0.1.0."""
    if given.engine:
        sys.exit("this build has one engine only: leave --engine out")
    bundles, classifier = import_module("dicomsort.bundle"), import_module("dicomsort.classifier")
    import_module("dicomsort.heap").keep_freed_memory()
    return classifier.Classifier(bundles.load(bundles.locate(given.model)), given.device, given.precision)


def engine_words(function: Callable[..., object], engine: str | None) -> dict[str, str]:
    """Return what tells a function the engine. Ends the program if it cannot be told."""
    if engine is None:
        return {}
    if "engine" not in inspect.signature(function).parameters:
        sys.exit("this build has one engine only: leave --engine out")
    return {"engine": engine}


def lanes(ready: Any) -> int:
    """Return how many threads may ask a predictor at a time, by its new or its old name."""
    return int(ready.concurrency if hasattr(ready, "concurrency") else ready.lanes)


def noise(images: int, size: int) -> Images:
    """Return a batch, uint8 (images, size, size)."""
    return np.random.default_rng(0).integers(0, 256, (images, size, size), np.uint8)


def measure(ready: Any, seconds: float) -> dict[str, float]:
    """Return images a second, processor milliseconds an image (all threads), and how it was asked."""
    images = noise(ready.batch_size, ready.bundle.preprocessing.size)
    asked: list[int] = []

    def run(batch: Images) -> object:
        asked.append(len(batch))
        return ready.logits(batch)

    run(images)
    asked.clear()
    before = time.process_time()
    found = rate(run, lanes(ready), images, seconds)
    spent = 1e3 * (time.process_time() - before) / sum(asked)
    return {"images_per_second": found, "processor": spent, "batch": len(images), "lanes": lanes(ready)}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="router5")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--engine")
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    with predictor(given) as ready:
        figures = measure(ready, given.seconds)
    json.dump({**figures, "precision": ready.precision}, sys.stdout)


if __name__ == "__main__":
    main()
