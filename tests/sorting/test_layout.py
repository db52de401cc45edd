"""Where files go: templates, and what may not be one."""

import os
from pathlib import Path

import pytest

from dicomsort.errors import UsageError
from dicomsort.outcome import Header
from dicomsort.sorting.layout import DEFAULT, Destinations, Layout

HEADER = Header(
    sop_instance_uid="1.2.3", study_instance_uid="1.2", modality="DX", body_part_examined="LEFT HAND"
)


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        (DEFAULT, "spine/a/b.dcm"),
        ("{label}/{study_instance_uid}/{sop_instance_uid}.dcm", "spine/1.2/1.2.3.dcm"),
        ("{modality}/{body_part}/{relpath}", "DX/LEFT HAND/a/b.dcm"),
        ("{series_instance_uid:none}/{stem}-{sop_instance_uid}", "none/b-1.2.3"),
        ("{series_instance_uid}/{relpath}", "unknown/a/b.dcm"),
        ("x{{y}}/{relpath}", "x{y}/a/b.dcm"),
    ],
)
def test_fields_are_filled_in(template: str, wanted: str) -> None:
    assert Layout(template).destination("spine", "a/b.dcm", HEADER) == wanted


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{label}/{stem}", "cannot keep files apart"),
        ("{label}", "cannot keep files apart"),
        ("", "cannot keep files apart"),
        ("{patient_name}/{relpath}", "no field 'patient_name'"),
        ("{}/{relpath}", "no field ''"),
        ("/{relpath}", "relative path"),
        ("../{relpath}", "relative path"),
        ("a//{relpath}", "relative path"),
        ("{relpath}/", "relative path"),
        ("{label}/./{relpath}", "relative path"),
        ("{label!r}/{relpath}", "{name:default}"),
        ("{label/{relpath}", "no template"),
        ("a\\{relpath}", "written with /"),
        ("{relpath.x}", "no field"),
    ],
)
def test_what_is_no_layout_is_refused_at_the_start(template: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("{", r"\{").replace("}", r"\}")):
        Layout(template)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("..", "unknown"), ("....", "unknown"), ("../../etc", ".._.._etc"), ("CON", "_CON"), ("nul.x", "_nul.x"),
     ("a/b", "a_b"), ("-rf ", "-rf"), ("x" * 300, "x" * 128)],
)  # fmt: skip
def test_no_header_leads_out_of_the_output(value: str, wanted: str) -> None:
    header = Header(modality=value, body_part_examined=value)
    for field in ("modality", "body_part"):
        assert Layout(f"{{{field}}}/{{relpath}}").destination("spine", "b", header) == f"{wanted}/b"


def test_files_without_uid_stay_apart() -> None:
    layout = Layout("{label}/{sop_instance_uid}")
    one, other = (layout.destination("spine", name, Header()) for name in ("a", "b"))
    assert one != other
    assert one.startswith("spine/unknown-")


@pytest.mark.parametrize(
    "name", ["manifest.csv", "run.json.part/x", "manifest.parts/x", "Manifest.CSV", ".dicomsort-1.part"]
)
def test_the_program_s_own_names_are_never_a_destination(name: str) -> None:
    destination = Layout("{relpath}").destination("spine", name, HEADER)
    assert destination.split("/")[0] != name.split("/", maxsplit=1)[0]
    assert not destination.startswith(".dicomsort-1.part/")
    assert Layout(DEFAULT).destination("spine", "a/manifest.csv", HEADER) == "spine/a/manifest.csv"
    assert "/.dicomsort-1.part~" in Layout(DEFAULT).destination("spine", "a/.dicomsort-1.part", HEADER)


def test_a_destination_is_given_away_once() -> None:
    destinations = Destinations(needed=True, folds=False, taken=["a"])
    assert [destinations.reserve(name) for name in ("a", "b", "b", "B")] == [False, True, False, True]
    folding = Destinations(needed=False, folds=True, taken=["Ä"])
    assert [folding.reserve(name) for name in ("ä", "a\u0308", "b", "B")] == [False, False, True, False]
    assert Destinations(needed=False, folds=False, taken=["a"]).reserve("a")


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\U0001f600"])
def test_a_name_that_no_file_system_takes_is_cut_and_stays_apart_from_others(
    letter: str, tmp_path: Path
) -> None:
    """Keys of objects and names of members have up to 1,024 bytes, without a `/` if they like."""
    names = [letter * count for count in (63, 64, 254, 255, 256)]
    names += [f"{letter * 300}{end}" for end in (".dcm", "1.dcm", "/b.dcm", f"/{letter * 300}.dcm", ".")]
    for name in names:
        target = tmp_path / Layout().destination("chest", name, Header())
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(exist_ok=False)
        assert target.suffix == (".dcm" if name.endswith(".dcm") else target.suffix)
        assert target.name == name or len(os.fsencode(name)) > 255
