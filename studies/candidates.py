"""Candidates that have answered the images of data sets that they have not seen, and how to choose one."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from told import Values, figure, ratio, resampled

from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.metrics import Predictions
from dicomsort.system.escaping import uncell, unescape
from dicomsort.training import cross_validation

ADULT, CHILD = "adult_chest", "pediatric_chest"
AMBIGUOUS, PATIENT = "ambiguous", "patient"

Members = NDArray[np.bool_]
Texts = NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Known:
    """What labels.csv says of a file. counts: whether it has a label, and is not ambiguous."""

    truth: str
    patient: str
    source: str
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """A candidate's answers to n images, in the order of their files.

    fold_order: as they were trained. truth, chosen: class indices (n,). scores: (n, labels). rejected: (n,),
    None if its models have no reject score. relabelled: images whose label has changed since.
    unknown: images that labels.csv has no longer.
    """

    name: str
    folder: Path
    labels: tuple[str, ...]
    fold_order: tuple[str, ...]
    files: Texts
    folds: Texts
    patients: Texts
    sources: Texts
    truth: NDArray[np.int64]
    chosen: NDArray[np.int64]
    scores: Values
    rejected: Members | None = None
    relabelled: int = 0
    unknown: int = 0

    def take(self, members: Members) -> "Run":
        """Return some of the images."""
        rejected = None if self.rejected is None else self.rejected[members]
        return replace(
            self, files=self.files[members], folds=self.folds[members], patients=self.patients[members],
            sources=self.sources[members], truth=self.truth[members], chosen=self.chosen[members],
            scores=self.scores[members], rejected=rejected,
            fold_order=tuple(fold for fold in self.fold_order if (self.folds[members] == fold).any()),
        )  # fmt: skip

    @property
    def right(self) -> Members:
        """Tell which answers are right (n,)."""
        return np.asarray(self.chosen == self.truth)

    @property
    def confidence(self) -> Values:
        """Return the score of each answer (n,)."""
        return np.take_along_axis(self.scores, self.chosen[:, None], axis=1)[:, 0]

    def of(self, label: str) -> Members:
        """Tell which images are of a class (n,); none of a class that the models do not know."""
        return _are(self.truth, label, self.labels)

    def called(self, label: str) -> Members:
        """Tell which images were called a class (n,)."""
        return _are(self.chosen, label, self.labels)

    def answers(self) -> Predictions:
        """Return what `metrics` takes, with patients as clusters."""
        clusters = np.asarray(np.unique(self.patients, return_inverse=True)[1], np.int64)
        return Predictions("multiclass", self.labels, self.truth, self.chosen, self.scores, clusters)


def _are(indices: NDArray[np.int64], label: str, labels: Sequence[str]) -> Members:
    known = label in labels
    return np.asarray(indices == (labels.index(label) if known else -1))


def load_known(data: Path, target: str, source: str) -> dict[str, Known]:
    """Read labels.csv, by file. A file without patient stands for one."""
    with data.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        row["file"]: Known(
            truth=row[target],
            patient=row.get(PATIENT) or row["file"],
            source=row.get(source, ""),
            counts=bool(row[target]) and row.get(AMBIGUOUS) != "1",
        )
        for row in rows
    }


def load_run(folder: Path, known: Mapping[str, Known]) -> Run:
    """Read a candidate's predictions.csv. Ends the program if there is none, or not of one label each."""
    try:
        with (folder / cross_validation.PREDICTIONS).open(encoding="utf-8", newline="") as file:
            every = list(csv.DictReader(file))
    except OSError as error:
        raise SystemExit(f"'{folder}' has no {cross_validation.PREDICTIONS}: {error.strerror}") from error
    order = tuple(dict.fromkeys(_text(row["fold"]) for row in every))
    named = [(_text(row["file"]), row) for row in every]
    rows = sorted([(name, row) for name, row in named if name in known and known[name].counts], key=_place)
    labels = tuple(name.removeprefix("score_") for name in every[0] if name.startswith("score_"))
    facts = [known[name] for name, _ in rows]
    said = {each.truth for each in facts} | {row["label"] for _, row in rows}
    if not rows or not said <= set(labels):
        raise SystemExit(f"'{folder}': its answers are not labels of these data, or several at a time")
    telling = "rejected" in rows[0][1] and any(row["reject_score"] != "nan" for _, row in rows)
    run = Run(
        name=folder.resolve().name,
        folder=folder,
        labels=labels,
        fold_order=order,
        files=np.array([name for name, _ in rows]),
        folds=np.array([_text(row["fold"]) for _, row in rows]),
        patients=np.array([each.patient for each in facts]),
        sources=np.array([each.source for each in facts]),
        truth=np.array([labels.index(each.truth) for each in facts]),
        chosen=np.array([labels.index(row["label"]) for _, row in rows]),
        scores=np.array([[float(row[f"score_{label}"]) for label in labels] for _, row in rows]),
        rejected=np.array([row["rejected"] == "1" for _, row in rows]) if telling else None,
        relabelled=sum(row["truth"] != each.truth for (_, row), each in zip(rows, facts, strict=True)),
        unknown=sum(name not in known for name, _ in named),
    )
    return run.take(np.ones(len(rows), np.bool_))


