"""Highest memory of an evaluation from the cache, by the number of images.

    python benchmarks/eval_memory.py [--images 10000 100000] [--bootstrap 1000] [--folder FOLDER]

Synthetic pictures of 32 x 32 are put into a cache as a training would have done, each with a small file of
its own, since files are looked at for whether they have changed; `evaluate_models` then measures a model of
five classes that looks at their brightness, in a process of its own, with 1000 resamples of patients of three
images each. Prints the highest resident memory, what it was before the first image, and processor seconds.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from dicomsort.data.cache import Cache
from dicomsort.evaluation.predictions import EvalSettings
from dicomsort.evaluation.run import evaluate_models
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model.batching import Predictor
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head
from dicomsort.model.spec import NetworkSpec

SIZE, LABELS = 32, ("a", "b", "c", "d", "e")


class Brightness:
    """Answers by the brightness of a picture, so that reading and counting is all that takes memory."""

    engine, name, precision, concurrency, batch_size = "none", "cpu", "float32", 2, 64

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def logits(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return float32 logits (n, labels) for uint8 images (n, size, size)."""
        bright = images.reshape(len(images), -1).mean(axis=1, keepdims=True)
        return np.asarray(-np.abs(bright - np.linspace(20, 200, len(LABELS))) / 10, np.float32)


def bundle() -> Bundle:
    """Make a model that has no weights."""
    weights = {"none": np.zeros(1, np.float32)}
    return Bundle("bright", NetworkSpec("none"), Preprocessing(size=SIZE), Head("label", LABELS), weights)


def make(folder: Path, images: int) -> Path:
    """Write files, a table of them, and their pictures into a cache; return the table."""
    generator, cache = np.random.default_rng(0), Cache(folder / "cache", Preprocessing(size=SIZE))
    lines, rows = ["file,label,patient"], []
    (folder / "images").mkdir()
    for number in range(images):
        path, label = folder / "images" / f"{number}.png", number % len(LABELS)
        content = str(number).encode()
        path.write_bytes(content)
        level = 20 + 45 * label + 20 * generator.normal()
        picture = np.clip(generator.normal(level, 5, (SIZE, SIZE)), 0, 255).astype(np.uint8)
        rows.append((cache._key(hashlib.sha256(content).hexdigest()[:16]), picture.tobytes()))
        lines.append(f"images/{path.name},{LABELS[label]},{number // 3}")
        if len(rows) == 1024 or number == images - 1:
            cache._insert("pixels", rows)
            rows = []
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "labels.csv"


def highest() -> float:
    """Return the highest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(data: Path, bootstrap: int) -> dict[str, float]:
    """Evaluate a table whose pictures are in the cache beside it."""
    before, started, predictor = highest(), time.process_time(), Brightness(bundle())
    settings = EvalSettings(bootstrap=bootstrap, cache=data.parent / "cache")

    def ready(place: int) -> AbstractContextManager[Predictor]:
        return nullcontext([predictor][place])

    found = evaluate_models(data, [predictor.bundle], ["label"], settings, ready=ready)
    figures = found.evaluations[0].measured[0].figures
    return {
        "images": figures.images,
        "accuracy": figures.overall["accuracy"].value,
        "before": before,
        "highest": highest(),
        "seconds": time.process_time() - started,
    }


def main() -> None:
    """Print a line for each number of images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where to make the pictures; a temporary folder")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.bootstrap)))
        return
    for images in given.images:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            data = make(Path(folder), images)
            words = [sys.executable, __file__, "--measure", str(data), "--bootstrap", str(given.bootstrap)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
        got = json.loads(done.stdout)
        print(
            f"{got['images']:7d} images, accuracy {got['accuracy']:.3f}: {got['highest']:.0f} MiB "
            f"({got['before']:.0f} before the first), {got['seconds']:.1f} s of processor",
            flush=True,
        )


if __name__ == "__main__":
    main()
