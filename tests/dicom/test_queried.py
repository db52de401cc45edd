"""What a PACS says decides as reading would, or not at all."""

import pytest
from committed import ARCHIVE
from pydicom import dcmread

from dicomsort.dicom.queried import exclusion
from dicomsort.dicom.reader import read_dicom
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure, Header, Reason, Status

CT, CAPTURE, PRIVATE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7", "1.3.12.2.1107.5.99"


def reason(sop_class: str, modality: str, captures: bool = False) -> Reason | None:
    failure = exclusion({"SOPClassUID": sop_class, "Modality": modality}, captures)
    return failure.reason if failure else None


@pytest.mark.parametrize("sop_class", ["", "no uid at all"])
def test_without_a_sop_class_it_has_to_be_read(sop_class: str) -> None:
    assert reason(sop_class, "CT") is None


def test_where_the_modality_decides_it_has_to_be_said() -> None:
    assert reason(CAPTURE, "") is None
    assert reason(PRIVATE, "") is None
    assert reason(CAPTURE, "US") is Reason.OTHER_MODALITY
    assert reason(CAPTURE, "OT") is Reason.CAPTURE
    assert reason(CAPTURE, "OT", captures=True) is None
    assert reason(CT, "") is Reason.OTHER_SOP_CLASS


def test_the_row_has_the_uids_and_nothing_that_could_be_a_name() -> None:
    attributes = {
        "SOPClassUID": CT,
        "Modality": "CANARY^NAME",
        "SOPInstanceUID": "1.2.3",
        "StudyInstanceUID": "CANARY",
    }
    failure = exclusion(attributes)
    assert failure is not None
    assert failure.header == Header(sop_instance_uid="1.2.3")
    assert failure.status is Status.NOT_XRAY


def test_it_decides_every_file_of_the_archive_as_reading_does() -> None:
    judged = 0
    for path in sorted(path for path in ARCHIVE.rglob("*") if path.is_file()):
        read = read_dicom(str(path), Preprocessing(64))
        if isinstance(read, Failure) and read.status is not Status.NOT_XRAY:
            continue
        tags = ["SOPClassUID", "Modality"]
        dataset = dcmread(path, force=True, specific_tags=tags)
        told = exclusion({tag: str(dataset.get(tag, "")) for tag in tags})
        if told is not None or isinstance(read, Failure):
            judged += 1
            assert isinstance(read, Failure), path
            assert told is None or told.reason is read.reason, path
    assert judged > 10
