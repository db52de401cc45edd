"""The digest that comes with the reading is that of a reading of its own, whatever the file."""

import gzip
import hashlib
import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from outputs import rows, settings
from predictors import FixedPredictor
from pydicom.encaps import encapsulate
from readings import ENCODERS, SMOOTH, SMOOTH8, Write

from dicomsort.dicom.pixel_source import pixel_digest
from dicomsort.dicom.reader import read_dicom
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import UsageError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.inputs.opened import MissingBytes
from dicomsort.manifest.reading import read_manifest
from dicomsort.outcome import Failure, Part, ReadImage
from dicomsort.sorting.pipeline import sort

CANVAS, WANTED = Preprocessing(size=64), ReadSettings(pixel_digest=True)


def told(path: Path, held: "Part | io.BytesIO | None" = None) -> str | None:
    reading = read_dicom(str(path), CANVAS, WANTED, held=held)
    return None if isinstance(reading, Failure) else reading.pixel_digest


def test_every_radiograph_of_the_archive(archive: Path) -> None:
    digests = {path: told(path) for path in sorted(archive.rglob("*")) if path.is_file()}
    radiographs = {path: digest for path, digest in digests.items() if digest is not None}
    assert len(radiographs) > 10
    assert radiographs == {path: pixel_digest(str(path)) for path in radiographs}
    assert sum(map(bool, radiographs.values())) > 10


@pytest.mark.parametrize("name", ENCODERS)
def test_every_syntax_also_in_an_archive_and_fetched_in_parts(
    name: str, tmp_path: Path, write_dicom: Write
) -> None:
    syntax, encode, eight_bit, _ = ENCODERS[name]
    pixels = SMOOTH8 if eight_bit else SMOOTH
    data = encapsulate([bytes(encode(np.ascontiguousarray(pixels)))])
    path = write_dicom(tmp_path / "x.dcm", pixels, syntax, BitsStored=8 if eight_bit else 12, PixelData=data)
    wanted = pixel_digest(str(path))
    assert wanted.startswith(f"{syntax} ")
    assert told(path) == wanted == told(path, io.BytesIO(path.read_bytes())) == in_parts(path)
    plain = read_dicom(str(path), CANVAS)
    assert isinstance(plain, ReadImage)
    assert plain.pixel_digest == ""


def in_parts(path: Path) -> str | None:
    """What is told of a file of which more is fetched each time that something is missing; twice at most."""
    held: tuple[tuple[int, int], ...] = ((0, 200),)
    for _ in range(8):
        try:
            return told(path, Part(str(path), size=path.stat().st_size, held=held))
        except MissingBytes as missing:
            start, stop = missing.start, missing.stop
            assert start >= held[-1][1]
            held = ((0, stop),) if start == held[-1][1] else (*held, (start, stop))
    return None


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"])
def test_native_syntaxes(syntax: str, tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH, syntax)
    assert told(path) == pixel_digest(str(path)) != ""
    assert in_parts(path) == told(path)


def test_damage_behind_the_frame_that_is_seen(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH, NumberOfFrames=5, PixelData=SMOOTH.tobytes() * 5)
    os.truncate(path, path.stat().st_size - 100)
    assert told(path) == pixel_digest(str(path)) == ""


def test_the_column_is_there_where_it_is_asked_for(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    with zipfile.ZipFile(inbox / "some.zip", "w", zipfile.ZIP_DEFLATED) as held:
        held.write(inbox / "s0" / "0.dcm", "0.dcm")
    (inbox / "one.dcm.gz").write_bytes(gzip.compress((inbox / "s1" / "1.dcm").read_bytes()))
    shutil.copy(inbox / "s0" / "0.dcm", inbox / "again.dcm")
    sort(settings(inbox, tmp_path / "plain"), predictor)
    sort(settings(inbox, tmp_path / "out", read=WANTED), predictor)
    plain, asked = rows(tmp_path / "plain"), rows(tmp_path / "out")
    radiographs = {path: row["pixel_digest"] for path, row in asked.items() if row["label"]}
    assert len(radiographs) >= 8
    assert radiographs == {path: pixel_digest(path) for path in radiographs}
    assert all(radiographs.values())
    assert not any(row["pixel_digest"] for path, row in asked.items() if path not in radiographs)
    assert plain == {
        path: {name: cell for name, cell in row.items() if name != "pixel_digest"}
        for path, row in asked.items()
    }
    assert {row.path: row.pixel_digest for row in read_manifest(tmp_path / "out") if row.label} == radiographs


def test_an_output_is_with_or_without(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    sort(settings(inbox, tmp_path / "plain"), predictor)
    with pytest.raises(UsageError, match="made without --pixel-digest; use another --out, or leave it out"):
        sort(settings(inbox, tmp_path / "plain", read=WANTED), predictor)


def test_the_digest_is_what_it_says(tmp_path: Path, write_dicom: Write) -> None:
    native = write_dicom(tmp_path / "x.dcm", SMOOTH)
    wanted = hashlib.sha256(SMOOTH.astype("<u2").tobytes()).hexdigest()[:32]
    assert told(native) == f"1.2.840.10008.1.2.1 {wanted}"
