"""An audit of an output: its tables and its page, what it reads, what it leaves alone, how it ends."""

import re
from pathlib import Path
from typing import Any

import pytest
from audits import header, image, output, table
from outputs import tree
from program import inside
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from reports import decided, words_of
from written import picture, write_dicom

from dicomsort.errors import ExitCode
from dicomsort.outcome import Reason, Status
from dicomsort.system import locks

Capture = pytest.CaptureFixture[str]


def by_name(out: Path) -> dict[str, dict[str, str]]:
    return {Path(row["path"]).name: row for row in table(out / "audit.csv")}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Four images of two studies, of which one is called a chest and shows a hand."""
    rows = [
        image("/in/right", header=header("HAND", "AP", "1.1")),
        image("/in/wrong", header=header("CHEST", "AP", "1.1")),
        image("/in/none", header=header(study="1.1"), part="knee"),
        image("/in/odd", header=header("Bild 3", "LL", "1.2"), view="lateral"),
        image("/in/note.txt", status=Status.NOT_DICOM, scores=(), further=(), label="", confidence=None),
    ]
    return output(tmp_path / "out", rows)


def test_every_image_has_a_row_in_the_order_of_the_manifest(out: Path, capfd: Capture) -> None:
    ran = inside(capfd, "audit", out, "--manifest-only", "--no-thumbnails", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    rows = table(out / "audit.csv")
    assert [(row["path"], row["verdict"]) for row in rows] == [
        ("/in/right", "agrees"), ("/in/wrong", "contradicts"), ("/in/none", "missing"),
        ("/in/odd", "unknown term"),
    ]  # fmt: skip
    wrong = rows[1]
    assert (wrong["check"], wrong["severity"]) == ("body_part", "high")
    assert (wrong["body_part_tag"], wrong["body_part_answer"]) == ("CHEST", "hand")
    assert float(wrong["confidence"]) > 0.95
    assert (wrong["view_verdict"], wrong["age_verdict"]) == ("agrees", "not judged")


def test_a_study_has_a_row_with_what_it_shows_and_what_does_not_belong(out: Path, capfd: Capture) -> None:
    assert inside(capfd, "audit", out, "--manifest-only", "--no-thumbnails", "--quiet").code == 0
    first, second = table(out / "studies.csv")
    assert (first["study_instance_uid"], first["images"], first["verdict"]) == ("1.1", "3", "contradicts")
    assert first["labels"] == "hand 2; knee 1"
    assert first["region_meanings"] == "Hand; Knee"
    assert first["mado_meanings"] == "Upper limb; Lower limb"
    assert (first["odd_one_out"], first["unshared_images"]) == ("/in/none", "1")
    assert (second["images"], second["odd_one_out"], second["unshared_images"]) == ("1", "", "0")


def test_nothing_else_in_the_output_changes_and_an_audit_takes_the_place_of_an_older_one(
    out: Path, capfd: Capture
) -> None:
    before = tree(out)
    for _ in range(2):
        assert inside(capfd, "audit", out / "manifest.csv", "--manifest-only", "--quiet").code == 0
        after = tree(out)
        written = {name: after.pop(name) for name in ("audit.csv", "studies.csv", "audit.html")}
        assert after == before
        assert all(written.values())


def test_two_audits_of_one_output_do_not_write_into_each_others_files(out: Path, capfd: Capture) -> None:
    (out / ".dicomsort").mkdir()
    with locks.take(str(out / ".dicomsort")):
        before = tree(out)
        ran = inside(capfd, "audit", out, "--manifest-only", "--quiet")
        assert (ran.code, ran.err.count("\n"), tree(out)) == (ExitCode.USAGE, 1, before)
        assert "is being audited already" in ran.err
    assert inside(capfd, "audit", out, "--manifest-only", "--quiet").code == 0


def test_an_output_whose_own_folder_is_somebody_elses_is_audited_by_the_manifest(
    out: Path, capfd: Capture
) -> None:
    (out / ".dicomsort").write_text("no folder")
    assert inside(capfd, "audit", out, "--manifest-only", "--quiet").code == 0
    assert len(by_name(out)) == 4


@pytest.mark.parametrize("name", ["audit.csv", "studies.csv", "audit.html"])
def test_a_file_of_somebody_else_is_left_alone(name: str, out: Path, capfd: Capture) -> None:
    (out / name).write_text("mine")
    before = tree(out)
    assert inside(capfd, "audit", out, "--manifest-only").code == ExitCode.USAGE
    assert tree(out) == before


def test_json_tells_the_figures(out: Path, capfd: Capture) -> None:
    told = inside(capfd, "audit", out, "--manifest-only", "--json").json
    assert told["images"] == 4
    assert told["verdicts"] == {
        "contradicts": 1, "unknown term": 1, "missing": 1, "agrees": 1, "not judged": 0,
    }  # fmt: skip
    assert told["conflicts"] == [{"check": "body_part", "tag": "CHEST", "answer": "hand", "images": 1}]
    assert told["unknown_terms"] == [{"check": "body_part", "term": "Bild 3", "images": 1, "shows": "hand"}]
    assert told["studies"]["studies"] == 2
    assert told["studies"]["odd_one_out"] == 1
    assert told["headers"] == {"asked": None, "unread": 0}
    assert told["written"]["page"] == str(out / "audit.html")


def test_a_person_sees_the_counts_and_the_conflicts(out: Path, capfd: Capture) -> None:
    ran = inside(capfd, "audit", out, "--manifest-only")
    assert "most frequent conflicts" in ran.out
    assert re.search(r"body_part\s+CHEST\s+hand\s+1", ran.out)
    assert re.search(r"unknown terms\s+check\s+term.*\n.*\n\s*body_part\s+Bild 3\s+hand\s+1", ran.out)
    words = words_of((out / "audit.html").read_text())
    assert "headers were not read again" in words
    assert "CHEST" in words


def test_what_to_do_next_is_told_in_the_terminal_and_on_the_page(out: Path, capfd: Capture) -> None:
    ran = inside(capfd, "audit", out, "--manifest-only", "--no-thumbnails")
    assert f"to go on: open {out}/audit.html in a browser" in ran.err
    assert "--terms FILE" in ran.err
    command = f"dicomsort annotate {out} --as instances --out "
    assert command in ran.err
    words = words_of((out / "audit.html").read_text())
    assert f"dicomsort correct {out} decisions.csv" in words
    assert f"dicomsort audit {out} --terms terms.csv" in words
    assert command in words


def test_where_all_is_right_there_is_nothing_to_correct(tmp_path: Path, capfd: Capture) -> None:
    out = output(tmp_path, [image("/in/right", header=header("HAND", "AP", "1.1"))])
    ran = inside(capfd, "audit", out, "--manifest-only", "--no-thumbnails")
    assert ": 1 image\n" in ran.err
    assert "--terms" not in ran.err
    assert "annotate" not in ran.err
    assert "What to do next" not in words_of((out / "audit.html").read_text())


def test_an_unknown_view_is_told_and_nobody_is_asked_to_teach_it(tmp_path: Path, capfd: Capture) -> None:
    out = output(tmp_path, [image("/in/right", header=header("HAND", "ZZ", "1.1"))])
    ran = inside(capfd, "audit", out, "--manifest-only", "--no-thumbnails")
    assert re.search(r"view\s+ZZ\s+frontal\s+1", ran.out)
    assert "--terms" not in ran.err
    assert "terms.csv" not in words_of((out / "audit.html").read_text())


def test_what_an_unknown_term_shows_is_told_where_most_of_its_images_agree(
    tmp_path: Path, capfd: Capture
) -> None:
    parts = ["hand", "hand", "knee"], ["hand", "knee"]
    rows = [
        image(f"/in/{term}{at}", part=part, header=header(term))
        for term, shown in zip(("ZZ", "YY"), parts, strict=True)
        for at, part in enumerate(shown)
    ]
    told = inside(capfd, "audit", output(tmp_path, rows), "--manifest-only", "--json").json
    assert [(one["term"], one["images"], one["shows"]) for one in told["unknown_terms"]] == [
        ("ZZ", 3, "hand"), ("YY", 2, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--fail-on", "contradicts=0.9"], ExitCode.SOME_FAILED),
        (["--fail-on", "contradicts"], ExitCode.SOME_FAILED),
        (["--fail-on", "missing"], ExitCode.SOME_FAILED),
        (["--fail-on", "contradicts=0.9999999"], ExitCode.DONE),
        (["--fail-on", "contradicts=1", "--fail-on", "unknown"], ExitCode.SOME_FAILED),
        ([], ExitCode.DONE),
        (["--fail-on", "agrees"], ExitCode.USAGE),
        (["--fail-on", "contradicts=2"], ExitCode.USAGE),
        (["--fail-on", "contradicts=x"], ExitCode.USAGE),
        (["--fail-on", "contradicts="], ExitCode.USAGE),
        (["--fail-on", "missing=0.5"], ExitCode.USAGE),
    ],
)
def test_a_nightly_audit_fails_on_what_it_is_told(
    words: list[str], code: ExitCode, out: Path, capfd: Capture
) -> None:
    ran = inside(capfd, "audit", out, "--manifest-only", "--no-thumbnails", "--quiet", *words)
    assert ran.code == code
    assert (ran.err != "") == (code != ExitCode.DONE)


def test_with_new_only_what_the_audit_before_did_not_find_rings(tmp_path: Path, capfd: Capture) -> None:
    first = image("/in/1", header=header("KNEE", "AP", "1.1"))
    words = ["--manifest-only", "--no-thumbnails", "-q", "--fail-on", "contradicts=0.9", "--new"]
    out = output(tmp_path / "a", [first])
    assert inside(capfd, "audit", out, *words).code == ExitCode.SOME_FAILED  # there was none before
    assert inside(capfd, "audit", out, *words).code == ExitCode.DONE
    assert inside(capfd, "audit", out, *words[:-1]).code == ExitCode.SOME_FAILED
    later = output(tmp_path / "b", [first, image("/in/2", header=header("KNEE", "AP", "1.2"))])
    (later / "audit.csv").write_bytes((out / "audit.csv").read_bytes())
    ran = inside(capfd, "audit", later, *words)
    assert ran.code == ExitCode.SOME_FAILED
    assert "1 image meets --fail-on" in ran.err
    assert inside(capfd, "audit", later, *words[:-3], "--new").code == ExitCode.USAGE


def test_milder_findings_count_only_if_asked_for(tmp_path: Path, capfd: Capture) -> None:
    out = output(tmp_path, [image("/in/1", header=header("HAND", "OBLIQUE"))])
    for severity, verdict in (("medium", "agrees"), ("low", "contradicts"), ("high", "agrees")):
        words = ["--manifest-only", "--no-thumbnails", "--severity", severity, "-q"]
        assert inside(capfd, "audit", out, *words).code == 0
        (row,) = table(out / "audit.csv")
        assert row["verdict"] == verdict
        assert (row["view_verdict"], row["view_severity"]) == ("contradicts", "low")


def test_what_a_person_decided_outweighs_the_models(tmp_path: Path, capfd: Capture) -> None:
    chest: dict[str, Any] = {"group": "adult_chest", "part": "chest"}
    rows = [
        image("/in/spine", **chest, reviewed=decided("spine"), header=header("CHEST")),
        image("/in/foot", **chest, reviewed=decided("foot"), header=header("FOOT")),
        image("/in/others", **chest, reviewed=decided("others"), header=header("CHEST")),
        image("/in/unsure", **chest, status=Status.REVIEW, reviewed=decided("unsure"), header=header("HAND")),
        image(
            "/in/out", **chest, status=Status.EXCLUDED, reviewed=decided("excluded"), header=header("HAND")
        ),
    ]
    out = output(tmp_path, rows)
    assert inside(capfd, "audit", out, "--manifest-only", "--no-thumbnails", "-q").code == 0
    found = by_name(out)
    said = {name: (row["body_part_verdict"], row["body_part_confidence"]) for name, row in found.items()}
    assert said["spine"] == ("contradicts", "1.000000")
    assert said["foot"] == ("agrees", "1.000000")
    assert said["others"] == ("contradicts", "1.000000")
    assert said["unsure"][0] == said["out"][0] == "contradicts"


def test_what_is_unlike_the_training_data_contradicts_only_what_all_models_deny(
    tmp_path: Path, capfd: Capture
) -> None:
    unlike: dict[str, Any] = {"status": Status.REVIEW, "reasons": (Reason.UNLIKE,)}
    rows = [  # a chest called a knee; a hand called a knee, which one model alone denies; a chest that is one
        image("/in/1", group="adult_chest", part="chest", header=header("KNEE"), **unlike),
        image("/in/2", group="others", part="hand", header=header("KNEE"), **unlike),
        image("/in/3", group="adult_chest", part="chest", header=header("CHEST"), **unlike),
    ]
    out = output(tmp_path, rows)
    assert inside(capfd, "audit", out, "--manifest-only", "--no-thumbnails", "-q").code == 0
    found = by_name(out)
    assert [found[name]["body_part_verdict"] for name in "123"] == ["contradicts", "not judged", "not judged"]
    assert [found[name]["reason"] for name in "23"] == ["unlike the training data"] * 2


def test_duplicates_and_what_is_unlike_the_training_data_are_not_judged(
    tmp_path: Path, capfd: Capture
) -> None:
    unlike: dict[str, Any] = {"status": Status.REVIEW, "reasons": (Reason.UNLIKE,)}
    rows = [
        image("/in/1", group="adult_chest", header=header("HAND", "LL"), **unlike),
        image("/in/2", group="adult_chest", header=header("HAND"), status=Status.DUPLICATE),
        image("/in/3", group="adult_chest", header=header("HAND"), reviewed=decided("spine"), **unlike),
    ]
    out = output(tmp_path, rows)
    assert inside(capfd, "audit", out, "--manifest-only", "--no-thumbnails", "-q").code == 0
    found = by_name(out)
    assert (found["1"]["verdict"], found["1"]["reason"]) == ("not judged", "unlike the training data")
    assert (found["2"]["verdict"], found["2"]["reason"]) == (
        "not judged",
        "judged with the file that it repeats",
    )
    assert found["3"]["verdict"] == "contradicts"


def test_the_age_of_the_pixels_counts_and_not_what_the_header_made_of_them(
    tmp_path: Path, capfd: Capture
) -> None:
    child = header("CHEST", age="child")
    moved: dict[str, Any] = {"pixel_label": "adult_chest", "evidence": ("age=child",)}
    rows = [
        image("/in/1", group="pediatric_chest", part="chest", header=child, **moved),
        image("/in/2", group="adult_chest", part="chest", header=child),
    ]
    out = output(tmp_path, rows)
    assert inside(capfd, "audit", out, "--manifest-only", "--no-thumbnails", "-q").code == 0
    found = by_name(out)
    assert (found["1"]["verdict"], found["1"]["check"], found["1"]["severity"]) == (
        "contradicts",
        "age",
        "medium",
    )
    assert found["2"]["age_verdict"] == "not judged"  # under 18 may be a teenager


def test_own_terms_come_first(out: Path, tmp_path: Path, capfd: Capture) -> None:
    terms = tmp_path / "terms.csv"
    terms.write_text("term,language,code,source\nBild 3,de,85562004,ours\n")
    words = ["--manifest-only", "--no-thumbnails", "-q", "--terms", str(terms)]
    assert inside(capfd, "audit", out, *words).code == 0
    assert by_name(out)["odd"]["body_part_verdict"] == "agrees"


def test_a_table_in_another_encoding_is_told_in_plain_words(
    out: Path, tmp_path: Path, capfd: Capture
) -> None:
    terms = tmp_path / "terms.csv"
    terms.write_bytes("term,code\nHüfte,29836001\n".encode("latin-1"))
    ran = inside(capfd, "audit", out, "--manifest-only", "--terms", terms)
    assert (ran.code, ran.err) == (
        ExitCode.USAGE,
        f"dicomsort: '{terms}' cannot be used: save it as CSV UTF-8\n",
    )


def coded(scheme: str, value: str) -> Sequence:
    item = Dataset()
    item.CodingSchemeDesignator, item.CodeValue = scheme, value
    return Sequence([item])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An output whose sources are there, with tags that the manifest does not hold."""
    device = {"Manufacturer": "ACME", "ManufacturerModelName": "DR 300", "StationName": "ROOM 1"}
    files: dict[str, dict[str, Any]] = {
        "plain": {"BodyPartExamined": "HAND", "ImageLaterality": "L", "AccessionNumber": "77", **device},
        "coded": {"AnatomicRegionSequence": coded("SRT", "T-D3000"), "AccessionNumber": "77"},
        "class": {"BodyPartExamined": "HAND", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1"},
        "told": {"StudyDescription": "Chest of Canary^Bird"},
        "gone": {},
        "other": {"BodyPartExamined": "CHEST"},
    }
    rows = []
    for number, (name, elements) in enumerate(files.items()):
        path = tmp_path / "in" / name
        uid = f"2.25.{number + 1}"
        write_dicom(path, picture(number), SOPInstanceUID=uid, **elements)
        told = header("HAND" if name in ("other", "gone") else "", study="1.1", uid=uid)
        rows.append(image(str(path), header=told))
    (tmp_path / "in" / "gone").unlink()
    write_dicom(tmp_path / "in" / "other", picture(9), SOPInstanceUID="2.25.99", BodyPartExamined="CHEST")
    return output(tmp_path / "out", rows)


def test_headers_are_read_again(archive: Path, capfd: Capture) -> None:
    ran = inside(capfd, "audit", archive, "--workers", "1", "--json")
    assert ran.code == ExitCode.SOME_FAILED  # one file is gone
    assert ran.err == "dicomsort: 1 file could not be read any more: judged by the manifest\n"
    assert ran.json["headers"] == {"asked": 6, "unread": 1}
    found = by_name(archive)
    plain, by_code = found["plain"], found["coded"]
    assert (plain["laterality_verdict"], plain["laterality_tag"]) == ("agrees", "L")
    assert (plain["manufacturer"], plain["device_model"]) == ("ACME", "DR 300")
    assert re.fullmatch(r"s[0-9a-f]{16}", plain["station"])
    assert plain["accession"] == by_code["accession"] != ""
    assert (by_code["verdict"], by_code["body_part_tag"]) == ("contradicts", "SRT:T-D3000")
    assert (found["class"]["modality_verdict"], found["class"]["modality_answer"]) == ("contradicts", "CR")
    assert (found["told"]["body_part_verdict"], found["told"]["described"]) == ("missing", "")


def test_what_is_gone_or_holds_another_image_now_is_judged_by_the_manifest(
    archive: Path, capfd: Capture
) -> None:
    inside(capfd, "audit", archive, "--workers", "1", "--no-thumbnails", "-q")
    found = by_name(archive)
    for name in ("gone", "other"):
        assert (found[name]["body_part_tag"], found[name]["verdict"]) == ("HAND", "agrees")
        assert (found[name]["laterality_verdict"], found[name]["manufacturer"]) == ("not judged", "")


def test_free_text_counts_only_if_asked_for_and_is_never_written(archive: Path, capfd: Capture) -> None:
    words = ["--workers", "1", "--descriptions", "--json"]
    ran = inside(capfd, "audit", archive, *words)
    told = by_name(archive)["told"]
    assert (told["verdict"], told["body_part_tag"]) == ("contradicts", "(description)")
    assert told["described"] == "816094009"  # SNOMED CT: thoracic region
    texts = [ran.out, ran.err, *((archive / name).read_text() for name in tree(archive))]
    assert not any("canary" in text.lower() for text in texts if text)


def test_pictures_of_the_conflicts_are_on_the_page(archive: Path, capfd: Capture) -> None:
    inside(capfd, "audit", archive, "--workers", "1", "-q")
    html = (archive / "audit.html").read_text()
    assert html.count("<img ") == 1
    assert "SRT:T-D3000, but the picture shows hand" in words_of(html)
    inside(capfd, "audit", archive, "--workers", "1", "-q", "--severity", "low")
    assert "modality: DX, but the SOP class says CR 1 image" in words_of((archive / "audit.html").read_text())
    inside(capfd, "audit", archive, "--workers", "1", "-q", "--no-thumbnails")
    assert "<img " not in (archive / "audit.html").read_text()


def test_devices_with_wrong_tags_come_first(archive: Path, capfd: Capture) -> None:
    told = inside(capfd, "audit", archive, "--workers", "1", "--json").json
    assert [one["manufacturer"] for one in told["devices"]] == ["", "ACME"]
    assert told["devices"][0]["conflicts"][0]["tag"] == "SRT:T-D3000"
    assert told["devices"][1]["verdicts"] == {"agrees": 1}


def test_an_output_of_an_earlier_version_is_audited(out: Path, capfd: Capture) -> None:
    rows = table(out / "manifest.csv")
    old = [name for name in rows[0] if not name.startswith(("region_", "pixel_", "reviewed_", "evidence"))]
    lines = [",".join(old), *(",".join(row[name] for name in old) for row in rows)]
    (out / "manifest.csv").write_text("\n".join(lines) + "\n")
    assert inside(capfd, "audit", out, "--manifest-only", "--no-thumbnails", "-q").code == 0
    assert by_name(out)["wrong"]["verdict"] == "contradicts"


def test_what_is_no_output_is_told_in_one_line(tmp_path: Path, capfd: Capture) -> None:
    ran = inside(capfd, "audit", tmp_path)
    assert ran.code == ExitCode.USAGE
    assert re.fullmatch(r"dicomsort: '.*' holds no manifest.csv: name the --out folder of a run\n", ran.err)


def test_nothing_that_stands_in_a_manifest_becomes_markup_or_a_formula(
    tmp_path: Path, capfd: Capture
) -> None:
    rows = [
        image("/in/<script>alert(1)</script>", header=header("CHEST", "<b>AP</b>", "1.1")),
        image("=cmd()", header=header("=1+1", "AP", "1.1")),
    ]
    out = output(tmp_path, rows)
    assert inside(capfd, "audit", out, "--manifest-only", "-q").code == 0
    html = (out / "audit.html").read_text()
    assert "<script>" not in html
    assert "<b>AP" not in html
    second = table(out / "audit.csv")[1]
    assert (second["path"], second["body_part_tag"]) == ("'=cmd()", "'=1+1")


def test_an_output_without_images_is_audited(tmp_path: Path, capfd: Capture) -> None:
    out = output(tmp_path, [image("/in/1", status=Status.NOT_DICOM)])
    told = inside(capfd, "audit", out, "--json").json
    assert told["images"] == 0
    ran = inside(capfd, "audit", out)
    assert re.fullmatch(r"dicomsort: wrote [^\n]*: there is no radiograph in this output\n", ran.err)
    assert table(out / "audit.csv") == table(out / "studies.csv") == []
    assert "There is no radiograph" in words_of((out / "audit.html").read_text())
