"""The picture that the network sees, against pydicom's own gray-scale at full size (see `reference.py`)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from build_thumbnails import REPAIRS, SIZE, STANDINS, shown, thumbnail, tile
from committed import DATA, committed
from PIL import Image
from pydicom.pixels.decoders.base import get_decoder

from dicomsort import Preprocessing, read_image
from dicomsort.imaging.canvas import fit

FILES = shown()
GRAY_LEVELS = 1.5


@pytest.fixture(scope="module")
def sheet() -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(DATA / "thumbnails.png") as image:
        return np.asarray(image)


@pytest.mark.parametrize("index", range(len(FILES)), ids=FILES)
def test_every_radiograph_looks_as_its_thumbnail(
    index: int, sheet: np.ndarray[Any, np.dtype[np.uint8]]
) -> None:
    seen = thumbnail(read_image(committed(FILES[index]), Preprocessing(size=SIZE)).astype(float))
    difference = np.abs(seen - tile(sheet, index))
    assert difference.mean() <= GRAY_LEVELS
    assert difference.max() <= 24


def _decodable() -> list[str]:
    """Leave out what pydicom refuses, or cannot decode without plug-ins that are installed."""
    names = [name for name in FILES if Path(name).name not in (*REPAIRS, *STANDINS)]
    return [
        name
        for name in names
        if get_decoder(reference.load(committed(name)).file_meta.TransferSyntaxUID).is_available
    ]


@pytest.mark.filterwarnings("ignore:The pixel data is .* excess padding:UserWarning")
@pytest.mark.parametrize("name", _decodable())
def test_every_pixel_is_that_of_pydicom(name: str) -> None:
    expected = reference.picture(reference.load(committed(name)), SIZE)
    assert np.abs(read_image(committed(name), Preprocessing(size=SIZE)) - expected).mean() <= GRAY_LEVELS


@pytest.mark.parametrize("name", FILES)
def test_the_window_of_a_reduced_picture_is_that_of_the_full_one(name: str) -> None:
    """Whatever size is asked for, the same values are black and white."""
    small = read_image(committed(name), Preprocessing(size=SIZE)).astype(int)
    whole = fit(read_image(committed(name), None).astype(np.float32), Preprocessing(size=SIZE))
    assert np.abs(small - whole).mean() <= GRAY_LEVELS


def test_the_table_is_not_empty() -> None:
    assert len(FILES) > 50
    assert len(_decodable()) > 35
