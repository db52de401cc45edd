"""Time from a file to the small picture, syntax by syntax, against the usual way with pydicom.

    pip install '.[bench]' && python benchmarks/decode.py [--runs 9] [--floor]

The image is the radiograph of tests/archive/WG04/RG2_JPLY, enlarged to 3000 x 2400 pixels, 12 bits, with the
noise of a detector (its variance grows with the signal). The usual way: pydicom's `pixel_array` with the
plug-in that comes first in pydicom's own order, a window from the 0.5th to the 99.5th percentile, a resize
with Pillow.
Both ways take turns in one process; a figure is the median of the runs, a ratio that of medians.

--floor: processor time instead, for a canvas of 224 pixels, of the codec's own call for all pixels, of what
dicomsort has decoded (marker check included), and of the whole read, from the file to the canvas.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID

import dicomsort
from dicomsort.dicom import codecs
from dicomsort.imaging.canvas import fitted_shape
from dicomsort.system.malloc import keep_freed_memory

SOURCE = Path(__file__).resolve().parents[1] / "tests" / "archive" / "WG04" / "RG2_JPLY"
ROWS, COLUMNS = 3000, 2400
SIZES = (224, 256, 384)
Gray = NDArray[Any]


def _rle(gray: Gray) -> bytes:
    encoder = get_encoder(UID("1.2.840.10008.1.2.5"))
    return encoder.encode(
        gray.tobytes(), rows=ROWS, columns=COLUMNS, number_of_frames=1, samples_per_pixel=1,
        bits_allocated=16, bits_stored=12, pixel_representation=0, photometric_interpretation="MONOCHROME2",
    )  # fmt: skip


def _jpeg_2000(gray: Gray, **options: Any) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(gray, codecformat="j2k", bitspersample=12, resolutions=6, **options)
    )


SYNTAXES: dict[str, tuple[str, int, Callable[[Gray], bytes | bytearray] | None]] = {
    # name: Transfer Syntax UID, bits, encoder
    "uncompressed": ("1.2.840.10008.1.2.1", 12, None),
    "RLE": ("1.2.840.10008.1.2.5", 12, _rle),
    "JPEG baseline": ("1.2.840.10008.1.2.4.50", 8, lambda gray: imagecodecs.jpeg8_encode(gray, level=90)),
    "JPEG lossless SV1": (
        "1.2.840.10008.1.2.4.70",
        12,
        lambda gray: imagecodecs.jpeg8_encode(gray, lossless=True, predictor=1, bitspersample=12),
    ),
    "JPEG-LS": ("1.2.840.10008.1.2.4.80", 12, imagecodecs.jpegls_encode),
    "JPEG 2000 lossless": ("1.2.840.10008.1.2.4.90", 12, lambda gray: _jpeg_2000(gray, reversible=True)),
    "JPEG 2000 lossy": (
        "1.2.840.10008.1.2.4.91",
        12,
        lambda gray: _jpeg_2000(gray, level=56, reversible=False),
    ),
    "HTJ2K lossless": ("1.2.840.10008.1.2.4.201", 12, imagecodecs.htj2k_encode),
}


_ALONE: dict[str, Callable[[bytes], object]] = {
    "RLE": lambda frame: imagecodecs.dicomrle_decode(frame, "<u2"),
    "JPEG baseline": imagecodecs.jpeg8_decode,
    "JPEG lossless SV1": imagecodecs.jpeg8_decode,
    "JPEG-LS": imagecodecs.jpegls_decode,
    "JPEG 2000 lossless": imagecodecs.jpeg2k_decode,
    "JPEG 2000 lossy": imagecodecs.jpeg2k_decode,
    "HTJ2K lossless": imagecodecs.htj2k_decode,
}


def radiograph() -> Gray:
    """Return the enlarged radiograph, uint16 (3000, 2400), 12 bits."""
    small = dicomsort.read_image(SOURCE, preprocessing=None)
    large = Image.fromarray(small.astype(np.float32)).resize((COLUMNS, ROWS), Image.Resampling.BICUBIC)
    signal = np.clip(np.asarray(large), 0, 255) * (3600 / 255) + 200
    noise = np.random.default_rng(0).standard_normal(signal.shape) * np.sqrt(signal) / 3
    return np.asarray(np.clip(signal + noise, 0, 4095), np.uint16)


def write(path: Path, gray: Gray, name: str) -> None:
    """Store the image in one syntax."""
    syntax, bits, encode = SYNTAXES[name]
    stored = np.ascontiguousarray(gray if bits == 12 else (gray >> 4).astype(np.uint8))
    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID("2.25.1")
    dataset.file_meta = meta
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PixelRepresentation = ROWS, COLUMNS, 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * stored.itemsize, bits, bits - 1
    data = stored.tobytes() if encode is None else encapsulate([bytes(encode(stored))])
    dataset.add_new("PixelData", "OW" if encode is None else "OB", data)
    dataset["PixelData"].is_undefined_length = encode is not None
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def usual(path: Path, size: int) -> Gray:
    """Do as most programs do."""
    pixels = pydicom.dcmread(path).pixel_array
    low, high = np.percentile(pixels, (0.5, 99.5))
    gray = (np.clip((pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    height, width = (
        round(size * pixels.shape[0] / max(pixels.shape)),
        round(size * pixels.shape[1] / max(pixels.shape)),
    )
    return np.asarray(Image.fromarray(gray).resize((width, height), Image.Resampling.BILINEAR))


def plugin(path: Path) -> str:
    """Name the plug-in that pydicom takes: the first in its order that can decode the file."""
    dataset = pydicom.dcmread(path)
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    for name in decoder.available_plugins:
        try:
            decoder.as_array(dataset, decoding_plugin=name)
        except Exception:  # noqa: BLE001, S112  (pydicom tries the next one too)
            continue
        return name
    return "pydicom"


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time one call."""
    started = clock()
    work()
    return clock() - started


