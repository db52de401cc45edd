"""What became of a file or a study that was to be annotated; values that travel between processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dicomsort.export.kinds import Flaw


class Left(StrEnum):
    """Why nothing was written of a file or study; a fixed set of texts."""

    NO_UIDS = "no valid SOP, Series or Study Instance UID"
    SAME_UID = "same SOP Instance UID as another image"
    SIGNED = "digitally signed: a changed copy would break the signature"
    CHANGED = "file changed since it was sorted: sort it again"
    GONE = "file is gone, and so is its copy"
    UNREADABLE = "header is damaged or cut off, or cannot be read"
    TAKEN = "another file already has the name"
    NOT_WRITTEN = "file could not be written (see the folder's permissions)"
    FULL = "folder is full or cannot be written"
    NO_REPORT = "header lacks, or misspells, what a report must repeat"
    INTERNAL = "internal error, please report it"
    WORKER_DIED = "reading this file ended its process (crash or out of memory)"
    TOO_SLOW = "reading took longer than the time limit"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, or would be.

    file: relative to the folder. sources: what it was made of. flaws: of corrected copies, by what (anatomy,
    view). size, mtime_ns, sha256: of the file; 0 and empty in a dry run. is_new: False if it was there
    already.
    """

    file: str
    sources: tuple[str, ...]
    kind: str
    flaws: Mapping[str, Flaw] = field(default_factory=dict)
    size: int = 0
    mtime_ns: int = 0
    sha256: str = ""
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing is to be written of this file."""


Outcome = Written | Nothing | Left
