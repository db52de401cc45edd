"""Copies of files with other elements: what is changed, what is kept of it, and what stays to the byte."""

import errno
import hashlib
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from committed import committed, expected_rows
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from written import write_dicom

from dicomsort.dicom.elements import Code, Note, Value
from dicomsort.dicom.rewrite import IMPLEMENTATION, ChangedError, opened, sop_instance_uid_in

CHEST = Code("816094009", "Chest")
WHEN = datetime(2026, 1, 2, 23, 4, 5, tzinfo=UTC)
NOTE = Note(WHEN, "corrected anatomy (wrong); decided by a person; pixel data unchanged")
UIDS = {"SOPInstanceUID": "2.25.7", "SeriesInstanceUID": "2.25.8"}
CHANGES: dict[str, Value] = {"BodyPartExamined": "CHEST", "AnatomicRegionSequence": CHEST}
NATIVE = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]
OURS = {
    *("SOPInstanceUID", "SeriesInstanceUID", "BodyPartExamined", "AnatomicRegionSequence"),
    *("InstanceCreationDate", "InstanceCreationTime", "SourceImageSequence"),
    *("ContributingEquipmentSequence", "OriginalAttributesSequence"),
}
FILES = sorted(committed(row["file"]) for row in expected_rows() if row["status"] in ("sorted", "review"))


def copy_of(source: Path, target: Path, changes: dict[str, Value] = CHANGES) -> Dataset:
    with opened(str(source)) as original:
        sha256 = original.write(str(target), UIDS, changes, NOTE)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == sha256
    assert list(target.parent.glob(".dicomsort-*")) == []
    return pydicom.dcmread(target)


def hand(path: Path, **elements: Any) -> Path:
    values = {"BodyPartExamined": "HAND", "SeriesInstanceUID": "2.25.3", "StudyInstanceUID": "2.25.4"}
    return write_dicom(path, **{**values, "SOPInstanceUID": "2.25.2", **elements})


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_copy_says_what_it_should_and_its_pixels_are_the_same(syntax: str, tmp_path: Path) -> None:
    source = hand(tmp_path / "in.dcm", syntax=syntax)
    before, after = pydicom.dcmread(source), copy_of(source, tmp_path / "out.dcm")
    assert after.BodyPartExamined == "CHEST"
    region = after.AnatomicRegionSequence[0]
    assert (region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning) == (
        "816094009",
        "SCT",
        "Chest",
    )
    assert (after.SOPInstanceUID, after.file_meta.MediaStorageSOPInstanceUID) == ("2.25.7", "2.25.7")
    assert (after.SeriesInstanceUID, after.StudyInstanceUID) == ("2.25.8", "2.25.4")
    assert after.file_meta.TransferSyntaxUID == syntax
    assert after.file_meta.ImplementationClassUID == IMPLEMENTATION
    assert after.PixelData == before.PixelData
    assert {element.keyword for element in after if before.get(element.tag) != element} == OURS
    assert [element.keyword for element in before if element.tag not in after] == []


def test_a_copy_tells_what_stood_there_who_changed_it_and_what_it_was_made_of(tmp_path: Path) -> None:
    after = copy_of(hand(tmp_path / "in.dcm"), tmp_path / "out.dcm")
    (original,) = after.OriginalAttributesSequence
    (before,) = original.ModifiedAttributesSequence
    told = {element.keyword: element.value for element in before}
    assert told == {"SOPInstanceUID": "2.25.2", "SeriesInstanceUID": "2.25.3", "BodyPartExamined": "HAND"}
    assert original.ReasonForTheAttributeModification == "CORRECT"
    assert original.AttributeModificationDateTime == "20260102230405+0000"
    (equipment,) = after.ContributingEquipmentSequence
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109103"
    assert (equipment.Manufacturer, equipment.ContributionDescription) == ("dicomsort", NOTE.what)
    (image,) = after.SourceImageSequence
    assert (image.ReferencedSOPInstanceUID, image.SpatialLocationsPreserved) == ("2.25.2", "YES")
    assert image.ReferencedSOPClassUID == after.SOPClassUID


