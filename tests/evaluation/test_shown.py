"""Figures as a person sees them: no number is cut, and each is called what it is."""

import csv
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import FAST
from rich.console import Console

from dicomsort.cli import console, figures
from dicomsort.evaluation import tables
from dicomsort.evaluation.evaluate import Comparison, Cost, Evaluation, Measured
from dicomsort.evaluation.metrics import Predictions, differences, measure
from dicomsort.evaluation.operating import goal_of, operating_points
from dicomsort.evaluation.plots import draw
from dicomsort.evaluation.predictions import ModelPredictions, Question
from dicomsort.evaluation.report import Results, write_comparison
from dicomsort.evaluation.tables import Table
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head

INTERVAL = r"\d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\)"
KINDS = ("multiclass", "binary", "multilabel")


def measured(kind: str, images: int = 120) -> Measured:
    """Figures of made up answers to a question; of one class in `--by` groups."""
    generator = np.random.default_rng(0)
    labels = ("no_ill", "ill") if kind == "binary" else tuple(f"label_{at}" for at in range(9))
    scores = generator.dirichlet(np.ones(len(labels)), images)
    truth: Any = np.array([generator.choice(len(labels), p=row) for row in scores])
    chosen: Any = scores.argmax(axis=1)
    if kind == "multilabel":
        truth, chosen = truth[:, None] == np.arange(len(labels)), scores > 0.2
    head, predictions = Head("ill", labels, kind=kind), Predictions(kind, labels, truth, chosen, scores)
    found = measure(predictions, 50)
    points = operating_points(head, predictions, None, (goal_of("sensitivity=0.95"),), 50, 0)
    groups = {
        "ward": {
            name: measure(predictions.take(np.arange(at, images, 2)), 50) for at, name in enumerate("ab")
        }
    }
    return Measured(Question("ill", 0, 0, head), (), predictions, found, groups, points=points)


