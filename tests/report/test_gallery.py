"""Pictures of an output are named after what the manifest says, and an index lists them."""

import csv
import os
import re
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from outputs import rows, settings, tree
from PIL import Image
from predictors import FixedPredictor
from program import inside
from reports import output, row
from written import picture, write_dicom

from dicomsort import read_image
from dicomsort.errors import ExitCode
from dicomsort.manifest.reading import ManifestRow
from dicomsort.model.bundle import Bundle
from dicomsort.outcome import Reason, Status
from dicomsort.report.gallery import choose, name_of
from dicomsort.sorting.pipeline import sort

Capture = pytest.CaptureFixture[str]
NAMES = ("sub/a.dcm", "sub/b.dcm", "sub_a.dcm", "SUB/A.DCM", "tief/Hüfte links=1.dcm")


@pytest.fixture
def out(tmp_path: Path, small_bundle: Bundle) -> Path:
    for number, name in enumerate(NAMES):
        write_dicom(tmp_path / "in" / name, picture(number))
    (tmp_path / "in" / "note.txt").write_text("nothing")
    sort(settings(tmp_path / "in", tmp_path / "out", review_below=1.0), FixedPredictor(small_bundle))
    return tmp_path / "out"


def index(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_in_review_is_rendered_under_its_guess(out: Path, tmp_path: Path, capfd: Capture) -> None:
    shown = tmp_path / "shown"
    before = tree(out)
    ran = inside(capfd, "render", "--from", out, "--status", "review", "--out", shown, "--full", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert tree(out) == before
    listed, known = index(shown), rows(out)
    assert {each["path"] for each in listed} == {
        path for path, it in known.items() if it["status"] == "review"
    }
    assert len(listed) == len(NAMES)
    for each in listed:
        told = known[each["path"]]
        assert {name: each[name] for name in ("status", "label", "reason")} == {
            name: told[name] for name in ("status", "label", "reason")
        }
        assert each["picture"].startswith(f"{told['label']}_{float(told['confidence']):.3f}_")
        seen = np.asarray(Image.open(shown / each["picture"]))
        assert np.array_equal(seen, read_image(each["path"], None))
    page = (shown / "index.html").read_text()
    assert all(f'src="{each["picture"]}"' in page for each in listed)
    folded = [each["picture"].casefold() for each in listed]
    assert len(set(folded)) == len(folded)


def test_without_sources_the_copies_are_rendered(out: Path, tmp_path: Path, capfd: Capture) -> None:
    for name in NAMES:
        (tmp_path / "in" / name).unlink()
    ran = inside(capfd, "render", "--from", out / "manifest.csv", "--out", tmp_path / "shown", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert len(list((tmp_path / "shown").glob("*.png"))) == len(NAMES)


def test_statuses_and_a_label_choose(tmp_path: Path) -> None:
    made = [
        row("/in/1"),
        row("/in/2", Status.REVIEW),
        row("/in/3", Status.REVIEW, label="spine", confidence=0.2),
        row("/in/4", Status.TIMEOUT, reasons=(Reason.TOO_SLOW,)),
    ]
    folder = str(output(tmp_path, made))

    def chosen(statuses: list[str], label: str | None = None) -> list[str]:
        return [one.row.path for one in choose(folder, [], statuses, label)]

    assert chosen(["review"]) == ["/in/2", "/in/3"]
    assert chosen(["review", "sorted"], "hand") == ["/in/2", "/in/1"]
    assert chosen(["timeout"]) == ["/in/4"]


def test_files_that_cannot_be_read_are_told_and_not_in_the_index(
    out: Path, tmp_path: Path, capfd: Capture
) -> None:
    ran = inside(
        capfd, "render", "--from", out, "--status", "not_dicom", "--status", "review", "--out", tmp_path / "p"
    )
    assert ran.code == ExitCode.SOME_FAILED
    assert "note.txt: not_dicom: not a DICOM file" in ran.err
    assert len(index(tmp_path / "p")) == len(NAMES)


def test_what_is_there_already_is_told_apart_from_what_is_new(
    out: Path, tmp_path: Path, capfd: Capture
) -> None:
    words = ("render", "--from", out, "--out", tmp_path / "shown")
    inside(capfd, *words)
    next((tmp_path / "shown").glob("*.png")).unlink()
    ran = inside(capfd, *words)
    assert ran.code == ExitCode.SOME_FAILED
    assert "not written" not in ran.err
    there = "1 was" if len(NAMES) == 2 else f"{len(NAMES) - 1} were"
    assert f"dicomsort: 1 picture written; {there} there already: choose a new --out\n" in ran.err


def test_the_same_again_replaces_no_picture_and_keeps_the_index(
    out: Path, tmp_path: Path, capfd: Capture
) -> None:
    words = ("render", "--from", out, "--out", tmp_path / "shown", "--quiet")
    inside(capfd, *words)
    before = tree(tmp_path / "shown")
    ran = inside(capfd, *words)
    assert ran.code == ExitCode.SOME_FAILED
    assert ran.err == (
        f"dicomsort: 0 pictures written; {len(NAMES)} were there already: choose a new --out\n"
    )
    assert tree(tmp_path / "shown") == before


@pytest.mark.parametrize("name", ["index.csv", "index.html"])
def test_an_index_of_somebody_else_stays(name: str, out: Path, tmp_path: Path, capfd: Capture) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / name).write_text("mine")
    ran = inside(capfd, "render", "--from", out, "--out", shown)
    assert ran.code == ExitCode.USAGE
    assert tree(shown) == {name: b"mine"}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--from", "{out}", "{out}/x.dcm"], ExitCode.USAGE, "and not both"),
        ([], ExitCode.USAGE, "and not both"),
        (["{out}/x.dcm", "--status", "review"], ExitCode.USAGE, "go with --from"),
        (
            ["--from", "{out}", "--status", "lost"],
            ExitCode.USAGE,
            "there is no status 'lost': sorted, review",
        ),
        (
            ["--from", "{out}", "--label", "foot"],
            ExitCode.NOTHING_FOUND,
            "has status review and label 'foot'",
        ),
        (["--from", "{out}/none"], ExitCode.USAGE, "holds no manifest.csv"),
    ],
)
def test_what_cannot_be_rendered_is_told(
    words: list[str], code: ExitCode, says: str, tmp_path: Path, capfd: Capture
) -> None:
    out = output(tmp_path / "out", [row("/in/1", Status.REVIEW)])
    ran = inside(capfd, "render", *(word.format(out=out) for word in words), "--out", tmp_path / "shown")
    assert ran.code == code
    assert says in ran.err
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "shown").exists()


