"""What workers are handed besides plain files, and what they answer to it."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TypeVar

from dicomsort.inputs import names
from dicomsort.inputs.archive_file import Listing, Member
from dicomsort.outcome import Failure, FileStamp, Part, ReadImage, Reason, SourceFile, Status
from dicomsort.system.pool_worker import Lost
from dicomsort.system.worker import Tick

Result = TypeVar("Result")

LOST = {
    Lost.CRASH: Failure(Status.CRASH, Reason.WORKER_DIED),
    Lost.TIMEOUT: Failure(Status.TIMEOUT, Reason.TOO_SLOW),
}


@dataclass(frozen=True, slots=True)
class ToList:
    """An archive to look into.

    since: where in it to go on, see `archive_file.Listing.rest`. inner: whether it lies in another one.
    """

    found: SourceFile
    since: int = 0
    inner: bool = False


@dataclass(frozen=True, slots=True)
class ToGoThrough:
    """An archive to read once from front to back, because that is how it is packed.

    kind: see `archive_file.kind_of`. skip: how many members have been answered. lost: the number of a member
    that ended its process, and how.
    """

    found: SourceFile
    kind: str
    inner: bool = False
    skip: int = 0
    lost: tuple[int, Lost] | None = None

    def after(self, given: int, lost: Lost | None) -> "ToGoThrough | None":
        """Return what is left to do; see `pool_worker.ManyResults`."""
        at = self.skip + given
        if lost is not None and self.lost is not None and self.lost[0] == at:
            return None
        return replace(self, skip=at, lost=(at, lost) if lost else self.lost)


Work = SourceFile | ToList | ToGoThrough


def member_of(archive: SourceFile, member: Member) -> SourceFile:
    """Return a member of an archive as a file of its own; its time is that of the archive."""
    stamp = archive.stamp and FileStamp(member.size, archive.stamp.mtime_ns, archive.stamp.etag)
    return SourceFile(
        names.member(archive.path, member.name),
        names.member(archive.relpath, member.name),
        member.failure and replace(member.failure, stamp=stamp),
        part=member.part,
        stamp=stamp,
    )


def is_listed_member(found: SourceFile) -> bool:
    """Return whether a file lies in an archive on this disk, and only its name is known: a list has it."""
    return (
        found.part is None
        and found.stamp is not None
        and not (names.is_plain(found.path) or names.is_remote(found.path))
    )


@dataclass(frozen=True, slots=True)
class Wants:
    """More bytes of a file that was fetched in part, from `start` to `stop`."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Read:
    """How a file was read, and what is known of it only now, such as where its bytes were left."""

    found: SourceFile
    reading: ReadImage | Failure


@dataclass(frozen=True, slots=True)
class Listed:
    """Some members of an archive. part: where the archive itself lies, if it had to be unpacked."""

    listing: Listing
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class IsStream:
    """The archive can only be read from front to back. part: as of Listed."""

    kind: str
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Through:
    """The end of an archive that was read from front to back. damage: NONE if it was whole."""

    damage: Reason


Members = Generator[Read | Tick, None, Through | Failure]

Answer = ReadImage | Failure | Wants | Read | Listed | IsStream | Through
