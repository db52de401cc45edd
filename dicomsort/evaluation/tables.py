"""Figures as tables of text: classes, means, confusion, groups, and models side by side."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.evaluate import Comparison, Cost, Measured
from dicomsort.evaluation.metrics import Metrics
from dicomsort.evaluation.operating import MEASURED, MODEL, VALIDATION

_EACH = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auc": "ROC AUC",
    "ap": "average precision",
}

_OVERALL = {
    "accuracy": "accuracy",
    "subset_accuracy": "subset accuracy",
    "precision_macro": "precision, macro",
    "recall_macro": "recall, macro",
    "f1_macro": "F1, macro",
    "f1_micro": "F1, micro",
    "f1_samples": "F1, mean over images",
    "precision_weighted": "precision, weighted",
    "recall_weighted": "recall, weighted",
    "f1_weighted": "F1, weighted",
    "kappa": "Cohen's kappa",
    "auc_macro": "ROC AUC, macro",
    "ap_macro": "average precision, macro",
    "auc_positive": "ROC AUC of the positive class",
    "ap_positive": "average precision of the positive class",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
}

_AUC = ("auc_macro", "auc_positive")

_SHORT = ("accuracy", "subset_accuracy", "precision_macro", "recall_macro", "f1_macro", *_AUC)

_COMPARED = (*_SHORT, "log_loss")

_POINT = {"sensitivity": "sensitivity", "specificity": "specificity", "ppv": "PPV", "npv": "NPV", "f1": "F1"}

_CHOSEN_ON = {MODEL: "the model's own", VALIDATION: "validation", MEASURED: "these images"}

_COST = ("parameters", "MB", "s an image")


@dataclass(frozen=True, slots=True)
class Table:
    """A title, and cells as text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def fitted(self, width: int, of: Callable[[str], int] = len) -> tuple["Table", ...]:
        """Return blocks that fit a width, with as many columns each as there is room for after the first.

        of: how wide a text is. A block with one column beside the first may still be too wide.
        """
        widths = [max(map(of, cells)) + 1 for cells in zip(self.columns, *self.rows, strict=True)]
        blocks: list[list[int]] = [[]]
        for at in range(1, len(widths)):
            if blocks[-1] and sum(widths[each] for each in (0, *blocks[-1], at)) >= width:
                blocks.append([])
            blocks[-1].append(at)
        return tuple(self._block(number, (0, *block)) for number, block in enumerate(blocks))

    def _block(self, number: int, kept: Sequence[int]) -> "Table":
        rows = tuple(tuple(row[at] for at in kept) for row in self.rows)
        title = f"{self.title} (continued)" if number else self.title
        return Table(title, tuple(self.columns[at] for at in kept), rows)


def figure_text(figure: Estimate) -> str:
    """Write a figure with its interval, if that has a width; `-` where it is not defined."""
    if math.isnan(figure.value):
        return "-"
    wide = figure.low < figure.high
    return f"{figure.value:.3f}" + f" ({figure.low:.3f} to {figure.high:.3f})" * wide


def difference_text(figure: Estimate | None) -> str:
    """Write a difference with its sign and interval; `-` where it is not defined."""
    if figure is None or math.isnan(figure.value):
        return "-"
    wide = figure.low < figure.high
    return f"{figure.value:+.3f}" + f" ({figure.low:+.3f} to {figure.high:+.3f})" * wide


def tables_of(measured: Measured) -> tuple[Table, ...]:
    """Make the tables of one question: classes, overall, confusion, and groups."""
    figures = measured.figures
    return (
        _class_table(measured),
        Table("overall", ("figure", "value"), tuple(
            (words, figure_text(figures.overall[name]))
            for name, words in _OVERALL.items() if name in figures.overall
        )),
        _confusion_table(figures),
        *(_group_table(column, groups) for column, groups in measured.groups.items()),
    )  # fmt: skip


def _class_table(measured: Measured) -> Table:
    figures, thresholds = measured.figures, measured.question.head.answering.thresholds
    of_label = dict(zip(figures.labels[-len(thresholds) :], thresholds, strict=True)) if thresholds else {}

    def threshold(label: str) -> tuple[str, ...]:
        return (f"{of_label[label]:.3f}" if label in of_label else "",) if thresholds else ()

    rows = [
        (label, str(figures.support[label]), *threshold(label),
         *(figure_text(figures.per_class[label][name]) for name in _EACH))
        for label in figures.labels
    ]  # fmt: skip
    for mean in ("macro", "weighted"):
        cells = [figures.overall.get(f"{name}_{mean}") for name in _EACH]  # of two classes no AUC has a mean
        texts = (figure_text(figure) if figure else "" for figure in cells)
        rows.append((mean, str(figures.images), *threshold(""), *texts))
    columns = ("class", "images", *(("threshold",) if thresholds else ()), *_EACH.values())
    return Table(f"classes of '{measured.question.target}'", columns, tuple(rows))