@pytest.mark.parametrize(
    ("path", "label", "name"),
    [
        ("/in/sub/a.dcm", "hand", "hand_0.532_sub_a.dcm"),
        ("/elsewhere/a.dcm", "hand", "hand_0.532_elsewhere_a.dcm"),
        ("/in/CON:?*<b>.dcm", "a|b", "a_b_0.532_CON_b_.dcm"),
        ("/in/\udcff\n.dcm", "../..", "unnamed_0.532_dcm"),
        ("/in/" + "x/" * 500 + "end.dcm", "y" * 500, f"{'y' * 60}_0.532_{'x_' * 56}end.dcm"),
    ],
)
def test_a_name_says_guess_confidence_and_source(path: str, label: str, name: str) -> None:
    given = ManifestRow(path, Status.REVIEW, label=label, confidence=0.5324)
    made = name_of(given, ["/in"])
    assert made == name
    assert len(made) <= 200
    assert re.fullmatch(r"[A-Za-z0-9._-]+", made)
    assert made == os.path.basename(made) == unicodedata.normalize("NFD", made)


def test_a_file_in_an_archive_is_rendered_by_its_name(
    tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    file = write_dicom(tmp_path / "one.dcm", picture(1))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(file, "x/one.dcm")
    words = ("render", "--model", small_model, "--quiet", "--out", tmp_path / "shown")
    assert inside(capfd, *words, f"{tmp_path / 'a.zip'}!/x/one.dcm").code == 0
    assert inside(capfd, *words, f"{tmp_path / 'a.zip'}!/no.dcm").code == 2
    assert [path.name for path in (tmp_path / "shown").iterdir()] == ["one.dcm.png"]
