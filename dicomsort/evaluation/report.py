"""Figures as tables, files and one page that needs nothing else."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomsort import __version__
from dicomsort.data.targets import truth_text
from dicomsort.errors import TargetError, names_missing_libraries
from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.evaluate import Comparison, Evaluation, Measured, absent_in
from dicomsort.evaluation.html import Page, page, section
from dicomsort.evaluation.mapping import Names, is_spare
from dicomsort.evaluation.metrics import Metrics, without_nan
from dicomsort.evaluation.operating import MEASURED, VALIDATION
from dicomsort.evaluation.predictions import EvalSettings, decision_of
from dicomsort.evaluation.tables import comparison_rows, comparison_table
from dicomsort.model.heads import Head
from dicomsort.system.escaping import cell, escape
from dicomsort.system.telling import counted, listed

if TYPE_CHECKING:
    from dicomsort.evaluation.plots import Drawing


_MOST_NAMED = 5
_SHORT = {"accuracy": "accuracy", "recall_macro": "macro recall"}


@dataclass(frozen=True, slots=True)
class Results:
    """Everything `dicomsort eval` has found.

    comparisons: target -> its models and baselines side by side; empty for a lone model. overlaps: for each
    model how many samples lie in the parts of its split that it has seen. remarks: in lines.
    """

    evaluations: tuple[Evaluation, ...]
    comparisons: Mapping[str, tuple[Comparison, ...]]
    overlaps: tuple[Mapping[str, int], ...]
    part: str
    settings: EvalSettings
    remarks: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what `metrics.json` holds, as JSON values."""
        return as_json(self)

    def save(self, folder: Path) -> None:
        """Write everything into a folder, as `write` does. Raises TargetError if that fails."""
        write(self, folder)


