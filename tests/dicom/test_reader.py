"""One file in, one picture or one failure out: the committed files, and every syntax against its original."""

import csv
import io
import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
import reference
from committed import DATA, committed
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.errors import BytesLengthException
from pydicom.pixels.encoders.base import RLELosslessEncoder

from dicomsort import ReadSettings, UnreadableError, read_image
from dicomsort.dicom import codecs, deflate, dicom_file, header, pixel_data, reader
from dicomsort.dicom.pixel_data import pixel_digest
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure, ReadImage, Reason, Status

CANVAS = Preprocessing(size=64)
DX = "1.2.840.10008.5.1.4.1.1.1.1"
Write = Callable[..., Path]


def read(path: Path) -> ReadImage | Failure:
    return reader.read_dicom(str(path), CANVAS)


def picture_of(path: Path) -> ReadImage:
    reading = read(path)
    assert isinstance(reading, ReadImage), reading
    return reading


def image_of(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return picture_of(path).image


def test_every_committed_file_ends_as_expected(expected: list[dict[str, str]]) -> None:
    wrong = []
    for row in expected:
        reading = read(committed(row["file"]))
        got = Status.SORTED if isinstance(reading, ReadImage) else reading.status
        wanted = Status.SORTED if row["status"] == "duplicate" else Status(row["status"])
        if got is not wanted:
            wrong.append((row["file"], got, wanted))
    assert not wrong
    assert len(expected) > 100


SMOOTH = (np.add.outer(np.sin(np.arange(96) / 9), np.cos(np.arange(80) / 7)) * 900 + 2000).astype(np.uint16)
SMOOTH8 = (SMOOTH >> 4).astype(np.uint8)


def _rle(pixels: Any) -> bytes:
    layout = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples_per_pixel": 1,
        "bits_allocated": 16,
    }
    words = {"bits_stored": 16, "pixel_representation": 0, "number_of_frames": 1}
    names = {"photometric_interpretation": "MONOCHROME2"}
    return RLELosslessEncoder.encode(pixels, encoding_plugin="pydicom", **layout, **words, **names)  # type: ignore[arg-type]


ENCODERS: dict[str, tuple[str, Callable[[Any], bytes | bytearray], bool, float]] = {
    # name: Transfer Syntax UID, encoder, 8 bit, gray levels of 255 that it may be off
    "rle": ("1.2.840.10008.1.2.5", _rle, False, 0),
    "jpeg baseline": ("1.2.840.10008.1.2.4.50", lambda a: imagecodecs.jpeg8_encode(a, level=95), True, 2),
    "jpeg lossless SV1": (
        "1.2.840.10008.1.2.4.70",
        lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12),
        False,
        0,
    ),
    "jpeg lossless": (
        "1.2.840.10008.1.2.4.57",
        lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12),
        False,
        0,
    ),
    "jpeg-ls": ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode, False, 0),
    "jpeg-ls near": ("1.2.840.10008.1.2.4.81", lambda a: imagecodecs.jpegls_encode(a, level=2), False, 1),
    "jpeg 2000": (
        "1.2.840.10008.1.2.4.90",
        lambda a: imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k", reversible=True),
        False,
        0,
    ),
    "htj2k": ("1.2.840.10008.1.2.4.201", lambda a: imagecodecs.htj2k_encode(a), False, 0),
    "encapsulated uncompressed": ("1.2.840.10008.1.2.1.98", lambda a: a.tobytes(), False, 0),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_syntax_gives_the_picture_of_the_uncompressed_file(
    name: str, tmp_path: Path, write_dicom: Write
) -> None:
    syntax, encode, eight_bit, tolerance = ENCODERS[name]
    pixels = SMOOTH8 if eight_bit else SMOOTH
    plain = write_dicom(tmp_path / "plain.dcm", pixels, BitsStored=8 if eight_bit else 12)
    data = encapsulate([bytes(encode(np.ascontiguousarray(pixels)))])
    coded = write_dicom(
        tmp_path / "coded.dcm", pixels, syntax, BitsStored=8 if eight_bit else 12, PixelData=data
    )
    difference = np.abs(image_of(plain).astype(int) - image_of(coded))
    assert difference.mean() <= tolerance


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
def test_native_syntaxes(syntax: str, tmp_path: Path, write_dicom: Write) -> None:
    plain = write_dicom(tmp_path / "plain.dcm", SMOOTH)
    data = SMOOTH.astype(">u2" if syntax.endswith(".2.2") else "<u2").tobytes()
    other = write_dicom(tmp_path / "other.dcm", SMOOTH, syntax, PixelData=data)
    assert np.array_equal(image_of(plain), image_of(other))


def test_of_several_frames_and_fragments_the_middle_frame_is_read(tmp_path: Path, write_dicom: Write) -> None:
    frames = [np.roll(SMOOTH, 20 * number, axis=1) for number in range(5)]
    wanted = image_of(write_dicom(tmp_path / "one.dcm", frames[2]))
    native = write_dicom(
        tmp_path / "native.dcm",
        SMOOTH,
        NumberOfFrames=5,
        PixelData=b"".join(frame.tobytes() for frame in frames),
    )
    assert np.array_equal(image_of(native), wanted)
    coded = [bytes(imagecodecs.jpegls_encode(frame)) for frame in frames]
    for number, has_table in enumerate((True, False)):
        data = encapsulate(coded, fragments_per_frame=3 if has_table else 1, has_bot=has_table)
        path = tmp_path / f"coded{number}.dcm"
        write_dicom(path, SMOOTH, "1.2.840.10008.1.2.4.80", NumberOfFrames=5, PixelData=data)
        assert np.array_equal(image_of(path), wanted)


