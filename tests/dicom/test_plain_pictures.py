"""PNG, JPEG and their like, which are read for training only."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from readings import CANVAS, SMOOTH8, read

from dicomsort.dicom import reader
from dicomsort.outcome import Failure, ReadImage, Reason, Status


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_pictures_are_read_for_training_only(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(SMOOTH8).save(path, quality=95)
    assert isinstance(read(path), Failure)
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, ReadImage)
    middle = reading.image[:, 6:57]
    assert abs(float(middle.mean()) - SMOOTH8.mean()) < 2


def _deep(path: Path, pixels: NDArray[np.uint16]) -> ReadImage:
    path.write_bytes(imagecodecs.png_encode(pixels))
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, ReadImage)
    return reading


@pytest.mark.parametrize("kind", ["grey", "grey and alpha", "colours", "colours and alpha"])
@pytest.mark.parametrize(
    ("most", "remarks"), [(4095, (Reason.SHALLOW,)), (16383, (Reason.SHALLOW,)), (20000, ()), (65535, ())]
)
def test_few_bits_in_a_16_bit_picture_are_told(
    most: int, remarks: tuple[Reason, ...], kind: str, tmp_path: Path
) -> None:
    gray = np.linspace(0, most, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    alpha = [np.full_like(gray, 65535)] if "alpha" in kind else []
    planes = [gray] * (3 if "colours" in kind else 1) + alpha
    path = tmp_path / "x.png"
    reading = _deep(path, np.dstack(planes) if len(planes) > 1 else gray)
    assert reading.remarks == remarks
    assert np.abs(reading.image - gray / 257).max() <= 1
    found = reader.picture_range(str(path))
    assert found is not None
    assert found[0] == 0
    assert most <= found[1] <= most | 255
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(path)
    assert reader.picture_range(str(path)) is None
    assert reader.read_any(str(path), CANVAS).remarks == ()  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGB", "RGBA", "CMYK"])
def test_pictures_of_every_mode_are_read_as_a_person_sees_them(mode: str, tmp_path: Path) -> None:
    gray = np.zeros((64, 64), np.uint8)
    gray[16:48, 8:40] = 255
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.fromarray(gray).convert(mode).save(path)
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, ReadImage)
    assert np.abs(reading.image.astype(int) - gray).max() <= 3


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_an_alpha_channel_hides_is_black(mode: str, tmp_path: Path) -> None:
    image = Image.new(mode, (64, 64), (200,) * (len(mode) - 1) + (255,))
    image.paste((255,) * (len(mode) - 1) + (0,), (0, 0, 64, 32))
    image.save(tmp_path / "x.png")
    reading = reader.read_any(str(tmp_path / "x.png"), CANVAS)
    assert isinstance(reading, ReadImage)
    assert (reading.image[:32] == 0).all()
    assert (reading.image[32:] == 200).all()


@pytest.mark.parametrize("ending", ["tif", "bmp", "gif", "jp2", "tga", "ppm", "ico", "pcx", "avif"])
def test_other_pictures_are_told_from_what_is_none(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{ending}"
    Image.fromarray(SMOOTH8).save(path)
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.UNSUPPORTED, Reason.PICTURE_FORMAT)
    alone = read(path)
    assert isinstance(alone, Failure)
    assert (alone.status, alone.reason) == (Status.NOT_DICOM, Reason.NO_DICOM)
    path.write_bytes(b"no picture at all, but a text")
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.NOT_DICOM, Reason.NO_DICOM)


def test_a_damaged_picture_is_a_value(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(SMOOTH8).save(path)
    path.write_bytes(path.read_bytes()[:300])
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, Failure)
    assert reading.status is Status.DECODE_ERROR
