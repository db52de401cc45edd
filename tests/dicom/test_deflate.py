"""Deflated files and frames: inflated only as far as needed, and never for hours."""

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from readings import SMOOTH, SMOOTH8, Write, decoded_alike, deflated, image_of, read

from dicomsort.dicom import codecs, deflate, header
from dicomsort.outcome import Failure, Reason, Status


def test_what_was_inflated_long_ago_is_forgotten() -> None:
    plain = os.urandom(1 << 20) * 12
    stream = deflate.Inflated(io.BytesIO(deflated(plain)))
    stream.seek(10 << 20)
    assert stream.read(16) == plain[10 << 20 :][:16]
    stream.seek(-16, 1)
    assert stream.read(16) == plain[10 << 20 :][:16]
    assert len(stream._kept) < 6 << 20
    stream.seek(0)
    with pytest.raises(io.UnsupportedOperation):
        stream.read(1)


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
    path.write_bytes(meta + deflated(dataset + bytes(50 << 20)))
    monkeypatch.setattr(deflate, "MOST_BYTES", 1 << 20)
    assert np.array_equal(image_of(path), wanted)


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
    decoded_alike(write("x.dcm", [deflated(bytes(SMOOTH.nbytes)), deflated(SMOOTH.tobytes())]), plain)
    for name, frame in (("short.dcm", deflated(bytes(100))), ("odd.dcm", b"no deflate stream at all")):
        reading = read(write(name, [frame]))
        assert isinstance(reading, Failure)
        assert reading.status is Status.DECODE_ERROR


def test_a_deflated_frame_is_inflated_no_further_than_it_should_be() -> None:
    bomb = deflated(bytes(50_000_000))
    assert len(bomb) < 100_000
    assert len(codecs.inflate_frame(bomb, 1000)) == 1000


def test_a_deflated_file_is_inflated_only_as_far_as_needed(
    tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    trailing = write_dicom(tmp_path / "trailing.dcm", SMOOTH, "1.2.840.10008.1.2.1.99")
    meta, dataset = _inflated(trailing)
    wanted = image_of(trailing)
    monkeypatch.setattr(deflate, "MOST_BYTES", 1 << 20)
    trailing.write_bytes(meta + deflated(dataset + bytes(100 << 20)))
    assert np.array_equal(image_of(trailing), wanted)
    at = dataset.index(b"\xe0\x7f\x10\x00OW")
    fat = b"\x09\x00\x01\x10OB\0\0" + (100 << 20).to_bytes(4, "little") + bytes(100 << 20)
    leading = tmp_path / "leading.dcm"
    leading.write_bytes(meta + deflated(dataset[:at] + fat + dataset[at:]))
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
