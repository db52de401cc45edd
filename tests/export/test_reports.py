"""Reports of an output: what they say of each image of a study, and by whom."""

import io
import os
from pathlib import Path
from typing import Any

import pydicom
import pytest
from annotating import CHEST, HAND, MODELS, Says, four_files, output, run
from program import command, without
from pydicom.dataset import Dataset
from written import write_dicom

from dicomsort.dicom.elements import Code
from dicomsort.dicom.structured_report import Evaluated, Evaluation, Identity, read_for_report, report
from dicomsort.export.journal import undo
from dicomsort.export.kinds import Kind
from dicomsort.export.written import Left


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return four_files(tmp_path)


def reports(out: Path) -> dict[str, Dataset]:
    """The reports by study."""
    files = map(pydicom.dcmread, (out.parent / "copies").rglob("*.dcm"))
    return {file.StudyInstanceUID: file for file in files}


def content(item: Dataset) -> list[tuple[str, str]]:
    """Every (concept, value) of a report's content, as texts."""
    value = item.get("ConceptCodeSequence") or item.get("MeasuredValueSequence")
    words = (
        [(item.ConceptNameCodeSequence[0].CodeMeaning, _text(item, value))]
        if "ConceptNameCodeSequence" in item
        else []
    )
    return words + [pair for child in item.get("ContentSequence", ()) for pair in content(child)]


def _text(item: Dataset, value: Any) -> str:
    if not value:
        return str(item.get("TextValue") or item.get("UID") or "")
    return str(value[0].get("CodeMeaning") or value[0].get("NumericValue"))


def test_a_report_tells_of_every_image_of_a_study_what_is_sure_and_who_says_so(out: Path) -> None:
    done = run(out, Kind.SR)
    assert (done.written, done.images, done.left) == (2, 4, {})
    reports = {
        file.StudyInstanceUID: file for file in map(pydicom.dcmread, (out.parent / "copies").rglob("*.dcm"))
    }
    report = reports["2.25.10"]
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.22"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    words = content(report)
    assert words.count(("Target Region", "Chest")) == words.count(("Finding Site", "Chest")) == 2
    assert words.count(("Image View", "frontal")) == 2
    assert [float(value) for name, value in words if name == "Certainty of Finding"] == [99.0] * 4
    assert ("Device Observer Name", MODELS) in words
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in evidence} == {
        "2.25.1",
        "2.25.2",
    }
    assert ("Image View", "frontal") not in content(reports["2.25.20"])[:0]


def test_a_report_says_of_a_decision_that_it_was_a_person_and_gives_no_certainty(
    out: Path, tmp_path: Path
) -> None:
    decided = output(
        tmp_path / "second", {tmp_path / "in" / CHEST: Says("hand", 0.3, person="hand", view_confidence=0.1)}
    )
    run(decided, Kind.SR)
    (report,) = map(pydicom.dcmread, (tmp_path / "copies").rglob("*.dcm"))
    words = content(report)
    assert ("Observer Type", "Person") in words
    assert "Certainty of Finding" not in dict(words)


def test_a_report_is_written_once_and_taken_away(out: Path) -> None:
    run(out, Kind.SR)
    assert run(out, Kind.SR).there == 2
    manifest = out / "manifest.csv"
    first, *lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join([first, *reversed(lines)]))  # as another run of the workers may have it
    assert run(out, Kind.SR).there == 2
    os.unlink(out.parent / "in" / HAND)  # of a report no image is lost
    assert undo(str(out.parent / "copies")).done == 2


def test_a_header_that_is_no_date_and_no_sex_is_left_out_and_one_without_series_leaves_its_study(
    tmp_path: Path,
) -> None:
    uids = {"StudyInstanceUID": "2.25.6", "SeriesInstanceUID": "2.25.5"}
    odd = write_dicom(tmp_path / "in" / "odd.dcm", PatientSex="female", StudyDate="soon", **uids)
    bare = write_dicom(tmp_path / "in" / "bare.dcm", StudyInstanceUID="2.25.7")
    out = output(tmp_path / "out", {odd: Says(), bare: Says()})
    done = run(out, Kind.SR)
    assert (done.written, dict(done.left)) == (1, {Left.NO_REPORT: 1})
    assert (reports(out)["2.25.6"].PatientSex, reports(out)["2.25.6"].StudyDate) == ("", "")


@pytest.mark.parametrize(
    ("sets", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 192", "Müller^Jürgen"),
        ("ISO_IR 100", "Müller^Jürgen"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("", "Doe^Jane"),
    ],
    ids=str,
)
def test_a_report_spells_the_patient_as_the_images_do(
    sets: str | list[str], name: str, tmp_path: Path
) -> None:
    uids = {"StudyInstanceUID": "2.25.6", "SeriesInstanceUID": "2.25.5"}
    image = write_dicom(tmp_path / "in" / "a.dcm", SpecificCharacterSet=sets, PatientName=name, **uids)
    out = output(tmp_path / "out", {image: Says()})
    assert run(out, Kind.SR).left == {}
    assert str(reports(out)["2.25.6"].PatientName) == str(pydicom.dcmread(image).PatientName) == name


def test_without_highdicom_reports_say_what_to_install(out: Path, tmp_path: Path) -> None:
    words = ("annotate", out, "--as", "sr", "--out", tmp_path / "copies")
    (tmp_path / "env").mkdir()
    ran = command(*words, env=without(tmp_path / "env", "highdicom"))
    assert (ran.code, ran.out) == (2, "")
    assert "pip install highdicom (" in ran.err
    assert not (tmp_path / "copies").exists()


def test_a_region_that_is_not_spelled_in_ascii_makes_the_report_utf8(tmp_path: Path) -> None:
    uids = {"StudyInstanceUID": "2.25.6", "SeriesInstanceUID": "2.25.5"}
    name = "Müller^Jürgen"
    path = write_dicom(tmp_path / "a.dcm", SpecificCharacterSet="ISO_IR 100", PatientName=name, **uids)
    said = Evaluation(Code("816094009", "胸部"), True, 0.9, "2.25.8")
    identity = Identity("2.25.3", "2.25.4", "2.25.5", MODELS)
    made = pydicom.dcmread(io.BytesIO(report([Evaluated(read_for_report(str(path)), (said,))], identity)))
    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert made.PatientName == name
    assert ("Target Region", "胸部") in content(made)
