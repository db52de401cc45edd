"""What a five-class model answers when only what should not matter has changed.

    python studies/shortcuts.py labels.csv [--model router5] [--split-part test] [--limit N] --out FOLDER

Takes the part of the data that the model's own split names (files of no split count as test), without those
marked `ambiguous`, changes each picture in its own pixels, before it is fitted to the canvas, and asks the
model again: polarity, borders, aspect ratio, turns, contrast, resolution, compression, burned-in text. Prints
Markdown tables: every condition; data sets whose chests are all adult, or all of children, and how many of
them the model takes for the other; and how many pictures become a spine as a tall strip. --out gets the
figures as shortcuts.json. Import `conditions` and `measure_conditions` for other samples.
"""

import argparse
import io
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

import dicomsort
from dicomsort.data import dataset
from dicomsort.data.dataset import Sample
from dicomsort.data.table import columns_of
from dicomsort.dicom.plain_pictures import PICTURE_FORMATS
from dicomsort.evaluation import predictions
from dicomsort.evaluation.predictions import Question
from dicomsort.imaging.canvas import fit
from dicomsort.model import bundle as bundles
from dicomsort.model.batching import Predictor
from dicomsort.model.bundle import Bundle
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.heads import split_columns

Gray = NDArray[np.float32]
"""A picture of its own size: (rows, columns), 0 black to 255 white."""

Change = Callable[[Gray], Gray]

AS_IS, STRIP = "as is", "padded with black to a tall strip (height 2 : width 1)"
ADULT, CHILD, SPINE = "adult_chest", "pediatric_chest", "spine"
AMBIGUOUS = "ambiguous"
FRAMES = (5, 10, 15)  # per cent of the side
SEED = 0


@dataclass(frozen=True, slots=True)
class Row:
    """What the model made of all pictures under one condition; shares are 0 to 1, NaN of nothing.

    recalls: of each class that occurs; recall: their mean. adult_as_child: share of adult chests that are
    called pediatric; child_as_adult: the reverse. sure: share at or above the review threshold.
    """

    name: str
    images: int
    recall: float
    accuracy: float
    adult_as_child: float
    child_as_adult: float
    sure: float
    recalls: dict[str, float]


