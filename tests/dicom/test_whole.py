"""What may be given to another program, and what may not."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from committed import ARCHIVE, committed, expected_rows
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from written import picture, write_dicom

from dicomsort.dicom.whole import DEEPEST, Whole, whole
from dicomsort.outcome import Failure, Reason, Status

UIDS = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}


def made(path: Path, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> Path:
    return write_dicom(path, picture(0), syntax, **{**UIDS, **elements})


def nested(depth: int) -> Sequence:
    item = Dataset()
    item.CodeValue = "1"
    for _ in range(depth - 1):
        outer = Dataset()
        outer.ConceptNameCodeSequence = Sequence([item])
        item = outer
    return Sequence([item])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, "1.2.840.10008.1.2.2"])
def test_a_whole_file_says_what_it_is(syntax: str, tmp_path: Path) -> None:
    found = whole(str(made(tmp_path / "a.dcm", syntax)))
    assert isinstance(found, Whole)
    assert (found.sop_instance, found.study, found.syntax) == ("1.4", "1.2", syntax)
    assert found.sop_class == "1.2.840.10008.5.1.4.1.1.1.1"
    assert found.stamp.size == (tmp_path / "a.dcm").stat().st_size


def test_no_file_that_is_cut_off_is_whole(tmp_path: Path) -> None:
    content = made(tmp_path / "a.dcm").read_bytes()
    for size in [*range(0, 1200, 7), len(content) - 1, len(content) - 100]:
        if size < len(content):
            (tmp_path / "b.dcm").write_bytes(content[:size])
            assert isinstance(whole(str(tmp_path / "b.dcm")), Failure), size


def test_what_stands_behind_the_data_set_is_not_sent(tmp_path: Path) -> None:
    path = made(tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes() + b"garbage behind it all")
    assert isinstance(whole(str(path)), Failure)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_are_followed_as_deep_as_others_can(syntax: str, undefined: bool, tmp_path: Path) -> None:
    for depth, good in ((DEEPEST, True), (DEEPEST + 1, False)):
        sequence = nested(depth)
        _set_length(sequence, undefined)
        path = made(tmp_path / f"{depth}.dcm", syntax, ConceptNameCodeSequence=sequence)
        assert isinstance(whole(str(path)), Whole) is good


def _set_length(sequence: Sequence, undefined: bool) -> None:
    for item in sequence:
        item.is_undefined_length_sequence_item = undefined
        for element in item:
            if element.VR == "SQ":
                element.is_undefined_length = undefined
                _set_length(element.value, undefined)


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_without_its_uids_it_has_no_place_in_a_pacs(missing: str, tmp_path: Path) -> None:
    assert isinstance(
        whole(str(made(tmp_path / "a.dcm", ExplicitVRLittleEndian, **{missing: None}))), Failure
    )


def test_the_meta_group_has_to_agree(tmp_path: Path) -> None:
    path = made(tmp_path / "a.dcm")
    path.write_bytes(
        path.read_bytes().replace(b"\x08\x00\x18\x00UI\x04\x001.4\x00", b"\x08\x00\x18\x00UI\x04\x001.5\x00")
    )
    assert isinstance(whole(str(path)), Failure)


@pytest.mark.parametrize("frames", ["2", "0", "-1", "999999999"])
def test_it_has_as_many_frames_as_it_says(frames: str, tmp_path: Path) -> None:
    assert isinstance(whole(str(made(tmp_path / "a.dcm", NumberOfFrames=frames))), Failure)


def test_a_file_that_is_gone_is_a_value(tmp_path: Path) -> None:
    gone = whole(str(tmp_path / "a.dcm"))
    assert isinstance(gone, Failure)
    assert (gone.status, gone.reason) == (Status.IO_ERROR, Reason.VANISHED)


def test_what_is_whole_is_what_pydicom_reads_and_this_program_knows() -> None:
    kept = 0
    for row in expected_rows():
        found = whole(str(committed(row["file"])))
        if isinstance(found, Whole):
            kept += 1
            assert row["status"] in ("sorted", "review", "duplicate", "not_xray"), row["file"]
            assert dcmread(committed(row["file"])).SOPInstanceUID == found.sop_instance
    assert kept > 40


def test_nothing_broken_is_whole_but_what_is_only_odd() -> None:
    odd = {
        "big_endian_8_bit_words", "big_endian_voi_lut", "bits_stored_missing", "fragments_split",
        "modality_is_a_path", "modality_is_a_path_capture", "offset_table_beyond_file", "photometric_missing",
        "pixels_odd_length", "preamble_elf", "window_width_zero", "deflate_bomb",
    }  # fmt: skip
    broken = ARCHIVE.parent / "data" / "broken"
    assert {path.stem for path in broken.iterdir() if isinstance(whole(str(path)), Whole)} <= odd


def test_no_flipped_byte_makes_it_fall_over(tmp_path: Path) -> None:
    """Whatever is said of it, it is a value."""
    content = bytearray(made(tmp_path / "a.dcm", ConceptNameCodeSequence=nested(3)).read_bytes())
    shutil.copy(tmp_path / "a.dcm", tmp_path / "b.dcm")
    for at in range(132, 700, 5):
        changed = bytes([*content[:at], content[at] ^ 0xFF, *content[at + 1 :]])
        (tmp_path / "b.dcm").write_bytes(changed)
        assert isinstance(whole(str(tmp_path / "b.dcm")), Whole | Failure)
