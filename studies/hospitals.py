"""How good candidates are on hospitals that they have not seen, and which of them wins.

    python studies/hospitals.py labels.csv runs/A runs/B ... [--report A] --out FOLDER

Each candidate is a folder that `dicomsort train labels.csv --target group --folds models/sources.csv --out
runs/A` has written. Its predictions.csv holds one answer to each image, of the model that has seen nothing of
the image's data set. Truth, patients and data sets are those of labels.csv now; images marked `ambiguous` do
not count. Candidates are compared on the folds and images that all of them have answered.

Prints Markdown: all candidates; the choice made without looking at what it is reported on, for each fold the
candidate that is best on the others; and everything about one candidate, by default the best. Intervals are
95 % percentiles, patients resampled with all their images; folds and choices stay as they are. --out gets the
figures as sources.json.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import candidates
import numpy as np
from candidates import ADULT, CHILD, Known, Members, Nested, Run, best_of, chest_accuracy, macro_recall
from told import Values, percent, percent_spread, plain, share, spread, table, without_nan

from dicomsort.evaluation import metrics
from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.metrics import Metrics
from dicomsort.model.bundle import CONFIG
from dicomsort.training import cross_validation

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)
OWN = "the folds' own"
POOLED = ("precision_macro", "f1_macro", "accuracy", "kappa", "auc_macro", "log_loss", "ece")


@dataclass(frozen=True, slots=True)
class Part:
    """A fold or a data set: its images, how many are right, and where they would go.

    review_below: the own threshold of the model that was asked; precision, coverage: there. rejected: share.
    NaN is unknown.
    """

    name: str
    images: int
    recall: float
    accuracy: Estimate
    review_below: float
    precision: float
    coverage: float
    rejected: float


@dataclass(frozen=True, slots=True)
class Step:
    """A threshold: the precision above it, and the share above it; kept: without what is rejected."""

    threshold: str
    precision: Estimate
    coverage: float
    kept_precision: Estimate | None = None
    kept_coverage: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about a candidate. taken: by source, adult chests, share called pediatric."""

    run: Run
    figures: Metrics
    recall: Estimate
    chest: Estimate
    folds: tuple[Part, ...]
    sources: tuple[Part, ...]
    taken: dict[str, tuple[int, Estimate]]
    steps: tuple[Step, ...]


def report_on(run: Run, known: Mapping[str, Known], bootstrap: int) -> Report:
    """Measure one candidate on all its images."""
    limits = _limits(run, own_thresholds(run))
    names = sorted(set(run.sources.tolist()))
    return Report(
        run=run,
        figures=metrics.measure(run.answers(), bootstrap),
        recall=candidates.recall_with_interval(run, bootstrap),
        chest=candidates.chest_with_interval(run, bootstrap),
        folds=tuple(_part(run, each, run.folds == each, limits, bootstrap) for each in run.fold_order),
        sources=tuple(_part(run, each, run.sources == each, limits, bootstrap) for each in names),
        taken=taken_for_children(run, known, bootstrap),
        steps=tuple(steps_of(run, limits, bootstrap)),
    )


def own_thresholds(run: Run) -> dict[str, float]:
    """Return the review threshold of each fold's own model; without those whose model is gone."""
    found = {}
    for fold in run.fold_order:
        config = run.folder / cross_validation._folder_name(fold) / CONFIG
        if config.is_file():
            facts = json.loads(config.read_text(encoding="utf-8"))
            found[fold] = float(facts["heads"][0]["review_below"])
    return found


def _limits(run: Run, own: Mapping[str, float]) -> Values:
    """Return the own threshold of each image's model (n,), NaN where it is not known."""
    return np.array([own.get(str(fold), np.nan) for fold in run.folds])


def _part(run: Run, name: str, members: Members, limits: Values, bootstrap: int) -> Part:
    part, limit = run.take(members), limits[members]
    above, known = part.confidence >= limit, not np.isnan(limit).any()
    return Part(
        name=name,
        images=len(part.truth),
        recall=macro_recall(part.truth, part.right),
        accuracy=share(part.right, part.patients, bootstrap),
        review_below=float(limit[0]) if len(set(limit.tolist())) == 1 else float("nan"),
        precision=float(part.right[above].mean()) if above.any() else float("nan"),
        coverage=float(above.mean()) if known else float("nan"),
        rejected=float("nan") if part.rejected is None else float(part.rejected.mean()),
    )


def taken_for_children(
    run: Run, known: Mapping[str, Known], bootstrap: int
) -> dict[str, tuple[int, Estimate]]:
    """Return how many adult chests were called pediatric, by data sets whose chests are all adult; all last.

    known: tells which data sets these are.
    """
    ages: dict[str, set[str]] = defaultdict(set)
    for each in known.values():
        ages[each.source] |= {each.truth} & {ADULT, CHILD} if each.counts else set()
    only = {source for source, found in ages.items() if found == {ADULT}}
    groups = {source: run.of(ADULT) & (run.sources == source) for source in sorted(only)}
    groups["all of these"] = run.of(ADULT) & np.isin(run.sources, sorted(only))
    return {
        source: (int(of.sum()), share(run.called(CHILD)[of], run.patients[of], bootstrap))
        for source, of in groups.items()
        if of.any()
    }