@dataclass(frozen=True, slots=True)
class ModelPredictions:
    """What the model says of samples: (n,) class indices and confidences under each condition."""

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    review_below: float
    truth: NDArray[np.int64]
    chosen: dict[str, NDArray[np.int64]]
    confidence: dict[str, NDArray[np.float64]]

    def of(self, label: str) -> NDArray[np.bool_]:
        """Tell which samples are of a class: bool (n,); none of a class that the model does not know."""
        return self.called(label, self.truth)

    def called(self, label: str, answers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which answers are a class: bool (n,)."""
        known = label in self.labels
        return answers == self.labels.index(label) if known else np.zeros(len(answers), np.bool_)


def conditions() -> dict[str, Change]:
    """Name all changes, the unchanged picture first."""
    return {AS_IS: _same, "inverted": lambda gray: 255 - gray} | _borders() | _shapes() | _looks()


def _borders() -> dict[str, Change]:
    found: dict[str, Change] = {}
    for color, value in (("white", 255), ("black", 0)):
        for edges, (down, across) in {
            "all edges": (1, 1), "left and right": (0, 1), "top and bottom": (1, 0)
        }.items():  # fmt: skip
            for percent in FRAMES:
                width = percent / 100
                change = partial(framed, down=down * width, across=across * width, value=value)
                found[f"{color} border of {percent} %, {edges}"] = change
    return found


def _shapes() -> dict[str, Change]:
    return {
        STRIP: partial(padded, ratio=2.0, value=0),
        "padded with white to a tall strip (2 : 1)": partial(padded, ratio=2.0, value=255),
        "padded with black to a wide strip (1 : 2)": partial(padded, ratio=0.5, value=0),
        "padded with white to a wide strip (1 : 2)": partial(padded, ratio=0.5, value=255),
        "middle 60 % of the width": partial(cropped, down=1.0, across=0.6),
        "middle 60 % of the height": partial(cropped, down=0.6, across=1.0),
        "middle square": squared,
        "turned by 90 degrees": partial(turned, quarters=1),
        "turned by 180 degrees": partial(turned, quarters=2),
        "turned by 270 degrees": partial(turned, quarters=3),
        "mirrored": lambda gray: gray[:, ::-1],
        "1.3 times as wide": partial(resized, down=1.0, across=1.3),
        "1.3 times as high": partial(resized, down=1.3, across=1.0),
    }


def _looks() -> dict[str, Change]:
    return {
        "half the contrast": halved,
        "gamma 0.5 (brighter)": partial(bent, gamma=0.5),
        "gamma 2 (darker)": partial(bent, gamma=2.0),
        "96 pixels and back": partial(coarse, side=96),
        "JPEG, quality 30": partial(compressed, quality=30),
        "burned-in text": written_on,
    }


def _same(gray: Gray) -> Gray:
    return gray


def framed(gray: Gray, down: float, across: float, value: float) -> Gray:
    """Put a border around: `down` of the height above and below, `across` of the width on both sides."""
    rows, columns = round(down * gray.shape[0]), round(across * gray.shape[1])
    return np.pad(gray, ((rows, rows), (columns, columns)), constant_values=value)


def padded(gray: Gray, ratio: float, value: float) -> Gray:
    """Pad to a height of `ratio` times the width, or to less; what is beyond that already stays as it is."""
    height, width = gray.shape
    wanted = max(height, round(width * ratio)) if ratio > 1 else height, max(width, round(height / ratio))
    missing = wanted[0] - height, (wanted[1] - width) * (ratio < 1)
    return np.pad(gray, [(each // 2, each - each // 2) for each in missing], constant_values=value)


def cropped(gray: Gray, down: float, across: float) -> Gray:
    """Keep a share of the height and of the width, in the middle."""
    height, width = (
        max(1, round(part * side)) for part, side in zip((down, across), gray.shape, strict=True)
    )
    top, left = (gray.shape[0] - height) // 2, (gray.shape[1] - width) // 2
    return gray[top : top + height, left : left + width]


def squared(gray: Gray) -> Gray:
    """Keep the largest square, in the middle."""
    side = min(gray.shape)
    return cropped(gray, side / gray.shape[0], side / gray.shape[1])


def turned(gray: Gray, quarters: int) -> Gray:
    """Turn to the left by quarters."""
    return np.rot90(gray, quarters)


def resized(gray: Gray, down: float, across: float) -> Gray:
    """Stretch by factors."""
    return _resize(gray, (round(gray.shape[0] * down), round(gray.shape[1] * across)))


def halved(gray: Gray) -> Gray:
    """Halve the contrast around the middle gray."""
    return np.asarray(64 + gray / 2, np.float32)


def bent(gray: Gray, gamma: float) -> Gray:
    """Raise grays to a power; black stays black and white stays white."""
    return np.asarray(255 * (gray / 255) ** gamma, np.float32)


def coarse(gray: Gray, side: int) -> Gray:
    """Shrink the longer side to `side` pixels, and grow it back; what is smaller stays as it is."""
    scale = side / max(gray.shape)
    if scale >= 1:
        return gray
    small = _resize(gray, (max(1, round(gray.shape[0] * scale)), max(1, round(gray.shape[1] * scale))))
    return _resize(small, (gray.shape[0], gray.shape[1]))


def compressed(gray: Gray, quality: int) -> Gray:
    """Write as JPEG, and read it again."""
    file = io.BytesIO()
    Image.fromarray(_bytes(gray)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), np.float32)


def written_on(gray: Gray) -> Gray:
    """Burn in what devices burn in: a side in a corner, lines of text in others, white with a dark edge."""
    picture = Image.fromarray(_bytes(gray))
    draw, size = ImageDraw.Draw(picture), max(8.0, max(gray.shape) / 28)
    height, width = gray.shape
    words = (
        ("R", (0.05 * width, 0.08 * height), "lm", 2.5),
        ("NAME^ANY  M\n01.02.1963\nID 004711", (0.98 * width, 0.02 * height), "ra", 1),
        ("12.03.2014 10:41\nAP 81 kV 2.0 mAs", (0.02 * width, 0.98 * height), "ld", 1),
    )
    for text, place, anchor, scale in words:
        font = ImageFont.load_default(size * scale)
        options: dict[str, Any] = {"stroke_width": 1, "stroke_fill": 0, "anchor": anchor, "font": font}
        draw.text(place, text, 255, **options)
    return np.asarray(picture, np.float32)


def _resize(gray: Gray, shape: tuple[int, int]) -> Gray:
    picture = Image.fromarray(np.ascontiguousarray(gray))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float32)


def _bytes(gray: Gray) -> NDArray[np.uint8]:
    return np.asarray(np.clip(gray + 0.5, 0, 255), np.uint8)


def read_gray(path: Path) -> Gray:
    """Read every pixel of a DICOM file, or of a picture as `dicomsort.dicom.reader` reads one."""
    try:
        return np.asarray(dicomsort.read_image(path, preprocessing=None), np.float32)
    except dicomsort.UnreadableError as error:
        if error.status != "not_dicom":
            raise
    with Image.open(path, formats=PICTURE_FORMATS) as image:
        deep = image.mode.startswith("I")
        gray = np.asarray(ImageOps.exif_transpose(image).convert("F" if deep else "L"), np.float32)
    return gray / np.float32(257) if deep else gray


def measure_conditions(
    predictor: Predictor,
    samples: Sequence[Sample],
    target: str = "group",
    changes: Mapping[str, Change] | None = None,
) -> ModelPredictions:
    """Ask the model about every sample under every condition; by default those of `conditions`.

    target: the column of which the samples' first cell is; the head of that name answers, or else the first.
    Raises UsageError for a label that the head does not have.
    """
    changes = conditions() if changes is None else changes
    bundle = predictor.bundle
    question = predictions.questions(bundle.heads, (target,))[0]
    predictions.check(bundle.heads, (target,), samples)
    with ThreadPoolExecutor(predictor.concurrency) as threads:
        ask = partial(_scores, predictor=predictor, changes=tuple(changes.values()), question=question)
        scores = np.stack(list(threads.map(ask, samples)))
    head = question.head
    by_name = dict(zip(changes, scores.transpose(1, 0, 2), strict=True))
    return ModelPredictions(
        samples=tuple(samples),
        labels=head.labels,
        review_below=head.review_below,
        truth=np.array([head.labels.index(sample.label) for sample in samples]),
        chosen={name: head.chosen(rows) for name, rows in by_name.items()},
        confidence={name: head.confidence(rows) for name, rows in by_name.items()},
    )


def _scores(
    sample: Sample, predictor: Predictor, changes: Sequence[Change], question: Question
) -> NDArray[np.float32]:
    """Return the head's scores of one sample: (changes, labels)."""
    bundle, gray = predictor.bundle, read_gray(sample.path)
    canvases = np.stack([fit(change(gray), bundle.preprocessing) for change in changes])
    batches = range(0, len(canvases), predictor.batch_size)
    logits = [predictor.logits(canvases[at : at + predictor.batch_size]) for at in batches]
    scores = bundle.scores(np.concatenate(logits)[:, : bundle.outputs])
    return split_columns(scores, [len(head.labels) for head in bundle.heads])[question.at]


def rows_of(answered: ModelPredictions) -> list[Row]:
    """Sum up each condition."""
    return [_row(name, answered) for name in answered.chosen]


def _row(name: str, answered: ModelPredictions) -> Row:
    chosen, truth = answered.chosen[name], answered.truth
    recalls = {
        label: _share(answered.called(label, chosen), answered.of(label))
        for label in answered.labels
        if answered.of(label).any()
    }
    return Row(
        name=name,
        images=len(truth),
        recall=float(np.mean(list(recalls.values()))),
        accuracy=float(np.mean(chosen == truth)),
        adult_as_child=_share(answered.called(CHILD, chosen), answered.of(ADULT)),
        child_as_adult=_share(answered.called(ADULT, chosen), answered.of(CHILD)),
        sure=float(np.mean(answered.confidence[name] >= answered.review_below)),
        recalls=recalls,
    )


def _share(those: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    return float(those[among].mean()) if among.any() else math.nan


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Chests of a source that has only adults, or only children: share called the other age, as it is
    and under the condition that makes it greatest.
    """  # noqa: D205

    source: str
    only: str
    images: int
    taken: float
    most: float
    condition: str


def by_source(answered: ModelPredictions, known: Iterable[Sample]) -> list[SourceRow]:
    """Measure sources whose chests are all of one age; `known` are the samples that tell which these are."""
    ages: dict[str, set[str]] = defaultdict(set)
    for sample in known:
        ages[sample.source] |= {sample.label} & {ADULT, CHILD}
    rows = []
    for source, found in sorted(ages.items()):
        for only, other in ((ADULT, CHILD), (CHILD, ADULT)):
            members = np.array([sample.source == source for sample in answered.samples]) & answered.of(only)
            if source and found == {only} and members.any():
                rows.append(_source_row(answered, source, members, (only, other)))
    return rows


def _source_row(
    answered: ModelPredictions, source: str, members: NDArray[np.bool_], ages: tuple[str, str]
) -> SourceRow:
    only, other = ages
    shares = {
        name: _share(answered.called(other, chosen), members) for name, chosen in answered.chosen.items()
    }
    worst = max(shares, key=lambda name: shares[name])
    return SourceRow(source, only, int(members.sum()), shares[AS_IS], shares[worst], worst)


def becoming_spine(answered: ModelPredictions) -> dict[str, dict[str, float]]:
    """Return for each class and change of shape the share of its pictures that are called a spine."""
    names = [name for name in answered.chosen if name in {AS_IS, *_shapes()}]
    return {
        label: {
            name: _share(answered.called(SPINE, answered.chosen[name]), answered.of(label)) for name in names
        }
        for label in answered.labels
        if answered.of(label).any()
    }


def tables(answered: ModelPredictions, known: Iterable[Sample]) -> str:
    """Write all tables as Markdown."""
    return "\n\n".join([_conditions_table(answered), _source_table(answered, known), _spine_table(answered)])


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _conditions_table(answered: ModelPredictions) -> str:
    rows = rows_of(answered)
    first = rows[0]
    names = (
        "condition", "macro recall", "change", "accuracy", "change",
        "adult chests called pediatric", "pediatric called adult", "above the review threshold",
    )  # fmt: skip
    cells = [
        (row.name, f"{row.recall:.3f}", f"{row.recall - first.recall:+.3f}", f"{row.accuracy:.3f}",
         f"{row.accuracy - first.accuracy:+.3f}",
         *map(_percent, (row.adult_as_child, row.child_as_adult, row.sure)))
        for row in rows
    ]  # fmt: skip
    return _table(names, cells)


def _source_table(answered: ModelPredictions, known: Iterable[Sample]) -> str:
    names = ("source", "its chests are all", "images", "called the other age", "most", "under the condition")
    cells = [
        (row.source, row.only, str(row.images), _percent(row.taken), _percent(row.most),
         row.condition if row.most > row.taken else "")
        for row in by_source(answered, known)
    ]  # fmt: skip
    return _table(names, cells)


def _spine_table(answered: ModelPredictions) -> str:
    shares = becoming_spine(answered)
    names = list(next(iter(shares.values())))
    rows = [(name, *(_percent(shares[label][name]) for label in shares)) for name in names]
    return _table(("called a spine", *shares), rows)


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f} %"


def load(data: Path, target: str, source: str) -> tuple[Sample, ...]:
    """Read a labelled data set without what is marked ambiguous; the columns need not all be there."""
    there = columns_of(data)
    facts = (AMBIGUOUS,) if AMBIGUOUS in there else ()
    columns = dataset.Columns((target,), source=source if source in there else None, metadata=facts)
    samples = dataset.load(data, columns).samples
    return tuple(sample for sample in samples if sample.metadata.get(AMBIGUOUS) != "1")


def _some(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    if limit is None or limit >= len(samples):
        return samples
    kept = np.random.default_rng(SEED).permutation(len(samples))[:limit]
    return [samples[at] for at in sorted(kept)]


def as_json(answered: ModelPredictions, known: Sequence[Sample], bundle: Bundle) -> dict[str, Any]:
    """Return all figures as JSON values; NaN becomes None."""
    found = {
        "model": bundle.tag,
        "images": len(answered.samples),
        "conditions": [asdict(row) for row in rows_of(answered)],
        "sources": [asdict(row) for row in by_source(answered, known)],
        "called_spine": becoming_spine(answered),
    }
    return dict(_without_nan(found))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--target", default="group")
    parser.add_argument("--source", default="dataset", help="column of the data set that a file is from")
    parser.add_argument("--model", default="router5")
    parser.add_argument("--split-part", default="test", choices=[*dataset.PARTS, "all"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, help="so many images, drawn by lot, to try it")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    bundle = bundles.load(bundles.locate(given.model))
    known = load(given.data, given.target, given.source)
    samples = _some(dataset.in_part(known, bundle.split, given.split_part), given.limit)
    answered = measure_conditions(TorchClassifier(bundle, given.device), samples, given.target)
    given.out.mkdir(parents=True, exist_ok=True)
    report = as_json(answered, known, bundle) | {"part": given.split_part}
    (given.out / "shortcuts.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{bundle.tag}, {len(samples)} images of the {given.split_part} part\n")
    print(tables(answered, known))


if __name__ == "__main__":
    main()
