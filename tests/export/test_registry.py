"""A registry of patients: one row each, nobody named, and what models say of implants and fractures."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from outputs import rows, settings
from predictors import FixedPredictor
from program import inside
from reports import decided
from written import picture, write_dicom

from dicomsort.dicom.patient import key_of, origin_of
from dicomsort.errors import TargetError, UsageError
from dicomsort.export.registry import COLUMNS, Registry, RegistrySettings, write
from dicomsort.manifest.rows import Row
from dicomsort.manifest.run_file import RunFacts
from dicomsort.manifest.table import Manifest
from dicomsort.model.anatomy import region_of
from dicomsort.model.heads import Decision
from dicomsort.outcome import FileStamp, Header, Reason, Status
from dicomsort.sorting.pipeline import sort
from dicomsort.system.pool_settings import PoolSettings

POOL = PoolSettings(1)
ANSWERS = [
    *(
        "score_knee",
        "score_hand",
        "view.label",
        "view.confidence",
        "view.score_frontal",
        "view.score_lateral",
    ),
    *("hardware.label", "hardware.confidence", "hardware.score_no_hardware", "hardware.score_hardware"),
]


def row(path: Path, label: str, view: str, hardware: float, **more: Any) -> Row:
    """A sorted radiograph; hardware: the score of an implant, which counts from 0.4 on."""
    said = "hardware" if hardware >= 0.4 else "no_hardware"
    further = (
        Decision(view, 0.9, (0.9, 0.1) if view == "frontal" else (0.1, 0.9)),
        Decision(said, 0.9, (1 - hardware, hardware)),
    )
    usual = {"confidence": 0.9, "scores": (0.9, 0.1), "stamp": FileStamp(1, 1), "region": region_of(label)}
    return Row(str(path), **{"status": Status.SORTED, **usual, "label": label, "further": further, **more})


def output(folder: Path, lines: list[Row]) -> Path:
    with Manifest.open(str(folder), ANSWERS, "m@1", RunFacts({"model": "m@1"}, {"dry_run": False})) as opened:
        opened.append(lines)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Of patient A two studies with four images, of B one, and of C one in review."""
    inbox, lines = tmp_path / "in", []
    given: list[tuple[str, str, str, str, float, dict[str, Any]]] = [
        ("A", "1.2.1", "knee", "frontal", 0.1, {}),
        ("A", "1.2.1", "knee", "lateral", 0.7, {}),
        ("A", "1.2.2", "hand", "frontal", 0.45, {}),
        ("A", "1.2.2", "hand", "frontal", 0.99, {"status": Status.EXCLUDED, "reviewed": decided("excluded")}),
        ("B", "1.2.3", "hand", "frontal", 0.2, {}),
        (
            "C",
            "1.2.4",
            "hand",
            "frontal",
            0.9,
            {"status": Status.REVIEW, "reasons": (Reason.BELOW_THRESHOLD,)},
        ),
    ]
    for number, (patient, study, label, view, hardware, more) in enumerate(given):
        path = write_dicom(inbox / f"{number}.dcm", PatientID=patient)
        header = Header(study_instance_uid=study, age_group="adult")
        lines.append(row(path, label, view, hardware, header=header, **more))
    lines.append(Row(str(inbox / "notes.txt"), Status.NOT_DICOM, (Reason.NO_DICOM,)))
    return output(tmp_path / "out", lines)


def made(out: Path, **changes: Any) -> tuple[Registry, list[dict[str, str]]]:
    done = write(str(out), RegistrySettings(pool=POOL, **changes), lambda _: None)
    with open(done.target, encoding="utf-8", newline="") as file:
        return done, list(csv.DictReader(file))


