"""Measure a bundle on its own test part, and write what comes of it into the bundle's card, its README.md.

    python tools/model_card.py labels.csv --model models/router5 --target group

Rewrites what stands between `<!-- BEGIN figures -->` and `<!-- END figures -->` (what was measured) and
between `<!-- BEGIN data -->` and `<!-- END data -->` (where the pictures come from, counted); the rest of the
card is written by hand and stays as it is. The figures are those of the pixels alone; if the bundle has rules
of evidence and the CSV says ages (`age`, `modality`, `sop_class`), those with the header stand beside them.
If it has a rotation head, all images of the test part are shown to it in four positions. Draws `failures.png`
beside the card: wrong answers, the surest first, of those pictures only whose licence lets anyone pass them
on. The CSV needs the columns `file`, `dataset`, `licence` and the target; `patient`, `view`, `technique`,
`ambiguous` and `source_repo` are used if they are there.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from card_evidence import CHESTS, chests_of, evidence_text, filed, pixels_alone
from card_failures import MOST, PICTURE, Shown, failures_of, failures_text
from card_rotation import Turned, rotation_text, turned_of
from card_text import named, right_ones, share_text, table, wrapped

from dicomsort import __version__
from dicomsort.data import corrections, dataset
from dicomsort.data.dataset import PARTS, TEST, TRAIN, Sample
from dicomsort.data.table import EVIDENCE, PATIENT, columns_of
from dicomsort.data.targets import encode
from dicomsort.errors import DicomsortError, TargetError, UsageError
from dicomsort.evaluation import evaluate, guarantee
from dicomsort.evaluation import predictions as predicting
from dicomsort.evaluation.evaluate import Measured
from dicomsort.evaluation.metrics import Metrics, Predictions, measure
from dicomsort.evaluation.predictions import EvalSettings, ModelPredictions
from dicomsort.evaluation.tables import figure_text
from dicomsort.model import bundle as bundles
from dicomsort.model import load
from dicomsort.model.batching import Predictor
from dicomsort.model.bundle import Bundle
from dicomsort.model.rotation import ROTATION
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.starting import warm_up
from dicomsort.training.label_tree import LEAST

BLOCKS = ("figures", "data")
ALL, WITH, OUTSIDE = "images", "with", "outside"
NEEDED, BY = ("dataset", "licence"), ("dataset", "view", "technique")
FACTS = (*NEEDED, "view", "technique", "ambiguous", "source_repo")


@dataclass(frozen=True, slots=True)
class Work:
    """A bundle's answers on its test part, and all samples, of whatever part, whose truth is known.

    predicted, measured: by the pixels alone. weighed: with the header, None where it says nothing. turned:
    what a rotation head says of the test part, None without one.
    """

    data: Path
    folder: Path
    predicted: ModelPredictions
    measured: Measured
    samples: tuple[Sample, ...]
    settings: EvalSettings
    corrections: Path | None = None
    weighed: Measured | None = None
    turned: Turned | None = None

    @property
    def bundle(self) -> Bundle:
        """The model."""
        return self.predicted.bundle

    @property
    def target(self) -> str:
        """The column of the truth."""
        return self.measured.question.target

    def measure(self, predictions: Predictions) -> Metrics:
        """Compute figures with the same resamples as those of all images."""
        return measure(predictions, self.settings.bootstrap, self.settings.seed)


def work_of(given: argparse.Namespace) -> Work:
    """Run the bundle on its test part, and measure it."""
    warm_up()
    bundle, columns = bundles.load(given.model), columns_of(given.data)
    if missing := [name for name in NEEDED if name not in columns]:
        raise UsageError(f"'{given.data}' has no column '{missing[0]}'")
    settings = _settings(given, columns)
    samples = corrections.load(given.data, _wanted(given.target, bundle, columns), given.corrections)[
        0
    ].samples
    test = dataset.listed(samples, bundle.split, TEST)
    if not test:
        raise UsageError(f"no labelled file of '{given.data}' is in the test part of the model's split")
    predicting.check(bundle.heads, (given.target,), test)
    with load.predictor_for(bundle, given.device, given.precision) as predictor:
        answered = predicting.predict_samples(predictor, test, settings)
        turned = _turned(predictor, given, settings)
    weighed, alone = None, pixels_alone(answered)
    (found,) = evaluate.evaluate([alone], (given.target,), settings)
    if any(one.evidence for one in answered.predictions) and found.measured[0].question.at == 0:
        (again,) = evaluate.evaluate([answered], (given.target,), replace(settings, by=()))
        weighed = again.measured[0]
    return Work(
        given.data, given.model, alone, found.measured[0], tuple(samples), settings, given.corrections,
        weighed, turned,
    )  # fmt: skip


def _settings(given: argparse.Namespace, columns: Sequence[str]) -> EvalSettings:
    by = tuple(name for name in BY if name in columns and name != given.target)
    cluster = PATIENT if PATIENT in columns else None
    return EvalSettings(given.bootstrap, given.seed, cluster, by, pool=pool_settings(given.workers))


def _wanted(target: str, bundle: Bundle, columns: Sequence[str]) -> dataset.Columns:
    facts, told = (tuple(name for name in names if name in columns) for names in (FACTS, EVIDENCE))
    return dataset.Columns((target,), study=bundle.study, metadata=facts, evidence=told)


def _turned(predictor: Predictor, given: argparse.Namespace, settings: EvalSettings) -> Turned | None:
    """Show the whole test part, whatever is known of it, in four positions, if a head is to tell these."""
    if all(head.name != ROTATION for head in predictor.bundle.heads):
        return None
    wanted = dataset.Columns((given.target,), study=predictor.bundle.study)
    every = dataset.load(given.data, wanted, unlabeled=True).samples
    return turned_of(predictor, dataset.listed(every, predictor.bundle.split, TEST), settings.pool)


def figures_text(work: Work, shown: Shown) -> str:
    """Write what was measured."""
    kind = {"multiclass": _multiclass, "multilabel": _multilabel, "binary": _binary}
    parts = [_introduction(work), *kind[work.measured.question.head.kind](work), _review(work)]
    parts += [*_promises(work), *_rare(work)]
    parts += [_groups(work, column, groups) for column, groups in work.measured.groups.items()
              if column == "dataset" or len(groups) > 1]  # fmt: skip
    if work.weighed is not None:
        parts += evidence_text(work.measured, work.weighed, work.bundle, work.measure)
    if work.turned is not None:
        parts += rotation_text(work.turned, work.measured, work.measure)
    return "\n\n".join([*parts, *failures_text(shown, work.measured)])


def _introduction(work: Work) -> str:
    figures, said = work.measured.figures, work.predicted
    resampled = "images" if figures.clusters is None else f"{figures.clusters:,} patients"
    files = f" {len(said.failures)} more could not be read." if said.failures else ""
    corrected = f" --corrections {work.corrections.name}" if work.corrections else ""
    text = (
        f"Measured on the {figures.images:,} images of the test part of `split.csv` whose `{work.target}` is "
        f"known.{files} In brackets: 95 % intervals of {figures.bootstrap:,} bootstrap resamples of the "
        f"{resampled}; a figure without brackets is the same in all of them, `-` is not defined. Made from "
        f"the bundle as it is shipped, `{said.tag}`, in {said.precision} on {said.device} with dicomsort "
        f"{__version__}, by"
    )
    command = (
        f"python tools/model_card.py {work.data.name} --model models/{work.folder.resolve().name} "
        f"--target {work.target}{corrected}"
    )
    return f"{wrapped(text)}\n\n    {command}"


def _means(title: str, figures: Metrics, names: Sequence[str]) -> list[str]:
    cells = (figure_text(figures.overall[f"{name}_macro"]) for name in names)
    return [f"**{title}**", *cells, f"{figures.images:,}"]


def _unambiguous(work: Work) -> Metrics | None:
    """Measure without the images that are marked as ambiguous; None if none is."""
    marked = np.array([one.sample.metadata.get("ambiguous") == "1" for one in work.measured.known])
    if not marked.any() or marked.all():
        return None
    return work.measure(work.measured.predictions.take(~marked))


def _class_rows(work: Work, names: Sequence[str]) -> list[list[str]]:
    figures, strict = work.measured.figures, _unambiguous(work)
    rows = [
        [label, *(figure_text(figures.per_class[label][name]) for name in names), f"{support:,}"]
        for label, support in figures.support.items()
    ]
    rows.append(_means("macro", figures, names))
    return rows if strict is None else [*rows, _means("macro, without ambiguous images", strict, names)]


def _multiclass(work: Work) -> list[str]:
    figures = work.measured.figures
    words = {
        "accuracy": "accuracy", "kappa": "Cohen's kappa", "log_loss": "log loss",
        "ece": "expected calibration error", "auc_macro": "macro ROC AUC",
    }  # fmt: skip
    parts = [
        table(
            ("class", "precision", "recall", "F1", "images"), _class_rows(work, ("precision", "recall", "f1"))
        ),
        named(figures, words),
        _confusion(figures),
    ]
    if set(CHESTS) <= set(figures.labels):
        parts.append(_chests(work))
    return parts


def _confusion(figures: Metrics) -> str:
    rows = ([label, *map(str, row)] for label, row in zip(figures.labels, figures.confusion, strict=True))
    return table(("truth \\ answer", *figures.labels), rows)


def _chests(work: Work) -> str:
    two = chests_of(work.measured.predictions)
    if two is None:
        return "The test part does not show chests of both, adults and children."
    text = figure_text(work.measure(two).overall["recall_macro"])
    return wrapped(
        f"Children's chests against adults', balanced accuracy over the {len(two.truth):,} images of either "
        f"(any other answer is wrong): {text}."
    )


def _multilabel(work: Work) -> list[str]:
    names = ("precision", "recall", "f1", "ap", "auc")
    figures, head = work.measured.figures, work.measured.question.head.answering
    thresholds = [f"{each:.3f}" for each in head.thresholds or (0.5,) * len(head.labels)]
    rows = _class_rows(work, names)
    for row, threshold in zip(rows, [*thresholds, "", ""], strict=False):
        row.insert(1, threshold)
    columns = ("label", "threshold", "precision", "recall", "F1", "average precision", "ROC AUC", "images")
    words = {
        "f1_macro": "macro F1", "f1_micro": "micro F1", "f1_samples": "mean F1 over images",
        "subset_accuracy": "subset accuracy (all labels right)", "ece": "expected calibration error",
        "log_loss": "log loss",
    }  # fmt: skip
    return [named(figures, words), table(columns, rows)]


def _binary(work: Work) -> list[str]:
    figures, head = work.measured.figures, work.measured.question.head
    no, yes = head.labels
    each = (
        ("ROC AUC", yes, "auc"), ("average precision", yes, "ap"), ("sensitivity", yes, "recall"),
        ("specificity", no, "recall"), ("precision", yes, "precision"), ("F1", yes, "f1"),
    )  # fmt: skip
    rows = [[words, figure_text(figures.per_class[label][name])] for words, label, name in each]
    for words, name in (
        ("accuracy", "accuracy"),
        ("expected calibration error", "ece"),
        ("log loss", "log_loss"),
    ):
        rows.append([words, figure_text(figures.overall[name])])
    counts = f"{figures.support[yes]:,} images with `{yes}`, {figures.support[no]:,} without"
    threshold = (head.thresholds or (0.5,))[0]
    return [
        f"{counts}; from a score of {threshold:.3f} on the answer is `{yes}`.",
        table(("figure", "value"), rows),
        _confusion(figures),
    ]


def _review(work: Work) -> str:
    """Say what the review threshold does: how much stays, and how much of that is right."""
    measured, kept = work.measured, filed(work.measured, work.bundle)
    right, clusters = right_ones(measured.predictions), measured.predictions.take(kept).clusters
    shares = [share_text(kept, measured.predictions.clusters, work.measure)]
    if kept.any():
        shares.append(share_text(right[kept], clusters, work.measure))
    unlike = " What the reject score sends there besides is not counted." if work.bundle.reject else ""
    return wrapped(
        f"Review threshold {measured.question.head.review_below:.4f}: {kept.sum():,} of {len(kept):,} images "
        f"are not sent to review, a coverage of {shares[0]}. {(right & kept).sum():,} of these are right"
        + "".join(f", a precision of {share}" for share in shares[1:])
        + f"; of the {(~right).sum():,} wrong answers {(~right & ~kept).sum():,} go to review.{unlike}"
    )


def _promises(work: Work) -> list[str]:
    """Say what the bundle's review thresholds are worth, by the images that they were calibrated on."""
    lines = guarantee.lines_of(work.bundle.metrics)
    if not lines:
        return []
    return ["On the images that it was calibrated on:", "\n".join(wrapped(f"* {line}") for line in lines)]


