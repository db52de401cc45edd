"""What a model with a reject score says of radiographs, and of pictures that are none."""

import argparse
import csv
import io
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from negatives import Negative
from numpy.typing import NDArray
from PIL import Image
from shortcuts import Change, Gray, bent, compressed, read_gray, resized
from told import Values

from dicomsort.data import dataset
from dicomsort.data.dataset import TEST, VALIDATION, Sample
from dicomsort.dicom import reader
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.imaging.canvas import Canvas, Preprocessing, fit
from dicomsort.model.batching import Predictor
from dicomsort.model.bundle import Bundle
from dicomsort.outcome import Failure, ReadImage

AS_IS = "as is"
DICOM_GROUPS, UNKNOWN, MAMMOGRAPHY = ("xray", "derived"), ("", "unclear"), "MG"
SEED = 0

Item = TypeVar("Item")
Members = NDArray[np.bool_]
Read = Callable[[Item], Canvas]
"""Reads an item as canvases (m, size, size), none (0, size, size) if it cannot be read."""


@dataclass(frozen=True, slots=True)
class Said(Generic[Item]):
    """What a model says of n items on m canvases each: reject scores and what is filed, (n, m).

    unread: items that could not be read.
    """

    items: tuple[Item, ...]
    scores: Values
    filed: Members
    unread: tuple[Item, ...]

    def first(self, members: Members | None = None) -> "Group":
        """Return the first canvases, or some of them."""
        return self.of(0, members)

    def of(self, canvas: int, members: Members | None = None) -> "Group":
        """Return one canvas of each item, or of some of them."""
        kept = np.ones(len(self.items), np.bool_) if members is None else members
        units = np.array([_unit(item) for item in self.items], dtype=str)
        return Group(self.scores[kept, canvas], self.filed[kept, canvas], units[kept])


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures: reject scores, what is filed, and what each is resampled with (n,)."""

    scores: Values
    filed: Members
    units: NDArray[np.str_]


def _unit(item: Any) -> str:
    if isinstance(item, Negative):
        return item.origin
    return item.group if isinstance(item, Sample) else str(item)


def ask(predictor: Predictor, items: Sequence[Item], read: Read[Item]) -> Said[Item]:
    """Ask a model with a reject score about items. Raises ValueError if none can be read."""
    size = max(1, predictor.batch_size)
    chunks = [items[at : at + size] for at in range(0, len(items), size)]
    with ThreadPoolExecutor(predictor.concurrency) as threads:
        parts = threads.map(partial(_asked, predictor=predictor, read=read), chunks)
        told = [pair for part in parts for pair in part]
    answers = [answer for answer in told if len(answer)]
    pairs = list(zip(items, told, strict=True))
    return Said(
        items=tuple(item for item, answer in pairs if len(answer)),
        scores=np.stack(answers)[:, :, 0],
        filed=np.stack(answers)[:, :, 1] > 0,
        unread=tuple(item for item, answer in pairs if not len(answer)),
    )


def _asked(items: Sequence[Item], predictor: Predictor, read: Read[Item]) -> list[Values]:
    """Return reject score and whether it is filed of each canvas of each item: (m, 2)."""
    canvases = [read(item) for item in items]
    every, size = np.concatenate(canvases), predictor.batch_size
    found = []
    for at in range(0, len(every), size):
        decisions = predictor.bundle.decisions(predictor.logits(every[at : at + size]))
        found += [(float(each.reject_score or 0), float(not each.review)) for each in decisions]
    values = np.array(found, np.float64).reshape(-1, 2)
    return np.split(values, np.cumsum([len(each) for each in canvases])[:-1])


def _canvas(reading: ReadImage | Failure, preprocessing: Preprocessing) -> Canvas:
    if isinstance(reading, Failure):
        return np.zeros((0, preprocessing.size, preprocessing.size), np.uint8)
    return reading.image[None]


def read_picture(item: Negative | Sample, preprocessing: Preprocessing) -> Canvas:
    """Read a file as training and evaluation do."""
    return _canvas(reader.read_any(str(item.path), preprocessing), preprocessing)


def read_radiograph(path: Path, preprocessing: Preprocessing) -> Canvas:
    """Read a DICOM file as `dicomsort classify --include-secondary-capture` does."""
    settings = ReadSettings(secondary_capture=True)
    return _canvas(reader.read_dicom(str(path), preprocessing, settings), preprocessing)


def read_changed(sample: Sample, preprocessing: Preprocessing, changes: Sequence[Change]) -> Canvas:
    """Read a file in its own size, change it in each way, and fit it to the canvas."""
    gray = read_gray(sample.path)
    return np.stack([fit(change(gray), preprocessing) for change in changes])


def conditions() -> dict[str, Change]:
    """Name the changes that leave a radiograph one, the unchanged picture first."""
    return {
        AS_IS: lambda gray: gray,
        **{f"JPEG, quality {each}": partial(compressed, quality=each) for each in (30, 60, 90)},
        "PNG": as_png,
        "half the size": partial(resized, down=0.5, across=0.5),
        "twice the size": partial(resized, down=2.0, across=2.0),
        "inverted": lambda gray: 255 - gray,
        "gamma 0.7 (brighter)": partial(bent, gamma=0.7),
        "gamma 1.4 (darker)": partial(bent, gamma=1.4),
    }


def as_png(gray: Gray) -> Gray:
    """Write as PNG of 8 bits, and read it again."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(np.clip(gray + 0.5, 0, 255), np.uint8)).save(file, "PNG")
    return np.asarray(Image.open(file), np.float32)