def test_monochrome1_and_inverse_presentation_are_inverted_once(tmp_path: Path, write_dicom: Write) -> None:
    plain = image_of(write_dicom(tmp_path / "plain.dcm", SMOOTH))
    inside = plain[:, 8:-8].astype(int)
    for number, (photometric, shape) in enumerate(
        [("MONOCHROME1", None), ("MONOCHROME1", "INVERSE"), (None, "INVERSE")]
    ):
        path = tmp_path / f"inverse{number}.dcm"
        write_dicom(path, SMOOTH, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
        assert picture_of(path).remarks == ()
        assert np.abs(255 - image_of(path)[:, 8:-8].astype(int) - inside).max() <= 1


def test_bits_beside_the_stored_ones_do_not_matter(tmp_path: Path, write_dicom: Write) -> None:
    wanted = image_of(write_dicom(tmp_path / "plain.dcm", SMOOTH, BitsStored=12))
    overlay = SMOOTH | ((np.indices(SMOOTH.shape).sum(axis=0) % 2) << 12).astype(np.uint16)
    path = write_dicom(tmp_path / "overlay.dcm", overlay, BitsStored=12, HighBit=11)
    assert np.array_equal(image_of(path), wanted)
    path = write_dicom(tmp_path / "high.dcm", SMOOTH << 4, BitsStored=12, HighBit=15)
    assert np.array_equal(image_of(path), wanted)


def test_signed_values_keep_their_sign(tmp_path: Path, write_dicom: Write) -> None:
    wanted = image_of(write_dicom(tmp_path / "plain.dcm", SMOOTH, BitsStored=12))
    signed = ((SMOOTH.astype(np.int32) - 2048) & 0x0FFF).astype(np.uint16)
    path = write_dicom(tmp_path / "signed.dcm", signed, BitsStored=12, PixelRepresentation=1)
    assert np.abs(image_of(path).astype(int) - wanted).max() <= 1


def test_pixel_aspect_ratio_is_honoured(tmp_path: Path, write_dicom: Write) -> None:
    wanted = image_of(write_dicom(tmp_path / "plain.dcm", SMOOTH))
    flat = (SMOOTH[::2] + SMOOTH[1::2]) // 2
    path = write_dicom(tmp_path / "flat.dcm", flat, PixelAspectRatio=["2", "1"])
    assert np.abs(image_of(path).astype(int) - wanted).mean() < 1


def test_color_is_read_as_brightness(tmp_path: Path, write_dicom: Write) -> None:
    wanted = image_of(write_dicom(tmp_path / "plain.dcm", SMOOTH8))
    rgb = np.stack([SMOOTH8] * 3, axis=-1)
    color: dict[str, Any] = {"SamplesPerPixel": 3, "Rows": 96, "Columns": 80, "PlanarConfiguration": 0}
    path = write_dicom(tmp_path / "rgb.dcm", rgb, PhotometricInterpretation="RGB", **color)
    assert np.abs(image_of(path).astype(int) - wanted).max() <= 1
    planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    color["PlanarConfiguration"] = 1
    path = write_dicom(tmp_path / "planar.dcm", planes, PhotometricInterpretation="RGB", **color)
    assert np.abs(image_of(path).astype(int) - wanted).max() <= 1
    planes[1:] = 128
    path = write_dicom(tmp_path / "ybr.dcm", planes, PhotometricInterpretation="YBR_FULL", **color)
    assert np.array_equal(image_of(path), wanted)


@pytest.mark.parametrize(
    ("elements", "status", "reason"),
    [
        ({"Rows": 65535, "Columns": 65535}, Status.UNSUPPORTED, Reason.TOO_LARGE),
        ({"Rows": 0}, Status.DECODE_ERROR, Reason.HEADER_DAMAGED),
        ({"Rows": 80}, Status.DECODE_ERROR, Reason.PIXELS_MISSING),
        ({"BitsAllocated": 32}, Status.UNSUPPORTED, Reason.PIXEL_FORMAT),
        ({"PixelData": None}, Status.NO_PIXELS, Reason.NO_PIXEL_DATA),
        ({"Modality": "MG"}, Status.NOT_XRAY, Reason.MAMMOGRAPHY),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"},
            Status.NOT_XRAY,
            Reason.OTHER_SOP_CLASS,
        ),
    ],
)
def test_what_cannot_be_sorted_says_why(
    elements: dict[str, Any], status: Status, reason: Reason, tmp_path: Path, write_dicom: Write
) -> None:
    reading = read(write_dicom(tmp_path / "x.dcm", **elements))
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (status, reason)


def test_a_constant_image_is_an_error(tmp_path: Path, write_dicom: Write) -> None:
    reading = read(write_dicom(tmp_path / "x.dcm", np.full((50, 50), 7, np.uint16)))
    assert reading == Failure(Status.DECODE_ERROR, Reason.CONSTANT_IMAGE, reading.header, reading.stamp)