def _rare(work: Work) -> list[str]:
    """Tell the labels with few training images, and what is answered for them."""
    head, split = work.measured.question.head, work.bundle.split
    cells = [one.targets[work.measured.question.cell] for one in work.samples
             if split.get(one.sha256) == TRAIN]  # fmt: skip
    known = np.stack([encode(cell, head) for cell in cells if cell] or [np.zeros(head.width, np.float32)]) > 0
    counts = known.sum(axis=0) if head.kind != "binary" else np.array([(~known).sum(), known.sum()])
    few = [(label, count) for label, count in zip(head.labels, counts, strict=True)
           if count < LEAST or label in head.rare]  # fmt: skip
    if not few:
        return [f"Every label has at least {LEAST} training images."]
    answered = dict.fromkeys(head.labels, "itself") | head.merged
    rows = [[label, str(count), answered[label]] for label, count in few]
    words = wrapped(
        f"Labels with fewer than {LEAST} training images. Where another label is answered for one, it "
        "counts as right here, too:"
    )
    return [words, table(("label", "training images", "answered as"), rows)]


def _groups(work: Work, column: str, groups: Mapping[str, Metrics]) -> str:
    name = "data set" if column == "dataset" else column
    positive = work.measured.figures.labels[1]
    rows, columns = [], {
        "multiclass": ("wrong", "accuracy"),
        "multilabel": ("wrong in a label", "subset accuracy", "mean F1"),
        "binary": (f"with {work.target}", "wrong", "ROC AUC"),
    }[work.measured.figures.kind]  # fmt: skip
    for group, figures in groups.items():
        cells = {
            f"with {work.target}": str(figures.support[positive]),
            "wrong": str(_wrong(figures)),
            "wrong in a label": str(_wrong(figures)),
            "ROC AUC": figure_text(figures.per_class[positive]["auc"]),
        }
        for title, key in (("accuracy", "accuracy"), ("subset accuracy", "subset_accuracy"),
                           ("mean F1", "f1_samples")):  # fmt: skip
            if key in figures.overall:
                cells[title] = figure_text(figures.overall[key])
        rows.append([group, f"{figures.images:,}", *(cells[title] for title in columns)])
    return table((name, "images", *columns), rows)


