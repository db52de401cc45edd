"""Pictures of what an output's manifest tells, under names that tell it too, and an index of them."""

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count

from dicomsort.errors import NothingFoundError, TargetError, UsageError
from dicomsort.manifest.columns import join_reasons
from dicomsort.manifest.reading import ManifestRow, read_manifest
from dicomsort.outcome import Status
from dicomsort.report import page
from dicomsort.sorting.place import copy_or_source
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import cell, escape
from dicomsort.system.own_files import check_replaceable

INDEX, SHEET = "index.csv", "index.html"
MARK = '<meta name="generator" content="dicomsort render">'

_COLUMNS = ("picture", "path", "status", "label", "confidence", "reason")
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")
_LONGEST_LABEL, _LONGEST_SOURCE = 60, 120
_MOST_ON_SHEET = 5000


@dataclass(frozen=True, slots=True)
class Chosen:
    """A row that was chosen. file: what to read. picture: the name of its picture."""

    row: ManifestRow
    file: str
    picture: str


def choose(folder: str, roots: Sequence[str], statuses: Sequence[str], label: str | None) -> list[Chosen]:
    """Choose the rows of an output with one of these statuses, and this label.

    Ordered by label and confidence. folder: the output. roots: where its sources lie. Raises UsageError for a
    status that there is not, and NothingFoundError if no row is such.
    """
    wanted = {_status(text) for text in statuses}
    rows = [
        row
        for row in read_manifest(folder)
        if row.status in wanted and (label is None or label in (row.label, row.final_label))
    ]
    if not rows:
        named = " or ".join(sorted(wanted)) + (f" and label '{label}'" if label is not None else "")
        raise NothingFoundError(f"no file of '{escape(folder)}' has status {named}")
    rows.sort(key=lambda row: (row.label, -1.0 if row.confidence is None else row.confidence, row.path))
    return list(_named(rows, folder, roots))


def _status(text: str) -> Status:
    try:
        return Status(text)
    except ValueError:
        raise UsageError(f"there is no status '{text}': {', '.join(Status)}") from None


def _named(rows: Iterable[ManifestRow], folder: str, roots: Sequence[str]) -> Iterator[Chosen]:
    """Name pictures after guess, confidence and source; a name that comes again gets a number."""
    taken = {INDEX, SHEET}
    for row in rows:
        stem = name_of(row, roots)
        names = chain([f"{stem}.png"], (f"{stem}.{number}.png" for number in count(2)))
        picture = next(name for name in names if name.casefold() not in taken)
        taken.add(picture.casefold())
        yield Chosen(row, copy_or_source(row.path, row.destination, row.action, folder), picture)


def name_of(row: ManifestRow, roots: Sequence[str]) -> str:
    """Return `hand_0.532_sub_a.dcm`: at most 200 characters that every file system takes.

    A long path loses its front. A file without a label has its status instead.
    """
    guess = _safe(row.label or row.status)[:_LONGEST_LABEL]
    sure = "" if row.confidence is None else f"_{row.confidence:.3f}"
    source = _safe(_relative(row.path, roots))[-_LONGEST_SOURCE:].lstrip("_.-")
    return f"{guess}{sure}_{source}"


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text).strip("_.-") or "unnamed"


def _relative(path: str, roots: Sequence[str]) -> str:
    """Return a path relative to the root it lies under; of several, the deepest."""
    above = [root for root in roots if path.startswith(root.rstrip(os.sep) + os.sep)]
    root = max(above, key=len, default="")
    return os.path.relpath(path, root) if root else path.lstrip(os.sep)


def check_index(out: str) -> None:
    """Raise UsageError if an index would take the place of what is none."""
    for name, mark in ((INDEX, ",".join(_COLUMNS)), (SHEET, MARK)):
        check_replaceable(os.path.join(out, name), mark)


def write_index(chosen: Iterable[Chosen], out: str) -> int:
    """Write index.csv and index.html about the pictures that stand in a folder; older ones are replaced.

    Returns how many these are. Raises TargetError if they cannot be written.
    """
    shown = [one for one in chosen if os.path.exists(os.path.join(out, one.picture))]
    try:
        with replacing(os.path.join(out, INDEX)) as file:
            file.write(_table(shown))
        with replacing(os.path.join(out, SHEET)) as file:
            some = shown[:_MOST_ON_SHEET]
            file.write(page.render("gallery.html", shown=some, left=len(shown) - len(some), mark=MARK))
    except OSError as error:
        raise TargetError(f"'{escape(out)}' cannot be written: {error.strerror}") from error
    return len(shown)


def _table(written: Iterable[Chosen]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in written:
        row = one.row
        sure = "" if row.confidence is None else f"{row.confidence:.6f}"
        cells = (escape(row.path), row.status.value, row.label, sure, join_reasons(row.reasons))
        writer.writerow([one.picture, *map(cell, cells)])
    return text.getvalue()