def test_every_truncation_ends_as_a_value(tmp_path: Path, write_dicom: Write) -> None:
    whole = write_dicom(tmp_path / "whole.dcm", SMOOTH8[:24, :24]).read_bytes()
    seen = set()
    for length in range(0, len(whole), 7):
        cut = tmp_path / "cut.dcm"
        cut.write_bytes(whole[:length])
        reading = read(cut)
        assert isinstance(reading, Failure), f"cut to {length} of {len(whole)} bytes"
        seen.add(reading.status)
    assert seen <= {Status.NOT_DICOM, Status.NOT_XRAY, Status.DECODE_ERROR, Status.NO_PIXELS}


def test_names_do_not_hide_in_code_strings(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "x.dcm", BodyPartExamined="CHEST", ViewPosition="PA")
    data = path.read_bytes().replace(b"\x18\x00\x15\x00CS\x06\x00CHEST ", b"\x18\x00\x15\x00LO\x06\x00DOE^JO")
    path.write_bytes(data)
    reading = read(path)
    assert reading.header.body_part_examined == ""
    assert reading.header.view_position == "PA"


def test_a_missing_file_and_a_folder_are_input_errors(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.dcm", Reason.VANISHED), (tmp_path, Reason.UNREADABLE)):
        reading = read(path)
        assert isinstance(reading, Failure)
        assert (reading.status, reading.reason) == (Status.IO_ERROR, reason)


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


def test_the_digest_covers_every_frame_and_the_syntax(tmp_path: Path, write_dicom: Write) -> None:
    one = write_dicom(tmp_path / "1.dcm", SMOOTH)
    copy = write_dicom(tmp_path / "2.dcm", SMOOTH, BodyPartExamined="FOOT")
    changed = SMOOTH.copy()
    changed[-1, -1] += 1
    other = write_dicom(tmp_path / "3.dcm", changed)
    implicit = write_dicom(tmp_path / "4.dcm", SMOOTH, "1.2.840.10008.1.2")
    assert pixel_digest(str(one)) == pixel_digest(str(copy))
    assert len({pixel_digest(str(path)) for path in (one, other, implicit)}) == 3
    shutil.copy(one, tmp_path / "5.dcm")
    os.truncate(tmp_path / "5.dcm", 600)
    assert pixel_digest(str(tmp_path / "5.dcm")) == ""


def _radiographs() -> list[dict[str, str]]:
    with (DATA / "radiographs.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("case", _radiographs(), ids=lambda case: f"{case['name']}, {case['modality']}")
def test_what_counts_as_a_projection_radiograph(
    case: dict[str, str], tmp_path: Path, write_dicom: Write
) -> None:
    elements = {"SOPClassUID": case["sop_class"] or None, "Modality": case["modality"] or None}
    path = write_dicom(tmp_path / "x.dcm", **elements)
    settings = ReadSettings(secondary_capture=case["include_secondary_capture"] == "yes")
    reading = reader.read_dicom(str(path), CANVAS, settings)
    if case["status"] == "picture":
        assert isinstance(reading, ReadImage), reading
    else:
        assert isinstance(reading, Failure)
        assert (reading.status.value, reading.reason.value) == (case["status"], case["reason"])


@pytest.mark.parametrize(
    ("syntax", "step"),
    [("1.2.840.10008.1.2.4.50", 8), ("1.2.840.10008.1.2.4.51", 8), ("1.2.840.10008.1.2.4.90", 16),
     ("1.2.840.10008.1.2.4.91", 16), ("1.2.840.10008.1.2.4.201", 16), ("1.2.840.10008.1.2.4.202", 16),
     ("1.2.840.10008.1.2.4.203", 16)],
)  # fmt: skip
def test_no_more_pixels_are_decoded_than_needed(syntax: str, step: int) -> None:
    """1024 x 768 pixels for a picture of 60 x 45: the smallest size of the codec that covers it."""
    large = np.kron(SMOOTH8[:64, :48], np.ones((16, 16))).astype(np.uint8)
    encoders: dict[str, Any] = {
        "5": imagecodecs.jpeg8_encode,
        "9": imagecodecs.jpeg2k_encode,
        "2": imagecodecs.htj2k_encode,
    }
    frame = encoders[syntax[20]](large)
    decoded = codecs.decode(bytes(frame), syntax, codecs.DecodeRequest((1024, 768), (60, 45), 8))
    assert decoded.step == step
    assert decoded.pixels.shape == (1024 // step, 768 // step)


def test_a_level_that_cannot_be_decoded_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def refuse(_: bytes, halvings: int, wanted: codecs.DecodeRequest) -> codecs.DecodedFrame | None:
        tried.append(halvings)
        if halvings > 2:
            raise ValueError
        return codecs.DecodedFrame(np.zeros((1, 1), np.uint8), 1 << halvings) if halvings == 1 else None

    monkeypatch.setattr(codecs, "_REDUCERS", {"1.2.840.10008.1.2.4.90": refuse})
    wanted = codecs.DecodeRequest((1024, 768), (60, 45))
    assert codecs.decode(b"", "1.2.840.10008.1.2.4.90", wanted).step == 2
    assert tried == [4, 3, 2, 1]


def test_uncompressed_pixels_are_mapped_and_only_one_frame_of_them(
    tmp_path: Path, write_dicom: Write
) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH, NumberOfFrames=3, PixelData=SMOOTH.tobytes() * 3)
    with path.open("rb") as file:
        dataset, stream = header.read_header(file)
        source = pixel_data.PixelSource(stream, dataset)
        source.open()
        frame = source.native_frame(1, SMOOTH.nbytes)
        base: Any = frame
        while isinstance(base, np.ndarray):
            assert base.nbytes == SMOOTH.nbytes
            base = base.base
        assert isinstance(base, mmap.mmap)
        assert frame.tobytes() == SMOOTH.tobytes()


def test_bytes_behind_the_end_of_a_code_stream_do_not_matter(tmp_path: Path, write_dicom: Write) -> None:
    large = np.kron(SMOOTH, np.ones((8, 8))).astype(np.uint16)
    frame = bytes(imagecodecs.jpeg2k_encode(large, level=0, codecformat="j2k", reversible=True))
    for tail in (b"", b"\0", b"\0" * 40):
        assert frame.endswith(b"\xff\xd9")
        wanted = codecs.DecodeRequest(large.shape, (60, 45))
        assert codecs.decode(frame + tail, "1.2.840.10008.1.2.4.90", wanted).step == 8


@pytest.mark.parametrize("name", ["rle", "jpeg lossless", "jpeg lossless SV1", "jpeg-ls", "jpeg 2000"])
def test_overlay_bits_in_compressed_pixels(name: str, tmp_path: Path, write_dicom: Write) -> None:
    large = np.kron(SMOOTH, np.ones((4, 4))).astype(np.uint16)
    plain = write_dicom(tmp_path / "plain.dcm", large, BitsStored=12)
    overlay = large | ((np.indices(large.shape).sum(axis=0) // 7 % 2) << 12).astype(np.uint16)
    syntax, encode, *_ = ENCODERS[name]
    frame = imagecodecs.ljpeg_encode(overlay, bitspersample=16) if "lossless" in name else encode(overlay)
    data = encapsulate([bytes(frame)])
    path = write_dicom(tmp_path / "x.dcm", overlay, syntax, BitsStored=12, HighBit=11, PixelData=data)
    _decoded_alike(path, plain)


@pytest.mark.parametrize("size", [64, 500])
def test_rgb_in_a_jpeg_without_a_marker(size: int, tmp_path: Path, write_dicom: Write) -> None:
    gray = np.kron(SMOOTH8, np.ones((6, 6))).astype(np.uint8)
    rgb = np.stack([gray] * 3, axis=-1)
    frame = bytes(imagecodecs.jpeg8_encode(rgb, level=95, colorspace="RGB", outcolorspace="RGB"))
    marker = frame.find(b"\xff\xee")
    if marker >= 0:
        frame = frame[:marker] + frame[marker + 2 + int.from_bytes(frame[marker + 2 : marker + 4], "big") :]
    numbered = bytearray(frame)
    for segment, first, each in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        for number in range(3):
            numbered[frame.index(segment) + first + each * number] = number + 1
    frame = bytes(numbered)
    assert b"Adobe" not in frame
    plain = write_dicom(tmp_path / "plain.dcm", gray)
    color = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    data = encapsulate([frame])
    path = write_dicom(tmp_path / "x.dcm", gray, "1.2.840.10008.1.2.4.50", PixelData=data, **color)
    seen, wanted = (read_image(one, Preprocessing(size=size)).astype(int) for one in (path, plain))
    assert np.abs(seen - wanted).mean() < 2


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"])
@pytest.mark.parametrize("value", [0, 4095])
def test_padding_in_a_compressed_image(value: int, syntax: str, tmp_path: Path, write_dicom: Write) -> None:
    large = np.kron(SMOOTH, np.ones((6, 6))).astype(np.uint16)
    rows, columns = np.indices(large.shape)
    large[np.hypot(rows - large.shape[0] / 2, columns - large.shape[1] / 2) > 200] = value
    plain = write_dicom(tmp_path / "plain.dcm", large, BitsStored=12, PixelPaddingValue=value)
    if syntax.endswith("90"):
        frame = imagecodecs.jpeg2k_encode(large, level=0, codecformat="j2k", reversible=True)
    else:
        frame = imagecodecs.htj2k_encode(large)
    data = encapsulate([bytes(frame)])
    path = write_dicom(
        tmp_path / "x.dcm", large, syntax, BitsStored=12, PixelPaddingValue=value, PixelData=data
    )
    _decoded_alike(path, plain, 0.1)
    expected = reference.picture(reference.load(plain), 64)
    assert np.abs(image_of(plain) - expected).mean() <= 1.5


def test_a_table_with_a_sharp_bend_is_looked_up_pixel_by_pixel(tmp_path: Path, write_dicom: Write) -> None:
    rng = np.random.default_rng(0)
    large = (
        (np.kron(SMOOTH, np.ones((4, 4))) + rng.normal(0, 300, (384, 320))).clip(0, 4095).astype(np.uint16)
    )
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.add_new("LUTData", "OW", np.where(np.arange(4096) % 1000 < 500, 0, 65535).astype("<u2").tobytes())
    frame = bytes(imagecodecs.jpeg2k_encode(large, level=0, codecformat="j2k", reversible=True))
    plain = write_dicom(tmp_path / "plain.dcm", large, BitsStored=12, VOILUTSequence=[item])
    data = encapsulate([frame])
    path = write_dicom(
        tmp_path / "x.dcm", large, "1.2.840.10008.1.2.4.90", BitsStored=12,
        VOILUTSequence=[item], PixelData=data,
    )  # fmt: skip
    _decoded_alike(path, plain, 0)


def test_a_file_that_is_implicit_but_says_otherwise(tmp_path: Path, write_dicom: Write) -> None:
    plain = write_dicom(tmp_path / "plain.dcm", SMOOTH)
    for name, real, said in (
        ("a.dcm", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"),
        ("b.dcm", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"),
    ):
        path = write_dicom(tmp_path / name, SMOOTH, real)
        data = path.read_bytes()
        longer = max(len(real), len(said)) + 1 & ~1
        at = data.index(b"\x02\x00\x10\x00UI")
        length = int.from_bytes(data[at + 6 : at + 8], "little")
        uid = said.encode().ljust(longer, b"\0")
        element = data[at : at + 6] + len(uid).to_bytes(2, "little") + uid
        group = int.from_bytes(data[140:144], "little") + len(uid) - length
        data = data[:at] + element + data[at + 8 + length :]
        path.write_bytes(data[:140] + group.to_bytes(4, "little") + data[144:])
        assert np.array_equal(read_image(path, CANVAS), image_of(plain)), name


def test_a_stream_that_claims_more_than_the_header_gets_no_memory(
    tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    monkeypatch.setattr(codecs, "decode", lambda *_: called.append(1))
    for name in ("jpeg baseline", "jpeg-ls", "jpeg lossless", "jpeg 2000", "htj2k"):
        syntax, encode, eight_bit, _ = ENCODERS[name]
        gray = SMOOTH8 if eight_bit else SMOOTH
        frame = bytes(encode(np.ascontiguousarray(gray)))
        assert codecs.keeps_to(frame, syntax, (gray.shape[0], gray.shape[1]))
        path = write_dicom(tmp_path / "x.dcm", gray[:-1], syntax, PixelData=encapsulate([frame]))
        reading = read(path)
        assert isinstance(reading, Failure)
        assert (reading.status, reading.reason) == (Status.DECODE_ERROR, Reason.PIXELS_DAMAGED)
    assert not called


@pytest.mark.parametrize("name", ["jpeg baseline", "jpeg lossless", "jpeg-ls"])
def test_a_stream_cut_off_inside_a_whole_fragment_is_no_picture(
    name: str, tmp_path: Path, write_dicom: Write
) -> None:
    syntax, encode, eight_bit, _ = ENCODERS[name]
    large = np.kron(SMOOTH8 if eight_bit else SMOOTH, np.ones((5, 5))).astype(
        np.uint8 if eight_bit else np.uint16
    )
    frame = bytes(encode(large))
    for part in (0.1, 0.6, 0.95):
        data = encapsulate([frame[: int(len(frame) * part)]])
        reading = read(write_dicom(tmp_path / "x.dcm", large, syntax, PixelData=data))
        assert isinstance(reading, Failure), part
        assert reading.status is Status.DECODE_ERROR


def test_the_size_of_a_stream_is_found_where_decoders_find_it() -> None:
    gray = np.ascontiguousarray(SMOOTH8)
    jpeg = bytes(imagecodecs.jpeg8_encode(gray))
    decoy = b"\xff\xfe\x00\x20\xff\x4f\xff\x51" + bytes(26)
    for frame in (jpeg, jpeg[:2] + decoy + jpeg[2:], jpeg[:2] + bytes(4) + jpeg[2:]):
        assert codecs.keeps_to(frame, "1.2.840.10008.1.2.4.50", (96, 80))
        assert not codecs.keeps_to(frame, "1.2.840.10008.1.2.4.50", (97, 80))
    for shape in ((96, 80), (96, 96), (120, 100), (1000, 3), (8, 2000), (77, 333), (256, 512)):
        image = np.zeros(shape, np.uint8)
        frame = bytes(imagecodecs.jpegxl_encode(image, lossless=True))
        assert codecs.keeps_to(frame, "1.2.840.10008.1.2.4.110", shape)
        assert not codecs.keeps_to(frame, "1.2.840.10008.1.2.4.110", (shape[0] + 1, shape[1]))
    boxed = bytes(imagecodecs.jpeg2k_encode(gray, codecformat="jp2"))
    assert codecs.keeps_to(boxed, "1.2.840.10008.1.2.4.90", (96, 80))
    assert not codecs.keeps_to(b"", "1.2.840.10008.1.2.4.90", (96, 80))


def test_no_element_of_a_header_may_be_huge(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH8, WindowCenter=100, WindowWidth=200)
    data = path.read_bytes()
    at = data.index(b"\x28\x00\x50\x10DS")
    huge = b"\x28\x00\x50\x10UN\0\0" + (1 << 20).to_bytes(4, "little") + b"0" * (1 << 20)
    path.write_bytes(data[:at] + huge + data[at + 12 :])
    reading = read(path)
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.DECODE_ERROR, Reason.HEADER_DAMAGED)


def test_millions_of_empty_items_are_not_read(
    tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header, "_MOST_READS", 1000)
    path = write_dicom(tmp_path / "x.dcm", SMOOTH8)
    assert isinstance(read(path), ReadImage)
    data = path.read_bytes()
    at = data.index(b"\x28\x00\x10\x00US")
    items = b"\x09\x00\x01\x10SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * 2000
    path.write_bytes(data[:at] + items + b"\xfe\xff\xdd\xe0\0\0\0\0" + data[at:])
    reading = read(path)
    assert isinstance(reading, Failure)
    assert reading.status is Status.DECODE_ERROR


def test_what_was_inflated_long_ago_is_forgotten() -> None:
    plain = os.urandom(1 << 20) * 12
    stream = deflate.Inflated(io.BytesIO(_deflated(plain)))
    stream.seek(10 << 20)
    assert stream.read(16) == plain[10 << 20 :][:16]
    stream.seek(-16, 1)
    assert stream.read(16) == plain[10 << 20 :][:16]
    assert len(stream._kept) < 6 << 20
    stream.seek(0)
    with pytest.raises(io.UnsupportedOperation):
        stream.read(1)


@pytest.mark.parametrize("photometric", ["LO", "SH"])
def test_the_polarity_does_not_depend_on_a_vr(photometric: str, tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH, PhotometricInterpretation="MONOCHROME1")
    wanted = image_of(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x28\x00\x04\x00CS", b"\x28\x00\x04\x00" + photometric.encode()))
    assert np.array_equal(image_of(path), wanted)
    assert read(path).header.photometric_interpretation == ""


def test_a_stream_of_fewer_bits_than_are_stored_has_no_sign(tmp_path: Path, write_dicom: Write) -> None:
    plain = write_dicom(tmp_path / "plain.dcm", SMOOTH8.astype(np.int16), PixelRepresentation=1)
    data = encapsulate([bytes(imagecodecs.jpegls_encode(SMOOTH8))])
    path = write_dicom(
        tmp_path / "x.dcm", SMOOTH, "1.2.840.10008.1.2.4.80", PixelRepresentation=1, PixelData=data
    )
    _decoded_alike(path, plain)


def test_color_counts_three_times_for_the_limit(tmp_path: Path, write_dicom: Write) -> None:
    color = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    rgb = np.stack([SMOOTH8] * 3, axis=-1)
    path = write_dicom(tmp_path / "x.dcm", rgb, Rows=96, Columns=80, **color)
    reading = reader.read_dicom(str(path), CANVAS, ReadSettings(max_pixels=2 * SMOOTH8.size))
    assert isinstance(reading, Failure)


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        reading = read(path)
        assert isinstance(reading, Failure)
        assert reading.reason is Reason.SPECIAL_FILE


@pytest.mark.parametrize("form", ["long meta group", "no preamble"])
def test_a_deflated_file_in_disguise_is_inflated_with_care(
    form: str, tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH, "1.2.840.10008.1.2.1.99")
    meta, dataset = _inflated(path)
    wanted = image_of(path)
    if form == "no preamble":
        meta = meta[132:]
    else:
        long = b"\x02\x00\x03\x00UI" + (6000).to_bytes(2, "little") + b"2.25." + b"1" * 5995
        meta = meta[:144] + long + meta[meta.index(b"\x02\x00\x10\x00UI") :]
    path.write_bytes(meta + _deflated(dataset + bytes(50 << 20)))
    monkeypatch.setattr(deflate, "MOST_BYTES", 1 << 20)
    assert np.array_equal(image_of(path), wanted)


@pytest.mark.parametrize("name", ["jpeg baseline", "jpeg 2000", "htj2k"])
def test_reduced_decoding_neither_wraps_nor_shifts_hard_edges(
    name: str, tmp_path: Path, write_dicom: Write
) -> None:
    squares = np.kron(np.indices((7, 6)).sum(axis=0) % 2, np.ones((73, 73))).astype(np.uint8) * 255
    syntax, encode, *_ = ENCODERS[name]
    plain = write_dicom(tmp_path / "plain.dcm", squares)
    coded = write_dicom(
        tmp_path / "coded.dcm", squares, syntax, PixelData=encapsulate([bytes(encode(squares))])
    )
    difference = np.abs(image_of(plain).astype(int) - image_of(coded))
    assert difference.mean() < 10
    assert difference.max() < 128


def _decoded_alike(path: Path, plain: Path, tolerance: float = 0.5) -> None:
    assert np.abs(image_of(path).astype(int) - image_of(plain)).mean() <= tolerance


def _deflated(words: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(words) + deflater.flush()


def test_deflated_image_frames(tmp_path: Path, write_dicom: Write) -> None:
    other = "1.2.840.10008.1.2.4.80"  # pydicom 3.0 does not know the syntax, and would not write it

    def write(name: str, frames: list[bytes]) -> Path:
        path = write_dicom(
            tmp_path / name, SMOOTH, other, NumberOfFrames=len(frames), PixelData=encapsulate(frames)
        )
        named = codecs.DEFLATED_FRAMES.encode().ljust(len(other), b"\0")
        path.write_bytes(path.read_bytes().replace(other.encode(), named))
        return path

    plain = write_dicom(tmp_path / "plain.dcm", SMOOTH)
    _decoded_alike(write("x.dcm", [_deflated(bytes(SMOOTH.nbytes)), _deflated(SMOOTH.tobytes())]), plain)
    for name, frame in (("short.dcm", _deflated(bytes(100))), ("odd.dcm", b"no deflate stream at all")):
        reading = read(write(name, [frame]))
        assert isinstance(reading, Failure)
        assert reading.status is Status.DECODE_ERROR


def test_a_deflated_frame_is_inflated_no_further_than_it_should_be() -> None:
    bomb = _deflated(bytes(50_000_000))
    assert len(bomb) < 100_000
    assert len(codecs.inflate_frame(bomb, 1000)) == 1000


def test_extended_offset_table(tmp_path: Path, write_dicom: Write) -> None:
    plain = write_dicom(tmp_path / "plain.dcm", SMOOTH)
    other = np.roll(SMOOTH, 30, axis=1)
    frames = [bytes(imagecodecs.jpegls_encode(frame)) for frame in (other, SMOOTH, other)]
    data, offsets, lengths = encapsulate_extended(frames)
    # a fragment before them that no counting knows of: only the table leads to the frames
    data = data[:8] + b"\xfe\xff\x00\xe0\x04\0\0\0none" + data[8:]
    offsets = b"".join(
        (int.from_bytes(offsets[at : at + 8], "little") + 12).to_bytes(8, "little") for at in (0, 8, 16)
    )
    lengths = b"\xff" * 5 + bytes(19)  # they lie
    path = write_dicom(
        tmp_path / "x.dcm", SMOOTH, "1.2.840.10008.1.2.4.80", NumberOfFrames=3,
        ExtendedOffsetTable=offsets, ExtendedOffsetTableLengths=lengths, PixelData=data,
    )  # fmt: skip
    _decoded_alike(path, plain)


@pytest.mark.parametrize("says_so_only", [False, True])
def test_native_ybr_full_422(says_so_only: bool, tmp_path: Path, write_dicom: Write) -> None:
    plain = write_dicom(tmp_path / "plain.dcm", SMOOTH8)
    gray = np.full_like(SMOOTH8, 128)
    if says_so_only:
        stored = np.stack([SMOOTH8, gray, gray], axis=-1)
    else:
        stored = np.stack([SMOOTH8[:, ::2], SMOOTH8[:, 1::2], gray[:, ::2], gray[:, ::2]], axis=-1)
    color = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "YBR_FULL_422"}
    path = write_dicom(tmp_path / "x.dcm", SMOOTH8, PixelData=stored.tobytes(), **color)
    assert np.array_equal(image_of(path), image_of(plain))


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_color_of_codecs_that_do_not_know_color(photometric: str, tmp_path: Path, write_dicom: Write) -> None:
    plain = write_dicom(tmp_path / "plain.dcm", SMOOTH8)
    gray = np.full_like(SMOOTH8, 128)
    other = (SMOOTH8, SMOOTH8) if photometric == "RGB" else (gray, gray)
    frame = bytes(imagecodecs.jpegls_encode(np.stack([SMOOTH8, *other], axis=-1)))
    color = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": photometric}
    path = write_dicom(
        tmp_path / "x.dcm", SMOOTH8, "1.2.840.10008.1.2.4.80", PixelData=encapsulate([frame]), **color
    )
    _decoded_alike(path, plain)


@pytest.mark.parametrize("stream_signed", [False, True])
@pytest.mark.parametrize("header_signed", [False, True])
def test_the_sign_of_jpeg_2000(
    stream_signed: bool, header_signed: bool, tmp_path: Path, write_dicom: Write
) -> None:
    """The header is right; a stream of the other sign holds the same bits."""
    large = np.kron(SMOOTH, np.ones((4, 4))).astype(np.uint16) * 15
    words = (large.astype(np.int32) - 30000).astype(np.int16) if header_signed else large
    signs = {"PixelRepresentation": int(header_signed)}
    plain = write_dicom(tmp_path / "plain.dcm", words, **signs)
    stream = words.view(np.int16 if stream_signed else np.uint16)
    frame = bytes(imagecodecs.jpeg2k_encode(stream, level=0, codecformat="j2k", reversible=True))
    path = write_dicom(
        tmp_path / "x.dcm", words, "1.2.840.10008.1.2.4.90", PixelData=encapsulate([frame]), **signs
    )
    _decoded_alike(path, plain, 1.5)


def test_a_smooth_table_is_looked_up_at_reduced_size(tmp_path: Path, write_dicom: Write) -> None:
    large = np.kron(SMOOTH, np.ones((4, 4))).astype(np.uint16)
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    curve = 65535 / (1 + np.exp(-(np.arange(4096) - 2000) / 500))
    item.add_new("LUTData", "OW", curve.astype("<u2").tobytes())
    frame = bytes(imagecodecs.jpeg2k_encode(large, level=0, codecformat="j2k", reversible=True))
    plain = write_dicom(tmp_path / "plain.dcm", large, BitsStored=12, VOILUTSequence=[item])
    path = write_dicom(
        tmp_path / "x.dcm", large, "1.2.840.10008.1.2.4.90", BitsStored=12,
        VOILUTSequence=[item], PixelData=encapsulate([frame]),
    )  # fmt: skip
    _decoded_alike(path, plain, 1.5)


def test_what_imagecodecs_refuses_another_plugin_may_read(
    tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: bytes) -> Any:
        raise ValueError

    syntax = "1.2.840.10008.1.2.4.90"
    frame = bytes(imagecodecs.jpeg2k_encode(SMOOTH, level=0, codecformat="j2k", reversible=True))
    path = write_dicom(tmp_path / "x.dcm", SMOOTH, syntax, PixelData=encapsulate([frame]))
    wanted = image_of(path)
    monkeypatch.setattr(codecs, "_REDUCERS", {})
    monkeypatch.setattr(codecs, "_DECODERS", {syntax: refuse})
    assert isinstance(read(path), Failure)
    monkeypatch.setattr(pixel_data, "_OTHER_PLUGINS", ("pillow", "gdcm"))
    reading = read(path)
    assert isinstance(reading, ReadImage)
    assert reading.remarks == (Reason.OTHER_DECODER,)
    assert np.abs(reading.image.astype(int) - wanted).mean() < 1


def test_gdcm_comes_last() -> None:
    assert pixel_data._OTHER_PLUGINS[-1] == "gdcm"


def test_a_deflated_file_is_inflated_only_as_far_as_needed(
    tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    trailing = write_dicom(tmp_path / "trailing.dcm", SMOOTH, "1.2.840.10008.1.2.1.99")
    meta, dataset = _inflated(trailing)
    wanted = image_of(trailing)
    monkeypatch.setattr(deflate, "MOST_BYTES", 1 << 20)
    trailing.write_bytes(meta + _deflated(dataset + bytes(100 << 20)))
    assert np.array_equal(image_of(trailing), wanted)
    at = dataset.index(b"\xe0\x7f\x10\x00OW")
    fat = b"\x09\x00\x01\x10OB\0\0" + (100 << 20).to_bytes(4, "little") + bytes(100 << 20)
    leading = tmp_path / "leading.dcm"
    leading.write_bytes(meta + _deflated(dataset[:at] + fat + dataset[at:]))
    reading = read(leading)
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.UNSUPPORTED, Reason.TOO_LARGE)


def _inflated(path: Path) -> tuple[bytes, bytes]:
    """Return the start of a deflated file up to its data set, and the data set inflated."""
    data = path.read_bytes()
    length = int.from_bytes(data[140:144], "little")
    return data[: 144 + length], zlib.decompress(data[144 + length :], wbits=-zlib.MAX_WBITS)


def test_zeros_are_not_followed_for_hours(
    tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH8)
    data = path.read_bytes()
    at = data.index(b"\x28\x00\x10\x00US")
    path.write_bytes(data[:at] + bytes(1 << 20))
    reading = read(path)
    assert isinstance(reading, Failure)
    assert reading.status is Status.DECODE_ERROR
    with path.open("rb") as file:
        header.read_header(file)
        assert file.tell() == at
    monkeypatch.setattr(header, "_MOST_READS", 50)
    path.write_bytes(data[:at] + b"\x09\x00\x01\x10SH\0\0" * 100 + data[at:])
    assert isinstance(read(path), Failure)


def test_the_limit_of_pixels_is_a_setting(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH8)
    assert isinstance(reader.read_dicom(str(path), CANVAS, ReadSettings(max_pixels=SMOOTH8.size)), ReadImage)
    reading = reader.read_dicom(str(path), CANVAS, ReadSettings(max_pixels=SMOOTH8.size - 1))
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.UNSUPPORTED, Reason.TOO_LARGE)


def test_read_image_gives_the_canvas_or_every_pixel(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH, PixelAspectRatio=["2", "1"])
    assert read_image(path).shape == (224, 224)
    assert np.array_equal(read_image(str(path), CANVAS), image_of(path))
    whole = read_image(path, preprocessing=None)
    assert whole.shape == (192, 80)
    assert whole.dtype == np.uint8
    assert whole.min() == 0
    assert whole.max() == 255


def test_read_image_raises_one_error_that_tells_status_and_reason(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "x.dcm", Modality="MG")
    with pytest.raises(UnreadableError, match="not_xray: mammography is not sorted") as caught:
        read_image(path)
    assert (caught.value.status, caught.value.reason) == (Status.NOT_XRAY, Reason.MAMMOGRAPHY)
    with pytest.raises(UnreadableError, match="io_error"):
        read_image(tmp_path / "nowhere")


RAISED = [
    NotImplementedError, RecursionError, OSError, zlib.error, TypeError, ValueError, StopIteration, KeyError,
    struct.error, OverflowError, AttributeError, AssertionError, EOFError, BytesLengthException,
    pydicom.errors.InvalidDicomError,
]  # fmt: skip


@pytest.mark.parametrize("error", RAISED)
@pytest.mark.parametrize("step", ["read_header", "grayscale_transform", "render"])
def test_whatever_a_parser_raises_is_a_value(
    error: type[Exception], step: str, tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise error("CANARY^NAME")

    path = write_dicom(tmp_path / "x.dcm")
    monkeypatch.setattr(dicom_file, step, fail)
    reading = read(path)
    assert isinstance(reading, Failure)
    assert reading.status is Status.DECODE_ERROR
    assert "CANARY" not in repr(reading)
