"""Headers: what is kept of one, and what none may cost."""

from pathlib import Path

import numpy as np
import pytest
from readings import CANVAS, SMOOTH, SMOOTH8, Write, image_of, read

from dicomsort import read_image
from dicomsort.dicom import header
from dicomsort.outcome import Failure, ReadImage, Reason, Status


def test_names_do_not_hide_in_code_strings(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "x.dcm", BodyPartExamined="CHEST", ViewPosition="PA")
    data = path.read_bytes().replace(b"\x18\x00\x15\x00CS\x06\x00CHEST ", b"\x18\x00\x15\x00LO\x06\x00DOE^JO")
    path.write_bytes(data)
    reading = read(path)
    assert reading.header.body_part_examined == ""
    assert reading.header.view_position == "PA"


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
