"""What may hold radiographs and was not read is counted, and a person is told what to do."""

import zipfile
from pathlib import Path

import pytest
from outputs import rows, settings
from PIL import Image
from predictors import FixedPredictor
from program import inside
from written import picture

from dicomsort import ReadSettings
from dicomsort.errors import ExitCode, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.outcome import Reason, Status
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.system.pool_settings import PoolSettings

VIDEO = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(100)
WITH_PICTURES = {"read": ReadSettings(pictures=True)}


@pytest.fixture
def mixed(inbox: Path) -> Path:
    """An archive of twelve radiographs, three pictures, a video, and three folders without any file."""
    for number, ending in enumerate(("png", "jpg", "tif")):
        Image.fromarray((picture(number) // 16).astype("u1")).save(inbox / f"{number}.{ending}")
    (inbox / "cine.mp4").write_bytes(VIDEO)
    for name in ("empty", "holds/empty", "s0/empty"):
        (inbox / name).mkdir(parents=True)
    return inbox


def test_what_was_not_read_is_counted_each_time(
    mixed: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    run = settings(mixed, tmp_path / "out")
    told = {Reason.PICTURE: 3, Reason.VIDEO: 1, Reason.EMPTY_FOLDER: 3}
    for again in (False, True):
        summary = sort(run, predictor)
        assert +summary.hints == told
        assert (summary.exit_code, summary.statuses[Status.NOT_DICOM]) == (ExitCode.DONE, 5)
        assert summary.already_done == summary.found * again
    (mixed / "cine.mp4").unlink()
    (mixed / "holds" / "empty").rmdir()
    assert +sort(run, predictor).hints == {Reason.PICTURE: 3, Reason.EMPTY_FOLDER: 3}, "`holds` is empty now"
    assert rows(tmp_path / "out")[str(mixed / "0.png")]["reason"] == Reason.PICTURE


def test_what_lies_in_archives_is_counted_each_time_too(
    mixed: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    """Two pictures and a video in a ZIP, and a ZIP in a ZIP in a ZIP."""
    inner, middle = tmp_path / "inner.zip", tmp_path / "middle.zip"
    for target, held in ((inner, mixed / "0.png"), (middle, inner)):
        with zipfile.ZipFile(target, "w") as archive:
            archive.write(held, held.name)
    with zipfile.ZipFile(mixed / "outer.zip", "w") as archive:
        for held in (mixed / "0.png", mixed / "1.jpg", mixed / "cine.mp4", middle):
            archive.write(held, held.name)
    run = settings(mixed, tmp_path / "out")
    told = {Reason.PICTURE: 5, Reason.VIDEO: 2, Reason.EMPTY_FOLDER: 3, Reason.NESTED: 1}
    first, again = sort(run, predictor), sort(run, predictor)
    assert +first.hints == told
    assert +again.hints == told
    assert (again.found, again.already_done) == (first.found, first.found)


def test_shards_are_counted_together(mixed: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    shares = [sort(settings(mixed, out, shard=Shard(number, 2)), predictor).hints for number in (1, 2)]
    assert shares[0][Reason.PICTURE] + shares[1][Reason.PICTURE] == 3
    merged = merge(str(out), PoolSettings(2))
    assert +merged.hints == {Reason.PICTURE: 3, Reason.VIDEO: 1}


def test_pictures_are_sorted_if_that_is_asked_for(
    mixed: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    summary = sort(settings(mixed, tmp_path / "out", **WITH_PICTURES), predictor)
    assert +summary.hints == {Reason.VIDEO: 1, Reason.EMPTY_FOLDER: 3}
    found = rows(tmp_path / "out")
    for name in ("0.png", "1.jpg", "2.tif"):
        row = found[str(mixed / name)]
        assert row["status"] in ("sorted", "review")
        assert (tmp_path / "out" / row["destination"]).read_bytes() == (mixed / name).read_bytes()


def test_an_output_with_pictures_is_continued_with_pictures_only(
    mixed: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    sort(settings(mixed, tmp_path / "out"), predictor)
    with pytest.raises(UsageError, match="made without --pictures; use another --out, or leave it out"):
        sort(settings(mixed, tmp_path / "out", **WITH_PICTURES), predictor)


def test_a_person_is_told_what_to_do_and_a_program_how_many(
    mixed: Path, tmp_path: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("classify", mixed, "--out", tmp_path / "out", "--model", small_model, "--device", "cpu")
    ran = inside(capfd, *words, "--quiet")
    assert ran.code == ExitCode.DONE
    assert [line.removeprefix("dicomsort: ") for line in ran.err.splitlines()] == [
        "3 pictures are not DICOM: --pictures, with another --out, sorts them too",
        "1 video was not read: save the frames that matter as pictures, and see --pictures",
        "3 folders are empty: see whether something is still to come there, or is not mounted",
    ]
    told = inside(capfd, *words, "--json").json
    assert [told[name] for name in ("archives", "pictures", "videos", "empty_folders")] == [0, 3, 1, 3]
    asked = inside(capfd, *words[:3], tmp_path / "other", *words[4:], "--pictures", "--json").json
    assert (asked["pictures"], asked["statuses"]["not_dicom"]) == (0, 2)