@pytest.mark.parametrize(
    ("zone", "date", "time"),
    [("+0130", "20260103", "003405"), ("-0500", "20260102", "180405"), (None, "", "")],
)
def test_a_copy_was_created_in_the_time_zone_of_its_header_or_here(
    zone: str | None, date: str, time: str, tmp_path: Path
) -> None:
    after = copy_of(hand(tmp_path / "in.dcm", TimezoneOffsetFromUTC=zone), tmp_path / "out.dcm")
    here = WHEN.astimezone()
    expected = (date or f"{here:%Y%m%d}", time or f"{here:%H%M%S}")
    assert (after.InstanceCreationDate, after.InstanceCreationTime) == expected


def test_what_earlier_programs_have_noted_is_never_lost_for_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicomsort.dicom.rewrite._LONG", 1000)
    first = Dataset()
    first.Manufacturer, first.ContributionDescription = "M", "x" * 1024
    source = hand(tmp_path / "in.dcm", ContributingEquipmentSequence=[first])
    with opened(str(source)) as original, pytest.raises(ValueError, match="too long"):
        original.write(str(tmp_path / "out.dcm"), UIDS, CHANGES, NOTE)
    assert not (tmp_path / "out.dcm").exists()


def test_what_earlier_programs_have_noted_stays_in_front(tmp_path: Path) -> None:
    first = Dataset()
    first.Manufacturer, first.ContributionDescription = "Détecteur", "acquired"
    source = hand(
        tmp_path / "in.dcm", SpecificCharacterSet="ISO_IR 100", ContributingEquipmentSequence=[first]
    )
    after = copy_of(source, tmp_path / "out.dcm")
    told = [item.Manufacturer for item in after.ContributingEquipmentSequence]
    assert told == ["Détecteur", "dicomsort"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_of_every_file_of_the_archive_all_but_the_changed_elements_stays_to_the_byte(
    path: Path, tmp_path: Path
) -> None:
    before = pydicom.dcmread(path, force=True)
    after = copy_of(path, tmp_path / "out.dcm")
    for tag in set(before.keys()) - {pydicom.tag.Tag(keyword) for keyword in OURS}:
        if tag.element == 0:  # how long a group is, if it has not changed
            continue
        assert before.get_item(tag).value == after.get_item(tag).value, tag
    syntax = before.file_meta.get("TransferSyntaxUID")
    if "PixelData" in before and syntax != NATIVE[-1]:
        pixels: Any = before.get_item("PixelData")
        assert (tmp_path / "out.dcm").read_bytes().endswith(path.read_bytes()[pixels.value_tell :])


def test_private_elements_and_empty_ones_are_copied_as_they_stand(tmp_path: Path) -> None:
    source = hand(tmp_path / "in.dcm", PatientComments="", ImageComments="odd")
    dataset = pydicom.dcmread(source)
    block = dataset.private_block(0x0009, "MAKER", create=True)
    block.add_new(1, "UN", b"\1\2\3\4" * 400_000)  # longer than what is looked at
    block.add_new(2, "OB", b"\xff" * 6)
    dataset.save_as(source)
    after = copy_of(source, tmp_path / "out.dcm")
    assert after[0x0009, 0x1001].value == b"\1\2\3\4" * 400_000
    assert after[0x0009, 0x1002].value == b"\xff" * 6
    assert after[0x0010, 0x4000].value == ""


def test_compressed_frames_stay_to_the_byte(tmp_path: Path) -> None:
    frames = encapsulate([b"\xff\xd8" + bytes(range(200)), b"\xff\xd8\1\2"])
    source = hand(tmp_path / "in.dcm", syntax="1.2.840.10008.1.2.4.50", PixelData=None)
    dataset = pydicom.dcmread(source)
    dataset.add_new("PixelData", "OB", frames)
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(source)
    after = copy_of(source, tmp_path / "out.dcm")
    assert after.PixelData == pydicom.dcmread(source).PixelData
    tail = source.read_bytes()[source.read_bytes().index(b"\xe0\x7f\x10\0OB") :]
    assert (tmp_path / "out.dcm").read_bytes().endswith(tail)


def test_a_file_without_meta_group_gets_one(tmp_path: Path) -> None:
    source = hand(tmp_path / "whole.dcm", syntax=NATIVE[0])
    whole = source.read_bytes()
    (tmp_path / "in.dcm").write_bytes(whole[whole.index(b"\x08\0\x16\0") :])
    after = copy_of(tmp_path / "in.dcm", tmp_path / "out.dcm")
    assert after.file_meta.TransferSyntaxUID == NATIVE[0]
    assert after.file_meta.MediaStorageSOPClassUID == after.SOPClassUID
    assert after.PixelData == pydicom.dcmread(source).PixelData


def test_an_element_goes_where_none_is_to_be(tmp_path: Path) -> None:
    after = copy_of(hand(tmp_path / "in.dcm", Laterality="L"), tmp_path / "out.dcm", {"Laterality": None})
    assert "Laterality" not in after
    assert after.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].Laterality == "L"


