"""What `dicomsort eval` writes and prints: figures, predictions, plots, and a page that stands alone."""

import csv
import io
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import FAST, LEVELS, Several, draw, draw_pictures, samples_of, write_csv
from PIL import Image
from predictors import ROUTER_LABELS, FixedPredictor
from program import inside

from dicomsort.data.dataset import Columns, content_hash, load
from dicomsort.errors import ExitCode, MissingLibraryError, TargetError
from dicomsort.evaluation import report, tables
from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.evaluate import evaluate
from dicomsort.evaluation.metrics import Predictions, measure
from dicomsort.evaluation.plots import draw as plots
from dicomsort.evaluation.predictions import predict_samples
from dicomsort.evaluation.report import Results
from dicomsort.model import load as loading
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head

NASTY = "<script>alert(1)<"
DRAWINGS = ["confusion", "roc", "precision_recall", "reliability"]
PLOTS = {f"{name}.{kind}" for name in DRAWINGS for kind in ("png", "svg")}


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen pictures of five classes, of which the first has a wicked name, and a broken one."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for number in range(15):
        name = f"{NASTY}{number}.png" if number == 0 else f"{number}.png"
        draw(folder / name, LEVELS[number % 5] if number else LEVELS[2], seed=number)
        row = {"file": name, "group": ROUTER_LABELS[number % 5], "patient": number // 2, "view": "<b>PA"}
        rows.append({**row, "signs": "x|y" if number % 2 else "x", "ill": number % 2})
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    rows.append({**rows[1], "file": "broken.png"})
    return write_csv(folder / "labels.csv", rows)


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands predict by brightness."""
    from contextlib import contextmanager

    @contextmanager
    def predictor_for(bundle: Bundle, device: str, precision: str, engine: str = "auto") -> Any:
        yield Several(bundle) if bundle.further else FixedPredictor(bundle)

    monkeypatch.setattr(loading, "predictor_for", predictor_for)


@pytest.fixture
def written(
    pictures: Path, small_model: Path, fixed: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Path:
    out = tmp_path / "new" / "out"
    words = ("--target", "group", "--bootstrap", "50", "--by", "view", "--workers", "1")
    ran = inside(capfd, "eval", pictures, "--model", small_model, "--out", out, *words)
    assert ran.code == ExitCode.SOME_FAILED, ran.err
    assert "1 file could not be read" in ran.err
    assert "not read: broken.png: decode_error" in ran.err
    return out


def test_eval_writes_figures_predictions_and_plots(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == {
        "metrics.json", "predictions.csv", "not_read.csv", "report.html", *PLOTS,
    }  # fmt: skip
    with (written / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [f"score_{name}" for name in ROUTER_LABELS]
    pixels = ["pixel_label", "pixel_confidence", "evidence"]
    assert list(rows[0]) == ["file", "truth", "label", "confidence", *scores, *pixels]
    assert len(rows) == 15
    hits = sum(row["truth"] == row["label"] for row in rows)
    assert hits == 14
    metrics = json.loads((written / "metrics.json").read_text())
    figures = metrics["heads"]["label"]
    assert figures["target"] == "group"
    assert figures["overall"]["accuracy"]["value"] == pytest.approx(hits / 15)
    assert np.trace(np.array(figures["confusion"])) == hits
    assert (metrics["cluster"], figures["clusters"], metrics["bootstrap"]) == ("patient", 8, 50)
    assert metrics["not_read"] == {"decode_error: picture file cannot be decoded": 1}
    assert figures["by"]["view"]["<b>PA"]["images"] == 15
    assert (written / "not_read.csv").read_text().splitlines()[1].startswith("broken.png,decode_error,")
    for name in PLOTS:
        content = (written / name).read_bytes()
        if name.endswith("png"):
            assert min(Image.open(io.BytesIO(content)).size) > 300
        else:
            assert b"<svg" in content


def test_the_page_needs_nothing_else_and_runs_nothing(written: Path, tmp_path: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "b", "link", "iframe"} & set(page.tags)
    assert "://" not in text
    assert len(page.sources) == 5, "four plots and one mistake"
    assert all(source.startswith("data:image/") for source in page.sources)
    assert f"{NASTY}0.png" in page.words
    assert "<b>PA" in page.words
    assert "truth: abdominal" in page.words
    assert str(tmp_path) not in text


def test_the_json_is_all_that_stands_on_stdout(
    pictures: Path, small_model: Path, fixed: None, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--target", "group", "--bootstrap", "0", "--cluster", "none", "--json", "--workers", "1")
    ran = inside(capfd, "eval", pictures, "--model", small_model, *words)
    assert ran.code == ExitCode.SOME_FAILED
    assert ran.json["heads"]["label"]["clusters"] is None
    assert ran.json["heads"]["label"]["overall"]["f1_macro"]["value"] > 0.9
    assert ran.json["images"] == 15
    assert ran.json["others"] == []
    assert ran.json["comparison"] == {}


def test_several_models_and_baselines_stand_in_one_table(
    pictures: Path, small_bundle: Bundle, fixed: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    samples = samples_of(pictures, "group")
    seen = {sample.sha256: "train" for sample in samples[5:]}
    for name in ("one", "two"):
        head = replace(small_bundle.head, temperature=1.0 if name == "one" else 2.0)
        replace(small_bundle, name=name, head=head, split=seen).save(tmp_path / name)
    out = tmp_path / "out"
    words = ("--target", "group", "--bootstrap", "50", "--out", out, "--part", "all", "--workers", "1")
    ran = inside(capfd, "eval", pictures, "--model", tmp_path / "one", "--model", tmp_path / "two", *words)
    assert ran.code == ExitCode.SOME_FAILED, ran.err
    assert ran.err.count("warning: 11 of these files are in the train part") == 2
    metrics = json.loads((out / "metrics.json").read_text())
    rows = metrics["comparison"]["group"]
    assert [row["model"].split("@")[0] for row in rows] == ["one", "two", "majority", "logistic"]
    assert rows[0]["differences"] == {}
    assert rows[1]["differences"]["accuracy"] == {"value": 0, "low": 0, "high": 0}
    assert rows[1]["differences"]["log_loss"]["value"] != 0
    assert metrics["others"][0]["model"].startswith("two@")
    assert {path.name for path in (out / "two").iterdir()} == {"predictions.csv", "not_read.csv", *PLOTS}
    compared = (out / "comparison.csv").read_text().splitlines()
    assert [line.split("@")[0] for line in compared[1:3]] == ["group,one", "group,two"]
    words_of_page = Page((out / "report.html").read_text()).words
    assert "comparison for 'group'" in words_of_page
    assert "majority" in words_of_page


def test_further_heads_have_columns_plots_and_tables(
    pictures: Path, several: Several, tmp_path: Path
) -> None:
    targets = ("group", "signs", "ill")
    samples = samples_of(pictures, *targets)
    found = evaluate([predict_samples(several, samples, FAST)], targets, FAST)
    results = Results(found, {}, ({},), "all", FAST)
    report.write(results, tmp_path)
    assert {f"{prefix}{name}" for prefix in ("", "signs.", "ill.") for name in PLOTS} < {
        path.name for path in tmp_path.iterdir()
    }
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["signs.truth"] == "x|y"
    assert rows[1]["ill.truth"] == "ill"
    assert {row["ill.label"] for row in rows} == {"ill", "no_ill"}
    assert {"signs.score_x", "signs.score_y", "signs.confidence", "ill.score_no_ill"} < set(rows[0])
    classes, _, confusion = tables.tables_of(found[0].measured[1])
    assert "threshold" in classes.columns
    assert classes.rows[1][2] == "0.990"
    assert confusion.columns[1:] == ("rightly left out", "wrongly chosen", "missed", "found")


@pytest.fixture
def several(small_bundle: Bundle) -> Several:
    signs = Head("signs", ("x", "y"), kind="multilabel", thresholds=(0.5, 0.99))
    return Several(replace(small_bundle, further=(signs, Head("ill", ("no_ill", "ill"), kind="binary"))))


@pytest.mark.parametrize("library", ["matplotlib", "sklearn"])
def test_without_what_draws_the_figures_are_there_and_no_folder_is_made(
    library: str, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "data" / "spine" / "a.png", 200)
    found = evaluate([predict_samples(predictor, load(tmp_path / "data", Columns()).samples, FAST)], (), FAST)
    monkeypatch.setitem(sys.modules, library, None)
    for loaded in ("sklearn.metrics", "dicomsort.evaluation.plots"):
        monkeypatch.delitem(sys.modules, loaded)
    results = Results(found, {}, ({},), "all", FAST)
    assert results.as_dict()["images"] == 1
    with pytest.raises(MissingLibraryError, match="pip install"):
        results.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_has_one_line(
    tmp_path: Path, predictor: FixedPredictor, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "data" / "spine" / "a.png", 200)
    found = evaluate([predict_samples(predictor, load(tmp_path / "data", Columns()).samples, FAST)], (), FAST)
    (tmp_path / "file").touch()
    with pytest.raises(TargetError, match="cannot be written"):
        report.write(Results(found, {}, ({},), "all", FAST), tmp_path / "file")
    ran = inside(capfd, "eval", tmp_path / "data", "--model", small_model, "--out", tmp_path / "file")
    assert ran.code == ExitCode.TARGET
    assert len(ran.err.splitlines()) == 1


def test_a_single_image_of_a_folder_is_told_without_a_crash(
    tmp_path: Path, small_model: Path, fixed: None, capfd: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "spine" / "a.png", 200)
    ran = inside(capfd, "eval", tmp_path, "--model", small_model, "--bootstrap", "20", "--workers", "1")
    assert ran.code == 0, ran.err
    assert re.search(r"abdominal +0 +- +- +- +-", ran.out)
    assert "s of the network alone" in ran.err
    assert max(map(len, ran.err.splitlines())) <= 121


def test_figures_are_written_for_people() -> None:
    nan = float("nan")
    assert tables.figure_text(Estimate(0.5, 0.25, 0.75)) == "0.500 (0.250 to 0.750)"
    assert tables.figure_text(Estimate(0.5, nan, nan)) == "0.500"
    assert tables.figure_text(Estimate(1, 1, 1)) == "1.000"
    assert tables.figure_text(Estimate(nan, nan, nan)) == "-"


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("images", [1, 30])
def test_every_kind_can_be_drawn(kind: str, images: int) -> None:
    generator = np.random.default_rng(0)
    k = 2 if kind == "binary" else 14
    scores = generator.dirichlet(np.ones(k), images)
    truth: Any = generator.integers(0, k, images)
    chosen: Any = scores.argmax(axis=1)
    if kind == "multilabel":
        truth, chosen = scores > generator.random((images, k)), scores > 0.2
    labels = tuple(f"label_{index}" for index in range(k))
    predictions = Predictions(kind, labels, truth, chosen, scores)
    one = plots(predictions, measure(predictions, 0))
    if kind == "binary":
        assert one == plots(predictions, measure(predictions, 0))
    assert [drawing.name for drawing in one] == DRAWINGS


def test_files_that_are_gone_count_for_the_test_part(
    tmp_path: Path, small_bundle: Bundle, fixed: None, capfd: pytest.CaptureFixture[str]
) -> None:
    draw_pictures(tmp_path / "data", 2)
    rows = [{"file": f"data/{side}/{n}.png", "group": "spine"} for side in ("bright", "dark") for n in (0, 1)]
    data = write_csv(tmp_path / "d.csv", [*rows, {"file": "gone.png", "group": "spine"}])
    split = {content_hash(tmp_path / "data" / "dark" / "0.png"): "validation"}
    replace(small_bundle, split=split).save(tmp_path / "model")
    words = (
        "--model",
        tmp_path / "model",
        "--target",
        "group",
        "--json",
        "--bootstrap",
        "0",
        "--workers",
        "1",
    )
    test = inside(capfd, "eval", data, *words)
    assert test.code == ExitCode.SOME_FAILED
    assert test.json["images"] == 3
    assert sum(test.json["not_read"].values()) == 1
    validation = inside(capfd, "eval", data, *words, "--part", "validation")
    assert (validation.code, validation.json["images"]) == (0, 1)