def steps_of(run: Run, limits: Values, bootstrap: int) -> Iterator[Step]:
    """Return precision and coverage at each threshold, and at `limits` (n,) if all of them are known."""
    for threshold in THRESHOLDS:
        yield _step(f"{threshold:g}", run, np.asarray(run.confidence >= threshold), bootstrap)
    if not np.isnan(limits).any():
        yield _step(OWN, run, np.asarray(run.confidence >= limits), bootstrap)


def _step(name: str, run: Run, above: Members, bootstrap: int) -> Step:
    step = Step(name, _precision(run, above, bootstrap), float(above.mean()))
    if run.rejected is None:
        return step
    kept = above & ~run.rejected
    return replace(step, kept_precision=_precision(run, kept, bootstrap), kept_coverage=float(kept.mean()))


def _precision(run: Run, above: Members, bootstrap: int) -> Estimate:
    return share(run.right[above], run.patients[above], bootstrap)


def candidates_table(runs: Sequence[Run], bootstrap: int) -> str:
    """Write all candidates, the best first."""
    best = best_of(runs)
    order = sorted(runs, key=lambda run: -macro_recall(run.truth, run.right))
    names = (
        "candidate", "macro recall", "above the best", "macro precision", "macro F1", "accuracy",
        "pediatric against adult", *best.fold_order,
    )  # fmt: skip
    return table(names, [_candidate_row(run, best, bootstrap) for run in order])


def _candidate_row(run: Run, best: Run, bootstrap: int) -> list[str]:
    found = metrics.macro(run.answers())
    ahead = "" if run is best else _signed(candidates.recall_difference(run, best, bootstrap))
    return [
        run.name, plain(macro_recall(run.truth, run.right)), ahead, plain(found["precision_macro"]),
        plain(found["f1_macro"]), plain(found["accuracy"]), plain(chest_accuracy(run)),
        *map(plain, candidates.recall_by_fold(run).values()),
    ]  # fmt: skip


def _signed(given: Estimate) -> str:
    between = "" if np.isnan(given.low) else f" ({given.low:+.3f} to {given.high:+.3f})"
    return f"{given.value:+.3f}{between}"


def nested_text(found: Nested, runs: Sequence[Run], bootstrap: int) -> str:
    """Write the choice without looking."""
    best = best_of(runs)
    rows = [(each.fold, each.chosen, plain(each.elsewhere), plain(each.here)) for each in found.choices]
    names = ("reported fold", "best on the others", "its macro recall there", "on the reported fold")
    return (
        f"{table(names, rows)}\n\n"
        f"Nested choice: macro recall {spread(candidates.recall_with_interval(found.run, bootstrap))}, "
        f"pediatric against adult {plain(chest_accuracy(found.run))}. Best of all with looking: {best.name}, "
        f"{plain(macro_recall(best.truth, best.right))}. Optimism {found.optimism:+.4f}."
    )


def report_text(report: Report) -> str:
    """Write everything about a candidate."""
    run, overall = report.run, report.figures.overall
    pooled = [("recall_macro", spread(report.recall))]
    pooled += [(name, spread(overall[name])) for name in POOLED]
    pooled.append(("pediatric against adult, balanced accuracy", spread(report.chest)))
    parts = [
        f"{len(run.truth)} images of {len(set(run.patients.tolist()))} patients, {len(run.fold_order)} "
        f"folds: {', '.join(run.fold_order)}",
        table(("figure", "unseen sources"), pooled),
        _classes_table(report.figures),
        _parts_table("fold", report.folds, run.rejected is not None),
        _parts_table("data set", report.sources, run.rejected is not None),
        _confusion_table(report.figures),
        _taken_table(report.taken),
        _steps_table(report.steps),
    ]
    return "\n\n".join(parts)


def _classes_table(figures: Metrics) -> str:
    rows = [
        (label, str(figures.support[label]), *(spread(each[name]) for name in ("precision", "recall", "f1")))
        for label, each in figures.per_class.items()
    ]
    return table(("class", "images", "precision", "recall", "F1"), rows)


def _parts_table(kind: str, parts: Sequence[Part], rejecting: bool) -> str:
    own = not all(np.isnan(part.coverage) for part in parts)
    names = [kind, "images", "accuracy", "macro recall"]
    names += ["review below", "precision above", "coverage"] if own else []
    rows = []
    for part in parts:
        row = [part.name, str(part.images), spread(part.accuracy), plain(part.recall)]
        row += [plain(part.review_below), plain(part.precision), percent(part.coverage)] if own else []
        rows.append([*row, percent(part.rejected)] if rejecting else row)
    return table([*names, "rejected"] if rejecting else names, rows)


