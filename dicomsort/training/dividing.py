"""The split of a training, as it is asked for, and what becomes of classes that are too rare for it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from dicomsort.data import rare, splits
from dicomsort.data.dataset import PARTS, TEST, TRAIN, VALIDATION, Sample, Unread, load_split
from dicomsort.data.division import Division, division_of
from dicomsort.data.rare import RareClassError, RareRule, Renamed
from dicomsort.data.splits import ByColumn, Fold, Split, read_folds
from dicomsort.data.table import names_people
from dicomsort.data.targets import labels_in
from dicomsort.errors import UsageError
from dicomsort.model.heads import Head
from dicomsort.system.telling import counted

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How to split the data; at most one of split, column, hold_out and folds is given.

    rare: what becomes of classes too rare for the split.
    """

    split: Path | None
    column: str | None
    hold_out: tuple[str, ...]
    folds: str | None
    rare: RareRule = field(default_factory=RareRule)

    def check(self) -> None:
        """Raise UsageError where two of them are given."""
        if sum(bool(way) for way in (self.split, self.column, self.hold_out)) > 1:
            raise UsageError("--split, --split-column and --hold-out exclude each other; give one")
        if self.folds and (self.split or self.column or self.hold_out):
            raise UsageError(
                "--folds makes splits of its own: leave --split, --split-column and --hold-out away"
            )
        if self.folds is not None:
            self.folding()
        if any("=" not in rule for rule in self.hold_out):
            raise UsageError("--hold-out: write COLUMN=VALUE, such as --hold-out dataset=kermany")

    def folding(self) -> int | ByColumn:
        """Read --folds: a number, a column, or a file that says which of its values go together."""
        text = self.folds or ""
        if text.isdecimal():
            return int(text[:9])
        by = read_folds(Path(text)) if text.endswith(".csv") else ByColumn(text)
        if names_people(by.column):
            raise UsageError(f"--folds {text} would name people; a number keeps them together")
        return by


@dataclass(frozen=True, slots=True)
class _Kept:
    """Samples and heads as they are trained on. renamed: what became of rare classes; told: in lines."""

    samples: tuple[Sample, ...]
    heads: tuple[Head, ...]
    renamed: Renamed
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Divided(_Kept):
    """A split. made: the parts that were made here, if any. crossing: patients on two sides."""

    split: Split
    division: Division
    made: tuple[str, ...] = ()
    crossing: int = 0

    def lacks_class(self, unread: Sequence[Unread]) -> bool:
        """Return whether a class has no image to train on, or to validate with, but unreadable ones."""
        bad = {sample.sha256 for sample, _ in unread}
        readable = [sample for sample in self.samples if sample.sha256 not in bad]
        return bool(_missing(self.samples, readable, self.heads, self.split))

    def warnings(self) -> Iterator[str]:
        """Yield what a person must know of it."""
        yield from self.told
        if self.crossing:
            who = counted(self.crossing, "patient is", "patients are")
            yield f"warning: {who} on two sides of this split; figures will be too good"


@dataclass(frozen=True, slots=True)
class Folded(_Kept):
    """The folds of a cross-validation."""

    folds: list[Fold] = field(default_factory=list)


def divide(samples: Sequence[Sample], heads: Sequence[Head], how: SplitOptions, seed: int) -> Divided:
    """Split samples as asked. Raises UsageError where that cannot be, RareClassError for rare classes."""
    given = how.split is not None or any(sample.part for sample in samples)
    made = () if given else (TRAIN, VALIDATION) if how.hold_out else PARTS

    def attempt(left: Sequence[Sample], known: Sequence[Head]) -> Split:
        split = _split(left, known, how, seed)
        if how.rare.how != rare.REFUSE and (missing := _missing(left, left, known, split)):
            raise RareClassError(f"class '{missing[0][1]}' is missing in a part of the split", missing)
        return split

    kept, split = _without_rare(samples, heads, how.rare, attempt)
    division = division_of(kept.samples, kept.heads, split, made)
    crossing = splits.across(kept.samples, split)
    return Divided(kept.samples, kept.heads, kept.renamed, kept.told, split, division, made, crossing)


def fold(samples: Sequence[Sample], heads: Sequence[Head], how: SplitOptions, seed: int) -> Folded:
    """Make folds as asked. Raises as `divide` does."""

    def attempt(left: Sequence[Sample], known: Sequence[Head]) -> list[Fold]:
        return splits.make_folds(left, known, how.folding(), seed)

    kept, folds = _without_rare(samples, heads, how.rare, attempt)
    return Folded(kept.samples, kept.heads, kept.renamed, kept.told, folds)


def _without_rare(
    samples: Sequence[Sample],
    heads: Sequence[Head],
    rule: RareRule,
    attempt: Callable[[Sequence[Sample], Sequence[Head]], Result],
) -> tuple[_Kept, Result]:
    """Try to split, and while classes are too rare for that do with them as the rule says."""
    names, renamed = [head.name for head in heads], Renamed()
    left, known = tuple(samples), tuple(heads)
    while True:
        try:
            result = attempt(left, known)
            break
        except RareClassError as error:
            change = rule.renamed(error, known)
            renamed = rare.chained(renamed, change)
            left = tuple(rare.applied(left, names, change))
            known = tuple(rare.reduced(head, change) for head in known)
    return _Kept(left, known, renamed, tuple(rare.lines_of(renamed, samples, names))), result


def _split(samples: Sequence[Sample], heads: Sequence[Head], how: SplitOptions, seed: int) -> Split:
    if how.split is not None:
        given = load_split(how.split)
        return {sample.sha256: given.get(sample.sha256, TEST) for sample in samples}
    if any(sample.part for sample in samples):
        return splits.given_split(samples)
    if how.hold_out:
        return splits.held_out(samples, heads, how.hold_out, seed)
    return splits.make_split(samples, heads, seed)


def _missing(
    samples: Sequence[Sample], readable: Sequence[Sample], heads: Sequence[Head], split: Split
) -> list[tuple[str, str]]:
    """Return the classes that have no readable image in the training or validation part, by head."""
    there = {(pair, split.get(one.sha256)) for one in readable for pair in labels_in(one, heads)}
    wanted = {pair for sample in samples for pair in labels_in(sample, heads)}
    return sorted(pair for pair in wanted if any((pair, part) not in there for part in (TRAIN, VALIDATION)))
