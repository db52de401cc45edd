"""A row of the manifest: typed on its way out, and typed again on its way back."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from dicomsort import __version__
from dicomsort.errors import UsageError
from dicomsort.model.anatomy import Anatomy, Region, agreed
from dicomsort.model.heads import Decision
from dicomsort.outcome import (
    FOR_REVIEW,
    HINTS,
    REVIEW,
    Action,
    Facts,
    FileStamp,
    Header,
    Placement,
    Reason,
    Reviewed,
    Status,
)
from dicomsort.system.escaping import cell, escape, uncell, unescape

REJECT, ROTATION, SCOPE, DIGEST = "reject_score", "rotation", "scope", "pixel_digest"
TOLD = (REJECT, ROTATION, SCOPE, DIGEST)
"""Columns that are there only where a run tells of them, in their order."""

FIRST = "path"

_NUMBERS = ("rows", "columns", "frames")
_HEADER_COLUMNS = tuple(field_.name for field_ in fields(Header))
_LEADING = (FIRST, "status", "reason", "label", "confidence")
_EVIDENCE = ("pixel_label", "pixel_confidence", "evidence")
_REGION = ("region_code", "region_meaning")
_REVIEWED = ("reviewed_label", "reviewed_by", "reviewed_at")
_PLACES = ("action", "destination", "duplicate_of", *_REVIEWED)
_TRAILING = ("model", "size", "mtime_ns", "etag", "sha256", "dicomsort_version")
_BETWEEN = "; "
_REJECT_DIGITS = 4  # of a float32 beyond 10, whose last bits depend on the batch and the threads
_LABEL = ".label"


def columns(
    answers: Sequence[str],
    rejects: bool = False,
    rotates: bool = False,
    studies: bool = False,
    digests: bool = False,
) -> list[str]:
    """Return the manifest's columns, with those of the models' answers (`model_set.columns_of`) inside.

    rejects: whether there is a reject score. rotates: whether a model tells how pictures are turned. studies:
    whether whole studies are answered. digests: whether digests of the pixels are wanted.
    """
    told = [name for name, is_told in zip(TOLD, (rejects, rotates, studies, digests), strict=True) if is_told]
    return [*_LEADING, *told, *_EVIDENCE, *_REGION, *_PLACES, *_HEADER_COLUMNS, *answers, *_TRAILING]


def answers_of(names: Sequence[str]) -> list[str]:
    """Return the columns of the models' answers among all of a manifest's; the inverse of `columns`."""
    told = (name in names for name in TOLD)
    return list(names[len(columns((), *told)) - len(_TRAILING) : -len(_TRAILING)])


_NEW = {
    "age_group": "frames",
    **dict(zip(_EVIDENCE, ("confidence", *_EVIDENCE), strict=False)),
    **dict(zip(_REGION, ("evidence", *_REGION), strict=False)),
    **dict(zip(_REVIEWED, ("duplicate_of", *_REVIEWED), strict=False)),
    "etag": "mtime_ns",
}
"""Columns that manifests of earlier versions do not have, and behind which each of them stands."""


def renewed(names: Sequence[str]) -> list[str]:
    """Return the columns of a manifest with those that an earlier version did not write, in their places."""
    found = list(names)
    for new, before in _NEW.items():
        told = [name for name in TOLD if name in found]
        place = told[-1] if before == "confidence" and told else before
        if new not in found and place in found:
            found.insert(found.index(place) + 1, new)
    return found


def join_reasons(reasons: Iterable[str]) -> str:
    """Return several reasons as one cell, each of them once."""
    return _BETWEEN.join(dict.fromkeys(str(reason) for reason in reasons if reason))


def split_reasons(text: str) -> tuple[str, ...]:
    """Return the reasons of a cell; the inverse of `join_reasons`."""
    return tuple(text.split(_BETWEEN)) if text else ()


def counts_as(label: str, reviewed: Reviewed | None) -> str:
    """Return what a file counts as: what a person called it, else the model's label."""
    return reviewed.label if reviewed and reviewed.status is Status.SORTED else label


