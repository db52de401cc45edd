"""What the page sorts and filters by: some thirty bytes and the path of each file."""

import csv
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import UsageError
from dicomsort.manifest.columns import REJECT, renewed, split_reasons
from dicomsort.manifest.history import DAMAGE, damaged, last_rows
from dicomsort.manifest.records import Record
from dicomsort.outcome import FOR_REVIEW, Reviewed, Status
from dicomsort.system.escaping import escape, uncell

SORTS = ("confidence", "reject_score", "label", "reason", "folder", "study", "path")
_SHOWN = frozenset({Status.SORTED, Status.REVIEW, Status.EXCLUDED, Status.PLANNED})
_ANSWER = ".label"

Codes = NDArray[np.int32]
Numbers = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which files to show, and in what order; what is empty means any.

    further: answers of further models or heads, such as ("view", "lateral"). text: part of the path, in any
    case. undecided: only what waits for a person. sample: only files of the spot check. decided: only what a
    person has decided. reviewed: that decision.
    """

    statuses: tuple[str, ...] = ()
    label: str = ""
    reason: str = ""
    further: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    study: str = ""
    text: str = ""
    undecided: bool = False
    sample: bool = False
    sort: str = "confidence"
    descending: bool = False
    decided: bool = False
    reviewed: str = ""


class Names:
    """Texts of a column that come again and again, as numbers."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self.texts: list[str] = []

    def code(self, text: str) -> int:
        """Return the number of a text, a new one for a new text."""
        found = self._codes.get(text)
        if found is None:
            found = self._codes[text] = len(self.texts)
            self.texts.append(text)
        return found

    def find(self, text: str) -> int:
        """Return the number of a text; -1 if it does not occur."""
        return self._codes.get(text, -1)

    def ranks(self) -> Codes:
        """Return by number where its text stands in the order of texts: int32 (texts,)."""
        ranks = np.empty(len(self.texts), np.int32)
        ranks[sorted(range(len(self.texts)), key=self.texts.__getitem__)] = np.arange(len(self.texts))
        return ranks


class Column:
    """A column whose texts come again and again."""

    def __init__(self) -> None:
        self.names = Names()
        self._begun = array("i")
        self.codes: Codes = np.empty(0, np.int32)

    def append(self, text: str) -> None:
        """Add the text of the next row."""
        self._begun.append(self.names.code(text))

    def close(self) -> None:
        """Be complete: from now on cells change, but no row is added."""
        self.codes = np.array(self._begun, np.int32)
        self._begun = array("i")

    def is_one_of(self, texts: Iterable[str]) -> NDArray[np.bool_]:
        """Return for each row whether it holds one of these texts: bool (rows,)."""
        return np.isin(self.codes, [self.names.find(text) for text in texts])

    def put(self, at: int, text: str) -> None:
        """Change a cell."""
        self.codes[at] = self.names.code(text)

    def text(self, at: int) -> str:
        """Return a cell."""
        return self.names.texts[int(self.codes[at])]

    def counts(self) -> dict[str, int]:
        """Count the rows of each text, empty ones left out."""
        counted = np.bincount(self.codes, minlength=len(self.names.texts))
        pairs = zip(self.names.texts, counted.tolist(), strict=True)
        return {text: count for text, count in sorted(pairs) if text and count}