def test_the_length_of_a_group_that_has_changed_is_left_out(tmp_path: Path) -> None:
    source = hand(tmp_path / "in.dcm", syntax=NATIVE[0])
    whole, at = source.read_bytes(), source.read_bytes().index(b"\x08\0\x16\0")
    source.write_bytes(whole[:at] + b"\x08\0\0\0\4\0\0\0\x50\0\0\0" + whole[at:])
    assert 0x00080000 in pydicom.dcmread(source)
    after = copy_of(source, tmp_path / "out.dcm")
    assert 0x00080000 not in after
    assert after.PixelData == pydicom.dcmread(source).PixelData


def test_a_word_that_is_no_code_string_is_kept_as_bytes(tmp_path: Path) -> None:
    source = hand(tmp_path / "in.dcm", BodyPartExamined="HANDS")
    source.write_bytes(source.read_bytes().replace(b"HANDS ", b"Hand?!"))
    (original,) = copy_of(source, tmp_path / "out.dcm").OriginalAttributesSequence
    (odd,) = original.NonconformingModifiedAttributesSequence
    assert (odd.SelectorAttribute, odd.NonconformingDataElementValue) == (0x00180015, b"Hand?!")
    assert "BodyPartExamined" not in original.ModifiedAttributesSequence[0]


def test_the_preamble_is_empty_for_it_may_hold_places_in_the_old_file(tmp_path: Path) -> None:
    source = hand(tmp_path / "in.dcm")
    source.write_bytes(b"II*\0" * 32 + source.read_bytes()[128:])
    copy_of(source, tmp_path / "out.dcm")
    assert (tmp_path / "out.dcm").read_bytes()[:132] == b"\0" * 128 + b"DICM"


def test_a_large_file_is_never_in_memory(tmp_path: Path) -> None:
    source = hand(tmp_path / "in.dcm", pixels=np.zeros((6000, 6000), np.uint16))
    tracemalloc.start()
    try:
        with opened(str(source)) as original:
            original.write(str(tmp_path / "out.dcm"), UIDS, CHANGES, NOTE)
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out.dcm").stat().st_size > 72_000_000


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out.dcm"
    target.write_text("mine")
    with opened(str(hand(tmp_path / "in.dcm"))) as original, pytest.raises(FileExistsError):
        original.write(str(target), UIDS, CHANGES, NOTE)
    assert target.read_text() == "mine"


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("dicomsort.dicom.rewrite.copy_to", full)
    with opened(str(hand(tmp_path / "in.dcm"))) as original, pytest.raises(OSError, match="no space"):
        original.write(str(tmp_path / "out.dcm"), UIDS, CHANGES, NOTE)
    assert [path.name for path in tmp_path.iterdir()] == ["in.dcm"]


def test_the_source_stays_as_it_was(tmp_path: Path) -> None:
    source = hand(tmp_path / "in.dcm")
    before = source.read_bytes(), source.stat().st_mtime_ns
    copy_of(source, tmp_path / "out.dcm")
    assert (source.read_bytes(), source.stat().st_mtime_ns) == before


