"""What a data set holds: labels, sizes, grays, duplicates, and what of it cannot be read."""

import json
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicomsort.data import caveats, dataset
from dicomsort.data.dataset import PARTS, Data, Remarked, Sample, Unread
from dicomsort.data.targets import label_counts, stratum
from dicomsort.dicom.plain_pictures import PICTURE_FORMATS
from dicomsort.errors import TargetError
from dicomsort.imaging.canvas import Preprocessing, picture_on
from dicomsort.outcome import Failure, ReadImage
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.reporting import Count

_SHOWN, _EXAMPLES = 5, 8
_NO_PART = "none"


@dataclass(frozen=True, slots=True)
class LabelCount:
    """How many files have a label, of how many patients (None: unknown), and in which part."""

    images: int
    patients: int | None
    parts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TargetStats:
    """The labels of a target. unknown: files that have none.

    ratio: how many times more files the most frequent label has than the rarest. effective: as many labels
    that were equally frequent would be as mixed (2 to the power of the entropy in bits).
    """

    labels: Mapping[str, LabelCount]
    unknown: int
    ratio: float
    effective: float


@dataclass(frozen=True, slots=True)
class Range:
    """The smallest, the middle and the greatest of some numbers; all 0 if there are none."""

    least: float = 0.0
    median: float = 0.0
    most: float = 0.0


@dataclass(frozen=True, slots=True)
class Grays:
    """Mean and deviation (of the population) of gray values from 0 to 1, and of how many pixels."""

    pixels: int
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Repeats:
    """Files with the content of another. contents: how many there are more than once. files: they in all.

    conflicts, across: how many of the contents have different labels, or are of different patients.
    examples, conflict_examples: names of two files, for the first few.
    """

    contents: int
    files: int
    conflicts: int
    across: int
    examples: tuple[tuple[str, str], ...]
    conflict_examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """How many files could not be read for the same reason, and the names of the first."""

    files: int
    first: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stats:
    """What a data set holds.

    files: all, of which `read` could be read. patients: None if unknown. per_patient: files of each.
    rows, columns: of the frames as they are stored, before they are fitted; sized: for how many files the
    size is known. canvas: grays of the whole square that a network sees; picture: of that without the
    edges that are all padding or as black. remarks: how the table and the files were read, in lines.
    """

    files: int
    read: int
    parts: Mapping[str, int]
    patients: int | None
    per_patient: Range
    sources: Mapping[str, int]
    targets: Mapping[str, TargetStats]
    sized: int
    rows: Range
    columns: Range
    canvas: Grays
    picture: Grays
    repeats: Repeats
    unreadable: Mapping[str, Unreadable]
    remarks: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)


def measure(
    data: Data,
    targets: Sequence[str],
    preprocessing: Preprocessing,
    pool: PoolSettings,
    progress: Count | None = None,
) -> Stats:
    """Read every image once and count; only counts are kept of it.

    targets: the names of the samples' targets. progress: told of each file that was read.
    """
    seen = _Seen(preprocessing.fill)
    failures: list[Unread] = list(data.unread)
    remarked: list[Remarked] = []
    for sample, reading in dataset.read_all(data.samples, preprocessing, pool, remarked):
        if isinstance(reading, Failure):
            failures.append((sample, reading))
        else:
            seen.add(sample, reading)
        if progress is not None:
            progress(1)
    everything = [*data.samples, *(sample for sample, _ in data.unread)]
    groups = Counter(sample.group for sample in everything)
    return Stats(
        files=len(everything),
        read=len(everything) - len(failures),
        parts=_in_order(Counter(sample.part or _NO_PART for sample in everything), (*PARTS, _NO_PART)),
        patients=len(groups) if data.has_patients else None,
        per_patient=_range_of(Counter(groups.values())) if data.has_patients else Range(),
        sources=dict(Counter(sample.source for sample in everything if sample.source).most_common()),
        targets={name: _target(everything, at, data.has_patients) for at, name in enumerate(targets)},
        sized=seen.rows.total(),
        rows=_range_of(seen.rows),
        columns=_range_of(seen.columns),
        canvas=_grays(seen.canvas),
        picture=_grays(seen.picture),
        repeats=_repeats(data),
        unreadable=_unreadable(failures),
        remarks=(*data.remarks, *caveats.lines_of(remarked)),
    )


