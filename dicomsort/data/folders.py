"""A data set that is a tree of folders: one for each class, or for each part and in it for each class."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from dicomsort.errors import UsageError
from dicomsort.model.heads import check_label
from dicomsort.system.escaping import escape

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)

PART_NAMES = {**{part: part for part in PARTS}, "val": VALIDATION, "valid": VALIDATION}
"""What folders and cells may call the parts, in lower case."""


@dataclass(frozen=True, slots=True)
class LabeledFile:
    """A file below a folder of its class. name: relative to the data set. part: empty if not told."""

    path: Path
    name: str
    label: str
    part: str = ""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a data set. remarks: which folders were left alone, in lines."""

    files: tuple[LabeledFile, ...]
    remarks: tuple[str, ...] = ()


def read(data: Path) -> Tree:
    """Read a tree of folders.

    Beside those of parts others are left alone and named, as in the tree of a project (`images`, `models`,
    `plots` and `probs` beside `train`, `validation` and `test`), unless they look like a part misspelled, or
    there is no `train` with another part. Raises UsageError for these, and for a name that can be no class;
    OSError for a folder that cannot be listed.
    """
    found = _folders_in(data)
    parts = {folder: PART_NAMES.get(folder.name.casefold(), "") for folder in found}
    if not any(parts.values()):
        return Tree(tuple(_class_folders(data, data)))
    others = [folder.name for folder in found if not parts[folder]]
    _check_others(data, others, {part for part in parts.values() if part})
    files = [
        LabeledFile(one.path, one.name, one.label, part)
        for folder, part in parts.items()
        if part
        for one in _class_folders(folder, data)
    ]
    told = ", ".join(map(escape, others))
    return Tree(tuple(files), (f"left alone beside the parts: {told}",) if others else ())


def _check_others(data: Path, others: Sequence[str], parts: set[str]) -> None:
    whole = TRAIN in parts and len(parts) > 1
    for name in others:
        if not whole or get_close_matches(name.casefold(), PART_NAMES):
            raise UsageError(f"'{data}' holds folders of parts, such as train, but '{escape(name)}' is none")


def _folders_in(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in found if not folder.resolve().is_relative_to(path.resolve()))


def _files_in(folder: Path) -> list[Path]:
    """List the files below a folder, without hidden ones. Raises OSError if a folder cannot be listed."""

    def fail(error: OSError) -> None:
        raise error

    walked = os.walk(folder, onerror=fail)
    return sorted(Path(place) / name for place, _, names in walked for name in names if name[0] != ".")


def _class_folders(parent: Path, data: Path) -> Iterator[LabeledFile]:
    for folder in _folders_in(parent):
        try:
            check_label(folder.name)
        except ValueError as error:
            raise UsageError(f"folder '{folder}': {error}") from error
        for path in _files_in(folder):
            yield LabeledFile(path, path.relative_to(data).as_posix(), folder.name)
