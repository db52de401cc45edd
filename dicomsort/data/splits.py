"""Who is on which side: train, validation and test, and the folds of a cross-validation."""

import csv
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from dicomsort.data.assignment import assign
from dicomsort.data.dataset import PARTS, TEST, TRAIN, VALIDATION, Sample
from dicomsort.data.rare import Label, RareClassError
from dicomsort.data.table import opened
from dicomsort.data.targets import label_counts, labels_in, stratum
from dicomsort.errors import UsageError
from dicomsort.model.heads import Head
from dicomsort.system.telling import counted

Split = dict[str, str]
"""Content hash (first 16 hex digits of sha256) -> part."""

SHARES = {VALIDATION: 0.15, TEST: 0.15}
"""What a split made here aims at; the rest is to train on."""

_SHUFFLES = 10


@dataclass(frozen=True, slots=True)
class Fold:
    """One round of a cross-validation: its name, and a split whose test part is the fold."""

    name: str
    split: Split


def make_split(
    samples: Sequence[Sample], heads: Sequence[Head], seed: int = 0, parts: Sequence[str] = PARTS
) -> Split:
    """Split into train (the rest), validation (0.15) and test (0.15), or only into the first two.

    No group (patient) is on two sides, every class of every head is on each, and the shares of all images and
    of each class are as near to these as whole groups allow; see `assignment.assign`. Raises RareClassError
    if no such split is found.
    """
    groups = merged_groups(samples)
    known = [labels_in(sample, heads) for sample in samples]
    columns = {pair: at for at, pair in enumerate(sorted({pair for pairs in known for pair in pairs}))}
    contents: dict[str, Counter[int]] = {}
    for group, pairs in zip(groups, known, strict=True):
        contents.setdefault(group, Counter()).update([-1, *(columns[pair] for pair in pairs)])
    shares = shares_of(parts)
    found = assign(list(contents.values()), len(columns), list(shares.values()), seed)
    part_of = dict(zip(contents, (list(shares)[part] for part in found.parts.tolist()), strict=True))
    sides = [part_of[group] for group in groups]
    if found.missing:
        _refuse(known, sides, parts)
    return {sample.sha256: side for sample, side in zip(samples, sides, strict=True)}


def shares_of(parts: Sequence[str]) -> dict[str, float]:
    """Return the share of each part that a split is made of; that of train comes first."""
    others = {part: SHARES[part] for part in parts if part != TRAIN}
    return {TRAIN: 1 - sum(others.values()), **others}


def _refuse(known: Sequence[Sequence[Label]], sides: Sequence[str], parts: Sequence[str]) -> NoReturn:
    counts = Counter(pair for pairs in known for pair in pairs)
    there = {(pair, side) for pairs, side in zip(known, sides, strict=True) for pair in pairs}
    missing = [pair for pair in counts if any((pair, part) not in there for part in parts)]
    rarest = min(missing, key=lambda pair: (counts[pair], pair))
    held = counted(counts[rarest], "file")
    raise RareClassError(
        f"no split has class '{rarest[1]}' ({held}) in every part: label files of at least "
        f"{len(parts)} patients of each class, leave rare ones out (--rare leave-out), merge them "
        "(--merge-rare NAME), or give a --split",
        missing,
    )


def given_split(samples: Sequence[Sample]) -> Split:
    """Return the split that the data bring with them; a file that lies in two parts counts for the later one.

    A part without a sample is for the caller to notice.
    """
    split: Split = {}
    for sample in samples:
        before = split.get(sample.sha256, TRAIN)
        split[sample.sha256] = max(before, sample.part, key=PARTS.index)
    return split


def across(samples: Sequence[Sample], split: Split) -> int:
    """Count the groups (patients) that a split has on two sides."""
    sides: dict[str, set[str]] = {}
    for sample, group in zip(samples, merged_groups(samples), strict=True):
        sides.setdefault(group, set()).add(split.get(sample.sha256, TEST))
    return sum(len(parts) > 1 for parts in sides.values())


def held_out(samples: Sequence[Sample], heads: Sequence[Head], rules: Sequence[str], seed: int) -> Split:
    """Make the samples to which a rule COLUMN=VALUE applies the test part, and split the rest in two.

    Other samples of their patients are left out of training as well: they are test too. Raises UsageError for
    a rule that fits no sample, or all.
    """
    wanted = [rule.partition("=")[::2] for rule in rules]
    for column, value in wanted:
        if not any(sample.metadata[column] == value for sample in samples):
            raise UsageError(f"--hold-out {column}={value}: no file has that value")
    groups = merged_groups(samples)
    outside = {
        group
        for sample, group in zip(samples, groups, strict=True)
        if any(sample.metadata[column] == value for column, value in wanted)
    }
    rest = [sample for sample, group in zip(samples, groups, strict=True) if group not in outside]
    if not rest:
        raise UsageError("--hold-out leaves no file to train on")
    return _with_test(samples, make_split(rest, heads, seed, (TRAIN, VALIDATION)))


@dataclass(frozen=True, slots=True)
class ByColumn:
    """Folds by the values of a column, each a fold of its own, or of several together as `fold_of` says."""

    column: str
    fold_of: Mapping[str, str] = field(default_factory=dict)