def test_a_signed_file_is_known(tmp_path: Path) -> None:
    with opened(str(hand(tmp_path / "in.dcm"))) as original:
        assert not original.is_signed
    mac = Dataset()
    mac.MACIDNumber, mac.MACAlgorithm = 1, "SHA1"
    with opened(str(hand(tmp_path / "signed.dcm", MACParametersSequence=[mac]))) as original:
        assert original.is_signed


def test_the_uid_of_a_file_is_found_without_reading_it_and_nothing_in_what_is_none(tmp_path: Path) -> None:
    copy_of(hand(tmp_path / "in.dcm"), tmp_path / "out.dcm")
    assert sop_instance_uid_in(str(tmp_path / "out.dcm")) == UID("2.25.7")
    (tmp_path / "no.dcm").write_bytes(b"nothing")
    assert sop_instance_uid_in(str(tmp_path / "no.dcm")) == ""
    assert sop_instance_uid_in(str(tmp_path / "gone.dcm")) == ""


def _without_order(whole: bytes) -> bytes:
    """Body Part Examined behind the Series Instance UID, where no element of group 18 should be."""
    part = whole.index(b"\x18\0\x15\0CS")
    element = whole[part : part + 12]
    return _behind_series(whole[:part] + whole[part + 12 :], element)


def _twice(whole: bytes) -> bytes:
    return _behind_series(whole, b"\x18\0\x15\0CS\4\0FOOT")


def _behind_series(whole: bytes, element: bytes) -> bytes:
    series = whole.index(b"\x20\0\x0e\0UI")
    end = series + 8 + int.from_bytes(whole[series + 6 : series + 8], "little")
    return whole[:end] + element + whole[end:]


@pytest.mark.parametrize("spoiled", [_without_order, _twice])
def test_an_old_value_that_stands_out_of_order_or_twice_does_not_come_back(
    spoiled: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    source = hand(tmp_path / "in.dcm")
    source.write_bytes(spoiled(source.read_bytes()))
    assert copy_of(source, tmp_path / "out.dcm").BodyPartExamined == "CHEST"
    assert (tmp_path / "out.dcm").read_bytes().count(b"\x18\0\x15\0CS\6\0") == 1


@pytest.mark.parametrize("syntaxes", [NATIVE[:2], NATIVE[1::-1]])
def test_a_file_that_is_not_in_the_syntax_it_names_gets_no_copy_of_two_syntaxes(
    syntaxes: list[str], tmp_path: Path
) -> None:
    told, used = (hand(tmp_path / f"{syntax}.dcm", syntax=syntax).read_bytes() for syntax in syntaxes)
    first = b"\x08\0\x16\0"
    mixed = tmp_path / "mixed.dcm"
    mixed.write_bytes(told[: told.index(first)] + used[used.index(first) :])
    with pytest.raises(ValueError, match="transfer syntax"), opened(str(mixed)):
        pass


def test_a_file_that_changes_while_it_is_copied_gets_no_copy(tmp_path: Path) -> None:
    source = hand(tmp_path / "in.dcm")
    with opened(str(source)) as original:
        with source.open("ab") as file:
            file.truncate(source.stat().st_size - 4)
        with pytest.raises(ChangedError):
            original.write(str(tmp_path / "out.dcm"), UIDS, CHANGES, NOTE)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("sets", "meaning"),
    [
        ("ISO_IR 100", "Thorax à gauche"),
        ("ISO_IR 192", "胸部"),
        (["", "ISO 2022 IR 87"], "Chest"),
        ("", "Chest"),
    ],
    ids=str,
)
def test_the_meaning_of_a_region_is_spelled_in_the_characters_of_the_file(
    sets: Any, meaning: str, tmp_path: Path
) -> None:
    source = hand(tmp_path / "in.dcm", SpecificCharacterSet=sets)
    after = copy_of(source, tmp_path / "out.dcm", {"AnatomicRegionSequence": Code("816094009", meaning)})
    assert after.AnatomicRegionSequence[0].CodeMeaning == meaning
