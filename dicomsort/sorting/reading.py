"""What a worker does with what it is handed: read a file, look into an archive, go through one."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.inputs.incoming import Incoming
from dicomsort.inputs.opened import MissingBytes, opened
from dicomsort.inputs.sources import bytes_of
from dicomsort.inputs.work import (
    LOST,
    Answer,
    IsStream,
    Listed,
    Members,
    Read,
    Through,
    ToGoThrough,
    ToList,
    Wants,
    Work,
    is_listed_member,
    member_of,
)
from dicomsort.outcome import Failure, Header, Part, ReadImage, Reason, SourceFile, Status
from dicomsort.system.worker import TICK

if TYPE_CHECKING:
    from dicomsort.inputs.archive_file import MemberDamagedError, Streamed
    from dicomsort.inputs.named import Shard

_CHUNK = 1 << 20
_START = 512
_MOST_AT_A_TIME = 1000


@dataclass(frozen=True, slots=True)
class HowToRead:
    """How workers read. canvases: of the models, at least one.

    incoming: the folder for what has to be unpacked. leaves: whether bytes of what is no file of its own are
    left there, to be placed. archives: whether to look into them. share: of radiographs whose study is of
    another share only the header is read.
    """

    canvases: Sequence[Preprocessing]
    read: ReadSettings
    incoming: str
    leaves: bool
    archives: bool = True
    share: "Shard | None" = None


def do(work: Work, how: HowToRead) -> Answer | Members:
    """Do a piece of work; an archive that is gone through has an answer for each of its members."""
    if isinstance(work, SourceFile):
        return work.failure or _read(work, how)
    if isinstance(work, ToList):
        return _listed(work, how)
    return _gone_through(work, how)


def _read(found: SourceFile, how: HowToRead) -> Answer:
    from dicomsort.inputs.archive_file import MemberDamagedError, unpacked  # noqa: PLC0415

    if found.part is None or not found.part.packing:
        try:
            return _sound(found.part, _reading(found, how, found.part))
        except MissingBytes as missing:
            return Wants(missing.start, missing.stop)
        except OSError:
            return Failure(Status.IO_ERROR, Reason.UNREADABLE)
    try:
        with unpacked(found.part) as data:
            return _left(found, _reading(found, how, data), data, how)
    except MemberDamagedError as error:
        return _damaged(error)
    except OSError:
        return Failure(Status.IO_ERROR, Reason.UNREADABLE)


def _sound(part: Part | None, reading: ReadImage | Failure) -> ReadImage | Failure:
    """Hold a radiograph that lies in a zip as it is against its checksum. Raises OSError."""
    from dicomsort.inputs.archive_file import is_whole  # noqa: PLC0415

    if part is None or part.crc is None or part.held is not None:
        return reading
    if isinstance(reading, Failure) or is_whole(part):
        return reading
    return Failure(Status.DECODE_ERROR, Reason.MEMBER_DAMAGED, reading.header, reading.stamp, reading.cost)


def _damaged(error: "MemberDamagedError") -> Failure:
    status = Status.UNSUPPORTED if error.reason is Reason.INFLATES else Status.DECODE_ERROR
    return Failure(status, error.reason)


def _reading(found: SourceFile, how: HowToRead, held: Part | BinaryIO | None) -> ReadImage | Failure:
    from dicomsort.dicom import reader  # noqa: PLC0415  (in a worker, which has it loaded)

    wanted = None if how.share is None else partial(_is_of, found=found, share=how.share)
    return reader.read_dicom(found.path, how.canvases[0], how.read, how.canvases[1:], held, wanted)


def share_key(found: SourceFile, header: Header) -> str:
    """Return by what an image, or what is no image, falls to a share: its study, or its path without one."""
    return found.study or header.study_instance_uid or found.relpath


def _is_of(header: Header, found: SourceFile, share: "Shard") -> bool:
    return share.holds(share_key(found, header))


def _left(found: SourceFile, reading: ReadImage | Failure, data: BinaryIO, how: HowToRead) -> Read:
    """Leave the bytes of a radiograph that will be placed where the main process finds them.

    If it will not, its size is found all the same. Raises MemberDamagedError.
    """
    if isinstance(reading, Failure):
        return Read(found, reading)
    if not how.leaves:
        return Read(_of_size(found, data.seek(0, os.SEEK_END)), reading)
    return _behind(found, reading, data, how)


def _behind(found: SourceFile, reading: ReadImage | Failure, data: BinaryIO, how: HowToRead) -> Read:
    """Leave bytes, or say that there is no room for them. Raises MemberDamagedError."""
    from dicomsort.inputs.archive_file import MemberDamagedError  # noqa: PLC0415

    try:
        return Read(_left_behind(found, data, how), reading)
    except MemberDamagedError:
        raise
    except OSError:
        return Read(found, Failure(Status.IO_ERROR, Reason.TARGET_DONE))


def _left_behind(found: SourceFile, data: BinaryIO, how: HowToRead) -> SourceFile:
    """Return a file with its bytes where they are left; only now its size is known for sure."""
    part = _leave(data, how)
    return replace(_of_size(found, part.size or 0), part=part)


def _of_size(found: SourceFile, size: int) -> SourceFile:
    return replace(found, stamp=found.stamp and replace(found.stamp, size=size))


def _leave(data: BinaryIO, how: HowToRead) -> Part:
    """Write bytes to a file in the folder for incoming ones. Raises OSError or MemberDamagedError."""
    target = Incoming(how.incoming).new()
    data.seek(0)
    with open(target, "xb") as file:
        try:
            shutil.copyfileobj(data, file, _CHUNK)
        except OSError:
            os.unlink(target)
            raise
        return Part(target, size=file.tell())


def _listed(work: ToList, how: HowToRead) -> Answer:
    """Say what is in an archive, some of it at a time; an archive that is packed itself is unpacked first."""
    from dicomsort.inputs.archive_file import MemberDamagedError, kind_of, list_members  # noqa: PLC0415

    found, part, listed = work.found, work.found.part, is_listed_member(work.found)
    try:
        with bytes_of(found.path) if listed else opened(found.path, part) as file:
            kind = kind_of(file.read(_START), file)
            file.seek(0)
            if not kind:
                return Failure(Status.NOT_DICOM, Reason.ARCHIVE)
            if kind not in ("zip", "tar"):
                return IsStream(kind, _leave(file, how) if listed else None)
            unpacked = _leave(file, how) if listed or (part is not None and part.packing) else None
        place = unpacked or part or Part(found.path)
        listing = list_members(place.file, kind, work.since, place.start, place.length, _MOST_AT_A_TIME)
        return Listed(listing, unpacked)
    except MissingBytes as missing:
        return Wants(missing.start, missing.stop)
    except MemberDamagedError as error:
        return _damaged(error)
    except OSError:
        return Failure(Status.IO_ERROR, Reason.UNREADABLE)


def _gone_through(work: ToGoThrough, how: HowToRead) -> Members:
    """Read an archive from front to back; what was answered before is passed over."""
    from dicomsort.inputs.archive_file import Ended, Streamed, ahead, stream_members  # noqa: PLC0415

    number = 0
    try:
        with opened(work.found.path, work.found.part) as file:
            for one in ahead(stream_members(file, work.kind, work.found.path)):
                if isinstance(one, Ended):
                    return Through(one.damage)
                if not isinstance(one, Streamed) or number < work.skip:
                    yield TICK
                else:
                    yield _streamed(one, work, number, how)
                number += isinstance(one, Streamed)
    except OSError:
        return Failure(Status.IO_ERROR, Reason.UNREADABLE)
    return Through(Reason.NONE)


def _streamed(one: "Streamed", work: ToGoThrough, number: int, how: HowToRead) -> Read:
    """Read a member that has just come by."""
    from dicomsort.inputs.archive_file import MemberDamagedError  # noqa: PLC0415

    found = member_of(work.found, one.member)
    if work.lost is not None and work.lost[0] == number:
        return Read(found, LOST[work.lost[1]])
    if found.failure is not None:
        return Read(found, found.failure)
    try:
        return _passing(found, one, work, how)
    except MemberDamagedError as error:
        return Read(found, _damaged(error))


def _passing(found: SourceFile, one: "Streamed", work: ToGoThrough, how: HowToRead) -> Read:
    """Read a member and keep what is needed of it. Raises MemberDamagedError if it ends too early."""
    reading = _reading(found, how, one.data)
    opens = how.archives and not work.inner
    if isinstance(reading, Failure) and reading.reason is Reason.ARCHIVE and opens:
        return _behind(found, reading, one.data, how)
    return _left(found, reading, one.data, how)
