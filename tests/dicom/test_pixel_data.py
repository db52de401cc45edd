"""Pixel Data as it lies in a file: bits, signs, frames, sizes and their limits."""

import mmap
import os
import shutil
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended
from readings import CANVAS, ENCODERS, SMOOTH, SMOOTH8, Write, decoded_alike, image_of

from dicomsort import ReadSettings
from dicomsort.dicom import header, pixel_source, reader
from dicomsort.dicom.pixel_source import pixel_digest
from dicomsort.outcome import Failure, ReadImage, Reason, Status


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


def test_uncompressed_pixels_are_mapped_and_only_one_frame_of_them(
    tmp_path: Path, write_dicom: Write
) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH, NumberOfFrames=3, PixelData=SMOOTH.tobytes() * 3)
    with path.open("rb") as file:
        dataset, stream = header.read_header(file)
        source = pixel_source.PixelSource(stream, dataset)
        source.open()
        frame = source.native_frame(1, SMOOTH.nbytes)
        base: Any = frame
        while isinstance(base, np.ndarray):
            assert base.nbytes == SMOOTH.nbytes
            base = base.base
        assert isinstance(base, mmap.mmap)
        assert frame.tobytes() == SMOOTH.tobytes()


@pytest.mark.parametrize("name", ["rle", "jpeg lossless", "jpeg lossless SV1", "jpeg-ls", "jpeg 2000"])
def test_overlay_bits_in_compressed_pixels(name: str, tmp_path: Path, write_dicom: Write) -> None:
    large = np.kron(SMOOTH, np.ones((4, 4))).astype(np.uint16)
    plain = write_dicom(tmp_path / "plain.dcm", large, BitsStored=12)
    overlay = large | ((np.indices(large.shape).sum(axis=0) // 7 % 2) << 12).astype(np.uint16)
    syntax, encode, *_ = ENCODERS[name]
    frame = imagecodecs.ljpeg_encode(overlay, bitspersample=16) if "lossless" in name else encode(overlay)
    data = encapsulate([bytes(frame)])
    path = write_dicom(tmp_path / "x.dcm", overlay, syntax, BitsStored=12, HighBit=11, PixelData=data)
    decoded_alike(path, plain)


def test_color_counts_three_times_for_the_limit(tmp_path: Path, write_dicom: Write) -> None:
    color = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    rgb = np.stack([SMOOTH8] * 3, axis=-1)
    path = write_dicom(tmp_path / "x.dcm", rgb, Rows=96, Columns=80, **color)
    reading = reader.read_dicom(str(path), CANVAS, ReadSettings(max_pixels=2 * SMOOTH8.size))
    assert isinstance(reading, Failure)


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
    decoded_alike(path, plain)


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


def test_the_limit_of_pixels_is_a_setting(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH8)
    assert isinstance(reader.read_dicom(str(path), CANVAS, ReadSettings(max_pixels=SMOOTH8.size)), ReadImage)
    reading = reader.read_dicom(str(path), CANVAS, ReadSettings(max_pixels=SMOOTH8.size - 1))
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.UNSUPPORTED, Reason.TOO_LARGE)
