"""Studies of several images: the order of rows changes nothing, views and names do."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelled import POOL, write_csv
from numpy.typing import NDArray
from PIL import Image
from program import inside
from trainings import SMALL, read_csv

from dicomsort.data.cache import Cache
from dicomsort.data.dataset import Columns, Data, data_hash, load, read_all, read_facts
from dicomsort.data.studies import rule_for
from dicomsort.errors import UsageError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.imaging.montage import laid_out
from dicomsort.model import bundle as bundles
from dicomsort.model.studies import StudyRule, by_name
from dicomsort.outcome import ReadImage

CANVAS = Preprocessing(size=64)
SHAPES = {"lateral": (40, 40), "AP": (20, 60), "": (60, 30)}


def rows_of(studies: int, views: tuple[str, ...] = tuple(SHAPES)) -> list[dict[str, str]]:
    """Files whose names tell nothing of their view: within a study those of the last views come first."""
    rows = []
    for study in range(studies):
        for at, view in enumerate(reversed(views)):
            name, label = f"{study:02}-{at}.png", ("bright", "dark")[study % 2]
            rows.append({"file": name, "light": label, "study": f"s{study:02}", "view": view})
    return rows


def drawn(folder: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    folder.mkdir(exist_ok=True)
    for at, row in enumerate(rows):
        level = {"bright": 180, "dark": 60}[row["light"]] + at % 7
        gray = np.random.default_rng(at).normal(level, 9, SHAPES[row["view"]])
        Image.fromarray(np.clip(gray, 1, 255).astype(np.uint8)).save(folder / row["file"])
    return rows


def loaded(path: Path, rows: list[dict[str, str]], **rule: str | None) -> Data:
    return load(write_csv(path, rows), Columns(("light",), study=StudyRule("study", **rule)))  # type: ignore[arg-type]


def canvases(data: Data) -> dict[str, NDArray[np.uint8]]:
    found = {}
    for sample, reading in read_all(data.samples, CANVAS, POOL):
        assert isinstance(reading, ReadImage)
        found[sample.name] = reading.image
    return found


def alone(folder: Path, rows: list[dict[str, str]]) -> dict[str, NDArray[np.uint8]]:
    """Each file by itself, by its view."""
    pictures = canvases(load(write_csv(folder / "alone.csv", rows), Columns(("light",))))
    return {row["view"]: pictures[row["file"]] for row in rows}


def shuffled(rows: list[dict[str, str]], seed: int) -> list[dict[str, str]]:
    return random.Random(seed).sample(rows, len(rows))


def test_shuffled_rows_are_the_same_data_and_the_same_pictures(tmp_path: Path) -> None:
    rows = drawn(tmp_path, rows_of(6))
    wanted = loaded(tmp_path / "labels.csv", rows, view_column="view")
    assert [len(sample.views) for sample in wanted.samples] == [2] * 6
    assert [view for view, _ in wanted.samples[0].told] == ["AP", "lateral", ""]
    pictures = canvases(wanted)
    for seed in range(3):
        found = loaded(tmp_path / "labels.csv", shuffled(rows, seed), view_column="view")
        assert found == wanted
        assert data_hash(found.samples) == data_hash(wanted.samples)
        again = canvases(found)
        assert all(np.array_equal(again[name], pictures[name]) for name in pictures)


def test_a_picture_of_a_study_shows_its_views_in_order(tmp_path: Path) -> None:
    rows = drawn(tmp_path, rows_of(1))
    single = alone(tmp_path, rows)
    (picture,) = canvases(loaded(tmp_path / "labels.csv", rows, view_column="view")).values()
    assert np.array_equal(picture, laid_out([single[view] for view in ("AP", "lateral", "")], CANVAS))


def test_what_identifies_a_study_stays_when_a_view_is_corrected_but_its_picture_is_read_anew(
    tmp_path: Path,
) -> None:
    rows = drawn(tmp_path, rows_of(2))
    first = loaded(tmp_path / "labels.csv", rows, view_column="view")
    rows[0]["view"] = "PA"  # the file that comes first by its name
    second = loaded(tmp_path / "labels.csv", rows, view_column="view")
    assert {one.sha256 for one in first.samples} == {one.sha256 for one in second.samples}
    assert data_hash(first.samples) != data_hash(second.samples)
    cache = Cache(tmp_path / "cache", CANVAS)
    for data in (first, second, first):
        assert not cache.fill(data.samples, POOL)
        pictures = canvases(data)
        for sample in data.samples:
            assert np.array_equal(cache.pixels(sample.sha256), pictures[sample.name])
    read: list[int] = []
    cache.fill(first.samples, POOL, read.append)
    assert read == [2]  # all are there already


def test_bundles_of_before_know_their_studies_by_the_hashes_in_a_row(tmp_path: Path) -> None:
    import hashlib

    rows = drawn(tmp_path, rows_of(1))
    columns = Columns(("light",), study=by_name("study"))
    (sample,) = load(write_csv(tmp_path / "labels.csv", shuffled(rows, 1)), columns).samples
    names = sorted(row["file"] for row in rows)
    one_by_one = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()[:16] for name in names]
    assert sample.sha256 == hashlib.sha256(",".join(one_by_one).encode()).hexdigest()[:16]


def test_headers_tell_views_where_the_table_does_not(
    tmp_path: Path, write_dicom: Callable[..., Path]
) -> None:
    files = {"1.dcm": "LL", "2.dcm": "AP", "3.dcm": ""}
    for at, (name, view) in enumerate(files.items()):
        pixels = np.random.default_rng(at).integers(100, 900, (60, 60)).astype(np.uint16)
        write_dicom(tmp_path / name, pixels, ViewPosition=view)
    rows = [{"file": name, "light": "dark", "study": "s", "view": ""} for name in files]
    (sample,) = (data := loaded(tmp_path / "labels.csv", rows)).samples
    told = dict(rows[2], view="PA")
    (other,) = canvases(loaded(tmp_path / "told.csv", [*rows[:2], told], view_column="view")).values()
    (picture,) = canvases(data).values()
    single = [
        reading.image
        for row in rows
        for _, reading in read_all(loaded(tmp_path / "one.csv", [row]).samples, CANVAS, POOL)
        if isinstance(reading, ReadImage)
    ]
    assert sample.name == "1.dcm"
    assert np.array_equal(picture, laid_out([single[at] for at in (1, 0, 2)], CANVAS))
    assert np.array_equal(other, laid_out([single[at] for at in (1, 2, 0)], CANVAS))


def test_what_all_headers_of_a_study_agree_on_is_its_evidence(
    tmp_path: Path, write_dicom: Callable[..., Path]
) -> None:
    rows = []
    for number, (age, modality) in enumerate((("004Y", "RF"), ("004Y", "DX"), ("050Y", "DX"))):
        pixels = np.random.default_rng(number).integers(100, 900, (40, 40)).astype(np.uint16)
        write_dicom(tmp_path / f"{number}.dcm", pixels, PatientAge=age, Modality=modality)
        rows.append({"file": f"{number}.dcm", "light": "dark", "study": "s"})
    wanted = {2: ("age=child",), 3: ()}
    for number, facts in wanted.items():
        data = loaded(tmp_path / "labels.csv", rows[:number])
        ((_, reading),) = read_all(data.samples, CANVAS, POOL)
        assert isinstance(reading, ReadImage)
        assert [reading.facts] == [found for _, found in read_facts(data.samples, POOL)] == [facts]
    told = [dict(row, age=age) for row, age in zip(rows, ("4", "4", "60"), strict=True)]
    for number, facts in wanted.items():
        columns = Columns(("light",), study=StudyRule("study"), evidence=("age",))
        (sample,) = load(write_csv(tmp_path / "told.csv", told[:number]), columns).samples
        assert sample.facts == facts


def test_the_column_view_is_taken_unless_another_or_none_is_named(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "labels.csv", drawn(tmp_path, rows_of(1)))
    assert rule_for(data, "study", None) == StudyRule("study", view_column="view")
    assert rule_for(data, "study", "light") == StudyRule("study", view_column="light")
    assert rule_for(data, "study", "none") == rule_for(data, "study", None, ["view"]) == StudyRule("study")
    assert rule_for(data, None, None) is None
    with pytest.raises(UsageError, match="give --concat-by"):
        rule_for(data, None, "view")
    with pytest.raises(UsageError, match="is a target"):
        rule_for(data, "study", "view", ["view"])


def test_training_and_evaluation_are_the_same_for_shuffled_rows(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = drawn(tmp_path, rows_of(24, ("lateral", "AP")))
    models, said = [], []
    for number, order in enumerate((rows, shuffled(rows, 5))):
        data, model = write_csv(tmp_path / f"{number}.csv", order), tmp_path / f"{number}" / "m"
        words = ("--target", "light", *SMALL, "--epochs", "1", "--concat-by", "study", "--out", model)
        assert inside(capfd, "train", data, *words).code == 0
        models.append(bundles.load(model))
        out = tmp_path / f"{number}" / "figures"
        asked = ("--model", tmp_path / "0" / "m", "--part", "all", "--bootstrap", "0", "--out", out)
        assert inside(capfd, "eval", data, "--target", "light", *asked).code == 0
        said.append(read_csv(out / "predictions.csv"))
    assert models[0].digest == models[1].digest
    assert models[0].split == models[1].split
    assert models[0].study == StudyRule("study", view_column="view")
    assert said[0] == said[1]
    assert len(said[0]) == 24


def test_a_preview_shows_studies_as_training_sees_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = drawn(tmp_path, rows_of(2))
    data, sheet = write_csv(tmp_path / "labels.csv", shuffled(rows, 3)), tmp_path / "sheet.png"
    words = ("--target", "light", "--concat-by", "study", "--copies", "0", "--size", "64", "--workers", "1")
    ran = inside(capfd, "preview", data, *words, "--out", sheet)
    assert ran.code == 0, ran.err
    shown = np.asarray(Image.open(sheet).convert("L"))
    for name, picture in canvases(loaded(data, rows, view_column="view")).items():
        places = np.lib.stride_tricks.sliding_window_view(shown[:, 6:70], (64, 64))
        assert any(np.array_equal(place[0], picture) for place in places), name


def test_data_without_the_column_of_views_are_measured_with_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = drawn(tmp_path, rows_of(16, ("lateral", "AP")))
    data, model = write_csv(tmp_path / "labels.csv", rows), tmp_path / "m"
    words = ("--target", "light", *SMALL, "--epochs", "1", "--concat-by", "study", "--out", model)
    assert inside(capfd, "train", data, *words).code == 0
    less = [{name: cell for name, cell in row.items() if name != "view"} for row in rows]
    asked = ("--target", "light", "--model", model, "--part", "all", "--bootstrap", "0", "--json")
    ran = inside(capfd, "eval", write_csv(tmp_path / "less.csv", less), *asked)
    assert (ran.code, ran.json["images"]) == (0, 16)
    assert "has no column 'view'" in ran.err