def save(stats: Stats, path: Path) -> None:
    """Write them as JSON; what was there is replaced. Raises TargetError if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stats.as_dict(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise TargetError(f"'{path}' cannot be written: {error.strerror}") from error


def examples(samples: Sequence[Sample], count: int | None = None, seed: int = 0) -> list[Sample]:
    """Choose samples by lot, the classes of the first target in turn; the same for the same seed.

    Of several labels the rarest is the class. count: by default 8, or one of each class if there are more.
    """
    counts = label_counts(samples)
    by_class: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_class[stratum(sample, counts)].append(sample)
    chance = np.random.default_rng(seed)
    classes = [by_class[label] for label in sorted(by_class)]
    shuffled = [[members[at] for at in chance.permutation(len(members))] for members in classes]
    turns = max(map(len, shuffled), default=0)
    dealt = [members[turn] for turn in range(turns) for members in shuffled if turn < len(members)]
    return dealt[: count or max(_EXAMPLES, len(classes))]


@dataclass(slots=True)
class _Seen:
    """Counts of gray values, and of rows and columns."""

    fill: int
    canvas: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    picture: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    rows: Counter[int] = field(default_factory=Counter)
    columns: Counter[int] = field(default_factory=Counter)

    def add(self, sample: Sample, reading: ReadImage) -> None:
        grays = np.bincount(reading.image.ravel(), minlength=256)
        self.canvas += grays
        self.picture += grays
        self.picture[self.fill] -= _margin(reading.image, self.fill)
        rows, columns = reading.header.rows, reading.header.columns
        if rows is None or columns is None:
            columns, rows = _picture_size(sample.path)
        if rows and columns:
            self.rows[rows] += 1
            self.columns[columns] += 1


def _margin(canvas: NDArray[np.uint8], fill: int) -> int:
    """Count the pixels in the rows and columns at the edges that are nothing but padding."""
    top, left, bottom, right = picture_on(canvas, fill)
    return int(canvas.size - (bottom - top) * (right - left)) if bottom else 0


def _picture_size(path: Path) -> tuple[int, int]:
    """Return columns and rows of a PNG, JPEG or WebP file, or 0 and 0."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=PICTURE_FORMATS) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0, 0


def _grays(counts: NDArray[np.int64]) -> Grays:
    values, pixels = np.arange(256) / 255, int(counts.sum())
    if not pixels:
        return Grays(0, 0.0, 0.0)
    mean = float(counts @ values) / pixels
    return Grays(pixels, mean, math.sqrt(float(counts @ (values - mean) ** 2) / pixels))


def _range_of(counts: Counter[int]) -> Range:
    """Summarise numbers of which each comes as often as is counted."""
    if not counts:
        return Range()
    numbers = np.array(sorted(counts))
    upto = np.cumsum([counts[number] for number in numbers.tolist()])
    ranks = [(upto[-1] - 1) // 2, upto[-1] // 2]
    median = numbers[np.searchsorted(upto, ranks, side="right")].mean()
    return Range(float(numbers[0]), float(median), float(numbers[-1]))


def _in_order(counts: Counter[str], order: Iterable[str]) -> dict[str, int]:
    return {name: counts[name] for name in order if counts[name]}


def _target(samples: Sequence[Sample], at: int, has_patients: bool) -> TargetStats:
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        for label in filter(None, sample.targets[at].split("|")):
            members[label].append(sample)
    counts = np.array([len(found) for found in members.values()], np.float64)
    shares = counts / counts.sum()
    return TargetStats(
        labels={label: _label(members[label], has_patients) for label in sorted(members)},
        unknown=sum(not sample.targets[at] for sample in samples),
        ratio=float(counts.max() / counts.min()) if len(counts) else 0.0,
        effective=float(np.exp(-np.sum(shares * np.log(shares)))) if len(counts) else 0.0,
    )


def _label(samples: Sequence[Sample], has_patients: bool) -> LabelCount:
    parts = Counter(sample.part or _NO_PART for sample in samples)
    patients = len({sample.group for sample in samples}) if has_patients else None
    return LabelCount(len(samples), patients, _in_order(parts, (*PARTS, _NO_PART)))


def _repeats(data: Data) -> Repeats:
    by_content: dict[str, list[Sample]] = defaultdict(list)
    for sample in data.samples:
        by_content[sample.sha256].append(sample)
    several = [members for members in by_content.values() if len(members) > 1]
    pairs = [_unlike(members) for members in several]
    conflicts = [(a.name, b.name) for a, b in pairs if a.targets != b.targets]
    across = sum(len({sample.group for sample in members}) > 1 for members in several)
    return Repeats(
        contents=len(several),
        files=sum(map(len, several)),
        conflicts=len(conflicts),
        across=across if data.has_patients else 0,
        examples=tuple((members[0].name, members[1].name) for members in several[:_SHOWN]),
        conflict_examples=tuple(conflicts[:_SHOWN]),
    )


def _unlike(members: Sequence[Sample]) -> tuple[Sample, Sample]:
    """Return the first file and one with other labels, if there is any."""
    others = (sample for sample in members if sample.targets != members[0].targets)
    return members[0], next(others, members[1])


def _unreadable(failures: Iterable[Unread]) -> dict[str, Unreadable]:
    names: dict[str, list[str]] = defaultdict(list)
    for sample, failure in failures:
        names[f"{failure.status}: {failure.reason}"].append(sample.name)
    ranked = sorted(names.items(), key=lambda item: (-len(item[1]), item[0]))
    return {reason: Unreadable(len(found), tuple(sorted(found)[:_SHOWN])) for reason, found in ranked}
