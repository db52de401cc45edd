"""A manifest for those who work with its results: one typed row for every file."""

import csv
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from typing import Any

from dicomsort.errors import UsageError
from dicomsort.manifest.columns import (
    DIGEST,
    REJECT,
    ROTATION,
    SCOPE,
    TOLD,
    answers_of,
    columns,
    renewed,
    split_reasons,
)
from dicomsort.manifest.history import DAMAGE, damaged
from dicomsort.manifest.names import MANIFEST
from dicomsort.manifest.records import Record
from dicomsort.model.anatomy import agreed
from dicomsort.outcome import EXCLUDED, UNSURE, Facts, FileStamp, Header, Status
from dicomsort.system.escaping import escape, uncell, unescape

_SCORE = "score_"
_LABEL, _CONFIDENCE = ".label", ".confidence"
_HEADER = Header.__dataclass_fields__
_NUMBERS = ("rows", "columns", "frames")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a further head, or a further model, says of an image.

    label: of several labels all that were chosen, with `|` between them. confidence: 0..1. scores: by label,
    0..1.
    """

    label: str
    confidence: float
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """What became of one file.

    path: of the source, as the system knows it (absolute). reasons: each a text of `Reason`, or that of
    another frame with its number. label, confidence (0..1), scores (0..1 by label): of the head that decides;
    empty, None and empty where no model was asked. further: what other heads and other models say, by
    `head`, `model` or `model.head`. reject_score: how unlike its training data the image is to the model.
    rotation: by how many degrees, clockwise, the picture is seen turned; None if no model is sure.
    scope: `study` where the image's whole study was answered; empty of a model that answers single images.
    pixel_digest: equal for two files only if Transfer Syntax UID and Pixel Data value are; empty where it was
    not asked for, or there are no pixels that can be read to their end.
    pixel_label, pixel_confidence: what the pixels alone say. evidence: the facts of the header that were
    weighed. region_code, region_meaning: the region of the body that the image shows, in SNOMED CT; empty if
    its label names none; in a manifest of an earlier version by the labels' names. action: copy, symlink,
    hardlink or reflink, empty if nothing was placed. destination: relative to the output folder.
    duplicate_of: the path of the file that it repeats. reviewed_label: what a person decided: a label,
    `excluded` or `unsure`; empty if nobody has. reviewed_by, reviewed_at: who, and when, in UTC (ISO 8601).
    model: name@sha256[:12] of each model, with `+` between them. stamp: size in bytes and time in ns of the
    source. sha256: in hex, if what was placed was read again. version: of the dicomsort that wrote the row.
    """

    path: str
    status: Status
    reasons: tuple[str, ...] = ()
    label: str = ""
    confidence: float | None = None
    reject_score: float | None = None
    rotation: int | None = None
    scope: str = ""
    pixel_digest: str = ""
    pixel_label: str = ""
    pixel_confidence: float | None = None
    evidence: Facts = ()
    region_code: str = ""
    region_meaning: str = ""
    action: str = ""
    destination: str = ""
    duplicate_of: str = ""
    reviewed_label: str = ""
    reviewed_by: str = ""
    reviewed_at: str = ""
    header: Header = field(default_factory=Header)
    scores: Mapping[str, float] = field(default_factory=dict)
    further: Mapping[str, Answer] = field(default_factory=dict)
    model: str = ""
    stamp: FileStamp | None = None
    sha256: str = ""
    version: str = ""

    @property
    def final_label(self) -> str:
        """What the file counts as: what a person called it, else what the model did."""
        return self.label if self.reviewed_label in ("", EXCLUDED, UNSURE) else self.reviewed_label


def read_manifest(path: str | os.PathLike[str]) -> Iterator[ManifestRow]:
    """Yield one row for every file, in the order of the manifest, which may be longer than memory.

    path: a manifest.csv, or the output folder that holds it. Of a file that was done again only the last row
    counts; half a line at the end, which a power cut may leave, is left out. A run may be writing meanwhile.

    Raises UsageError at once if there is no manifest of this version, and on the way where it is damaged.
    """
    name = os.fspath(path)
    name = os.path.join(name, MANIFEST) if os.path.isdir(name) else name
    names = next(_cells(name), [])
    wanted = renewed(names)
    try:
        start, end = wanted.index("age_group") + 1, wanted.index("model")
    except ValueError:
        start, end = 0, 0
    answers = wanted[start:end]
    if not end or wanted != columns(answers, *(name in names for name in TOLD)):
        raise UsageError(f"'{escape(name)}' is no {MANIFEST} of this version")
    return _rows(name, names, _heads(answers))


def _rows(path: str, names: list[str], heads: Mapping[str, Sequence[str]]) -> Iterator[ManifestRow]:
    keys = array("q", (hash(cells[0]) for cells in islice(_cells(path), 1, None)))
    again = _repeats(keys)
    for cells in islice(_cells(path), 1, 1 + len(keys)):
        key = hash(cells[0])
        if again[key] > 0:
            again[key] -= 1
            continue
        try:
            told = dict(zip(names, map(uncell, cells), strict=True))
            row = _row({**dict.fromkeys(renewed(names), ""), **told}, heads)
            row = row if "region_code" in told else _with_region(row)
        except DAMAGE as error:
            raise damaged(path) from error
        yield row


def _with_region(row: ManifestRow) -> ManifestRow:
    """Return a row of an earlier version with the region that its labels mean by their names."""
    answers = {"": row.final_label, **{name: answer.label for name, answer in row.further.items()}}
    region = agreed({}, answers)
    if region is None:
        return row
    return replace(row, region_code=region.code, region_meaning=region.meaning)


def read_row(record: Record) -> ManifestRow:
    """Return a row that was read to be worked with."""
    names = list(record)
    start, end = names.index("age_group") + 1, names.index("model")
    return _row({name: uncell(text) for name, text in record.items()}, _heads(names[start:end]))


def _repeats(keys: Iterable[int]) -> Counter[int]:
    """Count for files that have several rows how many of them come before the last."""
    return Counter(key for key, following in pairwise(sorted(keys)) if key == following)


def _cells(path: str) -> Iterator[list[str]]:
    """Yield the cells of every whole line. Raises UsageError."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from csv.reader(line for line in file if line.endswith(("\n", "\r")))
    except OSError as error:
        raise UsageError(
            f"there is no manifest at '{escape(path)}': name the --out folder of a run"
        ) from error
    except DAMAGE as error:
        raise damaged(path) from error


