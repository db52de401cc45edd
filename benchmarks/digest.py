"""What `--pixel-digest` costs a reading worker: processor seconds a file with it and without it, in turns.

    python benchmarks/digest.py [--files 40] [--rounds 5] [--folder FOLDER]

Radiographs of 2400 x 2000 pixels, 12 bits, with noise: uncompressed (9.6 MB), JPEG 2000 without and with
loss, from a warm cache. The plain reading decodes only as many pixels as the network sees. The median of the
rounds counts.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from dicomsort.dicom.pixel_source import pixel_digest
from dicomsort.dicom.reader import read_dicom
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import ReadImage

_NATIVE, _LOSSLESS, _LOSSY = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
_WAYS = {"without": ReadSettings(), "with": ReadSettings(pixel_digest=True)}
_CANVAS = Preprocessing(size=160)


def radiograph(path: Path, syntax: str, seed: int) -> None:
    """Write a radiograph with a body in the middle."""
    down, across = np.mgrid[-1:1:2400j, -1:1:2000j]
    noise = np.random.default_rng(seed).normal(0, 12, down.shape)
    pixels = np.clip(np.clip(1.4 - down**2 - 2 * across**2, 0, 1) * 3000 + 300 + noise, 0, 4095).astype("<u2")
    meta, dataset = FileMetaDataset(), Dataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(f"2.25.{10**20 + seed}")
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    (dataset.Rows, dataset.Columns), dataset.PixelRepresentation = down.shape, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = pixels.tobytes() if syntax == _NATIVE else encapsulate([_coded(pixels, syntax)])
    dataset["PixelData"].VR = "OW" if syntax == _NATIVE else "OB"
    dataset.file_meta = meta
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def _coded(pixels: "np.ndarray[tuple[int, int], np.dtype[np.uint16]]", syntax: str) -> bytes:
    lossless = syntax == _LOSSLESS
    level = 0 if lossless else 45
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=level, codecformat="j2k", reversible=lossless))


def seconds(paths: list[Path], settings: ReadSettings) -> float:
    """Return the processor seconds that reading takes."""
    began = time.process_time()
    for path in paths:
        reading = read_dicom(str(path), _CANVAS, settings)
        if not isinstance(reading, ReadImage):
            raise SystemExit(f"{path} was not read")
    return time.process_time() - began


def main() -> None:
    """Measure, and print JSON."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    given.add_argument("--files", type=int, default=40)
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--folder", type=Path)
    wanted = given.parse_args()
    told = {}
    with tempfile.TemporaryDirectory(dir=wanted.folder) as scratch:
        for name, syntax in (("native", _NATIVE), ("jpeg2000", _LOSSLESS), ("jpeg2000 lossy", _LOSSY)):
            paths = [Path(scratch, f"{name} {at}.dcm") for at in range(wanted.files)]
            for at, path in enumerate(paths):
                radiograph(path, syntax, at)
            found: dict[str, list[float]] = {way: [] for way in _WAYS}
            for _ in range(wanted.rounds):
                for way, settings in _WAYS.items():
                    found[way].append(seconds(paths, settings) / len(paths))
            one = {way: statistics.median(times) for way, times in found.items()}
            began = time.process_time()
            for path in paths:
                pixel_digest(str(path))
            told[name] = {
                "MB": round(sum(path.stat().st_size for path in paths) / len(paths) / 1e6, 2),
                **{f"ms {way}": round(1000 * each, 2) for way, each in one.items()},
                "ratio": round(one["with"] / one["without"], 3),
                "ms of a reading of its own": round(1000 * (time.process_time() - began) / len(paths), 2),
            }
            for path in paths:
                path.unlink()
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