def results(one: Measured, bundle: Bundle) -> Results:
    """Results of a model, and of another that differs from it."""
    said = ModelPredictions(bundle, bundle.tag, (), (), 0.01, 0.005, "cpu", "float32")
    other = replace(
        one.predictions, scores=one.predictions.scores[:, ::-1], chosen=one.predictions.chosen[::-1]
    )
    rows = (
        Comparison("router5@0123456789ab", one.figures, {}, Cost(3_217_000, 12.9, 0.0123)),
        Comparison(
            "mine@ba9876543210",
            measure(other, 50),
            differences(one.predictions, other, 50),
            Cost(5, 0.1, 1.0),
        ),
        Comparison("majority", one.figures, differences(one.predictions, one.predictions, 50)),
    )
    return Results((Evaluation(said, (one,)),), {"ill": rows}, ({},), "test", replace(FAST, by=("ward",)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [60, 80, 120, 150])
def test_no_figure_is_cut_however_narrow_the_screen(
    kind: str,
    width: int,
    small_bundle: Bundle,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        console, "console", lambda results=False: Console(stderr=not results, soft_wrap=True, width=width)
    )
    one = measured(kind)
    figures.tell(results(one, small_bundle), None)
    printed = capfd.readouterr().out
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= width
    whole = [*tables.tables_of(one), *tables.point_tables(one)]
    wanted = {cell for table in whole for row in table.rows for cell in row if re.fullmatch(INTERVAL, cell)}
    assert len(wanted) > 20
    assert [cell for cell in wanted if cell not in printed] == []
    for name in (*one.figures.labels, "precision", "recall", "3,217,000", "12.9", "0.0123"):
        assert name in printed


def test_a_table_that_fits_is_one_and_the_first_column_stands_in_every_block() -> None:
    table = Table("x", ("name", "one", "two", "three"), (("a", "1" * 10, "2" * 10, "3" * 10),))
    assert table.fitted(200) == (table,)
    first, second = table.fitted(30)
    assert (first.columns, second.columns) == (("name", "one", "two"), ("name", "three"))
    assert (first.title, second.title) == ("x", "x (continued)")
    assert [block.columns for block in table.fitted(3)] == [
        ("name", "one"),
        ("name", "two"),
        ("name", "three"),
    ]


def test_off_a_terminal_every_interval_is_whole(tmp_path: Path) -> None:
    """A pipe has no width; what goes through it is what a log keeps."""
    code = (
        "from dicomsort.cli import console, figures\n"
        "from dicomsort.evaluation.tables import Table\n"
        "cell = '0.953 (0.930 to 0.971)'\n"
        "figures._show(Table('t', ('class', *'abcdefg'), (('pediatric_chest', *[cell] * 7),)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("0.953 (0.930 to 0.971)") == 7
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_the_area_of_two_classes_is_called_that_of_the_positive_one() -> None:
    one = measured("binary")
    classes, overall, *_ = tables.tables_of(one)
    names = [row[0] for row in overall.rows]
    assert "ROC AUC of the positive class" in names
    assert "average precision of the positive class" in names
    assert not [name for name in names if "macro" in name and ("AUC" in name or "average" in name)]
    macro = next(row for row in classes.rows if row[0] == "macro")
    assert macro[-2:] == ("", "")
    assert not {"auc_macro", "ap_macro"} & set(one.figures.as_dict()["overall"])


def test_operating_points_are_tables_with_threshold_and_where_it_comes_from() -> None:
    points, areas = tables.point_tables(measured("binary"))
    assert points.columns[:3] == ("point", "threshold", "chosen on")
    assert [row[0] for row in points.rows] == ["in use", "sensitivity 0.95", "Youden's J"]
    assert [row[2] for row in points.rows] == ["the model's own", "these images", "these images"]
    assert points.rows[0][1] == "0.5000"
    assert points.columns[3:] == ("sensitivity", "specificity", "PPV", "NPV", "F1")
    assert areas.rows[0][0] == "ill"
    several, _ = tables.point_tables(measured("multiclass"))
    assert several.rows[0][:2] == ("label_0: in use", "largest score")


def test_the_comparison_has_what_a_model_takes_in_table_and_csv(small_bundle: Bundle, tmp_path: Path) -> None:
    found = results(measured("multiclass"), small_bundle)
    table = tables.comparison_table("ill", found.comparisons["ill"])
    for name in ("precision, macro", "recall, macro", "F1, macro", "parameters", "MB", "s an image"):
        assert name in table.columns
    assert table.rows[0][-3:] == ("3,217,000", "12.9", "0.0123")
    assert table.rows[-2][0] == "majority"
    assert table.rows[-2][-3:] == ("-", "-", "-")
    write_comparison(found, tmp_path)
    with (tmp_path / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["router5@0123456789ab", "mine@ba9876543210", "majority"]
    first = found.comparisons["ill"][0].figures.overall["f1_macro"]
    assert float(rows[0]["f1_macro"]) == pytest.approx(first.value, abs=1e-6)
    assert float(rows[0]["f1_macro_low"]) == pytest.approx(first.low, abs=1e-6)
    assert (rows[0]["parameters"], rows[0]["megabytes"], rows[0]["seconds_per_image"]) == (
        "3217000",
        "12.9",
        "0.0123",
    )
    assert rows[0]["f1_macro_difference"] == rows[2]["parameters"] == ""
    assert float(rows[1]["accuracy_difference_low"]) < float(rows[1]["accuracy_difference_high"])
    assert {row["target"] for row in rows} == {"ill"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_curves_carry_the_points(kind: str) -> None:
    one = measured(kind)
    plain, marked = draw(one.predictions, one.figures), draw(one.predictions, one.figures, one.points)
    for at, name in ((1, "roc"), (2, "precision_recall")):
        assert marked[at].name == name
        for text in ("in use", "sensitivity 0.95", "Youden"):
            assert f"<!-- {text}".encode() in marked[at].svg
            assert f"<!-- {text}".encode() not in plain[at].svg
