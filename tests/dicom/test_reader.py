"""One file in, one picture or one failure out: the committed files, and what can never be read."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from committed import committed
from pydicom.errors import BytesLengthException
from readings import CANVAS, SMOOTH, SMOOTH8, Write, image_of, read

from dicomsort import UnreadableError, read_image
from dicomsort.dicom import dicom_file
from dicomsort.outcome import Failure, ReadImage, Reason, Status


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


def test_a_missing_file_and_a_folder_are_input_errors(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.dcm", Reason.VANISHED), (tmp_path, Reason.UNREADABLE)):
        reading = read(path)
        assert isinstance(reading, Failure)
        assert (reading.status, reading.reason) == (Status.IO_ERROR, reason)


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        reading = read(path)
        assert isinstance(reading, Failure)
        assert reading.reason is Reason.SPECIAL_FILE


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
