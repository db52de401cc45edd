"""Whether a model's reject score tells radiographs from other pictures.

    python studies/reject.py labels.csv negatives.csv --model router5 [--dicom FOLDER] --out FOLDER

negatives.csv is what studies/negatives.py has written. Radiographs are the validation and test parts of
labels.csv by the model's own split (files of no split count as test; what is ambiguous is a radiograph, too),
and those of a folder of DICOM files with manifest.csv (rows of the groups xray and derived whose `label5` is
known, no mammography), read as `dicomsort classify --include-secondary-capture` would. The test part is also
asked compressed, rescaled, inverted and with other grays.

Prints Markdown: the rejected share of each kind of picture and of each half of the kinds, false rejections,
and what other thresholds would give. "In review" is what is not filed: rejected, or of a confidence below
the model's own threshold. Intervals are 95 % percentiles; resampled are origins (within each kind) and
patients, with all their pictures. --out gets the figures as reject.json.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import negatives
import numpy as np
from asking import Asked, Group, Members, Said, ask_all, conditions
from negatives import HALVES
from told import Units, Values, figure, percent, percent_spread, plain, ratio, resampled, share, spread, table
from told import without_nan as as_json_values

from dicomsort.data import dataset
from dicomsort.data.dataset import TEST, VALIDATION, Sample
from dicomsort.data.table import columns_of
from dicomsort.evaluation import metrics
from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.metrics import Predictions
from dicomsort.model import bundle as bundles
from dicomsort.model.engines.torch import TorchClassifier

FALSE = 0.01
"""The share of the test part that the threshold beside the model's own rejects."""
LADDER = (0.001, 0.002, 0.005, FALSE, 0.02, 0.05, 0.1)


@dataclass(frozen=True, slots=True)
class Row:
    """A group: pictures, patients or origins, and the shares that are rejected, and in review at all."""

    name: str
    pictures: int
    units: int
    rejected: Estimate
    review: Estimate


@dataclass(frozen=True, slots=True)
class KindRow:
    """A kind of picture that is no radiograph. auc: against the test part. at_one: rejected at FALSE."""

    half: str
    auc: float
    row: Row
    at_one: Estimate


@dataclass(frozen=True, slots=True)
class HalfRow:
    """A half of the kinds, at a threshold. auc: against the test part, mean of the kinds, and of all."""

    half: str
    threshold: float
    kinds: Estimate
    images: Estimate
    auc_kinds: float
    auc_images: Estimate


@dataclass(frozen=True, slots=True)
class Step:
    """A threshold. negatives: by half, mean of the kinds. The others are false rejections."""

    name: str
    threshold: float
    negatives: dict[str, float]
    validation: float
    test: float
    dicom: float


def row_of(name: str, group: Group, threshold: float, bootstrap: int) -> Row:
    """Sum up a group."""
    rejected = share(group.scores > threshold, group.units, bootstrap)
    review = share(~group.filed, group.units, bootstrap)
    return Row(name, len(group.scores), len(set(group.units.tolist())), rejected, review)


def threshold_for(radiographs: Values, false: float) -> float:
    """Return the reject score that this share of radiographs exceeds, rounded down to whole pictures."""
    falling = np.sort(radiographs)[::-1]
    return float(falling[min(math.floor(false * len(falling) + 1e-9), len(falling) - 1)])


def over_kinds(rejected: Members, kinds: Units, units: Units, bootstrap: int) -> tuple[Estimate, Estimate]:
    """Return the mean of the kinds' rejected shares, and the share of all; origins resampled in each kind."""
    hits, kind, unit = np.asarray(rejected, np.float64), np.asarray(kinds), np.asarray(units)
    columns = np.column_stack([hits, np.ones(len(hits))])
    members = [kind == each for each in sorted(set(kind.tolist()))]
    draws = np.stack([resampled(unit[of], columns[of], bootstrap, seed) for seed, of in enumerate(members)])
    mean = float(np.mean([hits[of].mean() for of in members]))
    of_kinds = ratio(draws[:, :, 0], draws[:, :, 1]).mean(axis=0)
    of_images = ratio(draws[:, :, 0].sum(axis=0), draws[:, :, 1].sum(axis=0))
    return figure(mean, of_kinds), figure(float(hits.mean()), of_images)


def auc(unlike: Group, radiographs: Group, bootstrap: int = 0) -> Estimate:
    """Return the area under the ROC curve of the reject score."""
    scores = np.concatenate([radiographs.scores, unlike.scores])
    truth = np.repeat([0, 1], [len(radiographs.scores), len(unlike.scores)])
    ranks = np.unique(scores, return_inverse=True)[1] / len(scores)
    units = [f"{side} {unit}" for side, group in enumerate((radiographs, unlike)) for unit in group.units]
    clusters = np.asarray(np.unique(units, return_inverse=True)[1], np.int64)
    sides = np.column_stack([1 - ranks, ranks])
    answers = Predictions("binary", ("radiograph", "other"), truth, np.zeros_like(truth), sides, clusters)
    return metrics.measure(answers, bootstrap).overall["auc_positive"]