class Index:
    """The files of a manifest on which a person may decide, by their number here, which stays.

    Raises UsageError if the file is no manifest of this version, or is damaged.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.status, self.label, self.reason = Column(), Column(), Column()
        self.folder, self.study, self.reviewed = Column(), Column(), Column()
        self.further: dict[str, Column] = {}
        self.paths: list[str] = []
        confidence, reject, offsets = array("f"), array("f"), array("q")
        try:
            with open(path, "rb") as file:
                self.names = next(csv.reader([file.readline().decode("utf-8-sig")]), [])
            self._check()
            at = {name: place for place, name in enumerate(self.names)}
            self.further = {
                name.removesuffix(_ANSWER): Column() for name in self.names if name.endswith(_ANSWER)
            }
            for offset, cells in self._rows():
                if cells[at["status"]] not in _SHOWN:
                    continue
                offsets.append(offset)
                self._take(cells, at)
                confidence.append(float(cells[at["confidence"]] or "nan"))
                reject.append(float((REJECT in at and cells[at[REJECT]]) or "nan"))
        except OSError as error:
            raise UsageError(
                f"there is no manifest at '{escape(path)}': name the --out folder of a run"
            ) from error
        except DAMAGE as error:
            raise damaged(path) from error
        self.confidence = np.array(confidence, np.float32)
        self.reject = np.array(reject, np.float32)
        self._offsets = np.array(offsets, np.int64)
        for column in self._columns():
            column.close()
        reasons = [bool(FOR_REVIEW & set(split_reasons(text))) for text in self.reason.names.texts]
        self._for_review = (
            np.array(reasons, np.bool_)[self.reason.codes] if reasons else np.empty(0, np.bool_)
        )
        self.sampled = np.zeros(len(self.paths), np.bool_)

    def _check(self) -> None:
        if not {"status", "label", "confidence", "destination", "study_instance_uid"} <= set(self.names):
            raise UsageError(f"'{self._path}' is no manifest of this version")

    def _columns(self) -> list[Column]:
        own = [self.status, self.label, self.reason, self.folder, self.study, self.reviewed]
        return [*own, *self.further.values()]

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the last row of each file, with where its line begins; half a line at the end is left out."""
        last, offsets = last_rows(self._path), array("q", [0])
        with open(self._path, "rb") as file:
            offsets[0] = len(file.readline())
            lines = csv.reader(_decoded(file, offsets))
            for number, cells in enumerate(lines):
                if number == len(last):  # somebody is writing
                    return
                if last[number]:
                    yield offsets[number], cells

    def _take(self, cells: Sequence[str], at: dict[str, int]) -> None:
        reviewed = cells[at["reviewed_label"]] if "reviewed_label" in at else ""
        path = uncell(cells[0])
        self.paths.append(path)
        self.status.append(cells[at["status"]])
        self.label.append(cells[at["label"]])
        self.reason.append(cells[at["reason"]])
        self.reviewed.append(reviewed)
        self.folder.append(os.path.dirname(path))
        self.study.append(cells[at["study_instance_uid"]])
        for name, column in self.further.items():
            column.append(cells[at[f"{name}{_ANSWER}"]])

    def __len__(self) -> int:
        return len(self.paths)

    def record(self, number: int, file: int) -> Record:
        """Read a row again. file: descriptor of the manifest."""
        line = _line_at(file, int(self._offsets[number]))
        values = next(csv.reader([line]))
        held = dict(zip(self.names, values, strict=True))
        return Record({**dict.fromkeys(renewed(self.names), ""), **held})

    def decide(self, number: int, status: Status, reviewed: Reviewed | None) -> None:
        """Note how a row is now."""
        self.status.put(number, status.value)
        self.reviewed.put(number, reviewed.label if reviewed else "")

    @property
    def undecided(self) -> NDArray[np.bool_]:
        """Which files wait for a person: bool (files,)."""
        planned = self.status.is_one_of([Status.PLANNED]) & self._for_review
        return (self.status.is_one_of([Status.REVIEW]) | planned) & self.reviewed.is_one_of([""])

    def find(self, wanted: Filter) -> list[int]:
        """Return the numbers of the files that a filter shows, in its order. Raises UsageError."""
        if wanted.sort not in SORTS:
            raise UsageError(f"there is no order by '{wanted.sort}'; use {', '.join(SORTS)}")
        found = np.flatnonzero(self._shown(wanted))
        if wanted.text:
            text = wanted.text.casefold()
            found = np.array([at for at in found.tolist() if text in self.paths[at].casefold()], np.int64)
        keys = self._keys(wanted.sort)[found]
        keys = -keys if wanted.descending else keys
        return [int(at) for at in found[np.argsort(keys, kind="stable")]]

    def has_studies(self, numbers: Sequence[int]) -> bool:
        """Return whether any of these files is in a study with others, listed or not."""
        sizes = np.bincount(self.study.codes, minlength=len(self.study.names.texts))
        if (unknown := self.study.names.find("")) >= 0:
            sizes[unknown] = 0
        return bool((sizes[self.study.codes[list(numbers)]] > 1).any()) if numbers else False

    def _shown(self, wanted: Filter) -> NDArray[np.bool_]:
        shown = np.ones(len(self), np.bool_)
        if wanted.statuses:
            shown &= self.status.is_one_of(wanted.statuses)
        if wanted.reason:
            texts = self.reason.names.texts
            shown &= self.reason.is_one_of(text for text in texts if wanted.reason in split_reasons(text))
        columns = [(self.label, wanted.label), (self.folder, wanted.folder), (self.study, wanted.study)]
        columns += [(self.reviewed, wanted.reviewed)]
        columns += [(self.further.get(name, Column()), answer) for name, answer in wanted.further]
        for column, text in columns:
            if text:
                shown &= column.is_one_of([text]) if len(column.codes) else False
        if wanted.undecided:
            shown &= self.reviewed.is_one_of([""]) if wanted.sample else self.undecided
        if wanted.decided:
            shown &= ~self.reviewed.is_one_of([""])
        return shown & self.sampled if wanted.sample else shown

    def _keys(self, sort: str) -> NDArray[np.float64]:
        """Return what is sorted by, smallest first, unknown last: float64 (files,)."""
        if sort == "confidence":
            return np.nan_to_num(self.confidence.astype(np.float64), nan=np.inf)
        if sort == "reject_score":
            return np.nan_to_num(self.reject.astype(np.float64), nan=np.inf)
        if sort == "path":
            keys = np.empty(len(self), np.float64)
            keys[sorted(range(len(self)), key=self.paths.__getitem__)] = np.arange(len(self))
            return keys
        column: Column = getattr(self, sort)
        return column.names.ranks().astype(np.float64)[column.codes] if len(self) else np.empty(0)

    def reasons(self) -> dict[str, int]:
        """Count the files by reason; one may have several."""
        counts: Counter[str] = Counter()
        for text, count in self.reason.counts().items():
            counts.update(dict.fromkeys(split_reasons(text), count))
        return dict(sorted(counts.items()))


def _decoded(file: Iterable[bytes], offsets: "array[int]") -> Iterator[str]:
    """Yield whole lines as text; appends to `offsets` where the next one begins."""
    for line in file:
        if not line.endswith(b"\n"):
            return
        offsets.append(offsets[-1] + len(line))
        yield line.decode("utf-8")


def _line_at(file: int, offset: int) -> str:
    """Read a line of any length."""
    size = 1 << 12
    while b"\n" not in (block := os.pread(file, size, offset)) and len(block) == size:
        size *= 4
    return block.partition(b"\n")[0].decode("utf-8")
