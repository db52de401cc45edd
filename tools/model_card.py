"""Measure a bundle on its own test part, and write what comes of it into the bundle's card, its README.md.

    python tools/model_card.py labels.csv --model models/router5 --target group

Rewrites what stands between `<!-- BEGIN figures -->` and `<!-- END figures -->` (what was measured) and
between `<!-- BEGIN data -->` and `<!-- END data -->` (where the pictures come from, counted); the rest of the
card is written by hand and stays as it is. Draws `failures.png` beside it: wrong answers, the surest first,
of those pictures only whose licence lets anyone pass them on. The CSV needs the columns `file`, `dataset`,
`licence` and the target; `patient`, `view`, `technique`, `ambiguous` and `source_repo` are used if they are
there.
"""

import argparse
import io
import sys
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from attribution import DATA_SETS
from numpy.typing import NDArray
from PIL import Image

from dicomsort import __version__
from dicomsort.data import corrections, dataset
from dicomsort.data.dataset import PARTS, TEST, TRAIN, Sample
from dicomsort.data.table import PATIENT, columns_of
from dicomsort.errors import DicomsortError, TargetError, UsageError
from dicomsort.evaluation import evaluate
from dicomsort.evaluation import predictions as predicting
from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.evaluate import Measured, Mistake
from dicomsort.evaluation.metrics import Metrics, Predictions, measure
from dicomsort.evaluation.predictions import EvalSettings, ModelPredictions
from dicomsort.evaluation.tables import figure_text
from dicomsort.imaging import contact_sheet
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model import bundle as bundles
from dicomsort.model import load
from dicomsort.model.bundle import Bundle
from dicomsort.outcome import Failure
from dicomsort.system.worker_pool import pool_settings, warm_up

BLOCKS = ("figures", "data")
ALL, WITH, OUTSIDE = "images", "with", "outside"
NEEDED, BY = ("dataset", "licence"), ("dataset", "view", "technique")
FACTS = (*NEEDED, "view", "technique", "ambiguous", "source_repo")
CREDITS = (*NEEDED, "source_repo")
FREE = frozenset({
    "CC BY 3.0", "CC BY 4.0", "CC BY 4.0 (as stated by the data source)", "MIT", "Apache-2.0", "BSD", "MS-PL",
})  # fmt: skip
"""Licences, as the column says them, of pictures that may be shown."""
CHESTS = ("adult_chest", "pediatric_chest")
PICTURE, LARGEST = "failures.png", 240_000  # bytes
STYLES, COLUMNS = ((160, 64), (160, 32), (144, 16), (128, 16), (112, 16), (96, 16), (80, 8)), 8
WIDTH, CAPTION, MOST_LINES, MOST_ROWS = 120, 22, 3, 40  # characters, lines, rows of a table


@dataclass(frozen=True, slots=True)
class Work:
    """A bundle's answers on its test part, and all samples, of whatever part, whose truth is known."""

    data: Path
    folder: Path
    predicted: ModelPredictions
    measured: Measured
    samples: tuple[Sample, ...]
    settings: EvalSettings
    corrections: Path | None = None

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


@dataclass(frozen=True, slots=True)
class Shown:
    """The wrong answers, the surest first, and those of them that the picture shows."""

    wrong: tuple[Mistake, ...]
    pictured: tuple[Mistake, ...]
    png: bytes