def _wrong(figures: Metrics) -> int:
    if figures.kind == "multilabel":
        return round(figures.images * (1 - figures.overall["subset_accuracy"].value))
    return figures.images - sum(row[at] for at, row in enumerate(figures.confusion))


def data_text(work: Work) -> str:
    """Count the pictures whose truth is known, by source and licence, in the parts of the split."""
    split, head = work.bundle.split, work.measured.question.head
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for sample in work.samples:
        there = head.kind == "binary" and sample.targets[0] in ("1", head.labels[1])
        part = split.get(sample.sha256)
        kinds = [part, ALL, *([WITH] if there else [])] if part else [OUTSIDE]
        counts[sample.metadata["dataset"], sample.metadata["licence"]].update(kinds)
    columns = (*PARTS, ALL, *((WITH,) if head.kind == "binary" else ()))
    ranked = sorted(
        (source for source in counts if counts[source][ALL]),
        key=lambda source: (-counts[source][ALL], source),
    )
    total = sum((counts[source] for source in ranked), Counter[str]())
    rows = [
        [name, _marked(licence), *(f"{counts[name, licence][column]:,}" for column in columns)]
        for name, licence in ranked
    ]
    rows.append(["**all**", "", *(f"{total[column]:,}" for column in columns)])
    titles = [column.replace(WITH, f"with {work.target}") for column in columns]
    parts = [table(("data set", "licence", *titles), rows), _licences(counts)]
    if outside := sum(each[OUTSIDE] for each in counts.values()):
        parts.append(f"{outside:,} more labelled images are in no part of `split.csv`.")
    return "\n\n".join(parts)


