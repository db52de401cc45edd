"""What a split gives to each part, how far that is from what was meant, and why."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dicomsort.data.dataset import PARTS, TEST, Sample
from dicomsort.data.splits import Split, merged_groups, shares_of
from dicomsort.data.targets import labels_in
from dicomsort.model.heads import Head
from dicomsort.system.telling import counted

TOLERANCE = 0.02
_FEW = 50  # groups of which each is more than the tolerance
_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class Drift:
    """A share, 0..1, that is not what was meant. head, label: of a class; empty for all images."""

    head: str
    label: str
    part: str
    share: float
    meant: float
    cause: str

    def line(self) -> str:
        """Say it in a sentence."""
        what = f"'{self.label}'" if self.label else "all images"
        return f"of {what}, {self.share:.2f} are for {self.part} instead of {self.meant:.2f}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Division:
    """How many images each part has: of all, and by head and label. drifts: that of all images first."""

    images: Mapping[str, int]
    labels: Mapping[str, Mapping[str, Mapping[str, int]]]
    drifts: tuple[Drift, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Yield where it is not what was meant, and why; of very many classes those that are farthest off."""
        for drift in self.drifts[:_MOST_TOLD]:
            yield f"split: {drift.line()}"
        if (more := len(self.drifts) - _MOST_TOLD) > 0:
            yield f"split: {counted(more, 'more class is', 'more classes are')} off by more than {TOLERANCE}"


def division_of(
    samples: Sequence[Sample], heads: Sequence[Head], split: Split, made: Sequence[str] = ()
) -> Division:
    """Count what a split gives to each part. made: the parts that were divided here; a given split has none.

    Causes are told for shares that are more than TOLERANCE from what is meant among the parts made here.
    """
    known = [[("", ""), *_named(sample, heads)] for sample in samples]
    sides = [split.get(sample.sha256, TEST) for sample in samples]
    counts = Counter((pair, side) for pairs, side in zip(known, sides, strict=True) for pair in pairs)
    labels = {
        head.name: {label: _by_part(counts, (head.name, label)) for label in head.labels}
        for head in heads
        if len({label for name, label in {pair for pairs in known for pair in pairs} if name == head.name})
        > 1
    }
    drifts: list[Drift] = []
    if made:
        groups = merged_groups(samples)
        rows = [row for row in zip(known, groups, sides, strict=True) if row[2] in made]
        sizes: dict[tuple[str, str], Counter[str]] = {}
        for pairs, group, _ in rows:
            for pair in pairs:
                sizes.setdefault(pair, Counter())[group] += 1
        wanted = {pair: own for pair, own in sizes.items() if not pair[0] or pair[0] in labels}
        drifts = [one for pair, own in wanted.items() for one in _drift(pair, own, counts, made)]
    ordered = sorted(drifts, key=lambda one: (bool(one.label), -abs(one.share - one.meant), one.label))
    return Division(_by_part(counts, ("", "")), labels, tuple(ordered))


def _named(sample: Sample, heads: Sequence[Head]) -> list[tuple[str, str]]:
    """Name the labels of a sample as its heads do, which call 0 and 1 by words."""
    words = {head.name: dict(zip("01", head.labels, strict=True)) for head in heads if head.kind == "binary"}
    return [(name, words.get(name, {}).get(label, label)) for name, label in labels_in(sample, heads)]


def _by_part(counts: Mapping[tuple[tuple[str, str], str], int], pair: tuple[str, str]) -> dict[str, int]:
    return {part: counts.get((pair, part), 0) for part in PARTS}


def _drift(
    pair: tuple[str, str],
    sizes: Counter[str],
    counts: Mapping[tuple[tuple[str, str], str], int],
    made: Sequence[str],
) -> Iterator[Drift]:
    """Yield the part whose share of a class is farthest from what was meant, if that is far."""
    total = sizes.total()
    shares = {part: counts.get((pair, part), 0) / total for part in made}
    meant = shares_of(made)
    part = max(made, key=lambda each: abs(shares[each] - meant[each]))
    if abs(shares[part] - meant[part]) > TOLERANCE:
        yield Drift(*pair, part, shares[part], meant[part], _cause(sizes))


def _cause(sizes: Counter[str]) -> str:
    """Say why images cannot be divided better. sizes: how many images of a class each group has."""
    total, groups, largest = sizes.total(), len(sizes), max(sizes.values())
    if largest * groups > 2 * total and largest > TOLERANCE * total:
        return f"one patient has {largest} of {total} images"
    if groups < _FEW and groups < total:
        return f"its {total} images are of only {counted(groups, 'patient')}"
    if groups < _FEW:
        return f"there {'is' if total == 1 else 'are'} only {counted(total, 'image')}"
    return "its patients have images of other classes too"