def test_shards_that_wait_must_be_merged_first(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (out / "manifest.parts" / "shard-002-of-002").mkdir(parents=True)
    shutil.copy(out / "manifest.csv", out / "manifest.parts" / "shard-002-of-002")
    ran = inside(capfd, "registry", out, "--workers", "1")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "not merged yet" in ran.err
    assert not (out / "registry.csv").exists()


def test_a_table_of_an_output_is_no_key(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ran = inside(capfd, "registry", out, "--key", out / "manifest.csv", "--workers", "1")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert "is a file of an output" in ran.err
    assert not (out / "registry.csv").exists()


def test_the_manifest_stands_for_its_output(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert inside(capfd, "registry", out / "manifest.csv", "--workers", "1", "--quiet").code == 0
    first = (out / "registry.csv").read_bytes()
    assert inside(capfd, "registry", out, "--workers", "1", "--quiet").code == 0
    assert (out / "registry.csv").read_bytes() == first


def test_a_patient_has_one_row_with_all_that_was_sorted(out: Path) -> None:
    done, found = made(out)
    assert (done.patients, done.images, done.unread, done.missing) == (3, 5, (), ("fracture",))
    [first] = [one for one in found if one["images"] == "3"]
    assert list(first) == list(COLUMNS)
    assert {name: first[name] for name in COLUMNS[2:8]} == {
        "in_review": "0",
        "studies": "2",
        "age_groups": "adult",
        "regions": "Knee; Hand",
        "region_codes": "72696002; 85562004",
        "views": "frontal; lateral",
    }


def test_codes_of_regions_stand_in_the_order_of_their_meanings(tmp_path: Path) -> None:
    lines = [
        row(write_dicom(tmp_path / f"{number}.dcm", PatientID="A"), label, "frontal", 0.1)
        for number, label in enumerate(("lower_leg", "chest", "hand", "hand"))
    ]
    [first] = made(output(tmp_path / "out", lines))[1]
    assert first["regions"] == "Hand; Chest; Lower leg"
    assert first["region_codes"] == "85562004; 816094009; 30021000"


def test_an_implant_is_told_by_the_surest_image_and_where_it_was_seen(out: Path) -> None:
    _, found = made(out)
    by_images = {one["images"]: one for one in found}
    told = ("implant", "implant_confidence", "implant_regions", "implant_images")
    assert [by_images["3"][name] for name in told] == ["yes", "0.700000", "Hand; Knee", "2"]
    assert [by_images["1"][name] for name in told] == ["no", "0.800000", "", "0"]
    assert by_images["1"]["fracture"] == ""


def test_what_is_in_review_is_counted_and_says_nothing(out: Path) -> None:
    _, found = made(out)
    [third] = [one for one in found if one["images"] == "0"]
    assert (third["in_review"], third["regions"], third["implant"]) == ("1", "", "")


def test_nobody_is_named_and_keys_differ_between_outputs_unless_the_salt_is_kept(
    out: Path, tmp_path: Path
) -> None:
    _, first = made(out)
    text = (out / "registry.csv").read_text()
    assert "CANARY" not in text
    assert all(one["patient"].startswith("p") and len(one["patient"]) == 17 for one in first)
    key = tmp_path / "keys" / "salt"
    kept = [
        {one["patient"] for one in made(out, key=str(key), target=str(tmp_path / f"{n}.csv"))[1]}
        for n in "ab"
    ]
    assert kept[0] == kept[1]
    assert kept[0].isdisjoint(one["patient"] for one in first)
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_damaged_salt_is_refused(out: Path, tmp_path: Path) -> None:
    for content in ("short", "", "import os\nprint('a program that is longer than any salt')\n" * 2):
        (tmp_path / "salt").write_text(content)
        with pytest.raises(UsageError, match="damaged, or no salt"):
            made(out, key=str(tmp_path / "salt"))
        assert (tmp_path / "salt").read_text() == content


def test_a_file_that_is_gone_is_told_and_the_others_count(out: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "4.dcm").unlink()
    done, found = made(out)
    assert [Path(path).name for path in done.unread] == ["4.dcm"]
    assert len(found) == 2


def test_a_registry_replaces_a_registry_and_nothing_else(out: Path, tmp_path: Path) -> None:
    made(out)
    made(out)
    other = tmp_path / "notes.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="was not written by dicomsort"):
        made(out, target=str(other))
    assert other.read_text() == "a,b\n1,2\n"
    with pytest.raises(TargetError):
        made(out, target=str(tmp_path / "nowhere" / "r.csv"))


def test_the_command_says_what_it_wrote_and_what_no_model_was_asked(
    out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = inside(capfd, "registry", out, "--workers", "1")
    assert ran.code == 0
    assert "3 patients, 5 radiographs\n" in ran.err
    assert f"1 of them in review, of which nothing else is told: dicomsort review {out}\n" in ran.err
    assert "no model was asked about fractures: classify with --model fracture as well" in ran.err
    (tmp_path / "in" / "4.dcm").unlink()
    ran = inside(capfd, "registry", out, "--workers", "1", "--json")
    assert ran.code == 3
    assert json.loads(ran.out)["not_read"] == 1
    assert json.loads(ran.out)["in_review"] == 1
    assert json.loads(ran.out)["not_asked"] == ["fracture"]


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ran = inside(capfd, "registry", tmp_path)
    assert ran.code == 2
    assert "there is no manifest" in ran.err
    assert ran.err.endswith(": name the --out folder of a run\n")


def test_outputs_of_earlier_versions_have_regions_by_the_names_of_their_labels(
    tmp_path: Path, predictor: FixedPredictor
) -> None:
    for number in range(3):
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number))
    out = tmp_path / "out"
    sort(settings(tmp_path / "in", out, review_below=0.0), predictor)
    before = [(one["regions"], one["images"]) for one in made(out)[1]]
    lines = list(rows(out).values())
    names = [name for name in lines[0] if not name.startswith("region_")]
    text = [",".join(names), *(",".join(line[name] for name in names) for line in lines)]
    (out / "manifest.csv").write_text("\n".join(text) + "\n")
    assert [(one["regions"], one["images"]) for one in made(out)[1]] == before
    assert any(regions for regions, _ in before)


def test_a_fracture_counts_only_where_its_model_knows_one(tmp_path: Path) -> None:
    """Its card: what it says of spines, skulls and faces means nothing."""
    answers = ["score_a", "score_b", "fracture.label", "fracture.confidence"]
    answers += ["fracture.score_no_fracture", "fracture.score_fracture"]
    lines = []
    parts = {"A": "lumbar_spine", "B": "wrist", "C": "pelvis", "D": "others", "E": "clavicle"}
    for patient, part in parts.items():
        path = write_dicom(tmp_path / "in" / f"{patient}.dcm", PatientID=patient)
        broken = Decision("fracture", 0.9, (0.1, 0.9))
        told: dict[str, Any] = {"label": "a", "confidence": 0.9, "scores": (0.9, 0.1), "further": (broken,)}
        lines.append(Row(str(path), Status.SORTED, stamp=FileStamp(1, 1), region=region_of(part), **told))
    facts = RunFacts({"model": "m@1"}, {"dry_run": False})
    with Manifest.open(str(tmp_path / "out"), answers, "m@1", facts) as opened:
        opened.append(lines)
    found = made(tmp_path / "out")[1]
    told_of = {one["regions"]: (one["fracture"], one["fracture_regions"]) for one in found}
    assert told_of == {
        "Lumbar spine": ("", ""),
        "Wrist joint": ("yes", "Wrist joint"),
        "Pelvis": ("yes", "Pelvis"),
        "": ("", ""),
        "Clavicle": ("yes", "Clavicle"),
    }


def test_a_key_is_that_of_an_export_and_without_a_patient_that_of_the_study_or_the_content(
    tmp_path: Path,
) -> None:
    told: dict[str, dict[str, Any]] = {
        "a": {"PatientID": "4711"},
        "b": {"PatientID": "4711 "},
        "c": {"PatientID": None, "StudyInstanceUID": "1.2.3"},
        "d": {"PatientID": "", "StudyInstanceUID": "1.2.3"},
        "e": {"PatientID": None},
        "f": {"PatientID": None, "StudyID": "2"},
    }
    paths = {name: str(write_dicom(tmp_path / f"{name}.dcm", **each)) for name, each in told.items()}
    keys = {name: key_of(path, b"salt") for name, path in paths.items()}
    assert keys == {name: getattr(origin_of(path, b"salt"), "patient", "") for name, path in paths.items()}
    assert keys["a"] == keys["b"]
    assert keys["c"] == keys["d"]
    assert len({keys[name] for name in "acef"}) == 4
    assert key_of(str(tmp_path / "none"), b"salt") is None
