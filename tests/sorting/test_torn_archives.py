"""A large radiograph that is torn in its archive: what cannot be kept is not called sorted."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from outputs import rows, settings
from packs import tarred, zipped
from predictors import FixedPredictor
from written import picture, write_dicom

from dicomsort.outcome import Reason, Status
from dicomsort.sorting.pipeline import sort


@pytest.fixture
def torn(tmp_path: Path) -> Path:
    """An archive of a small radiograph and one of 20 MB that ends behind its middle frame, of noise."""
    frames = np.random.default_rng(0).integers(0, 4000, (10, 1000, 1000), np.uint16)
    large = write_dicom(tmp_path / "large.dcm", frames, Rows=1000, Columns=1000, NumberOfFrames=10)
    small = write_dicom(tmp_path / "small.dcm", picture(1)).read_bytes()
    data = gzip.compress(tarred({"small.dcm": small, "large.dcm": large.read_bytes()}), 1)
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


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_radiograph_that_contradicts_the_checksum_of_its_zip_is_damaged(
    method: int, tmp_path: Path, predictor: FixedPredictor
) -> None:
    """Also one that lies there as it is, of which the picture alone would tell nothing."""
    files = {f"{number}.dcm": write_dicom(tmp_path / f"{number}.dcm", picture(number)) for number in range(3)}
    data = bytearray(zipped({name: path.read_bytes() for name, path in files.items()}, method))
    middle = data.index(b"1.dcm") + (data.index(b"2.dcm") - data.index(b"1.dcm")) // 2
    data[middle] ^= 1
    archive = tmp_path / "in" / "a.zip"
    archive.parent.mkdir()
    archive.write_bytes(data)
    sort(settings(archive.parent, tmp_path / "out"), predictor)
    reasons = {Path(path).name: row["reason"] for path, row in rows(tmp_path / "out").items()}
    assert [name for name, reason in reasons.items() if reason == Reason.MEMBER_DAMAGED] == ["1.dcm"]
    assert not list((tmp_path / "out").rglob("1.dcm"))