def read_folds(path: Path) -> ByColumn:
    """Read which values of a column make one fold: a CSV of two columns, one named like it, and `fold`.

    Raises UsageError for another file, or a value that stands in it twice.
    """
    with opened(path, f"--folds '{path}'") as file:
        lines = [[cell.strip() for cell in row] for row in csv.reader(file, strict=True) if row]
    names, *rows = lines or [[]]
    if not rows or names[1:] != ["fold"] or any(len(row) != 2 for row in rows):
        raise UsageError(f"--folds '{path}' needs two columns, one of the data and 'fold', and its lines")
    fold_of = dict(rows)
    if len(fold_of) < len(rows):
        raise UsageError(f"--folds '{path}' names a value of '{names[0]}' twice")
    return ByColumn(names[0], fold_of)


def make_folds(
    samples: Sequence[Sample], heads: Sequence[Head], folds: int | ByColumn, seed: int
) -> list[Fold]:
    """Divide samples for a cross-validation: into a number of folds, or by the values of a column.

    Stratified by label if it is a number; no group is on two sides. Raises UsageError for fewer than two
    folds, or a class that cannot be on both sides of one.
    """
    groups = merged_groups(samples)
    if isinstance(folds, int):
        if not 2 <= folds <= len(set(groups)):
            raise UsageError(f"--folds {folds}: use 2 to {len(set(groups))}, the number of patients")
        names = _by_lot(samples, heads, groups, folds, seed)
    else:
        names = _by_column(samples, groups, folds)
    return list(_rounds(samples, heads, names, seed))


def _by_lot(
    samples: Sequence[Sample], heads: Sequence[Head], groups: Sequence[str], folds: int, seed: int
) -> list[str]:
    """Name the fold of each sample. Raises UsageError if a class is missing in a fold."""
    strata, known = _strata(samples), [labels_in(sample, heads) for sample in samples]
    counts = Counter(pair for pairs in known for pair in pairs)
    for shuffle in range(_SHUFFLES):
        members = _in_folds(strata, groups, folds, seed + 1000 * shuffle)
        held = {(pair, fold) for pairs, fold in zip(known, members, strict=True) for pair in pairs}
        if len(held) == folds * len(counts):
            return [f"fold-{fold + 1}" for fold in members]
    missing = {pair for pair in counts for fold in range(folds) if (pair, fold) not in held}
    (_, rare) = min(missing, key=lambda pair: (counts[pair], pair))
    raise RareClassError(
        f"--folds {folds}: class '{rare}' is missing in a fold; use fewer folds, or label more patients of "
        "it",
        missing,
    )


def _by_column(samples: Sequence[Sample], groups: Sequence[str], by: ByColumn) -> list[str]:
    """Name the fold of each sample by a column; one group in two folds goes with its first sample."""
    values = [sample.metadata[by.column] or "none" for sample in samples]
    if by.fold_of and (odd := next((value for value in values if value not in by.fold_of), None)):
        raise UsageError(f"--folds: '{odd}' in column '{by.column}' is in no fold; give it one")
    of_group: dict[str, str] = {}
    names = [
        of_group.setdefault(group, by.fold_of.get(value, value))
        for value, group in zip(values, groups, strict=True)
    ]
    if len(set(names)) < 2:
        raise UsageError(f"--folds: column '{by.column}' makes one fold only")
    return names


def _rounds(
    samples: Sequence[Sample], heads: Sequence[Head], names: Sequence[str], seed: int
) -> Iterator[Fold]:
    for name in sorted(set(names)):
        rest = [sample for sample, own in zip(samples, names, strict=True) if own != name]
        held = {pair for sample in samples for pair in labels_in(sample, heads)}
        if missing := held - {pair for sample in rest for pair in labels_in(sample, heads)}:
            raise RareClassError(
                f"--folds: class '{min(missing)[1]}' occurs in '{name}' alone, nothing is left to train on",
                missing,
            )
        yield Fold(name, _with_test(samples, make_split(rest, heads, seed, (TRAIN, VALIDATION))))


def _with_test(samples: Sequence[Sample], split: Split) -> Split:
    return {sample.sha256: split.get(sample.sha256, TEST) for sample in samples}


def _strata(samples: Sequence[Sample]) -> list[str]:
    """Name what is to be alike on all sides: the rarest label of each target."""
    targets = range(len(samples[0].targets))
    counts = [label_counts(samples, target) for target in targets]
    return [" ".join(stratum(sample, counts[at], at) for at in targets) for sample in samples]


def _in_folds(strata: Sequence[str], groups: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each sample: (n,)."""
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415  (a second that readers need not)

    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    member = np.zeros(len(strata), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer files than folds: the caller checks
        for number, (_, members) in enumerate(splitter.split(np.zeros(len(strata)), strata, groups)):
            member[members] = number
    return member


def merged_groups(samples: Sequence[Sample]) -> list[str]:
    """Return each sample's group, where groups that share a file's content count as one."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for sample in samples:
        for content in (sample.sha256, *sample.contents):
            parent[root(f"content {content}")] = root(f"group {sample.group}")
    return [root(f"group {sample.group}") for sample in samples]


def folds_of(groups: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each of n images (n,), from 0 on; no group (n,) is in two."""
    from sklearn.model_selection import GroupKFold  # noqa: PLC0415  (readers need it not)

    found = np.zeros(len(groups), np.int64)
    splitter = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for number, (_, members) in enumerate(splitter.split(groups, groups=groups)):
        found[members] = number
    return found