def _confusion_table(figures: Metrics) -> str:
    rows = [
        (label, *map(str, counts)) for label, counts in zip(figures.labels, figures.confusion, strict=True)
    ]
    return table(("truth, answer", *figures.labels), rows)


def _taken_table(taken: Mapping[str, tuple[int, Estimate]]) -> str:
    rows = [(source, str(images), percent_spread(each)) for source, (images, each) in taken.items()]
    return table(("data set of adult chests alone", "adult chests", "called pediatric"), rows)


def _steps_table(steps: Sequence[Step]) -> str:
    names = ["threshold", "precision above", "coverage"]
    rejecting = steps[0].kept_precision is not None
    rows = []
    for step in steps:
        row = [step.threshold, spread(step.precision), percent(step.coverage)]
        if step.kept_precision is not None and step.kept_coverage is not None:
            row += [spread(step.kept_precision), percent(step.kept_coverage)]
        rows.append(row)
    return table([*names, "precision, none rejected", "coverage"] if rejecting else names, rows)


def as_json(runs: Sequence[Run], found: Nested | None, report: Report, bootstrap: int) -> dict[str, Any]:
    """Return all figures as JSON values."""
    compared = {
        run.name: {
            "recall_macro": macro_recall(run.truth, run.right),
            **{name: value for name, value in metrics.macro(run.answers()).items() if name != "recall_macro"},
            "chest_balanced_accuracy": chest_accuracy(run),
            "recall_by_fold": candidates.recall_by_fold(run),
        }
        for run in runs
    }
    choice = None if found is None else {
        "choices": [asdict(each) for each in found.choices],
        "recall_macro": asdict(candidates.recall_with_interval(found.run, bootstrap)),
        "chest_balanced_accuracy": chest_accuracy(found.run),
        "optimism": found.optimism,
    }  # fmt: skip
    told = {
        "name": report.run.name,
        "pooled": report.figures.as_dict(),
        "recall_macro": asdict(report.recall),
        "chest_balanced_accuracy": asdict(report.chest),
        "folds": [asdict(part) for part in report.folds],
        "sources": [asdict(part) for part in report.sources],
        "adult_called_pediatric": {
            source: {"images": images, **asdict(each)} for source, (images, each) in report.taken.items()
        },
        "thresholds": [asdict(step) for step in report.steps],
    }
    facts = {"folds": runs[0].fold_order, "images": len(runs[0].truth), "best": best_of(runs).name}
    found_all = {**facts, "candidates": compared, "nested": choice, "report": told}
    return dict(without_nan(found_all))


def remarks(runs: Sequence[Run], shared: Sequence[Run]) -> Iterator[str]:
    """Say what was left out, and what has changed since."""
    for run, common in zip(runs, shared, strict=True):
        if missing := [fold for fold in run.fold_order if fold not in common.fold_order]:
            yield f"{run.name} has further folds, which are not compared: {', '.join(missing)}."
        left = int(np.isin(run.folds, common.fold_order).sum()) - len(common.truth)
        if left:
            yield f"{run.name} has answered {left} more images of these folds, which are not compared."
        if run.unknown:
            yield f"{run.name} has answered {run.unknown} images that the labels have no longer."
        if run.relabelled:
            yield f"{run.name} was trained when {run.relabelled} of its images had other labels."


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--target", default="group")
    parser.add_argument("--source", default="dataset", help="column of the data set that a file is from")
    parser.add_argument("--report", help="the candidate to tell everything about, instead of the best")
    parser.add_argument("--bootstrap", type=int, default=10_000)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    known = candidates.load_known(given.data, given.target, given.source)
    runs = {run.name: run for run in (candidates.load_run(folder, known) for folder in given.runs)}
    if len(runs) < len(given.runs):
        raise SystemExit("two candidates have one name")
    if given.report and given.report not in runs:
        raise SystemExit(f"--report {given.report}: the candidates are {', '.join(runs)}")
    shared = candidates.in_common(list(runs.values()))
    found = candidates.nested(shared) if len(shared[0].fold_order) > 1 else None
    report = report_on(runs[given.report or best_of(shared).name], known, given.bootstrap)
    given.out.mkdir(parents=True, exist_ok=True)
    figures = as_json(shared, found, report, given.bootstrap)
    (given.out / "sources.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    first = shared[0]
    print(f"## {len(shared)} candidates on {len(first.truth)} images of {len(first.fold_order)} folds\n")
    for remark in remarks(list(runs.values()), shared):
        print(remark, end="\n\n")
    print(candidates_table(shared, given.bootstrap))
    print("\n## The choice without looking\n")
    print(nested_text(found, shared, given.bootstrap) if found else "One fold leaves nothing to choose by.")
    print(f"\n## {report.run.name}\n")
    print(report_text(report))


if __name__ == "__main__":
    main()
