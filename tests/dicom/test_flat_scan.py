"""The quick way through a header finds what pydicom finds, and leaves alone what it does not understand."""

import os
import struct
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from readings import Write

from dicomsort.dicom.flat_scan import Elements, Wanted, scan

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BODY_PART, MODALITY, VIEWS, MODIFIERS = 0x00180015, 0x00080060, 0x00540220, 0x00540222
VALUE, SYNTAX = 0x00080100, 0x00020010
WANTED = Wanted(
    frozenset({BODY_PART, MODALITY, VIEWS, MODIFIERS, VALUE}), frozenset({VIEWS, MODIFIERS}), MODIFIERS
)


def scanned(path: Path) -> Elements | None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return scan(descriptor, os.fstat(descriptor).st_size, WANTED)
    finally:
        os.close(descriptor)


def coded(value: str, undefined: bool = False, **more: Sequence) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    for keyword, sequence in more.items():
        setattr(item, keyword, sequence)
    item.is_undefined_length_sequence_item = undefined
    return item


def changed(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_of_either_length_are_read_or_passed(
    tmp_path: Path, write_dicom: Write, syntax: str, undefined: bool
) -> None:
    modifiers = Sequence([coded("B", undefined), coded("C", undefined)])
    views = Sequence([coded("A", undefined, ViewModifierCodeSequence=modifiers)])
    others = Sequence([coded("no", undefined, ViewCodeSequence=Sequence([coded("nor this")]))])
    path = write_dicom(
        tmp_path / "a.dcm", syntax=syntax, ViewCodeSequence=views, ProcedureCodeSequence=others, Modality="CR"
    )
    dataset = dcmread(path)
    for sequence in (dataset["ViewCodeSequence"], dataset["ProcedureCodeSequence"]):
        sequence.is_undefined_length = undefined
    dataset.save_as(path)
    found = scanned(path)
    assert found is not None
    assert found.values[MODALITY][1] == b"CR"
    assert VALUE not in found.values
    (view,) = found.items[VIEWS]
    assert view.values[VALUE][1].strip() == b"A"
    assert [item.values[VALUE][1].strip() for item in view.items[MODIFIERS]] == [b"B", b"C"]


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_huge_private_element_is_jumped_over(tmp_path: Path, write_dicom: Write, syntax: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", syntax=syntax, BodyPartExamined="CHEST")
    dataset = dcmread(path)
    block = dataset.private_block(0x0009, "MAKER", create=True)
    block.add_new(0x01, "OB", bytes(5 << 20))
    dataset.save_as(path)
    descriptor = os.open(path, os.O_RDONLY)
    before = os.pread
    sizes: list[int] = []

    def counted(file: int, size: int, at: int) -> bytes:
        sizes.append(size)
        return before(file, size, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pread", counted)
        found = scan(descriptor, os.fstat(descriptor).st_size, WANTED)
    os.close(descriptor)
    assert found is not None
    assert found.values[BODY_PART][1] == b"CHEST "
    assert sum(sizes) < 1 << 16


def test_what_is_not_plain_is_left_to_pydicom(tmp_path: Path, write_dicom: Write) -> None:
    def fresh(name: str) -> Path:
        return write_dicom(tmp_path / name, BodyPartExamined="CHEST", Modality="DX")

    part = struct.pack("<HH2sH", 0x0018, 0x0015, b"CS", 6) + b"CHEST "
    assert scanned(fresh("plain")) is not None
    assert scanned(changed(fresh("vr"), part, part.replace(b"CS", b"??"))) is None
    assert scanned(changed(fresh("twice"), part, part + part)) is None
    assert scanned(changed(fresh("zero"), part, bytes(8) + part)) is None
    assert scanned(changed(fresh("endless"), part, part.replace(b"\x06\0", b"\xff\xff"))) is None
    stray = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    assert scanned(changed(fresh("stray"), part, part + stray)) is None
    for number, syntax in enumerate(("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")):
        path = write_dicom(tmp_path / str(number), syntax=EXPLICIT, Modality="DX")
        uid = EXPLICIT.encode()
        data = path.read_bytes()
        at = data.index(uid)
        longer = syntax.encode().ljust(len(syntax) + 1 & ~1, b"\0")
        head = data[: at - 2] + struct.pack("<H", len(longer)) + longer
        path.write_bytes(head + data[at + len(uid) + 1 :])
        assert scanned(path) is None


def test_every_way_to_cut_a_header_off_is_survived(tmp_path: Path, write_dicom: Write) -> None:
    views = Sequence([coded("A", ViewModifierCodeSequence=Sequence([coded("B")]))])
    path = write_dicom(tmp_path / "a.dcm", ViewCodeSequence=views, BodyPartExamined="CHEST")
    data = path.read_bytes()
    end = data.index(b"\xe0\x7f\x10\x00")
    whole = scanned(path)
    assert whole is not None
    for length in range(0, end, 3):
        path.write_bytes(data[:length])
        found = scanned(path)
        assert found is None or found.values.items() <= whole.values.items()


def test_items_in_items_without_end_are_given_up(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "a.dcm", syntax=IMPLICIT, Modality="DX")
    data = path.read_bytes()
    at = data.index(struct.pack("<HH", 0x0008, 0x0060))
    opened = struct.pack("<HHL", 0x0008, 0x0051, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    path.write_bytes(data[:at] + opened * 20_000 + data[at:])
    assert scanned(path) is None