def point_tables(measured: Measured) -> tuple[Table, ...]:
    """Make the tables of the operating points, and of the areas under the curve; none without points."""
    if not measured.points:
        return ()
    target, resampled = measured.question.target, measured.figures.per_class
    several = len(measured.points) > 1
    rows = [
        (f"{one.label}: {point.name}" if several else point.name, _threshold_text(point.threshold),
         _CHOSEN_ON[point.chosen_on], *(figure_text(point.figures[name]) for name in _POINT))
        for one in measured.points for point in one.points
    ]  # fmt: skip
    areas = [
        (one.label, str(one.positives), str(one.negatives), figure_text(one.auc),
         figure_text(resampled[one.label]["auc"]))
        for one in measured.points
    ]  # fmt: skip
    named = f"'{target}'" if several else f"'{measured.points[0].label}'"
    columns = ("point", "threshold", "chosen on", *_POINT.values())
    area = ("label", "with it", "without", "by DeLong et al.", "by bootstrap")
    return (
        Table(f"operating points of {named}", columns, tuple(rows)),
        Table(f"area under the ROC curve of {named}", area, tuple(areas)),
    )


def _threshold_text(threshold: float | None) -> str:
    return "largest score" if threshold is None else f"{threshold:.4f}"


def _confusion_table(figures: Metrics) -> Table:
    several = figures.kind == "multilabel"
    names = ("rightly left out", "wrongly chosen", "missed", "found") if several else figures.labels
    rows = tuple(
        (label, *map(str, row)) for label, row in zip(figures.labels, figures.confusion, strict=True)
    )
    return Table("confusion of each label" if several else "confusion (rows: truth)", ("", *names), rows)


def _group_table(column: str, groups: Mapping[str, Metrics]) -> Table:
    first = next(iter(groups.values()))
    names = [name for name in _SHORT if name in first.overall]
    rows = tuple(
        (group, str(figures.images), *(figure_text(figures.overall[name]) for name in names))
        for group, figures in groups.items()
    )
    columns = (column, "images", *(_OVERALL[name] for name in names))
    return Table(f"by {column}", columns, rows)


def comparison_table(target: str, comparisons: Sequence[Comparison]) -> Table:
    """Set models and baselines side by side, each with its differences to the first."""
    names = [name for name in _COMPARED if name in comparisons[0].figures.overall]
    rows: list[tuple[str, ...]] = []
    for comparison in comparisons:
        cells = (figure_text(comparison.figures.overall[name]) for name in names)
        rows.append((comparison.name, *cells, *_cost_texts(comparison.cost)))
        if comparison.differences:
            cells = (difference_text(comparison.differences.get(name)) for name in names)
            rows.append(("... difference", *cells, *[""] * len(_COST)))
    title = f"comparison for '{target}', differences to {comparisons[0].name}"
    columns = ("model", *(_OVERALL[name] for name in names), *_COST)
    return Table(title, columns, tuple(rows))


def _cost_texts(cost: Cost | None) -> tuple[str, ...]:
    if cost is None:
        return ("-",) * len(_COST)
    return f"{cost.parameters:,}", f"{cost.megabytes:.1f}", f"{cost.seconds_per_image:.4f}"


def comparison_rows(comparisons: Mapping[str, Sequence[Comparison]]) -> list[dict[str, object]]:
    """Return the rows of `comparison.csv`: figures, intervals and differences side by side."""
    return [
        {"target": target, "model": one.name, **_figure_cells(one), **_cost_cells(one.cost)}
        for target, several in comparisons.items()
        for one in several
    ]


def _figure_cells(one: Comparison) -> dict[str, float]:
    cells: dict[str, float] = {}
    for name in (name for name in _COMPARED if name in one.figures.overall):
        for said, figure in (
            (name, one.figures.overall[name]),
            (f"{name}_difference", one.differences.get(name)),
        ):
            if figure is not None and not math.isnan(figure.value):
                cells |= {said: figure.value, f"{said}_low": figure.low, f"{said}_high": figure.high}
    return {name: round(value, 6) for name, value in cells.items() if not math.isnan(value)}


def _cost_cells(cost: Cost | None) -> dict[str, float]:
    if cost is None:
        return {}
    return {
        "parameters": cost.parameters,
        "megabytes": round(cost.megabytes, 6),
        "seconds_per_image": round(cost.seconds_per_image, 6),
    }


def comparison_blocks(target: str, comparisons: Sequence[Comparison]) -> tuple[Table, ...]:
    """Say what `comparison_table` does in a table for each model, for where that has no room."""
    names = [name for name in _COMPARED if name in comparisons[0].figures.overall]
    first = comparisons[0].name
    return tuple(
        Table(
            f"{one.name} for '{target}'" + (f", differences to {first}" if one.differences else ""),
            ("figure", "value", "95 % interval", *(("difference",) if one.differences else ())),
            (*(_compared_row(one, name) for name in names), *_cost_rows(one)),
        )
        for one in comparisons
    )


def _cost_rows(one: Comparison) -> tuple[tuple[str, ...], ...]:
    if one.cost is None:
        return ()
    pairs = zip(_COST, _cost_texts(one.cost), strict=True)
    return tuple((name, text, "", *[""] * bool(one.differences)) for name, text in pairs)


def _compared_row(one: Comparison, name: str) -> tuple[str, ...]:
    figure = one.figures.overall[name]
    value, _, interval = figure_text(figure).partition(" ")
    differs = (difference_text(one.differences.get(name)),) if one.differences else ()
    return (_OVERALL[name], value, interval.strip("()"), *differs)
