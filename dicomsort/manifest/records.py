"""A row of the manifest as it was read, typed again; and what it counts as."""

import os
from collections.abc import Iterable
from typing import Any

from dicomsort.errors import UsageError
from dicomsort.manifest.columns import (
    HEADER,
    REVIEWED,
    join_reasons,
    region_cells,
    reviewed_cells,
    split_reasons,
)
from dicomsort.model.anatomy import Anatomy, agreed
from dicomsort.outcome import (
    FOR_REVIEW,
    HINTS,
    REVIEW,
    Action,
    FileStamp,
    Header,
    Placement,
    Reason,
    Reviewed,
    Status,
)
from dicomsort.system.escaping import cell, escape, uncell, unescape

_NUMBERS = ("rows", "columns", "frames")
_LABEL = ".label"
_LONGEST_NAME = 255  # bytes, on nearly all file systems


def counts_as(label: str, reviewed: Reviewed | None) -> str:
    """Return what a file counts as: what a person called it, else the model's label."""
    return reviewed.label if reviewed and reviewed.status is Status.SORTED else label


def status_when_placed(reasons: Iterable[str], reviewed: Reviewed | None = None) -> Status:
    """Return what a person decided; else REVIEW if one of a row's reasons asks for a person, or SORTED."""
    if reviewed is not None:
        return reviewed.status
    return Status.SORTED if FOR_REVIEW.isdisjoint(reasons) else Status.REVIEW


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
        return Reviewed(*(uncell(self[name]) for name in REVIEWED))

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
        texts: dict[str, Any] = {name: uncell(self[name]) for name in HEADER}
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
        cells = {name: cell(text) for name, text in reviewed_cells(reviewed).items()}
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
