"""One file in, one picture or one failure out: the committed files, and every syntax against its original."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from conftest import TESTS
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder

from dicomsort import reader
from dicomsort.outcome import Failure, Picture, Reason, Status
from dicomsort.pixels import pixel_digest
from dicomsort.preprocess import Preprocessing
from dicomsort.radiograph import why_not

CANVAS = Preprocessing(size=64)
DX = "1.2.840.10008.5.1.4.1.1.1.1"
Write = Callable[..., Path]


def read(path: Path) -> Picture | Failure:
    return reader.read_dicom(str(path), CANVAS)


def image_of(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    reading = read(path)
    assert isinstance(reading, Picture), reading
    return reading.image


def test_every_committed_file_ends_as_expected(expected: list[dict[str, str]]) -> None:
    wrong = []
    for row in expected:
        reading = read(TESTS / row["file"])
        got = Status.SORTED if isinstance(reading, Picture) else reading.status
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
    # name: Transfer Syntax UID, encoder, 8 bit, grey levels of 255 that it may be off
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
        [("MONOCHROME1", None), ("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "INVERSE")]
    ):
        path = tmp_path / f"inverse{number}.dcm"
        write_dicom(path, SMOOTH, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
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


def test_colour_is_read_as_brightness(tmp_path: Path, write_dicom: Write) -> None:
    wanted = image_of(write_dicom(tmp_path / "plain.dcm", SMOOTH8))
    rgb = np.stack([SMOOTH8] * 3, axis=-1)
    colour: dict[str, Any] = {"SamplesPerPixel": 3, "Rows": 96, "Columns": 80, "PlanarConfiguration": 0}
    path = write_dicom(tmp_path / "rgb.dcm", rgb, PhotometricInterpretation="RGB", **colour)
    assert np.abs(image_of(path).astype(int) - wanted).max() <= 1
    planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    colour["PlanarConfiguration"] = 1
    path = write_dicom(tmp_path / "planar.dcm", planes, PhotometricInterpretation="RGB", **colour)
    assert np.abs(image_of(path).astype(int) - wanted).max() <= 1
    planes[1:] = 128
    path = write_dicom(tmp_path / "ybr.dcm", planes, PhotometricInterpretation="YBR_FULL", **colour)
    assert np.array_equal(image_of(path), wanted)


@pytest.mark.parametrize(
    ("elements", "status", "reason"),
    [
        ({"Rows": 65535, "Columns": 65535}, Status.UNSUPPORTED, Reason.TOO_LARGE),
        ({"Rows": 0}, Status.DECODE_ERROR, Reason.HEADER_DAMAGED),
        ({"NumberOfFrames": 7}, Status.DECODE_ERROR, Reason.PIXELS_MISSING),
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
    assert isinstance(reading, Picture)
    middle = reading.image[:, 6:57]
    assert abs(float(middle.mean()) - SMOOTH8.mean()) < 2


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


@pytest.mark.parametrize(
    ("sop_class", "modality", "reason"),
    [
        ("1.2.840.10008.5.1.4.1.1.1", "CR", Reason.NONE),
        ("1.2.840.10008.5.1.4.1.1.1", "", Reason.NONE),
        (DX, "OT", Reason.NONE),
        ("1.2.840.10008.5.1.4.1.1.12.1", "XA", Reason.NONE),
        ("1.2.840.10008.5.1.4.1.1.1.3", "IO", Reason.NONE),
        ("1.2.840.10008.5.1.4.1.1.7", "CR", Reason.NONE),
        ("1.2.840.10008.5.1.4.1.1.7", "OT", Reason.CAPTURE),
        ("", "PX", Reason.NONE),
        ("", "", Reason.NO_TYPE),
        ("1.2.840.10008.5.1.4.1.1.2", "CR", Reason.OTHER_SOP_CLASS),
        ("1.2.840.10008.5.1.4.1.1.1.2", "DX", Reason.MAMMOGRAPHY),
        ("1.2.840.10008.5.1.4.1.1.13.1.3", "MG", Reason.TOMOSYNTHESIS),
        ("1.2.840.10008.1.3.10", "", Reason.DICOMDIR),
    ],
)
def test_what_counts_as_a_projection_radiograph(sop_class: str, modality: str, reason: Reason) -> None:
    assert why_not(sop_class, modality) is reason


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