def _licences(counts: Mapping[tuple[str, str], Counter[str]]) -> str:
    trained: Counter[str] = Counter()
    for (_, licence), each in counts.items():
        trained[licence] += each[TRAIN]
    words = "; ".join(f"{_marked(licence)}: {count:,}" for licence, count in trained.most_common() if count)
    return wrapped(f"Licences of the {trained.total():,} images that it was trained on: {words}.")


def _marked(licence: str) -> str:
    name = licence or "not stated"
    return f"**{name}, non-commercial**" if "NC" in name.replace("-", " ").split() else name


def put(text: str, block: str, content: str) -> str:
    """Put content between the marks of a block. Raises UsageError unless both are there, once, in order."""
    begin, end = f"<!-- BEGIN {block} -->", f"<!-- END {block} -->"
    if not (text.count(begin) == text.count(end) == 1 and text.index(begin) < text.index(end)):
        raise UsageError(f"the card needs the marks '{begin}' and '{end}', each once, in this order")
    return f"{text[: text.index(begin)]}{begin}\n{content}\n{text[text.index(end) :]}"


def write(folder: Path, card: str, png: bytes) -> None:
    """Write the card and its picture; an old picture goes if there is none. Raises TargetError."""
    part = folder / "README.md.part"
    try:
        if png:
            (folder / PICTURE).write_bytes(png)
        else:
            (folder / PICTURE).unlink(missing_ok=True)
        part.write_text(card, encoding="utf-8")
        part.replace(folder / "README.md")
    except OSError as error:
        raise TargetError(f"'{folder}' cannot be written: {error.strerror}") from error


def make(given: argparse.Namespace) -> None:
    """Write the card, and print its figures."""
    card = given.model / "README.md"
    try:
        text = card.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"'{card}' cannot be read: {error.strerror}") from error
    for block in BLOCKS:
        put(text, block, "")
    work = work_of(given)
    shown = failures_of(work.measured, work.settings, given.most)
    figures = figures_text(work, shown)
    for block, content in zip(BLOCKS, (figures, data_text(work)), strict=True):
        text = put(text, block, f"\n{content}\n")
    write(work.folder, text, shown.png)
    print(figures)
    print(f"\nwrote {card} and {PICTURE} ({len(shown.png):,} bytes, {len(shown.pictured)} pictures)")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="CSV of all labelled images")
    parser.add_argument("--model", type=Path, required=True, help="the bundle's folder; it is changed")
    parser.add_argument("--target", required=True, help="column of the truth")
    parser.add_argument("--corrections", type=Path, help="labels to put right, as for dicomsort train")
    parser.add_argument("--bootstrap", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=MOST, help="pictures of wrong answers")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32", help="by default the same on every machine")
    try:
        make(parser.parse_args())
    except DicomsortError as error:
        print(f"card: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
