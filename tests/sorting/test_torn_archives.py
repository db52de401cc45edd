"""A large radiograph that is torn in its archive: it may be read, but what cannot be kept is not called sorted."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from outputs import rows, settings
from packs import tarred
from predictors import FixedPredictor
from written import picture, write_dicom

from dicomsort.outcome import Reason, Status
from dicomsort.sorting.pipeline import sort


@pytest.fixture
def torn(tmp_path: Path) -> Path:
    """An archive of a small radiograph and one of 20 MB that ends behind its middle frame, of noise."""
    frames = np.random.default_rng(0).integers(0, 4000, (10, 1000, 1000), np.uint16)
    shape = {"Rows": 1000, "Columns": 1000, "NumberOfFrames": 10, "SOPInstanceUID": "1.2.3"}
    large = write_dicom(tmp_path / "large.dcm", frames, **shape).read_bytes()
    small = write_dicom(tmp_path / "small.dcm", picture(1)).read_bytes()
    data = gzip.compress(tarred({"small.dcm": small, "large.dcm": large}), 1)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.tar.gz"
    path.write_bytes(data[: len(data) * 9 // 10])
    return path


def test_a_member_that_cannot_be_copied_to_its_end_is_told_as_damaged(
    torn: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    sort(settings(torn.parent, tmp_path / "out"), predictor)
    found = {
        path.removeprefix(str(torn)): (row["status"], row["reason"])
        for path, row in rows(tmp_path / "out").items()
    }
    assert found["!/large.dcm"] == (Status.DECODE_ERROR, Reason.MEMBER_DAMAGED)
    assert found["!/small.dcm"][0] in (Status.SORTED, Status.REVIEW)
    assert found[""] == (Status.DECODE_ERROR, Reason.ARCHIVE_DAMAGED)
    assert len(found) == 3
