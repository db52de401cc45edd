"""A report is one new file: nothing else in the output changes, and nothing but a report is replaced."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from outputs import rows, settings, tree
from PIL import Image
from predictors import FixedPredictor
from program import inside
from reports import output, row, words_of
from written import picture, write_dicom

from dicomsort import Preprocessing, read_image
from dicomsort.errors import ExitCode
from dicomsort.inputs.named import Shard
from dicomsort.manifest.table import Manifest
from dicomsort.model.bundle import Bundle
from dicomsort.outcome import Reason, Status
from dicomsort.report.pictures import SIDE
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.system import locks
from dicomsort.system.pool_settings import PoolSettings

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for number in range(6):
        write_dicom(folder / f"{number}.dcm", picture(number), BodyPartExamined="HAND")
    (folder / "note.txt").write_text("nothing")
    (folder / "torn.dcm").write_bytes((folder / "0.dcm").read_bytes()[:900])
    return folder


@pytest.fixture
def sorted_out(inbox: Path, tmp_path: Path, small_bundle: Bundle) -> Path:
    sort(settings(inbox, tmp_path / "out", review_below=0.5), FixedPredictor(small_bundle))
    return tmp_path / "out"


def shown(html: str) -> dict[str, bytes]:
    """The pictures of a page by the path of their file."""
    found = re.findall(r'<figure title="([^"]*)"><img src="data:image/jpeg;base64,([^"]*)"', html)
    return {path: base64.b64decode(data) for path, data in found}


def test_a_report_is_one_more_file_and_shows_what_was_read(
    sorted_out: Path, inbox: Path, capfd: Capture
) -> None:
    before = tree(sorted_out)
    ran = inside(capfd, "report", sorted_out)
    assert (ran.code, ran.out) == (0, "")
    after = tree(sorted_out)
    html = after.pop("report.html").decode()
    assert after == before
    assert "8 files found" in words_of(html)
    pictures = shown(html)
    assert set(pictures) == {str(inbox / f"{number}.dcm") for number in range(6)}
    for path, jpeg in pictures.items():
        seen = np.asarray(Image.open(io.BytesIO(jpeg)), float)
        assert seen.shape == (SIDE, SIDE)
        assert np.abs(seen - read_image(path, Preprocessing(size=SIDE))).mean() < 12


def test_json_tells_the_figures_and_a_report_is_replaced_by_a_newer_one(
    sorted_out: Path, tmp_path: Path, capfd: Capture
) -> None:
    page = tmp_path / "elsewhere.html"
    told = inside(capfd, "report", sorted_out, "--out", page, "--json").json
    assert told["files"] == 8
    assert told["report"] == str(page)
    assert told["pictures"] == 6
    assert told["size"] == page.stat().st_size
    assert told["groups"]["sorted"] + told["groups"]["in review"] == 6
    assert told["body_part_examined"]["HAND"]
    ran = inside(capfd, "report", sorted_out / "manifest.csv", "--out", page, "--no-thumbnails", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert "<img" not in page.read_text()
    assert not (sorted_out / "report.html").exists()


def test_pictures_come_from_the_copies_once_the_sources_are_gone(
    sorted_out: Path, inbox: Path, tmp_path: Path, capfd: Capture
) -> None:
    moved = tmp_path / "moved"
    path = sorted_out / "manifest.csv"
    path.write_text(path.read_text().replace(str(inbox), str(moved)))
    assert inside(capfd, "report", sorted_out, "--pictures", "1").code == 0
    pictures = shown((sorted_out / "report.html").read_text())
    assert pictures
    assert all(name.startswith(str(moved)) for name in pictures)


def test_a_file_that_cannot_be_read_any_more_costs_only_its_picture(
    sorted_out: Path, inbox: Path, tmp_path: Path, capfd: Capture
) -> None:
    torn = tmp_path / "torn.dcm"
    torn.write_bytes((inbox / "0.dcm").read_bytes()[:700])
    path = sorted_out / "manifest.csv"
    path.write_text(path.read_text().replace(f"{inbox}/0.dcm", str(torn)))
    assert inside(capfd, "report", sorted_out, "--quiet").code == 0
    assert len(shown((sorted_out / "report.html").read_text())) == 5


def test_no_destination_leads_a_report_out_of_the_output(tmp_path: Path, capfd: Capture) -> None:
    write_dicom(tmp_path / "secret.dcm", picture(1))
    places = [row("/gone/1", destination="../secret.dcm", action="copy")]
    places += [row("/gone/2", destination=str(tmp_path / "secret.dcm"), action="copy")]
    out = output(tmp_path / "out", places)
    assert inside(capfd, "report", out).code == 0
    assert shown((out / "report.html").read_text()) == {}


@pytest.mark.parametrize("name", ["", "nothing", "empty", "manifest.csv"])
def test_what_is_no_output_is_told_in_one_line(name: str, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "empty").mkdir()
    ran = inside(capfd, "report", tmp_path / name if name else "")
    assert ran.code == ExitCode.USAGE
    assert re.fullmatch(r"dicomsort: '.*' holds no manifest.csv: name the --out folder of a run\n", ran.err)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_shards_that_wait_are_told_and_merged_ones_reported(
    inbox: Path, tmp_path: Path, small_bundle: Bundle, capfd: Capture
) -> None:
    out = tmp_path / "out"
    for number in (1, 2):
        sort(settings(inbox, out, shard=Shard(number, 2)), FixedPredictor(small_bundle))
    ran = inside(capfd, "report", out)
    assert ran.code == ExitCode.USAGE
    assert "dicomsort merge" in ran.err
    merge(str(out), PoolSettings(2))
    assert inside(capfd, "report", out, "--quiet").code == 0
    words = words_of((out / "report.html").read_text())
    assert "8 files found" in words
    assert "8 files in" in words
    assert "(2 runs together)" in words


@pytest.mark.parametrize("name", ["notes.html", "report.txt"])
def test_nothing_but_a_report_is_replaced(name: str, tmp_path: Path, capfd: Capture) -> None:
    out, target = output(tmp_path / "out", [row("/in/1")]), tmp_path / name
    target.write_text("<html>mine</html>")
    assert inside(capfd, "report", out, "--out", target).code == ExitCode.USAGE
    assert target.read_text() == "<html>mine</html>"


def test_a_place_that_cannot_be_written_ends_with_5(tmp_path: Path, capfd: Capture) -> None:
    out = output(tmp_path / "out", [row("/in/1")])
    assert inside(capfd, "report", out, "--out", tmp_path / "no" / "report.html").code == ExitCode.TARGET


def test_a_report_is_made_while_a_run_goes_on(sorted_out: Path, capfd: Capture) -> None:
    """It waits for no lock, and half a line does not disturb it."""
    with locks.take(str(sorted_out)), (sorted_out / "manifest.csv").open("a") as file:
        file.write("/in/half a li")
        file.flush()
        before = tree(sorted_out)
        assert inside(capfd, "report", sorted_out, "--quiet").code == 0
        after = tree(sorted_out)
    assert "8 files found" in words_of(after.pop("report.html").decode())
    assert after == before


def test_run_json_holds_what_runs_took_all_together(
    sorted_out: Path, inbox: Path, small_bundle: Bundle
) -> None:
    took = json.loads((sorted_out / "run.json").read_text())["took"]
    assert (took["files"], took["runs"]) == (8, 1)
    assert took["seconds"] > 0
    sort(settings(inbox, sorted_out, review_below=0.5), FixedPredictor(small_bundle))  # nothing to do
    assert json.loads((sorted_out / "run.json").read_text())["took"] == took
    name = next(iter(rows(sorted_out)))
    with Manifest.open_existing(str(sorted_out / "manifest.csv")) as manifest:
        manifest.append([row(name, Status.TIMEOUT, reasons=(Reason.TOO_SLOW,))])
    again = settings(inbox, sorted_out, review_below=0.5, retry_failed=True)
    sort(again, FixedPredictor(small_bundle))
    more = json.loads((sorted_out / "run.json").read_text())["took"]
    assert (more["files"], more["runs"]) == (took["files"] + 2, 2)  # the damaged one too
    assert more["seconds"] > took["seconds"]
    assert more["spent"]["header"] >= took["spent"]["header"]