def names_of(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    """Name the models, each with a name of its own."""
    names: list[str] = []
    for number, one in enumerate(evaluations, 1):
        names.append(
            one.predicted.tag if one.predicted.tag not in names else f"{one.predicted.tag} ({number})"
        )
    return tuple(names)


def lines_of(results: Results) -> list[str]:
    """List what the tables leave out: times, unread files, and what the figures must not be taken for."""
    lines, source = [], "file" if results.settings.cache is None else "cache"
    for name, one, overlap in zip(
        names_of(results.evaluations), results.evaluations, results.overlaps, strict=True
    ):
        said = one.predicted
        lines.append(
            f"{name}: {said.seconds_per_image:.4f} s per image from {source} to answer, "
            f"{said.network_seconds_per_image:.4f} s of the network alone, "
            f"on {said.device} in {said.precision}"
        )
        lines += [f"{name}: {line}" for line in _evidence_lines(one)]
        if said.failures:
            lines.append(
                f"{name}: {counted(len(said.failures), 'file')} could not be read, no figure counts them"
            )
        if one.unshared:
            lines.append(f"{name}: {counted(one.unshared, 'image')} left out that another model cannot read")
        heads = [measured.question.head for measured in one.measured]
        lines += [line for head in heads if (line := _merged(head, results.settings.mapping))]
        lines += [f"{name}: {line}" for measured in one.measured for line in _notes(measured)]
        lines += [
            f"warning: {count} of these files are in the {seen} part of the split of {name}"
            for seen, count in overlap.items()
            if count
        ]
    return [*lines, *results.remarks]


def _notes(measured: Measured) -> Iterator[str]:
    """Say where thresholds come from, or why there are none, and which means a group has not."""
    target = measured.question.target
    chosen = {point.chosen_on for one in measured.points for point in one.points}
    if VALIDATION in chosen:
        images = counted(measured.tuned, "image")
        yield f"'{target}': thresholds are chosen on {images} of the validation part, not on those measured"
    if MEASURED in chosen:
        yield (
            f"'{target}': thresholds 'these images' are chosen on the very images measured, so their figures "
            "are optimistic"
        )
    if alone := [one.label for one in measured.points if len(one.points) == 1]:
        yield (
            f"'{target}': no threshold can be chosen for {listed(alone)}: that takes images with the label "
            "and images without it"
        )
    for column, groups in measured.groups.items():
        lacking = {name: absent_in(figures, measured.figures) for name, figures in groups.items()}
        told = "; ".join(
            f"{name or 'none'} lacks {_few(labels)}" for name, labels in lacking.items() if labels
        )
        if told:
            yield f"'{target}' by {column}: no macro figures where classes are absent: {told}"


def _few(labels: Sequence[str]) -> str:
    """Name a few labels; of many say how many they are."""
    return listed(labels) if len(labels) <= _MOST_NAMED else f"{len(labels)} classes"


def _merged(head: Head, names: Names) -> str:
    """Say which rare labels count as others, in truth and answers alike; empty if none does.

    names: those of `--map`; labels that have one name by these are one since that was asked for.
    """
    rare = {label: answered for label, answered in head.merged.items() if not is_spare(label, names)}
    pairs = ", ".join(f"{label} as {answered}" for label, answered in rare.items())
    return f"'{head.name}': labels with too few training images count as others: {pairs}" if pairs else ""


def _evidence_lines(one: Evaluation) -> list[str]:
    """Report what the header was weighed for, and the figures without it."""
    lines = []
    for measured in (each for each in one.measured if each.pixels is not None):
        weighed = [each for each in measured.known if each.evidence]
        counts = Counter(fact for each in weighed for fact in each.evidence)
        told = ", ".join(f"{fact} {count}" for fact, count in sorted(counts.items()))
        lines.append(
            f"header weighed for {len(weighed)} of {len(measured.known)} images ({told}), against the "
            f"picture {sum(each.contradicted for each in weighed)} times"
        )
        lines.append(f"pixels alone: {_short(measured.pixels)}; with the header: {_short(measured.figures)}")
    return lines


def _short(figures: Metrics | None) -> str:
    overall = figures.overall if figures is not None else {}
    return ", ".join(f"{said} {overall[name].value:.4f}" for name, said in _SHORT.items() if name in overall)


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
        "evidence": settings.evidence,
        "bootstrap": settings.bootstrap,
        "seed": settings.seed,
        "cluster": settings.cluster,
        "remarks": list(results.remarks),
        **models[0],
        "others": models[1:],
        "comparison": {
            target: [
                {
                    "model": one.name,
                    **one.figures.as_dict(),
                    "differences": _as_values(one.differences),
                }
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
        "parameters": said.bundle.size.parameters,
        "megabytes": said.bundle.size.megabytes,
        "network_seconds_per_image": said.network_seconds_per_image,
        "device": said.device,
        "precision": said.precision,
        "heads": {
            measured.question.head.name: {
                "target": measured.question.target,
                "merged": measured.question.head.merged,
                "thresholds": list(measured.question.head.answering.thresholds),
                **measured.figures.as_dict(),
                "operating_points": [one.as_dict() for one in measured.points],
                **({} if measured.pixels is None else {"pixels_alone": measured.pixels.as_dict()}),
                "by": {
                    column: {group: figures.as_dict() for group, figures in groups.items()}
                    for column, groups in measured.groups.items()
                },
            }
            for measured in one.measured
        },
    }


def _as_values(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: without_nan(asdict(each)) for name, each in figures.items()}


def write(results: Results, folder: Path) -> None:
    """Write metrics.json, predictions.csv, not_read.csv, the plots and report.html into a folder.

    Further models have their predictions and plots in folders of their names. Raises TargetError if something
    cannot be written, and MissingLibraryError without matplotlib and scikit-learn, which only drawing needs.
    """
    with names_missing_libraries():
        from dicomsort.evaluation.plots import draw  # noqa: PLC0415  (drawing alone needs matplotlib)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(as_json(results), indent=2) + "\n", encoding="utf-8")
        if results.comparisons:
            write_comparison(results, folder)
        sections, found = [], results.evaluations
        for name, place, one in zip(names_of(found), _folders(found, folder), found, strict=True):
            place.mkdir(exist_ok=True)
            _write_predictions(one, place)
            drawn = {measured.question.target: draw(measured.predictions, measured.figures, measured.points)
                     for measured in one.measured}  # fmt: skip
            _write_plots(one, drawn, place)
            sections.append(section(name, one, drawn, results.settings))
        (folder / "report.html").write_text(
            page(_page(results, sections)), encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise TargetError(f"'{folder}' cannot be written: {error.strerror}") from error


def write_comparison(results: Results, folder: Path) -> None:
    """Write comparison.csv, a row for each model and baseline, into a folder. Raises OSError."""
    rows = comparison_rows(results.comparisons)
    columns = dict.fromkeys(name for row in rows for name in row)
    with (folder / "comparison.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "model": cell(escape(str(row["model"])))} for row in rows)


def _folders(evaluations: Sequence[Evaluation], folder: Path) -> list[Path]:
    """Return where the files of each model go: the first one's into the folder itself."""
    names = [one.predicted.bundle.name for one in evaluations]
    several = {name for name, count in Counter(names).items() if count > 1}
    places = [f"{name}-{number}" if name in several else name for number, name in enumerate(names, 1)]
    return [folder, *(folder / place for place in places[1:])]


def _page(results: Results, sections: Sequence[str]) -> Page:
    settings = results.settings
    first = results.evaluations[0].measured[0].figures
    resampled = f"{first.clusters} groups by {settings.cluster}" if settings.cluster else "single images"
    introduction = (
        f"Part of the split: {results.part}. In brackets: 95 % bootstrap intervals of "
        f"{settings.bootstrap} resamples of {resampled}; a figure without brackets is the same in all of "
        "them. A share of 0 or 1 at an operating point has the exact interval of Clopper and Pearson. "
        "Not a medical device."
        if settings.bootstrap
        else f"Part of the split: {results.part}. Without bootstrap intervals. Not a medical device."
    )
    tables = [comparison_table(target, rows) for target, rows in results.comparisons.items()]
    names = ", ".join(names_of(results.evaluations))
    return Page(names, introduction, lines_of(results), tables, sections)


def _write_predictions(one: Evaluation, folder: Path) -> None:
    heads = one.predicted.bundle.heads
    asked = {measured.question.at: measured.question for measured in one.measured}
    header = ["file"]
    for at, head in enumerate(heads):
        names = ("truth", "label", "confidence", *(f"score_{label}" for label in head.labels))
        header += [name if at == 0 else f"{head.name}.{name}" for name in names]
    header += ["pixel_label", "pixel_confidence", "evidence"]
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
            row += [first.pixel_label, f"{first.pixel_confidence:.6f}", "; ".join(first.evidence)]
            writer.writerow(row)
    with (folder / "not_read.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "status", "reason"])
        for sample, failure in one.predicted.failures:
            writer.writerow([cell(escape(sample.name)), failure.status, failure.reason])


def _write_plots(one: Evaluation, drawn: "Mapping[str, Sequence[Drawing]]", folder: Path) -> None:
    for number, measured in enumerate(one.measured):
        head = re.sub(r"[^A-Za-z0-9_-]", "_", measured.question.head.name)
        prefix = f"{head}." if number else ""
        for drawing in drawn[measured.question.target]:
            (folder / f"{prefix}{drawing.name}.png").write_bytes(drawing.png)
            (folder / f"{prefix}{drawing.name}.svg").write_bytes(drawing.svg)