def status_when_placed(reasons: Iterable[str], reviewed: Reviewed | None = None) -> Status:
    """Return what a person decided; else REVIEW if one of a row's reasons asks for a person, or SORTED."""
    if reviewed is not None:
        return reviewed.status
    return Status.SORTED if FOR_REVIEW.isdisjoint(reasons) else Status.REVIEW


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the manifest, to be written.

    destination: relative to the output folder. scores: one per label. further: what the model's other heads
    say, and other models. rotation: by how many degrees, clockwise, it is seen turned. pixel_label,
    pixel_confidence: what the pixels alone say. evidence: the facts of the header that were weighed.
    region: of the body, that the image shows. scope: `study` where the whole study was answered.
    pixel_digest: see `pixel_source.pixel_digest`.
    sha256: of the bytes that were placed and read again, in hex. reviewed: what a person decided. kept: the
    row of an earlier file of this name, which was moved and stays in the output.
    """

    path: str
    status: Status
    reasons: tuple[str, ...] = ()
    label: str = ""
    confidence: float | None = None
    action: str = ""
    destination: str = ""
    duplicate_of: str = ""
    header: Header = field(default_factory=Header)
    scores: tuple[float, ...] = ()
    further: tuple[Decision, ...] = ()
    reject_score: float | None = None
    rotation: int | None = None
    pixel_label: str = ""
    pixel_confidence: float | None = None
    evidence: Facts = ()
    region: Region | None = None
    stamp: FileStamp | None = None
    sha256: str = ""
    reviewed: Reviewed | None = None
    kept: "Record | None" = None
    scope: str = ""
    pixel_digest: str = ""

    def cells(
        self,
        answers: int,
        rejects: bool,
        model: str,
        rotates: bool = False,
        studies: bool = False,
        digests: bool = False,
    ) -> list[str]:
        """Return the line as text, in the order of `columns`.

        answers: how many columns of answers there are. rejects, rotates, studies, digests: whether there is
        one of a reject score, of the rotation, of the scope, and of the pixels' digest.
        """
        values = (getattr(self.header, name) for name in _HEADER_COLUMNS)
        header = ["" if value is None else str(value) for value in values]
        scores = self._answers() if self.scores else [""] * answers
        leading = [escape(self.path), self.status.value, join_reasons(self.reasons), self.label]
        places = [self.action, escape(self.destination), escape(self.duplicate_of)]
        places += _reviewed_cells(self.reviewed).values()
        numbers = [
            _number(self.confidence),
            *([_number(self.reject_score, _REJECT_DIGITS)] if rejects else []),
        ]
        numbers += ["" if self.rotation is None else str(self.rotation)] * rotates
        numbers += [self.scope] * studies + [cell(self.pixel_digest)] * digests
        pixels = [cell(self.pixel_label), _number(self.pixel_confidence), cell(_BETWEEN.join(self.evidence))]
        pixels += map(cell, region_cells(self.region).values())
        stamp = _stamp_cells(self.stamp)
        texts = [cell(text) for text in [*places, *header, *scores, model]]
        return [*map(cell, leading), *numbers, *pixels, *texts, *stamp, self.sha256, __version__]

    def _answers(self) -> list[str]:
        cells = [_number(score) for score in self.scores]
        for decision in self.further:
            cells += [decision.label, _number(decision.confidence), *map(_number, decision.scores)]
        return cells


def _number(value: float | None, digits: int = 6) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _stamp_cells(stamp: FileStamp | None) -> list[str]:
    return [str(stamp.size), str(stamp.mtime_ns), cell(escape(stamp.etag))] if stamp else ["", "", ""]


def region_cells(region: Region | None) -> dict[str, str]:
    """Return by column what the manifest tells of a region; empty if there is none."""
    return dict(zip(_REGION, (region.code, region.meaning) if region else ("", ""), strict=True))


def _reviewed_cells(reviewed: Reviewed | None) -> dict[str, str]:
    """Return by column what a person decided; empty where nobody has."""
    values = (reviewed.label, reviewed.by, reviewed.at) if reviewed else ("", "", "")
    return dict(zip(_REVIEWED, values, strict=True))


_LONGEST_NAME = 255  # bytes, on nearly all file systems


class Record(dict[str, str]):
    """One line of a manifest as it was read: text by column, and what the columns mean.

    What changes a record returns another one.
    """

    __slots__ = ()

    @property
    def key(self) -> str:
        """The path as the manifest writes it, by which its rows refer to each other."""
        return self["path"]

    @property
    def path(self) -> str:
        """The source, as the system knows it."""
        return unescape(uncell(self["path"]))

    @property
    def status(self) -> Status:
        """How the file ended. Raises UsageError if that is none of ours."""
        try:
            return Status(self["status"])
        except ValueError as error:
            raise UsageError("the manifest has been changed: a status is unknown; restore it") from error

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in the order in which they are written."""
        return split_reasons(self["reason"])

    @property
    def label(self) -> str:
        """The class that the model decided on, or nothing."""
        return self["label"]

    @property
    def action(self) -> str:
        """How the file was placed, or nothing."""
        return self["action"]

    @property
    def destination(self) -> str:
        """Where it was placed, or would be, relative to the output; or nothing."""
        return unescape(uncell(self["destination"]))

    @property
    def duplicate_of(self) -> str:
        """The `key` of the file that this one repeats, or nothing."""
        return self["duplicate_of"]

    @property
    def sop_instance_uid(self) -> str:
        """The SOP Instance UID, or nothing."""
        return self["sop_instance_uid"]

    @property
    def stamp(self) -> FileStamp | None:
        """The source's size and time; None if it was never seen on the disk.

        Raises UsageError if they are no numbers any more.
        """
        return self._stamp() if self["mtime_ns"] else None

    def _stamp(self) -> FileStamp:
        try:
            return FileStamp(int(self["size"]), int(self["mtime_ns"]), unescape(uncell(self.get("etag", ""))))
        except ValueError as error:
            raise UsageError(
                "the manifest has been changed: a size or time is no whole number any more; restore it "
                "(a spreadsheet may have rounded it)"
            ) from error

    @property
    def reviewed(self) -> Reviewed | None:
        """What a person decided, if anybody has."""
        if not self["reviewed_label"]:
            return None
        return Reviewed(*(uncell(self[name]) for name in _REVIEWED))

    @property
    def final_label(self) -> str:
        """What the file counts as: what a person called it, else what the model did."""
        return counts_as(self.label, self.reviewed)

    @property
    def further_labels(self) -> dict[str, str]:
        """What further heads and models say, by their name."""
        return {
            name.removesuffix(_LABEL): uncell(text) for name, text in self.items() if name.endswith(_LABEL)
        }

    @property
    def folder(self) -> str:
        """The folder for the file: by what a person decided, else by what the model did."""
        if (reviewed := self.reviewed) is not None:
            return reviewed.folder
        in_review = status_when_placed(self.reasons) is Status.REVIEW
        return REVIEW if in_review else self.label.replace("|", "+")

    @property
    def header(self) -> Header:
        """The DICOM attributes that the row tells."""
        texts: dict[str, Any] = {name: uncell(self[name]) for name in _HEADER_COLUMNS}
        numbers = {name: int(texts[name]) if texts[name] else None for name in _NUMBERS}
        return Header(**{**texts, **numbers})

    @property
    def is_placed(self) -> bool:
        """Whether a copy or a link of the file was put somewhere."""
        return bool(self["action"] and self["destination"])

    @property
    def stands_for_itself(self) -> bool:
        """Whether the file was placed, or is where it is to stay."""
        return bool(self["action"]) or self["status"] in (Status.SORTED, Status.REVIEW, Status.EXCLUDED)

    @property
    def is_told_only(self) -> bool:
        """Whether the file was sorted with `--action none`: the row is all that there is."""
        placed = (Status.SORTED, Status.REVIEW, Status.EXCLUDED)
        return self["status"] in placed and not (self["action"] or self["destination"])

    @property
    def is_planned(self) -> bool:
        """Whether the file waits to be placed, by `dicomsort apply` or the next run."""
        return self["status"] == Status.PLANNED and bool(self["destination"] and self["mtime_ns"])

    @property
    def is_duplicate(self) -> bool:
        """Whether the file was found to repeat another one."""
        return self["status"] == Status.DUPLICATE

    @property
    def hint(self) -> Reason:
        """Which of HINTS the file is; Reason.NONE for any other."""
        return Reason(self["reason"]) if self["reason"] in HINTS else Reason.NONE

    @property
    def is_read_archive(self) -> bool:
        """Whether the file is an archive whose members have rows, all of them or what could be found."""
        return self["reason"] in (Reason.ARCHIVE_READ, Reason.ARCHIVE_DAMAGED, Reason.INFLATES)

    @property
    def is_refused(self) -> bool:
        """Whether the file was not placed because another one has its destination."""
        return (
            self["status"] == Status.IO_ERROR
            and not self["action"]
            and Reason.DESTINATION_TAKEN.value in self.reasons
        )

    @property
    def placement(self) -> Placement:
        """What was placed, or would be. Raises UsageError if that lies outside the output folder."""
        destination, stamp = self.destination, self._stamp()
        if os.path.isabs(destination) or os.pardir in destination.split(os.sep):
            raise UsageError(
                f"the manifest has been changed: '{self['destination']}' lies outside the output"
            )
        return Placement(destination, self["action"], stamp, self["sha256"])

    def _changed(self, **cells: str) -> "Record":
        return Record({**self, **cells})

    def with_reason(self, reason: Reason, first: bool = False) -> "Record":
        """Return the row with one more reason, unless it is there already. first: in front of the others."""
        reasons = (reason, *self.reasons) if first else (*self.reasons, reason)
        return self._changed(reason=join_reasons(reasons))

    def without_reason(self, reason: Reason) -> "Record":
        """Return the row without this reason."""
        return self._changed(reason=join_reasons(one for one in self.reasons if one != reason.value))

    def planned(self) -> "Record":
        """Return the row as a plan: nothing is placed, and the destination is where it would be."""
        return self._changed(status=Status.PLANNED.value, action="", sha256="")

    def placed(self, action: Action, sha256: str = "") -> "Record":
        """Return the row of a file that is placed now: in its class, or in review if a reason asks for it."""
        status = status_when_placed(self.reasons, self.reviewed)
        return self._changed(status=status.value, action=action.value, sha256=sha256)

    def decided(
        self, reviewed: Reviewed | None, destination: str, anatomy: Anatomy | None = None
    ) -> "Record":
        """Return the row with what a person decided, or has taken back, and where the file is now.

        anatomy: what the labels mean, for the region of the body; None leaves the region as it is.
        """
        planned = self.status is Status.PLANNED
        status = Status.PLANNED if planned else status_when_placed(self.reasons, reviewed)
        cells = {name: cell(text) for name, text in _reviewed_cells(reviewed).items()}
        if anatomy is not None:
            region = agreed(anatomy, {"": counts_as(self.label, reviewed), **self.further_labels})
            cells |= {name: cell(text) for name, text in region_cells(region).items()}
        return self._changed(status=status.value, destination=cell(escape(destination)), **cells)

    def moved(self, destination: str) -> "Record":
        """Return the row of a file that somebody has put elsewhere in the output."""
        return self._changed(destination=cell(escape(destination)))

    def with_action(self, action: Action) -> "Record":
        """Return the row of a placed file with what was really done."""
        return self._changed(action=action.value)

    def renamed(self) -> "Record":
        """Return the row of a moved file under a name that no other file has: another one came to its own.

        `IM1.dcm` becomes `IM1~1f2e3d4c.dcm`, by the first 8 digits of its checksum. What would be too long
        for a file system is cut in front of that.
        """
        folder, name = os.path.split(self.path)
        stem, kind = os.path.splitext(name)
        ending = f"~{self['sha256'][:8] or self['mtime_ns']}{kind}"
        room = max(_LONGEST_NAME - len(os.fsencode(ending)), 0)
        if len(os.fsencode(stem)) > room:
            stem = os.fsencode(stem)[:room].decode("utf-8", "ignore")
        return self._changed(path=cell(escape(os.path.join(folder, stem + ending))))

    def failed(self, reason: Reason) -> "Record":
        """Return the row of a planned file that could not be placed, the reason in front of the others."""
        return self.with_reason(reason, first=True)._changed(status=Status.IO_ERROR.value, destination="")

    def refused(self) -> "Record":
        """Return the row of a file whose destination belongs to another one."""
        row = self.with_reason(Reason.DESTINATION_TAKEN, first=True)
        return row._changed(status=Status.IO_ERROR.value, action="", sha256="")

    def repeating(self, original: str) -> "Record":
        """Return the row of a file that was found to repeat the one with this `key`."""
        reason = Reason.SAME_IMAGE.value
        return self._changed(status=Status.DUPLICATE.value, reason=reason, duplicate_of=original)

    def repeating_nothing(self) -> "Record":
        """Return the row of a duplicate whose original is gone or has changed: the next run places it."""
        reason = Reason.ORIGINAL_GONE.value
        return self._changed(status=Status.PLANNED.value, reason=reason, duplicate_of="")

    def withdrawn(self) -> "Record":
        """Return the row of a file whose copy or link was removed, and which has no place any more."""
        return self._changed(action="", destination="")

    def without_checksum(self) -> "Record":
        """Return the row without the checksum of what was placed."""
        return self._changed(sha256="")
