"""PNG, JPEG and their like: read for training, and elsewhere if that is asked for."""

import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from readings import CANVAS, SMOOTH8, read

from dicomsort.dicom import plain_pictures, reader
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure, FileStamp, ReadImage, Reason, Status

ASKED = ReadSettings(pictures=True)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp"])
def test_pictures_are_read_for_training_and_where_they_are_asked_for(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(SMOOTH8).save(path, quality=95)
    alone = read(path)
    assert isinstance(alone, Failure)
    assert (alone.status, alone.reason) == (Status.NOT_DICOM, Reason.PICTURE)
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, ReadImage)
    asked = reader.read_dicom(str(path), CANVAS, ASKED, (Preprocessing(size=32),))
    assert isinstance(asked, ReadImage)
    assert np.array_equal(asked.image, reading.image)
    assert [each.shape for each in asked.further] == [(32, 32)]
    whole = reader.read_dicom(str(path), None, ASKED)
    assert isinstance(whole, ReadImage)
    assert whole.image.shape == SMOOTH8.shape
    facts = path.stat()
    assert asked.stamp == FileStamp(facts.st_size, facts.st_mtime_ns)
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
    found = plain_pictures.picture_range(str(path))
    assert found is not None
    assert found[0] == 0
    assert most <= found[1] <= most | 255
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(path)
    assert plain_pictures.picture_range(str(path)) is None
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


@pytest.mark.parametrize("ending", ["gif", "jp2", "tga", "ppm", "ico", "pcx", "avif"])
def test_other_pictures_are_told_from_what_is_none(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{ending}"
    Image.fromarray(SMOOTH8).save(path)
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.UNSUPPORTED, Reason.PICTURE_FORMAT)
    alone = read(path)
    assert isinstance(alone, Failure)
    assert (alone.status, alone.reason) == (Status.NOT_DICOM, Reason.PICTURE)
    path.write_bytes(b"no picture at all, but a text")
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.NOT_DICOM, Reason.NO_DICOM)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp"])
@pytest.mark.parametrize("part", [0.03, 0.3, 0.9])
def test_a_damaged_picture_is_a_value(suffix: str, part: float, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(32, int(part * len(whole)))])
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.DECODE_ERROR, Reason.PICTURE_DAMAGED)


@pytest.mark.parametrize(("order", "negative"), [("<", False), (">", False), ("<", True)])
def test_16_bits_of_a_tiff_are_read_as_they_are_meant(order: str, negative: bool, tmp_path: Path) -> None:
    """PhotometricInterpretation 0 is white at zero (TIFF 6.0, section 8)."""
    gray = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    path = tmp_path / "x.tif"
    stored = (65535 - gray if negative else gray).astype(f"{order}u2")
    kind = "miniswhite" if negative else "minisblack"
    _tiff(path, stored, order, kind)
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, ReadImage)
    assert np.abs(reading.image - gray / 257).max() <= 1


def _tiff(path: Path, pixels: NDArray[np.uint16], order: str, kind: str) -> None:
    """Write a TIFF of one uncompressed strip, field by field (TIFF 6.0, section 2)."""
    rows, columns = pixels.shape
    depth = 8 * pixels.itemsize
    fields = {
        256: columns, 257: rows, 258: depth, 259: 1, 262: int(kind == "minisblack"),
        273: 8, 277: 1, 278: rows, 279: pixels.nbytes,
    }  # fmt: skip
    directory = struct.pack(f"{order}H", len(fields))
    directory += b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in fields.items())
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + pixels.nbytes)
    path.write_bytes(start + pixels.tobytes() + directory + bytes(4))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_that_do_not_tell_what_is_white_are_not_guessed(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(SMOOTH8.astype(kind)).save(path)
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.UNSUPPORTED, Reason.PICTURE_FORMAT)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_picture_is_turned_as_its_orientation_says(suffix: str, tmp_path: Path) -> None:
    """EXIF orientation 6: the first row is the right-hand side of what a person sees."""
    path = tmp_path / f"x.{suffix}"
    gray = np.zeros((64, 64), np.uint8)
    gray[:16] = 250
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gray).save(path, exif=exif)
    reading = reader.read_any(str(path), CANVAS)
    assert isinstance(reading, ReadImage)
    assert reading.image[:, 48:].mean() > 240
    assert reading.image[:, :48].mean() < 5


def test_more_pixels_than_are_read_are_never_decoded(tmp_path: Path) -> None:
    """A bomb: 30,000 x 30,000 black pixels in 110 kB; and one of moderate size, by the setting."""
    bomb = tmp_path / "bomb.png"
    line = zlib.compress(bytes(30_000 // 8 + 1) * 30_000, 9)
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", line), (b"IEND", b"")]
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))
    small = tmp_path / "small.png"
    Image.fromarray(SMOOTH8).save(small)
    for path, most in ((bomb, ASKED.max_pixels), (small, SMOOTH8.size - 1)):
        reading = reader.read_dicom(str(path), CANVAS, ReadSettings(most, pictures=True))
        assert isinstance(reading, Failure)
        assert (reading.status, reading.reason) == (Status.UNSUPPORTED, Reason.TOO_LARGE)
    assert isinstance(
        reader.read_dicom(str(small), CANVAS, ReadSettings(SMOOTH8.size, pictures=True)), ReadImage
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(SMOOTH8), Image.new("L", SMOOTH8.shape[::-1], 255)
    first.save(tmp_path / "x.webp", save_all=True, append_images=[second], lossless=True)
    first.save(tmp_path / "x.png")
    animated, still = (reader.read_any(str(tmp_path / name), CANVAS) for name in ("x.webp", "x.png"))
    assert isinstance(animated, ReadImage)
    assert isinstance(still, ReadImage)
    assert np.abs(animated.image.astype(int) - still.image).max() <= 1