def work_of(given: argparse.Namespace) -> Work:
    """Run the bundle on its test part, and measure it."""
    warm_up()
    bundle = bundles.load(given.model)
    columns = columns_of(given.data)
    if missing := [name for name in NEEDED if name not in columns]:
        raise UsageError(f"'{given.data}' has no column '{missing[0]}'")
    by, facts = (tuple(name for name in names if name in columns) for names in (BY, FACTS))
    cluster = PATIENT if PATIENT in columns else None
    settings = EvalSettings(given.bootstrap, given.seed, cluster, by, pool=pool_settings(given.workers))
    wanted = dataset.Columns((given.target,), concat=bundle.concat_by, metadata=facts)
    samples = corrections.load(given.data, wanted, given.corrections)[0].samples
    test = dataset.listed(samples, bundle.split, TEST)
    if not test:
        raise UsageError(f"no labelled file of '{given.data}' is in the test part of the model's split")
    predicting.check(bundle.heads, (given.target,), test)
    with load.predictor_for(bundle, given.device, given.precision) as predictor:
        answered = predicting.predict_samples(predictor, test, settings)
    (found,) = evaluate.evaluate([answered], (given.target,), settings)
    return Work(
        given.data, given.model, answered, found.measured[0], tuple(samples), settings, given.corrections
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  " * text.startswith("*"), break_on_hyphens=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    head, *lines = (f"| {' | '.join(cell.replace('|', ', ') for cell in row)} |" for row in (columns, *rows))
    return "\n".join([head, f"|{'---|' * len(columns)}", *lines])


def figures_text(work: Work, shown: Shown) -> str:
    """Write what was measured."""
    kind = {"multiclass": _multiclass, "multilabel": _multilabel, "binary": _binary}
    parts = [_introduction(work), *kind[work.measured.question.head.kind](work), _review(work)]
    parts += [_groups(work, column, groups) for column, groups in work.measured.groups.items()
              if column == "dataset" or len(groups) > 1]  # fmt: skip
    return "\n\n".join([*parts, *_failures(work, shown)])


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
    return f"{_wrapped(text)}\n\n    {command}"


def _named(figures: Metrics, names: Mapping[str, str]) -> str:
    words = ", ".join(f"{words} {figure_text(figures.overall[name])}" for name, words in names.items())
    return _wrapped(f"{words[0].upper()}{words[1:]}.")


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
        _named(figures, words),
        _confusion(figures),
    ]
    if set(CHESTS) <= set(figures.labels):
        parts.append(_chests(work))
    return parts


def _confusion(figures: Metrics) -> str:
    rows = ([label, *map(str, row)] for label, row in zip(figures.labels, figures.confusion, strict=True))
    return table(("truth \\ answer", *figures.labels), rows)


