"""Images a second of the network alone, by engine, precision and batch size, on any device.

    python benchmarks/network.py [--model router5] [--device cpu] [--seconds 3]

`plain` is the network as timm makes it, in float32, one batch at a time with all threads; the other lines are
dicomsort's classifier with as many batches at a time as it has lanes. Each figure is the best of three turns
in which all lines are measured, because a shared machine can only be slower than it is. The paper of the
VinDr DICOM Imaging Router (2021) tells 0.0295 s an image, 34 a second.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from alone import rate
from numpy.typing import NDArray

from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.batching import Predictor
from dicomsort.model.engines.devices import THREADS
from dicomsort.model.load import classifier_for
from dicomsort.system.malloc import keep_freed_memory

BATCHES = (1, 8, 32, 128)
Images = NDArray[np.uint8]


def plain(bundle: bundles.Bundle, device: str) -> Callable[[Images], object]:
    """Return the network as it is made and trained."""
    network = networks.build(bundle).eval().to(device)

    @torch.inference_mode()
    def run(images: Images) -> object:
        torch.set_num_threads(THREADS)
        return network(torch.from_numpy(images).to(device)).cpu()

    return run


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="router5")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    keep_freed_memory()
    bundle = bundles.load(bundles.locate(given.model))
    size = bundle.preprocessing.size
    ways: dict[str, tuple[Callable[[Images], object], int]] = {
        "plain float32": (plain(bundle, given.device), 1)
    }
    on_gpu = given.device.startswith("cuda")
    for engine in ("torch",) if on_gpu else ("torch", "openvino"):
        for precision in ("float32", "bfloat16", *(["float16"] if on_gpu else [])):
            classifier = classifier_for(bundle, given.device, precision, engine)
            share = max(1, THREADS // classifier.concurrency)

            def run(images: Images, classifier: Predictor = classifier, share: int = share) -> object:
                torch.set_num_threads(share)
                return classifier.logits(images)

            ways[f"{engine} {precision}, {classifier.concurrency} lanes"] = run, classifier.concurrency
    best = {(name, batch): 0.0 for name in ways for batch in BATCHES}
    for _ in range(3):
        for batch in BATCHES:
            images = np.random.default_rng(0).integers(0, 256, (batch, size, size), np.uint8)
            for name, (way, concurrency) in ways.items():
                best[name, batch] = max(best[name, batch], rate(way, concurrency, images, given.seconds))
    print(f"{bundle.tag} on {given.device}, {size} pixels, {THREADS} threads, torch {torch.__version__}")
    print(f"{'images/s, batches of':30}" + "".join(f"{batch:8}" for batch in BATCHES))
    for name in ways:
        print(f"{name:30}" + "".join(f"{best[name, batch]:8.0f}" for batch in BATCHES))


if __name__ == "__main__":
    main()
