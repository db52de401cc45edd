"""What comes after the sorting takes pictures for what they are: images without a header."""

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from outputs import rows, settings
from PIL import Image
from predictors import FixedPredictor
from program import inside
from written import picture

from dicomsort import ReadSettings, read_manifest
from dicomsort.dicom.render import thumbnail
from dicomsort.model.bundle import Bundle
from dicomsort.review.opening import opened
from dicomsort.sorting.pipeline import sort

Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def draw(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture(seed) // 16).astype("u1")).save(path)
    return path


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, small_bundle: Bundle, write_dicom: Write) -> Path:
    """An output of two radiographs, three pictures, and one in a ZIP."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(2):
        uids = {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2"}
        write_dicom(folder / "in" / f"{number}.dcm", picture(number), **uids)
    for number in range(3):
        draw(folder / "in" / f"{number}.png", number)
    with zipfile.ZipFile(folder / "in" / "more.zip", "w") as archive:
        archive.write(draw(folder / "9.png", 9), "a/9.png")
    run = settings(folder / "in", folder / "out", read=ReadSettings(pictures=True), review_below=0.0)
    summary = sort(run, FixedPredictor(small_bundle))
    assert +summary.hints == {}
    return folder / "out"


def test_a_picture_in_an_archive_is_placed_and_has_the_answer_of_the_picture(
    out: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    found = {Path(path).name: row for path, row in rows(out).items()}
    assert found["9.png"]["status"] == "sorted"
    assert (out / found["9.png"]["destination"]).read_bytes() == (out.parent / "9.png").read_bytes()
    draw(tmp_path / "in" / "9.png", 9)
    alone = settings(tmp_path / "in", tmp_path / "out", read=ReadSettings(pictures=True))
    sort(alone, FixedPredictor(small_bundle))
    [row] = rows(tmp_path / "out").values()
    assert (row["label"], row["confidence"]) == (found["9.png"]["label"], found["9.png"]["confidence"])


def test_a_picture_and_its_dicom_twin_differ_in_the_window_alone(out: Path) -> None:
    """A picture is as a person sees it, so it gets none; nothing of a header stands in its row."""
    for row in read_manifest(out):
        if row.path.endswith(".png"):
            assert (row.header.modality, row.header.sop_instance_uid, row.evidence) == ("", "", ())
            assert row.label
            assert row.duplicate_of == ""


def test_the_review_page_shows_them(out: Path) -> None:
    with opened(str(out), "Dr. A") as desk:
        reading = desk.reading
    for name in ("in/0.png", "in/0.dcm"):
        drawn = thumbnail(str(out.parent / name), 64, 90, reading)
        assert isinstance(drawn, bytes), name
        with Image.open(io.BytesIO(drawn)) as image:
            assert max(image.size) == 64


def test_an_audit_does_not_call_them_unreadable(out: Path, capfd: Capture) -> None:
    ran = inside(capfd, "audit", out, "--no-thumbnails", "--json")
    assert ran.code == 0
    assert ran.json["headers"] == {"asked": 6, "unread": 0}


def test_a_report_and_a_registry_count_them(out: Path, tmp_path: Path, capfd: Capture) -> None:
    ran = inside(capfd, "report", out, "--out", tmp_path / "report.html", "--json")
    assert ran.code == 0
    assert ran.json["pictures"] >= 6
    assert inside(capfd, "registry", out, "--out", tmp_path / "registry.csv").code == 0
    with (tmp_path / "registry.csv").open(newline="") as file:
        assert sum(int(row["images"]) for row in csv.DictReader(file)) == 6


def test_nothing_is_written_back_into_a_picture(out: Path, tmp_path: Path, capfd: Capture) -> None:
    ran = inside(capfd, "annotate", out, "--as", "instances", "--out", tmp_path / "new")
    assert ran.code == 0
    assert not list((tmp_path / "new").rglob("*.png"))


def test_they_are_rendered_as_their_run_has_read_them(
    out: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    words = ("--status", "sorted", "--out", tmp_path / "drawn", "--model", small_model)
    assert inside(capfd, "render", "--from", out, *words).code == 0
    assert len(list((tmp_path / "drawn").glob("*.png"))) >= 6
    file = out.parent / "in" / "0.png"
    assert inside(capfd, "render", file, "--out", tmp_path / "a", "--model", small_model).code == 3
    assert (
        inside(capfd, "render", file, "--pictures", "--out", tmp_path / "b", "--model", small_model).code == 0
    )