def medians(
    ways: Sequence[Callable[[], object]], runs: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Return the median seconds of each way, taking turns."""
    for way in ways:
        way()
    times = [[seconds(way, clock) for way in ways] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def compare(path: Path, size: int, runs: int) -> tuple[float, float]:
    """Return the median seconds of the usual way and of ours."""
    canvas = dicomsort.Preprocessing(size=size)
    before, after = medians([lambda: usual(path, size), lambda: dicomsort.read_image(path, canvas)], runs)
    return before, after


def floor(path: Path, name: str, runs: int) -> list[float]:
    """Return the median processor seconds of the codec alone, of our decoding and of the whole read."""
    whole: Callable[[], object] = lambda: dicomsort.read_image(path)  # noqa: E731
    if name not in _ALONE:
        return medians([whole], runs, time.process_time)
    syntax, bits, _ = SYNTAXES[name]
    wanted = codecs.DecodeRequest((ROWS, COLUMNS), fitted_shape(ROWS, COLUMNS, 224), bits)
    (frame,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    frames = itertools.cycle((frame, bytes(bytearray(frame))))  # or the marker check would be remembered
    ways = [lambda: _ALONE[name](frame), lambda: _decoded(next(frames), syntax, wanted), whole]
    return medians(ways, runs, time.process_time)


def _decoded(frame: bytes, syntax: str, wanted: codecs.DecodeRequest) -> object:
    if syntax == codecs.RLE:
        return codecs.decode_rle(frame, ROWS, COLUMNS, 1, 16)
    return codecs.keeps_to(frame, syntax, wanted.shape) and codecs.decode(frame, syntax, wanted)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--floor", action="store_true")
    given = parser.parse_args()
    versions = " ".join(f"{module.__name__} {module.__version__}" for module in (pydicom, imagecodecs, np))
    pixels = f"{ROWS} x {COLUMNS} pixels"
    print(f"{versions}, Python {sys.version.split()[0]}; {pixels}; milliseconds; {given.runs} runs")
    if given.floor:
        keep_freed_memory()  # as the reading processes do
        print(f"{'syntax':20} {'codec alone':>12} {'ours, decoding':>15} {'whole':>8}")
    else:
        sizes = "".join(f" {size:>6} px: usual  ours ratio" for size in SIZES)
        print(f"{'syntax':20} {'plug-in':10} {'MB':>5}{sizes}")
    gray = radiograph()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.dcm"
        for name in SYNTAXES:
            write(path, gray, name)
            print((_floor_line if given.floor else _line)(path, name, given.runs), flush=True)


def _line(path: Path, name: str, runs: int) -> str:
    line = f"{name:20} {plugin(path):10} {path.stat().st_size / 1e6:5.1f}"
    for size in SIZES:
        before, after = compare(path, size, runs)
        line += f" {1e3 * before:16.1f} {1e3 * after:5.1f} {before / after:5.1f}"
    return line


def _floor_line(path: Path, name: str, runs: int) -> str:
    *codec, whole = (f"{1e3 * each:.1f}" for each in floor(path, name, runs))
    alone, ours = codec or ("", "")
    return f"{name:20} {alone:>12} {ours:>15} {whole:>8}"


if __name__ == "__main__":
    main()