def answers_in(path: str) -> tuple[str, ...]:
    """Return the columns of the models' answers of the manifest at `path`; none if that is no manifest."""
    try:
        return tuple(answers_of(renewed(next(_cells(path), []))))
    except UsageError:
        return ()


def labels_in(answers: Sequence[str]) -> tuple[str, ...]:
    """Return the labels of the head that decides, by the columns of the models' answers."""
    return tuple(column.removeprefix(_SCORE) for column in _heads(answers)[""])


def labels_by_head(answers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the labels of each head by its name, which is empty for the one that decides.

    answers: the columns of the models' answers.
    """
    named = (
        (name, f"{name}.{_SCORE}" if name else _SCORE, columns) for name, columns in _heads(answers).items()
    )
    return {name: tuple(one.removeprefix(prefix) for one in columns) for name, prefix, columns in named}


def _heads(answers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the columns of each head's scores by its name, which is empty for the one that decides."""
    heads: dict[str, tuple[str, ...]] = {"": ()}
    names, name = iter(pairwise([*answers, ""])), ""
    for column, following in names:
        begins = column.removesuffix(_LABEL)
        if begins != column and following == f"{begins}{_CONFIDENCE}":
            name, heads[begins] = begins, ()
            next(names)
        else:
            heads[name] = (*heads[name], column)
    return heads


def _stamp(texts: Mapping[str, str]) -> FileStamp | None:
    if not texts["mtime_ns"]:
        return None
    return FileStamp(int(texts["size"]), int(texts["mtime_ns"]), unescape(texts.get("etag", "")))


def _row(texts: Mapping[str, str], heads: Mapping[str, Sequence[str]]) -> ManifestRow:
    return ManifestRow(
        path=unescape(texts["path"]),
        status=Status(texts["status"]),
        reasons=tuple(text for text in texts["reason"].split("; ") if text),
        label=texts["label"],
        confidence=_number(texts["confidence"]),
        reject_score=_number(texts.get(REJECT, "")),
        rotation=int(texts[ROTATION]) if texts.get(ROTATION) else None,
        scope=texts.get(SCOPE, ""),
        pixel_digest=texts.get(DIGEST, ""),
        pixel_label=texts["pixel_label"],
        pixel_confidence=_number(texts["pixel_confidence"]),
        evidence=split_reasons(texts["evidence"]),
        region_code=texts["region_code"],
        region_meaning=texts["region_meaning"],
        action=texts["action"],
        destination=unescape(texts["destination"]),
        duplicate_of=unescape(texts["duplicate_of"]),
        reviewed_label=texts["reviewed_label"],
        reviewed_by=texts["reviewed_by"],
        reviewed_at=texts["reviewed_at"],
        header=_header(texts),
        scores=_scores(texts, heads[""], _SCORE),
        further={
            name: _answer(texts, columns, name)
            for name, columns in heads.items()
            if name and texts[f"{name}{_CONFIDENCE}"]
        },
        model=texts["model"],
        stamp=_stamp(texts),
        sha256=texts["sha256"],
        version=texts["dicomsort_version"],
    )


def _header(texts: Mapping[str, str]) -> Header:
    values: dict[str, Any] = {name: texts[name] for name in _HEADER}
    numbers = {name: int(texts[name]) if texts[name] else None for name in _NUMBERS}
    return Header(**{**values, **numbers})


def _answer(texts: Mapping[str, str], columns: Sequence[str], name: str) -> Answer:
    confidence = float(texts[f"{name}{_CONFIDENCE}"])
    return Answer(texts[f"{name}{_LABEL}"], confidence, _scores(texts, columns, f"{name}.{_SCORE}"))


def _scores(texts: Mapping[str, str], columns: Sequence[str], prefix: str) -> dict[str, float]:
    """Return the scores of one head by label."""
    return {name.removeprefix(prefix): float(texts[name]) for name in columns if texts[name]}


def _number(text: str) -> float | None:
    return float(text) if text else None
