"""Draw thumbnails.png: what every radiograph of the archives should look like, by `reference.py`.

    python tools/build_thumbnails.py SHARED_FOLDER

Needs the `bench` extra, for pydicom decodes JPEG lossless, JPEG-LS and HTJ2K by plug-ins only, and, for one
file, `dicom/xray` in SHARED_FOLDER. One thumbnail of 56 pixels a side for each line of `expected.csv` that
names a picture, row by row in that order: the 224-pixel reference, averaged over squares of 4 pixels.
"""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import reference
from committed import BROKEN, DATA, committed

SIZE, TILE, ACROSS = 224, 56, 10
SHOWN = ("sorted", "duplicate")

# pydicom refuses these for an element that is missing or absurd; there is only one value it can have, or
# (frames that are not there, a table that names none) the first frame is the only one there is.
REPAIRS: dict[str, dict[str, Any]] = {
    "bits_stored_missing.dcm": {"BitsStored": 8, "HighBit": 7},
    "photometric_missing.dcm": {"PhotometricInterpretation": "MONOCHROME2"},
    "samples_missing.dcm": {"SamplesPerPixel": 1},
    "frames_negative.dcm": {"NumberOfFrames": 1},
    "frames_999999.dcm": {"NumberOfFrames": 1},
    "frames_999999_jpeg.dcm": {"NumberOfFrames": 1},
    "fragments_fewer_than_frames.dcm": {"NumberOfFrames": 1},
}


def shown(table: Path = DATA / "expected.csv") -> list[str]:
    """Name the files that are pictures, in the order of the sheet."""
    with table.open(encoding="utf-8", newline="") as file:
        return [row["file"] for row in csv.DictReader(file) if row["status"] in SHOWN]


def thumbnail(picture: NDArray[Any]) -> NDArray[Any]:
    """Average (224, 224) over squares of 4 pixels."""
    step = SIZE // TILE
    return np.asarray(picture.reshape(TILE, step, TILE, step).mean(axis=(1, 3)))


def tile(sheet: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """Return the thumbnail of that number."""
    top, left = index // ACROSS * TILE, index % ACROSS * TILE
    return sheet[top : top + TILE, left : left + TILE]


def _jpeg_xl(dataset: Dataset, _shared: Path) -> NDArray[Any]:
    """Decode with the codec itself: pydicom 3.0 knows none for JPEG XL."""
    return np.asarray(imagecodecs.jpegxl_decode(get_frame(dataset.PixelData, 0)), np.float64)


def _lossless_sibling(_dataset: Dataset, shared: Path) -> NDArray[Any]:
    """Take the stored values of the same image in JPEG lossless: no decoder of pydicom's takes Se = 0."""
    sibling = shared / "dicom" / "xray" / "robyoung__dicom-test-files__RG2_JPLL"
    return reference.frame_of(reference.load(sibling))


def _same_stream(_dataset: Dataset, _shared: Path) -> NDArray[Any]:
    """Take the same code stream from a file without offset table: pydicom believes the table."""
    return reference.frame_of(reference.load(BROKEN / "fragments_split.dcm"))


STANDINS: dict[str, Callable[[Dataset, Path], NDArray[Any]]] = {
    "RG1_JXL": _jpeg_xl,
    "offset_table_beyond_file.dcm": _same_stream,
    "RG2_JPLY": _lossless_sibling,
}


def main() -> None:
    """Write the sheet."""
    shared, files = Path(sys.argv[1]), shown()
    sheet = np.zeros((-(-len(files) // ACROSS) * TILE, ACROSS * TILE), np.uint8)
    for index, name in enumerate(files):
        path = committed(name)
        dataset = reference.load(path)
        for keyword, value in REPAIRS.get(path.name, {}).items():
            setattr(dataset, keyword, value)
        standin = STANDINS.get(path.name)
        frame = standin(dataset, shared) if standin else None
        tile(sheet, index)[:] = np.rint(thumbnail(reference.picture(dataset, SIZE, frame)))
    Image.fromarray(sheet).save(DATA / "thumbnails.png", optimize=True)


if __name__ == "__main__":
    main()