def radiographs_of(folder: Path) -> list[Path]:
    """List the radiographs of a folder of DICOM files with manifest.csv."""
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return [
            folder / row["file"]
            for row in csv.DictReader(file)
            if row["group"] in DICOM_GROUPS
            and row["label5"] not in UNKNOWN
            and row["modality"] != MAMMOGRAPHY
        ]


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything that a model was asked."""

    bundle: Bundle
    negatives: Said[Negative]
    parts: dict[str, Said[Sample]]
    changed: Said[Sample]
    dicom: Said[Path] | None

    @property
    def threshold(self) -> float:
        """Return the model's own."""
        return math.nan if self.bundle.reject is None else self.bundle.reject.threshold

    def of_kind(self, kind: str) -> Group:
        """Return the pictures of a kind."""
        return self.negatives.first(np.array([item.kind == kind for item in self.negatives.items]))

    def kinds(self, half: str) -> list[str]:
        """Name the kinds of a half."""
        return list(dict.fromkeys(item.kind for item in self.negatives.items if item.half == half))


def ask_all(
    predictor: Predictor, others: Sequence[Negative], samples: Sequence[Sample], given: argparse.Namespace
) -> Asked:
    """Ask everything."""
    bundle = predictor.bundle
    plain_read = partial(read_picture, preprocessing=bundle.preprocessing)
    parts = {
        part: _some(dataset.in_part(samples, bundle.split, part), given.limit) for part in (VALIDATION, TEST)
    }
    changes = tuple(conditions().values())
    change = partial(read_changed, preprocessing=bundle.preprocessing, changes=changes)
    files = radiographs_of(given.dicom) if given.dicom else []
    radiograph = partial(read_radiograph, preprocessing=bundle.preprocessing)
    return Asked(
        bundle=bundle,
        negatives=ask(predictor, _some(others, given.limit), plain_read),
        parts={part: ask(predictor, members, plain_read) for part, members in parts.items() if members},
        changed=ask(predictor, parts[TEST], change),
        dicom=ask(predictor, files, radiograph) if files else None,
    )


def _some(items: Sequence[Item], limit: int | None) -> Sequence[Item]:
    if limit is None or limit >= len(items):
        return items
    kept = np.random.default_rng(SEED).permutation(len(items))[:limit]
    return [items[at] for at in sorted(kept)]
