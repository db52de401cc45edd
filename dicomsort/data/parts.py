"""Which part each file of a data set is in, as a training would have it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dicomsort.data import splits
from dicomsort.data.dataset import TEST, Data, load_split
from dicomsort.data.folders import PART_NAMES
from dicomsort.data.rare import RareClassError
from dicomsort.data.splits import Split
from dicomsort.data.table import columns_of
from dicomsort.data.targets import heads_of
from dicomsort.errors import UsageError
from dicomsort.system.telling import counted


@dataclass(frozen=True, slots=True)
class PartOptions:
    """How data are divided, and which part is meant; None for all.

    column: of train, validation and test. split: a CSV `sha256,part`. seed: of a split that is made.
    """

    part: str | None = None
    column: str | None = None
    split: Path | None = None
    seed: int = 0


def options_of(
    data: Path, part: str | None, column: str | None, split: Path | None, seed: int
) -> PartOptions:
    """Understand what was asked for; `part` may be a part, or the column of parts.

    A column of the CSV that has the name of a part is a column, unless a split or another column is given.
    Raises UsageError where two ways to divide are given.
    """
    if column is not None and split is not None:
        raise UsageError("--split and --split-column exclude each other; give one")
    named = None if part is None else PART_NAMES.get(part.casefold())
    divided = column is not None or split is not None
    if part is not None and (named is None or (not divided and part in columns_of(data))):
        if divided:
            raise UsageError(f"--part '{part}' is none: use train, validation or test")
        return PartOptions(column=part, seed=seed)
    return PartOptions(named, column, split, seed)


def split_of(found: Data, targets: Sequence[str], file: Path | None, seed: int) -> Split:
    """Return the split of a file or that the data bring with them, else the one that `train` makes.

    file: CSV `sha256,part`; what is not in it counts as test. Raises UsageError.
    """
    if file is not None:
        given = load_split(file)
        return {sample.sha256: given.get(sample.sha256, TEST) for sample in found.samples}
    if any(sample.part for sample in found.samples):
        return splits.given_split(found.samples)
    try:
        return splits.make_split(found.samples, heads_of(found.samples, targets), seed)
    except RareClassError as error:
        (_, label), *_ = error.labels
        raise UsageError(
            f"no split has class '{label}' in every part: give a --split or a --split-column, or label files "
            "of at least three patients of each class"
        ) from error


def divided(found: Data, targets: Sequence[str], asked: PartOptions) -> Data:
    """Return data with the part of each sample, and of these only those of the part that is meant.

    Data of which no part is meant and no split is given stay as they are. Raises UsageError for a part
    without a file.
    """
    if asked.part is None and asked.split is None:
        return found
    split = split_of(found, targets, asked.split, asked.seed)
    samples = [replace(one, part=split[one.sha256]) for one in found.samples]
    if asked.part is None:
        return replace(found, samples=tuple(samples))
    chosen = tuple(one for one in samples if one.part == asked.part)
    if not chosen:
        raise UsageError(f"no file is in the {asked.part} part")
    unread = tuple(each for each in found.unread if (each[0].part or TEST) == asked.part)
    told = _told(found, asked, len(chosen))
    return replace(found, samples=chosen, unread=unread, remarks=(told, *found.remarks))


def _told(found: Data, asked: PartOptions, count: int) -> str:
    """Say whose split it is."""
    if asked.split is not None:
        whose = f"of {asked.split}"
    elif any(sample.part for sample in found.samples):
        whose = "as the data say"
    else:
        whose = f"as train divides them with --seed {asked.seed}"
    return f"these are the {counted(count, 'file')} of the {asked.part} part, {whose}"
