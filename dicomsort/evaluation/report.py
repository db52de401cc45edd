"""Figures as tables, files and one page that needs nothing else."""

import base64
import csv
import html
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dicomsort import __version__
from dicomsort.data.dataset import Sample, read_all
from dicomsort.data.targets import truth_text
from dicomsort.errors import TargetError
from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.evaluate import Comparison, Evaluation, Measured, Mistake, worst
from dicomsort.evaluation.metrics import Metrics
from dicomsort.evaluation.plots import Drawing, draw
from dicomsort.evaluation.predictions import EvalSettings, decision_of
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure
from dicomsort.system.escaping import cell, escape

_THUMBNAIL = 160
_MOST_LISTED = 50
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
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1150px;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.5em 0 1.5em;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.3em 0}
th,td{padding:.25em .7em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.scroll{overflow-x:auto}
.plots,.mistakes{display:flex;flex-wrap:wrap;gap:1em}
.plots img{max-width:100%;height:auto}
figure{margin:0}
.mistakes figure{width:160px;font-size:12px;overflow-wrap:anywhere}
.mistakes img{background:#000;display:block}
.warning{color:#8a3b00}
"""


@dataclass(frozen=True, slots=True)
class Results:
    """Everything `dicomsort eval` has found.

    standings: target -> the comparison of its models and baselines; empty for one model alone. overlaps: for
    each model how many samples lie in the parts of its split that it has seen. remarks: in lines.
    """

    evaluations: tuple[Evaluation, ...]
    comparisons: Mapping[str, tuple[Comparison, ...]]
    overlaps: tuple[Mapping[str, int], ...]
    part: str
    settings: EvalSettings
    remarks: tuple[str, ...] = ()


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


def names_of(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    """Name the models, each with a name of its own."""
    names: list[str] = []
    for number, one in enumerate(evaluations, 1):
        names.append(
            one.predicted.tag if one.predicted.tag not in names else f"{one.predicted.tag} ({number})"
        )
    return tuple(names)


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
    figures, thresholds = measured.figures, measured.question.head.thresholds
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


def lines_of(results: Results) -> list[str]:
    """Say what the tables do not: times, what was not read, and what the figures must not be taken for."""
    lines = []
    for name, one, overlap in zip(
        names_of(results.evaluations), results.evaluations, results.overlaps, strict=True
    ):
        said = one.predicted
        lines.append(
            f"{name}: {said.seconds_per_image:.4f} s per image from file to answer, "
            f"{said.network_seconds_per_image:.4f} s of the network alone, "
            f"on {said.device} in {said.precision}"
        )
        if said.failures:
            lines.append(f"{name}: {len(said.failures)} files could not be read, no figure counts them")
        if one.unshared:
            lines.append(f"{name}: {one.unshared} images left out that another model cannot read")
        lines += [
            f"warning: {count} of these files are in the {seen} part of the split of {name}"
            for seen, count in overlap.items()
            if count
        ]
    return [*lines, *results.remarks]


def as_json(results: Results) -> dict[str, Any]:
    """Return what `metrics.json` holds: the first model's figures, the others', the comparison."""
    models = [
        _model_json(*parts)
        for parts in zip(names_of(results.evaluations), results.evaluations, results.overlaps, strict=True)
    ]
    settings = results.settings
    return {
        "dicomsort": __version__,
        "part": results.part,
        "bootstrap": settings.bootstrap,
        "seed": settings.seed,
        "cluster": settings.cluster,
        "remarks": list(results.remarks),
        **models[0],
        "others": models[1:],
        "comparison": {
            target: [
                {"model": one.name, **one.figures.as_dict(), "differences": _plain(one.differences)}
                for one in comparisons
            ]
            for target, comparisons in results.comparisons.items()
        },
    }


def _model_json(name: str, one: Evaluation, overlap: Mapping[str, int]) -> dict[str, Any]:
    said = one.predicted
    return {
        "model": name,
        "images": len(said.predictions) - one.unshared,
        "left_out": one.unshared,
        "not_read": dict(Counter(f"{failure.status}: {failure.reason}" for _, failure in said.failures)),
        "overlap_with_training": overlap.get("train", 0),
        "overlap_with_validation": overlap.get("validation", 0),
        "seconds_per_image": said.seconds_per_image,
        "network_seconds_per_image": said.network_seconds_per_image,
        "device": said.device,
        "precision": said.precision,
        "heads": {
            measured.question.head.name: {
                "target": measured.question.target,
                "thresholds": list(measured.question.head.thresholds),
                **measured.figures.as_dict(),
                "by": {
                    column: {group: figures.as_dict() for group, figures in groups.items()}
                    for column, groups in measured.groups.items()
                },
            }
            for measured in one.measured
        },
    }


def _plain(figures: Mapping[str, Estimate]) -> dict[str, dict[str, float | None]]:
    def known(number: float) -> float | None:
        return None if math.isnan(number) else number

    return {
        name: {"value": known(each.value), "low": known(each.low), "high": known(each.high)}
        for name, each in figures.items()
    }


def write(results: Results, folder: Path) -> None:
    """Write metrics.json, predictions.csv, not_read.csv, the plots and report.html into a folder.

    Further models have their predictions and plots in folders of their names. Raises TargetError if something
    cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(as_json(results), indent=2) + "\n", encoding="utf-8")
        sections, found = [], results.evaluations
        for name, place, one in zip(names_of(found), _folders(found, folder), found, strict=True):
            place.mkdir(exist_ok=True)
            _write_predictions(one, place)
            drawn = {measured.question.target: draw(measured.predictions, measured.figures)
                     for measured in one.measured}  # fmt: skip
            _write_plots(one, drawn, place)
            sections.append(_section(name, one, drawn, results.settings))
        (folder / "report.html").write_text(page(results, sections), encoding="utf-8", errors="replace")
    except OSError as error:
        raise TargetError(f"'{folder}' cannot be written: {error.strerror}") from error


def _folders(evaluations: Sequence[Evaluation], folder: Path) -> list[Path]:
    """Return where the files of each model go: the first one's into the folder itself."""
    names = [one.predicted.bundle.name for one in evaluations]
    several = {name for name, count in Counter(names).items() if count > 1}
    places = [f"{name}-{number}" if name in several else name for number, name in enumerate(names, 1)]
    return [folder, *(folder / place for place in places[1:])]


def _write_predictions(one: Evaluation, folder: Path) -> None:
    heads = one.predicted.bundle.heads
    asked = {measured.question.at: measured.question for measured in one.measured}
    header = ["file"]
    for at, head in enumerate(heads):
        names = ("truth", "label", "confidence", *(f"score_{label}" for label in head.labels))
        header += [name if at == 0 else f"{head.name}.{name}" for name in names]
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for prediction in one.predicted.predictions:
            first = decision_of(prediction, heads)
            row = [cell(escape(prediction.sample.name))]
            for at, decision in enumerate((first, *first.further)):
                row += [
                    truth_text(prediction.sample.targets[asked[at].cell], asked[at].head)
                    if at in asked
                    else "",
                    decision.label,
                ]
                row += [f"{number:.6f}" for number in (decision.confidence, *decision.scores)]
            writer.writerow(row)
    with (folder / "not_read.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "status", "reason"])
        for sample, failure in one.predicted.failures:
            writer.writerow([cell(escape(sample.name)), failure.status, failure.reason])


def _write_plots(one: Evaluation, drawn: Mapping[str, Sequence[Drawing]], folder: Path) -> None:
    for number, measured in enumerate(one.measured):
        head = re.sub(r"[^A-Za-z0-9_-]", "_", measured.question.head.name)
        prefix = f"{head}." if number else ""
        for drawing in drawn[measured.question.target]:
            (folder / f"{prefix}{drawing.name}.png").write_bytes(drawing.png)
            (folder / f"{prefix}{drawing.name}.svg").write_bytes(drawing.svg)


def page(results: Results, sections: Sequence[str]) -> str:
    """Return the report as one HTML page: no script, no link, pictures inside. sections: of the models."""
    settings = results.settings
    first = results.evaluations[0].measured[0].figures
    resampled = f"{first.clusters} groups by {settings.cluster}" if settings.cluster else "single images"
    parts = [
        f"<h1>{_text(', '.join(names_of(results.evaluations)))}</h1>",
        f"<p>Part of the split: {_text(results.part)}. In brackets: 95 % bootstrap intervals of "
        f"{settings.bootstrap} resamples of {_text(resampled)}; a figure without brackets is the same in all "
        "of them. Not a medical device.</p>",
        *(_line(line) for line in lines_of(results)),
        *(_table(comparison_table(target, rows)) for target, rows in results.comparisons.items()),
        *sections,
        f"<p>Made by dicomsort {_text(__version__)}. File names and pictures may identify a person.</p>",
    ]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return "\n".join([
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>dicomsort eval</title><style>{_STYLE}</style></head><body>",
        *parts,
        "</body></html>\n",
    ])  # fmt: skip


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _line(line: str) -> str:
    kind = ' class="warning"' if line.startswith("warning") else ""
    return f"<p{kind}>{_text(line)}</p>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{_text(text)}</td>' for text in row)}</tr>" for row in table.rows)
    caption = f"<caption>{_text(table.title)}</caption>"
    return f'<div class="scroll"><table>{caption}<tr>{head}</tr>{rows}</table></div>'


def _section(
    name: str, one: Evaluation, drawn: Mapping[str, Sequence[Drawing]], settings: EvalSettings
) -> str:
    """Write a model's part of the page; the files of its worst mistakes are read again."""
    parts = [f"<h2>{_text(name)}</h2>"]
    for measured in one.measured:
        parts.append(f"<h3>{_text(measured.question.target)}: {len(measured.known)} images</h3>")
        classes, overall, *others = tables_of(measured)
        parts += [_table(classes), _table(overall)]
        parts.append(f'<div class="plots">{"".join(map(_plot, drawn[measured.question.target]))}</div>')
        parts += [_table(table) for table in others]
        parts += _mistakes(measured, settings)
    if one.predicted.failures:
        rows = tuple(
            (escape(sample.name), failure.status.value, failure.reason.value)
            for sample, failure in one.predicted.failures[:_MOST_LISTED]
        )
        title = f"not read: {len(one.predicted.failures)}, of which {len(rows)} are listed"
        parts.append(_table(Table(title, ("file", "status", "reason"), rows)))
    return "\n".join(parts)


def _plot(drawing: Drawing) -> str:
    title = _text(drawing.title)
    return f'<img alt="{title}" width="{drawing.width}" src="{_data("png", drawing.png)}">'


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _mistakes(measured: Measured, settings: EvalSettings) -> Iterator[str]:
    found = worst(measured)
    if not found:
        return
    pictures = _thumbnails([mistake.prediction.sample for mistake in found], settings)
    figures = "".join(_mistake(mistake, pictures.get(id(mistake.prediction.sample))) for mistake in found)
    yield "<h4>Wrong answers that the model was most sure of</h4>"
    yield f'<div class="mistakes">{figures}</div>'


def _mistake(mistake: Mistake, picture: bytes | None) -> str:
    shown = f'<img alt="" width="{_THUMBNAIL}" src="{_data("jpeg", picture)}">' if picture else ""
    words = (
        escape(mistake.prediction.sample.name),
        f"truth: {mistake.truth or 'none'}",
        f"answer: {mistake.label or 'none'} ({mistake.confidence:.3f})",
    )
    return f"<figure>{shown}<figcaption>{'<br>'.join(map(_text, words))}</figcaption></figure>"


def _thumbnails(samples: Sequence[Sample], settings: EvalSettings) -> dict[int, bytes]:
    """Read samples again, small: JPEG by the sample's id(); without what cannot be read any more."""
    found = {}
    for sample, reading in read_all(samples, Preprocessing(size=_THUMBNAIL), settings.pool):
        if not isinstance(reading, Failure):
            content = io.BytesIO()
            Image.fromarray(reading.image).save(content, "JPEG", quality=80)
            found[id(sample)] = content.getvalue()
    return found
