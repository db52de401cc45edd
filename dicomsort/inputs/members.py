"""What is said of the files in an archive, and how far archives are trusted."""

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

from dicomsort.inputs.names import clean
from dicomsort.outcome import Failure, Part, Reason, Status, _Lean

IN_MEMORY = 64 << 20
"""Up to so many bytes of a member lie in memory, unpacked; more in a nameless temporary file."""

MOST_OF_A_MEMBER = 16 << 30
MOST_OF_AN_ARCHIVE = 1 << 40
MOST_FOR_ITS_SIZE = 1100
"""Bytes that may come of one packed byte, beyond the first IN_MEMORY (deflate gives at most 1,032)."""

BETWEEN_TICKS = 32 << 20
_LONGEST = 1024

ENCRYPTED = Failure(Status.UNSUPPORTED, Reason.ENCRYPTED)
PACKING = Failure(Status.UNSUPPORTED, Reason.PACKING)
INFLATES = Failure(Status.UNSUPPORTED, Reason.INFLATES)
DAMAGED = Failure(Status.DECODE_ERROR, Reason.MEMBER_DAMAGED)
LINK = Failure(Status.NOT_DICOM, Reason.LINK_IN_ARCHIVE)
SPECIAL = Failure(Status.NOT_DICOM, Reason.SPECIAL_FILE)


class MemberDamagedError(OSError):
    """A member that does not unpack to what its archive says of it, or unpacks to too much.

    reason: MEMBER_DAMAGED or INFLATES.
    """

    def __init__(self, reason: Reason = Reason.MEMBER_DAMAGED) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Member(_Lean):
    """A file in an archive; two may have one name.

    name: clean, see `names.clean`. size: in bytes, unpacked, as the archive says; 0 if it does not. part:
    where its bytes are, None if they cannot be read in place. failure: why it cannot be read at all.
    """

    name: str
    size: int
    part: Part | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Listing(_Lean):
    """Some members of an archive, in the order in which it names them.

    rest: where to go on, None at the end. damage: of the archive, as far as it was met in this stretch: NONE,
    ARCHIVE_DAMAGED or INFLATES.
    """

    members: tuple[Member, ...]
    rest: int | None = None
    damage: Reason = Reason.NONE


@dataclass(frozen=True, slots=True)
class Streamed:
    """A member that comes by in a stream. data: seekable, valid until the next one is asked for.

    Of a member with a failure there is no data. Reading raises MemberDamagedError where the stream ends
    too early.
    """

    member: Member
    data: BinaryIO


@dataclass(frozen=True, slots=True)
class Tick:
    """A sign of life from a stream that goes on, after BETWEEN_TICKS unpacked bytes at most."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a stream. damage: as of a Listing."""

    damage: Reason = Reason.NONE


def name_of(raw: bytes, encoding: str = "utf-8") -> str:
    """Return a member's name, clean; one that is far too long is cut, and told apart by its SHA-1."""
    if len(raw) > _LONGEST:
        mark = hashlib.sha1(raw, usedforsecurity=False).hexdigest()
        raw = raw[:_LONGEST] + b"~" + mark.encode()
    return clean(raw.decode(encoding, "surrogateescape"))