def _chests(work: Work) -> str:
    predictions = work.measured.predictions
    adult, child = (predictions.labels.index(name) for name in CHESTS)
    some = predictions.take(np.isin(predictions.truth, (adult, child)))
    if len(np.unique(some.truth)) < 2:
        return "The test part does not show chests of both, adults and children."
    truth = (some.truth == child).astype(np.int64)
    chosen = np.where(some.chosen == some.truth, truth, 1 - truth)
    two = Predictions("binary", CHESTS, truth, chosen, np.eye(2)[chosen], some.clusters)
    text = figure_text(work.measure(two).overall["recall_macro"])
    return _wrapped(
        f"Children's chests against adults', balanced accuracy over the {len(truth):,} images of either (any "
        f"other answer is wrong): {text}."
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
    return [_named(figures, words), table(columns, rows)]


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
    measured, heads = work.measured, work.bundle.heads
    decisions = [predicting.decision_of(one, heads) for one in measured.known]
    at = measured.question.at
    kept = np.array([not (one, *one.further)[at].review for one in decisions])
    right = _right(measured.predictions)
    shares = [figure_text(_share(work, kept, measured.predictions))]
    if kept.any():
        shares.append(figure_text(_share(work, right[kept], measured.predictions.take(kept))))
    unlike = " What the reject score sends there besides is not counted." if work.bundle.reject else ""
    return _wrapped(
        f"Review threshold {measured.question.head.review_below:.4f}: {kept.sum():,} of {len(kept):,} images "
        f"are not sent to review, a coverage of {shares[0]}. {(right & kept).sum():,} of these are right"
        + "".join(f", a precision of {share}" for share in shares[1:])
        + f"; of the {(~right).sum():,} wrong answers {(~right & ~kept).sum():,} go to review.{unlike}"
    )


def _right(predictions: Predictions) -> NDArray[np.bool_]:
    """Say which answers are right (n,), of several labels: right in all of them."""
    same = predictions.chosen == predictions.truth
    return np.asarray(same.all(axis=1) if predictions.kind == "multilabel" else same, np.bool_)


def _share(work: Work, flags: NDArray[np.bool_], predictions: Predictions) -> Estimate:
    """Return the share of images that are flagged, with its interval."""
    chosen, always = flags.astype(np.int64), np.ones(len(flags), np.int64)
    made = Predictions("binary", ("no", "yes"), always, chosen, np.eye(2)[chosen], predictions.clusters)
    return work.measure(made).overall["accuracy"]


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


def failures_of(work: Work, most: int) -> Shown:
    """Find the wrong answers, and draw those whose pictures may be shown."""
    wrong = evaluate.worst(work.measured, len(work.measured.known))
    free = [one for one in wrong if may_be_shown(one.prediction.sample)][:most]
    pictures = _pictures([one.prediction.sample for one in free], work.settings)
    tiles = {id(one): contact_sheet.Tile(pictures[id(one.prediction.sample)], _caption(one))
             for one in free if id(one.prediction.sample) in pictures}  # fmt: skip
    pictured = tuple(one for one in free if id(one) in tiles)
    return Shown(wrong, pictured, drawn(list(tiles.values())))


def may_be_shown(sample: Sample) -> bool:
    """Tell whether the licence lets anyone pass a picture on; of a study only the first file's is known."""
    return not sample.views and sample.metadata.get("licence") in FREE


def _pictures(samples: Sequence[Sample], settings: EvalSettings) -> dict[int, NDArray[np.uint8]]:
    """Read samples again, by their id(); without what cannot be read any more."""
    readings = dataset.read_all(samples, Preprocessing(size=224), settings.pool)
    return {id(one): found.image for one, found in readings if not isinstance(found, Failure)}


def _caption(mistake: Mistake) -> tuple[str, ...]:
    facts = mistake.prediction.sample.metadata
    said = [f"truth: {_plain(mistake.truth)}", f"answer: {_plain(mistake.label)}"]
    lines = [line for text in said
             for line in textwrap.wrap(text, CAPTION, max_lines=MOST_LINES, placeholder=" ...")]  # fmt: skip
    return (facts["dataset"], *lines, f"confidence {mistake.confidence:.3f}")


def _plain(label: str) -> str:
    return label.replace("|", ", ") or "none"


def drawn(tiles: Sequence[contact_sheet.Tile]) -> bytes:
    """Draw a contact sheet as PNG, as large and in as many grays as the file may be; empty without tiles."""
    content = b""
    for side, greys in STYLES if tiles else ():
        picture = contact_sheet.sheet_of(tiles, min(COLUMNS, len(tiles)), side).convert("L")
        indices = np.rint(np.asarray(picture, np.float64) * (greys - 1) / 255).astype(np.uint8)
        paletted = Image.frombytes("P", picture.size, indices.tobytes())
        paletted.putpalette([level * 255 // (greys - 1) for level in range(greys) for _ in "rgb"])
        file = io.BytesIO()
        paletted.save(file, "PNG", optimize=True)
        content = file.getvalue()
        if len(content) <= LARGEST:
            break
    return content


def _failures(work: Work, shown: Shown) -> list[str]:
    """Write which answers are wrong, and whose pictures are shown."""
    images, several = len(work.measured.known), work.measured.figures.kind == "multilabel"
    sure = " Their confidence is that of the wrong label that it was surest of." * several
    wrong = f"{len(shown.wrong):,} of {images:,} images are wrong{' in at least one label' * several}.{sure}"
    parts = ["### Wrong answers", wrong]
    if shown.pictured:
        parts += [f"![Wrong answers, the surest first]({PICTURE})", _credits(shown)]
    if shown.wrong:
        parts.append(_failure_table(shown))
    return parts


def _credits(shown: Shown) -> str:
    """Name the sources of the pictures, as their licences want it."""
    counts = Counter(
        tuple(one.prediction.sample.metadata.get(name, "") for name in CREDITS) for one in shown.pictured
    )
    lines = [
        f"The picture shows {len(shown.pictured)} of them, the surest first, made small and of few greys, "
        "and only those whose licence lets anyone pass them on. They come from"
    ]
    for (name, licence, repository), count in sorted(counts.items()):
        words = (DATA_SETS.get(name), repository and f"copied from {repository}", licence)
        lines.append(f"* {name} ({count}): {'; '.join(filter(None, words))}")
    first, *others = map(_wrapped, lines)
    return "\n".join([first, "", *others])


def _failure_table(shown: Shown) -> str:
    def row(one: Mistake) -> tuple[str, str, str]:
        return one.prediction.sample.metadata["dataset"], _plain(one.truth), _plain(one.label)

    counts, pictured = Counter(map(row, shown.wrong)), Counter(map(row, shown.pictured))
    ranked = sorted(counts, key=lambda each: (-counts[each], each))
    rows = [[*each, str(counts[each]), str(pictured[each])] for each in ranked[:MOST_ROWS]]
    written = table(("data set", "truth", "answer", "images", "in the picture"), rows)
    rest = sum(counts[each] for each in ranked[MOST_ROWS:])
    return written + (f"\n\nThe rarer kinds, {rest:,} images in all, are left out." if rest else "")


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
    return _wrapped(f"Licences of the {trained.total():,} images that it was trained on: {words}.")


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
    shown = failures_of(work, given.most)
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
    parser.add_argument("--most", type=int, default=COLUMNS * 5, help="pictures of wrong answers")
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