def kind_rows(asked: Asked, bootstrap: int) -> list[KindRow]:
    """Measure each kind."""
    test = asked.parts[TEST].first()
    one = threshold_for(test.scores, FALSE)
    rows = []
    for half in HALVES:
        for kind in asked.kinds(half):
            group = asked.of_kind(kind)
            at_one = share(group.scores > one, group.units, bootstrap)
            row = row_of(kind, group, asked.threshold, bootstrap)
            rows.append(KindRow(half, auc(group, test).value, row, at_one))
    return rows


def half_rows(asked: Asked, threshold: float, bootstrap: int) -> list[HalfRow]:
    """Measure each half at a threshold."""
    test, items = asked.parts[TEST].first(), asked.negatives.items
    rows = []
    for half in (each for each in HALVES if asked.kinds(each)):
        members = np.array([item.half == half for item in items])
        group = asked.negatives.first(members)
        kinds = [item.kind for item in items if item.half == half]
        of_kinds, of_images = over_kinds(group.scores > threshold, kinds, group.units, bootstrap)
        mean = float(np.mean([auc(asked.of_kind(kind), test).value for kind in asked.kinds(half)]))
        rows.append(HalfRow(half, threshold, of_kinds, of_images, mean, auc(group, test, bootstrap)))
    return rows


def false_rows(said: Said[Sample], threshold: float, bootstrap: int) -> list[Row]:
    """Measure the radiographs of a part: all, each class, each data set."""
    rows = [row_of("all", said.first(), threshold, bootstrap)]
    facts = (
        [sample.label for sample in said.items], [sample.source for sample in said.items]
    )  # fmt: skip
    for values in facts:
        for value in sorted(set(values) - {""}):
            members = np.array(values) == value
            rows.append(row_of(value, said.first(members), threshold, bootstrap))
    return rows


def changed_rows(asked: Asked, bootstrap: int) -> list[Row]:
    """Measure the test part under each condition."""
    return [
        row_of(name, asked.changed.of(at, None), asked.threshold, bootstrap)
        for at, name in enumerate(conditions())
    ]


def ladder(asked: Asked) -> list[Step]:
    """Return the model's own threshold, and those that reject given shares of the test part."""
    test = asked.parts[TEST].first().scores
    steps = [("the model's own", asked.threshold)]
    steps += [(f"{percent(each)} of the test part", threshold_for(test, each)) for each in LADDER]
    return [_step(asked, name, threshold) for name, threshold in steps]


def _step(asked: Asked, name: str, threshold: float) -> Step:
    def above(group: Group) -> float:
        return float((group.scores > threshold).mean())

    parts = {part: above(said.first()) for part, said in asked.parts.items()}
    return Step(
        name=name,
        threshold=threshold,
        negatives={
            half: float(np.mean([above(asked.of_kind(kind)) for kind in kinds]))
            for half in HALVES
            if (kinds := asked.kinds(half))
        },
        validation=parts.get(VALIDATION, math.nan),
        test=parts[TEST],
        dicom=math.nan if asked.dicom is None else above(asked.dicom.first()),
    )


@dataclass(frozen=True, slots=True)
class Report:
    """All figures. halves: at the model's own threshold, then at that of FALSE of the test part."""

    kinds: list[KindRow]
    halves: list[HalfRow]
    radiographs: dict[str, list[Row]]
    changed: list[Row]
    ladder: list[Step]
    dicom_rejected: dict[str, float]
    unread: dict[str, list[str]]


def report_on(asked: Asked, folder: Path | None, bootstrap: int) -> Report:
    """Measure everything. folder: of the DICOM files, whose paths are told without it."""
    threshold = asked.threshold
    one = threshold_for(asked.parts[TEST].first().scores, FALSE)
    halves = [row for each in (threshold, one) for row in half_rows(asked, each, bootstrap)]
    rows = {part: false_rows(said, threshold, bootstrap) for part, said in asked.parts.items()}
    rejected, unread = {}, {part: [each.name for each in said.unread] for part, said in asked.parts.items()}
    unread["negatives"] = [f"{each.kind}/{each.path.name}" for each in asked.negatives.unread]
    if asked.dicom is not None and folder is not None:
        rows["DICOM files"] = [row_of("all", asked.dicom.first(), threshold, bootstrap)]
        scores = zip(asked.dicom.items, asked.dicom.scores[:, 0].tolist(), strict=True)
        rejected = {_within(path, folder): score for path, score in scores if score > threshold}
        unread["DICOM files"] = [_within(path, folder) for path in asked.dicom.unread]
    return Report(
        kind_rows(asked, bootstrap), halves, rows, changed_rows(asked, bootstrap), ladder(asked), rejected,
        {name: files for name, files in unread.items() if files},
    )  # fmt: skip


