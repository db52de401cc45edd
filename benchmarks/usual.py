"""The usual way to classify DICOM files: one at a time, every pixel, a float32 network. For comparison only.

    pip install '.[bench]' && python benchmarks/usual.py FOLDER --out LINKS [--files N] [--plugin gdcm]

Walks the folder, and for each file in turn: pydicom's `dcmread`, by modality whether it is an X-ray,
pydicom's `pixel_array`, a window from the 0.5th to the 99.5th percentile, a resize with Pillow onto the
canvas of 224 pixels, the network of the shipped router5 in float32 as timm makes it, and a symbolic link in
the folder of its class. It is written apart from dicomsort, of which it takes the weights only. Prints one
JSON object; the start of the program and one file, which warms everything up, are not counted.
"""

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import timm
import torch
from PIL import Image
from pydicom.pixels.decoders.base import get_decoder
from safetensors.torch import load_file

MODEL = Path(__file__).resolve().parents[1] / "models" / "router5"
XRAY = frozenset({"CR", "DX", "RG", "RF", "XA", "PX", "IO"})
SIZE = 224


def load() -> tuple[Any, list[str]]:
    """Return the network and its labels."""
    config = json.loads((MODEL / "config.json").read_text())
    spec, labels = config["network"], config["heads"][0]["labels"]
    network = timm.create_model(spec["timm"], in_chans=1, num_classes=len(labels), **spec["options"])
    state = {name: value.float() for name, value in load_file(MODEL / "model.safetensors").items()}
    network.load_state_dict(state, strict=False)
    return network.eval(), labels


def picture(dataset: Any) -> Any:
    """Return the canvas, float32 (1, 1, 224, 224), grays -1..1."""
    pixels = dataset.pixel_array
    low, high = np.percentile(pixels, (0.5, 99.5))
    gray = (np.clip((pixels - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)
    scale = SIZE / max(gray.shape)
    width, height = round(gray.shape[1] * scale), round(gray.shape[0] * scale)
    canvas = Image.new("L", (SIZE, SIZE))
    small = Image.fromarray(gray).resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste(small, ((SIZE - width) // 2, (SIZE - height) // 2))
    return torch.from_numpy(np.asarray(canvas, np.float32) / 127.5 - 1)[None, None]


def plugin_of(dataset: Any, forced: str | None) -> str:
    """Name the plug-in that decodes a file."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return "none needed"
    return forced or next(iter(get_decoder(syntax).available_plugins), "none")


def classify(path: str, network: Any, labels: list[str], forced: str | None) -> tuple[str, str] | None:
    """Return label and plug-in for one file; None if it is no X-ray or cannot be read."""
    try:
        dataset = pydicom.dcmread(path)
        if dataset.get("Modality") not in XRAY or "PixelData" not in dataset:
            return None
        if forced and dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            dataset.pixel_array_options(decoding_plugin=forced)
        return labels[int(network(picture(dataset)).argmax())], plugin_of(dataset, forced)
    except Exception:  # noqa: BLE001  (a file that is no DICOM file, or damaged)
        return None


def main() -> None:
    """Classify."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--out", required=True)
    parser.add_argument("--files", type=int, default=1 << 30)
    parser.add_argument("--plugin")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    network, labels = load()
    paths = sorted(path for path in Path(given.folder).rglob("*") if path.is_file())
    counts: Counter[str] = Counter()
    plugins: Counter[str] = Counter()
    with torch.inference_mode():
        classify(str(paths[0]), network, labels, given.plugin)
        started, busy = time.perf_counter(), time.process_time()
        for number, path in enumerate(paths[: given.files]):
            counts.update(files=1, bytes=path.stat().st_size)
            answer = classify(str(path), network, labels, given.plugin)
            if answer is None:
                continue
            counts["images"] += 1
            plugins[answer[1]] += 1
            link = Path(given.out) / answer[0] / f"{number}.dcm"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    seconds = time.perf_counter() - started
    result = {**counts, "seconds": seconds, "cpu": time.process_time() - busy, "plugins": dict(plugins)}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
