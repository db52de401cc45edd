"""Figures as tables of text: classes, means, confusion, groups, and models side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.evaluate import Comparison, Measured
from dicomsort.evaluation.metrics import Metrics

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
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
}

_SHORT = ("accuracy", "subset_accuracy", "precision_macro", "recall_macro", "f1_macro", "auc_macro")

_COMPARED = ("accuracy", "subset_accuracy", "recall_macro", "f1_macro", "auc_macro", "log_loss")


@dataclass(frozen=True, slots=True)
class Table:
    """A title, and cells as text. extra: columns that a narrow screen may leave out."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    extra: tuple[str, ...] = ()

    def narrow(self) -> "Table":
        """Return the table without the columns that may be left out."""
        kept = [at for at, name in enumerate(self.columns) if name not in self.extra]
        rows = tuple(tuple(row[at] for at in kept) for row in self.rows)
        return Table(self.title, tuple(self.columns[at] for at in kept), rows)


def figure_text(figure: Estimate) -> str:
    """Write a figure with its interval, if that has a width; `-` where it is not defined."""
    if math.isnan(figure.value):
        return "-"
    wide = figure.low < figure.high
    return f"{figure.value:.3f}" + f" ({figure.low:.3f} to {figure.high:.3f})" * wide


def _difference_text(figure: Estimate | None) -> str:
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
        cells = [figures.overall.get(f"{name}_{mean}") for name in _EACH]
        texts = (figure_text(figure) if figure else "" for figure in cells)
        rows.append((mean, str(figures.images), *threshold(""), *texts))
    columns = ("class", "images", *(("threshold",) if thresholds else ()), *_EACH.values())
    return Table(f"classes of '{measured.question.target}'", columns, tuple(rows), (_EACH["ap"],))


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
    return Table(f"by {column}", columns, rows, (_OVERALL["precision_macro"],))


def comparison_table(target: str, comparisons: Sequence[Comparison]) -> Table:
    """Set models and baselines side by side, each with its differences to the first."""
    names = [name for name in _COMPARED if name in comparisons[0].figures.overall]
    rows: list[tuple[str, ...]] = []
    for comparison in comparisons:
        rows.append((comparison.name, *(figure_text(comparison.figures.overall[name]) for name in names)))
        if comparison.differences:
            cells = (_difference_text(comparison.differences.get(name)) for name in names)
            rows.append(("... difference", *cells))
    title = f"comparison for '{target}', differences to {comparisons[0].name}"
    columns = ("model", *(_OVERALL[name] for name in names))
    return Table(title, columns, tuple(rows), (_OVERALL["recall_macro"],))


def comparison_blocks(target: str, comparisons: Sequence[Comparison]) -> tuple[Table, ...]:
    """Say what `comparison_table` does in a table for each model, for where that has no room."""
    names = [name for name in _COMPARED if name in comparisons[0].figures.overall]
    first = comparisons[0].name
    return tuple(
        Table(
            f"{one.name} for '{target}'" + (f", differences to {first}" if one.differences else ""),
            ("figure", "value", "95 % interval", *(("difference",) if one.differences else ())),
            tuple(_compared_row(one, name) for name in names),
        )
        for one in comparisons
    )


def _compared_row(one: Comparison, name: str) -> tuple[str, ...]:
    figure = one.figures.overall[name]
    value, _, interval = figure_text(figure).partition(" ")
    differs = (_difference_text(one.differences.get(name)),) if one.differences else ()
    return (_OVERALL[name], value, interval.strip("()"), *differs)
