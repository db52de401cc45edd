"""Which objects count as projection radiographs."""

import csv
from pathlib import Path

import pytest
from committed import DATA
from readings import CANVAS, Write

from dicomsort import ReadSettings
from dicomsort.dicom import reader
from dicomsort.outcome import Failure, ReadImage


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