def _within(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def report_text(report: Report) -> str:
    """Write all tables."""
    parts = ["## Pictures that are no radiographs", _kinds_table(report.kinds), _halves_table(report.halves)]
    parts += ["## False rejections", _false_table(report.radiographs)]
    if report.dicom_rejected:
        parts.append("\n".join(f"* {name}: {score:.3f}" for name, score in report.dicom_rejected.items()))
    parts += ["### Test part, changed", _rows_table("condition", report.changed)]
    parts += ["## Thresholds", _ladder_table(report.ladder)]
    parts += [f"Unreadable in {name}: {', '.join(files)}" for name, files in report.unread.items()]
    return "\n\n".join(parts)


def _kinds_table(rows: Sequence[KindRow]) -> str:
    names = ("half", "kind", "pictures", "origins", "AUC", "rejected", "in review",
             f"rejected at {percent(FALSE)} of test")  # fmt: skip
    cells = [
        (each.half, each.row.name, str(each.row.pictures), str(each.row.units), plain(each.auc),
         percent_spread(each.row.rejected), percent(each.row.review.value), percent_spread(each.at_one))
        for each in rows
    ]  # fmt: skip
    return table(names, cells)


def _halves_table(rows: Sequence[HalfRow]) -> str:
    names = ("half", "threshold", "mean of the kinds", "of all pictures", "AUC, mean of the kinds", "AUC")
    cells = [
        (row.half, plain(row.threshold), percent_spread(row.kinds), percent_spread(row.images),
         plain(row.auc_kinds), spread(row.auc_images))
        for row in rows
    ]  # fmt: skip
    return table(names, cells)


def _false_table(groups: Mapping[str, Sequence[Row]]) -> str:
    cells = [(part, *_cells(row)) for part, rows in groups.items() for row in rows]
    return table(("radiographs", "", "pictures", "patients or files", "rejected", "in review"), cells)


def _rows_table(name: str, rows: Sequence[Row]) -> str:
    return table((name, "pictures", "patients", "rejected", "in review"), map(_cells, rows))


def _cells(row: Row) -> tuple[str, ...]:
    shares = map(percent_spread, (row.rejected, row.review))
    return row.name, str(row.pictures), str(row.units), *shares


def _ladder_table(steps: Sequence[Step]) -> str:
    halves = list(steps[0].negatives)
    names = ("threshold", "", *(f"rejected, {half}, mean of the kinds" for half in halves),
             "false, validation", "false, test", "false, DICOM")  # fmt: skip
    cells = [
        (step.name, plain(step.threshold), *(percent(step.negatives[half]) for half in halves),
         *map(percent, (step.validation, step.test, step.dicom)))
        for step in steps
    ]  # fmt: skip
    return table(names, cells)


def load_samples(data: Path, target: str, source: str) -> tuple[Sample, ...]:
    """Read labels.csv; the column of data sets need not be there."""
    there = columns_of(data)
    columns = dataset.Columns((target,), source=source if source in there else None)
    return dataset.load(data, columns).samples


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("negatives", type=Path)
    parser.add_argument("--model", default="router5")
    parser.add_argument("--dicom", type=Path, help="folder of DICOM files with manifest.csv")
    parser.add_argument("--target", default="group")
    parser.add_argument("--source", default="dataset", help="column of the data set that a file is from")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--bootstrap", type=int, default=10_000)
    parser.add_argument("--limit", type=int, help="so many images of each part, drawn by lot, to try it")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Print the tables."""
    given = parsed()
    bundle = bundles.load(bundles.locate(given.model))
    if bundle.reject is None:
        raise SystemExit(f"{bundle.tag} has no reject score: there is nothing to measure")
    samples = load_samples(given.data, given.target, given.source)
    asked = ask_all(TorchClassifier(bundle, given.device), negatives.load(given.negatives), samples, given)
    report = report_on(asked, given.dicom, given.bootstrap)
    given.out.mkdir(parents=True, exist_ok=True)
    facts = {"model": bundle.tag, "threshold": asked.threshold, **asdict(report)}
    text = json.dumps(as_json_values(facts), indent=2) + "\n"
    (given.out / "reject.json").write_text(text, encoding="utf-8")
    print(f"{bundle.tag}, threshold of the reject score {asked.threshold:g}\n")
    print(report_text(report))


if __name__ == "__main__":
    main()