def _place(pair: tuple[str, Mapping[str, str]]) -> tuple[str, str]:
    return pair[0], pair[1]["fold"]


def _text(text: str) -> str:
    return unescape(uncell(text))


def in_common(runs: Sequence[Run]) -> list[Run]:
    """Keep the folds and images that all candidates have answered; ends the program if there are none."""
    if len({frozenset(run.labels) for run in runs}) > 1:
        raise SystemExit("the candidates do not choose among the same labels")
    pairs = [set(zip(run.files, run.folds, strict=True)) for run in runs]
    shared = set.intersection(*pairs)
    if not shared:
        raise SystemExit("no fold has images that all candidates have answered")
    masks = [[pair in shared for pair in zip(run.files, run.folds, strict=True)] for run in runs]
    return [run.take(np.array(mask)) for run, mask in zip(runs, masks, strict=True)]


def macro_recall(truth: NDArray[np.int64], right: Members) -> float:
    """Return the mean of the recalls of the classes that occur."""
    return float(np.mean([right[truth == each].mean() for each in np.unique(truth)]))


def recall_of(run: Run, members: Members) -> float:
    """Return the macro recall of some images."""
    return macro_recall(run.truth[members], run.right[members])


def recall_by_fold(run: Run) -> dict[str, float]:
    """Return the macro recall of each fold, of the classes that occur there."""
    return {fold: recall_of(run, run.folds == fold) for fold in run.fold_order}


def chest_accuracy(run: Run) -> float:
    """Return the mean of the recalls of adult and pediatric chests; NaN unless there are both.

    An answer that is no chest is wrong.
    """
    both = [run.right[run.of(label)] for label in (ADULT, CHILD)]
    return float(np.mean([each.mean() for each in both])) if all(map(len, both)) else float("nan")


def _recall_columns(run: Run) -> Values:
    """Return which images are of each class, and which of these are right: (n, 2 * labels)."""
    of = run.truth[:, None] == np.arange(len(run.labels))
    return np.concatenate([of, of & run.right[:, None]], axis=1).astype(np.float64)


def _mean_recall(sums: Values) -> Values:
    """Turn sums of `_recall_columns` (b, 2 * labels) into macro recalls (b,)."""
    total, hits = np.split(sums, 2, axis=1)
    recalls = ratio(hits, total)
    return np.asarray(np.nansum(recalls, axis=1) / np.maximum((total > 0).sum(axis=1), 1))


def recall_with_interval(run: Run, bootstrap: int) -> Estimate:
    """Return the macro recall with its interval, patients resampled."""
    draws = _mean_recall(resampled(run.patients, _recall_columns(run), bootstrap))
    return figure(macro_recall(run.truth, run.right), draws)


def recall_difference(run: Run, best: Run, bootstrap: int) -> Estimate:
    """Return by how much a candidate's macro recall is above another's, the same patients in both."""
    columns = np.concatenate([_recall_columns(each) for each in (run, best)], axis=1)
    ours, theirs = np.split(resampled(run.patients, columns, bootstrap), 2, axis=1)
    value = macro_recall(run.truth, run.right) - macro_recall(best.truth, best.right)
    return figure(value, _mean_recall(ours) - _mean_recall(theirs))


def chest_with_interval(run: Run, bootstrap: int) -> Estimate:
    """Return the balanced accuracy of chests with its interval, patients resampled."""
    of = np.column_stack([run.of(label) for label in (ADULT, CHILD)])
    columns = np.concatenate([of, of & run.right[:, None]], axis=1).astype(np.float64)
    total, hits = np.split(resampled(run.patients, columns, bootstrap), 2, axis=1)
    return figure(chest_accuracy(run), ratio(hits, total).mean(axis=1))


@dataclass(frozen=True, slots=True)
class Choice:
    """A fold, the candidate that is best on the others, and its macro recall there and on the fold."""

    fold: str
    chosen: str
    elsewhere: float
    here: float


@dataclass(frozen=True, slots=True)
class Nested:
    """The choice without looking: its answers as those of one candidate, and what looking adds.

    optimism: macro recall of the candidate that is best on all folds, less that of the choice.
    """

    choices: tuple[Choice, ...]
    run: Run
    optimism: float


def best_of(runs: Sequence[Run], members: Members | None = None) -> Run:
    """Return the candidate of the highest macro recall, the first of several."""
    every = np.ones(len(runs[0].truth), np.bool_)
    return max(runs, key=lambda run: recall_of(run, every if members is None else members))


def nested(runs: Sequence[Run]) -> Nested:
    """Take for each fold the candidate that is best on the others; the runs hold the same images."""
    choices, chosen, scores = [], runs[0].chosen.copy(), runs[0].scores.copy()
    for fold in runs[0].fold_order:
        here = runs[0].folds == fold
        best = best_of(runs, ~here)
        own = [best.labels.index(label) for label in runs[0].labels]
        chosen[here], scores[here] = np.argsort(own)[best.chosen[here]], best.scores[here][:, own]
        choices.append(Choice(fold, best.name, recall_of(best, ~here), recall_of(best, here)))
    run = replace(runs[0], name="nested choice", chosen=chosen, scores=scores, rejected=None)
    best = best_of(runs)
    optimism = macro_recall(best.truth, best.right) - macro_recall(run.truth, run.right)
    return Nested(tuple(choices), run, optimism)
