"""Which files are one image: those whose SOP Instance UID repeats, compared by their Pixel Data."""

import csv
import io
import os
import threading
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dicomsort.inputs.names import is_plain
from dicomsort.manifest.groups import Also, Blocks, Keys, grouped, is_one_of
from dicomsort.manifest.lines import Block, Hashes, Picked, hashes_of
from dicomsort.manifest.records import Record
from dicomsort.manifest.spill import HashSet, LineSpill, Ordered
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import Action, Status
from dicomsort.sorting.filing import stamp_now
from dicomsort.sorting.place import PlacementSettings
from dicomsort.system import worker_pool
from dicomsort.system.escaping import escape, unescape
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.pool_worker import Lost

_PLACED = (Status.SORTED, Status.REVIEW, Status.EXCLUDED, Status.DUPLICATE)

_NEEDED = (
    *("path", "status", "reason", "action", "destination", "sop_instance_uid", "size", "mtime_ns", "etag"),
    *("reviewed_label", "reviewed_by", "reviewed_at", "pixel_digest"),
)
"""The columns that tell what a file is among those of its UID."""


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """How a run ends. dry_run: plans are judged as if they were placed."""

    out: str
    dry_run: bool
    placing: PlacementSettings
    pool: PoolSettings


@dataclass(frozen=True, slots=True)
class Repeats:
    """What was found, by the manifest's (escaped) paths.

    first: for each duplicate, the file that it repeats; that is the one with the smallest path, of those on
    which a person decided if there are any. namesakes: files that share their SOP Instance UID with another
    image. unread: files that cannot be read any more, of all that were compared.
    """

    first: dict[str, str]
    namesakes: frozenset[str]
    unread: HashSet = field(default_factory=HashSet)


class Member(NamedTuple):
    """A file that may be an image that is there twice: where it is, or would be if nothing else were there.

    at: where its row begins, and so its turn. away: whether it was moved, so that its copy is all there is of
    it. digest: of its pixels, as far as it is known; empty if not.
    """

    at: int
    line: bytes
    path: str
    uid: str
    stamp: tuple[str, str, str]
    destination: str
    placed: bool
    refused: bool
    counts: bool
    decided: bool
    away: bool
    is_duplicate: bool
    digest: str = ""

    @classmethod
    def of(cls, at: int, line: bytes, record: Record) -> "Member":
        """Return the member of a row, of which _NEEDED is read."""
        is_refused = record.is_refused
        return cls(
            at=at,
            line=line,
            path=record.key,
            uid=record.sop_instance_uid,
            stamp=stamp_cells(record),
            destination=record.destination,
            placed=bool(record.action),
            refused=is_refused,
            counts=bool(record.sop_instance_uid) and (record["status"] != Status.IO_ERROR or is_refused),
            decided=bool(record.reviewed),
            away=is_away(record),
            is_duplicate=record.is_duplicate,
            digest=record.get("pixel_digest", ""),
        )


def stamp_cells(record: Record) -> tuple[str, str, str]:
    """Return what tells one version of a file from another, as it is written."""
    return record["size"], record["mtime_ns"], record.get("etag", "")


def is_away(record: Record) -> bool:
    """Return whether a file was moved, so that its copy is all there is of it."""
    return record.action == Action.MOVE and stamp_now(record.path) != record.stamp


class Compared:
    """The rows whose SOP Instance UID repeats, and those of duplicates: part by part, with what was found.

    Of each UID all is in one part.
    """

    def __init__(self, lines: LineSpill, names: list[str], folder: str) -> None:
        self._lines, self._needed = lines, Picked(names, _NEEDED)
        self._digests, self._known = (
            LineSpill(os.path.join(folder, name), 0, lines.parts) for name in ("digests", "known")
        )
        self.unread = HashSet()

    def take_known(self, block: Block) -> None:
        """Keep digests that were found before, see `KNOWN`."""
        parts = block.cells("sop_instance_uid").hashes() % np.uint64(self._lines.parts)
        for row, part in enumerate(parts.tolist()):
            self._known.add(part, 0, block.line(row))

    @property
    def number(self) -> int:
        """How many rows there are."""
        return self._lines.number

    @property
    def largest(self) -> int:
        """Where the last of them begins."""
        return self._lines.largest

    def members(self) -> Iterator[list[Member]]:
        """Yield the members of each part, with the digests that are known."""
        for part in range(self._lines.parts):
            if members := [
                Member.of(at, line, self._needed.read(line)) for at, line in self._lines.part(part)
            ]:
                yield self._with_digests(part, members)

    def _with_digests(self, part: int, members: list[Member]) -> list[Member]:
        if all(one.digest for one in members):
            return members
        read_now = {at: line.decode().rstrip("\n") for at, line in self._digests.part(part)}
        read_before = dict(digest_of(line) for _, line in self._known.part(part))
        found = (
            one.digest or read_now.get(one.at) or read_before.get((one.path, *one.stamp), "")
            for one in members
        )
        return [one._replace(digest=digest) for one, digest in zip(members, found, strict=True)]

    def note(self, uid: str, at: int, path: str, digest: str) -> None:
        """Keep what was read of a file; nothing if it cannot be read."""
        if not digest:
            self.unread.add_text(path)
            return
        part = int(hashes_of([uid.encode()])[0]) % self._lines.parts
        self._digests.add(part, at, f"{digest}\n".encode())

    def parts(self) -> Iterator[tuple[list[Member], Repeats]]:
        """Yield the members of each part, and what was found of them."""
        for members in self.members():
            yield members, _compare(groups_of(members), self.unread)


def find_repeats(
    manifest: Manifest, folder: str, settings: SettleSettings, known: Iterable[Block] = ()
) -> Compared:
    """Compare the files whose SOP Instance UID repeats.

    manifest: with one row a file. folder: for what memory does not hold. known: digests that were found
    before, see `pixel_shares`. Of what lies in an archive or on another machine the copy in the output is
    read, where there is one.

    A file that found its destination taken can be the first of an image only if another file of that image
    holds the place and will make way. Only files with a repeated UID and no digest in their row are read, in
    workers. The answer does not depend on the order of the rows. A file that cannot be read any more is no
    duplicate.
    """
    keys = partial(judgeable, dry_run=settings.dry_run)
    compared = candidates(manifest.blocks, list(manifest.columns), folder, keys, known)
    for one, digest in read_pixels(to_read(compared, folder, settings.out), settings.pool):
        compared.note(one.uid, one.at, one.path, digest)
    return compared


def candidates(
    blocks: Blocks,
    names: list[str],
    folder: str,
    keys: Keys,
    known: Iterable[Block] = (),
    also: Also = lambda block: is_one_of(block, "status", [Status.DUPLICATE]),
) -> Compared:
    """Find the rows whose SOP Instance UID repeats, and those of duplicates. keys, also: see `groups`."""
    lines = grouped(blocks, keys, folder, also)
    compared = Compared(lines, names, folder)
    for block in known:
        compared.take_known(block)
    return compared


def judgeable(block: Block, dry_run: bool) -> tuple[Hashes, NDArray[np.bool_]]:
    """Return the hashes of UIDs, and which rows may be of images that are, or would be, or wanted a place."""
    uids = block.cells("sop_instance_uid")
    statuses = (*_PLACED, Status.IO_ERROR, *([Status.PLANNED] * dry_run))
    return uids.hashes(), is_one_of(block, "status", statuses) & (uids.lengths > 0)


def groups_of(members: Iterable[Member]) -> list[list[Member]]:
    """Return the files that have one UID; of a path that comes twice the last."""
    groups: dict[str, dict[str, Member]] = defaultdict(dict)
    for member in members:
        if member.counts:
            groups[member.uid][member.path] = member
    return [list(group.values()) for group in groups.values() if len(group) > 1]


class Wanted(NamedTuple):
    """A file to read. where: to read it; else as in its row. at: where that begins."""

    path: str
    uid: str
    stamp: tuple[str, str, str]
    where: str
    at: int

    def line(self) -> bytes:
        """Return it as a line."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([self.path, self.uid, *self.stamp, escape(self.where)])
        return text.getvalue().encode()

    @classmethod
    def of(cls, at: int, line: bytes) -> "Wanted":
        """Return what a line says."""
        path, uid, size, mtime, etag, where = next(csv.reader([line.decode()]))
        return cls(path, uid, (size, mtime, etag), unescape(where), at)

    @property
    def turn(self) -> tuple[str, int]:
        """When it is to be read: archive by archive, in the order of rows, which is that of what is in it."""
        return self.path.partition("!")[0] if "!" in self.path else "", self.at


def to_read(compared: Compared, folder: str, out: str) -> Iterator[Wanted]:
    """Yield what has to be read, for its digest is not known, in turn as far as memory holds it."""
    wanted = Ordered(os.path.join(folder, "wanted"), compared.number, compared.largest + 1)
    for members in compared.members():
        for one in (one for group in groups_of(members) for one in group if not one.digest):
            wanted.add(one.at, Wanted(one.path, one.uid, one.stamp, _where(one, out), one.at).line())
    for lines in wanted.in_parts():
        yield from sorted((Wanted.of(at, line) for at, line in lines), key=attrgetter("turn"))


def read_pixels(wanted: Iterable[Wanted], pool: PoolSettings) -> Generator[tuple[Wanted, str], None, None]:
    """Yield the digest of each file's pixels, in the order in which they are read; empty if it cannot be."""
    for one, digest in worker_pool.run(_digest, wanted, pool, threading.Event()):
        yield one, "" if isinstance(digest, Lost) else digest


def _compare(groups: Iterable[list[Member]], unread: HashSet) -> Repeats:
    first: dict[str, str] = {}
    namesakes: set[str] = set()
    for group in groups:
        images: dict[str, list[Member]] = defaultdict(list)
        for member in group:
            if member.digest:
                images[member.digest].append(member)
        for members in images.values():
            original = _first_of(members)
            if original is not None:
                first.update({one.path: original for one in members if one.path != original})
        if len(images) > 1:
            namesakes.update(one.path for members in images.values() for one in members)
            namesakes -= first.keys()
    return Repeats(first, frozenset(namesakes), unread)


def _first_of(members: list[Member]) -> str | None:
    """Return the smallest path of those that are placed or can be; None if another file has their place.

    What a person decided stays: such a file comes before the others, and before all comes one that was moved,
    because there is no other place where its bytes are.
    """
    held = {member.destination for member in members if member.placed}
    able = [member for member in members if not member.refused or member.destination in held]
    first = min(able, key=lambda member: (not member.away, not member.decided, member.path), default=None)
    return None if first is None else first.path


def _where(member: Member, out: str) -> str:
    """Return what to read of a file: itself, or its copy if it was moved or can only be had by a detour."""
    path = unescape(member.path)
    if (is_plain(path) and not member.away) or not member.placed:
        return path
    copy = os.path.join(out, member.destination)
    return copy if os.path.exists(copy) else path


def _digest(wanted: Wanted) -> str:
    from dicomsort.dicom import pixel_source  # noqa: PLC0415  (in a worker, which has it loaded)

    return pixel_source.pixel_digest(wanted.where)


def digest_of(line: bytes) -> tuple[tuple[str, str, str, str], str]:
    """Return which version of which file a line of digests is of, by path and stamp, and the digest."""
    path, size, mtime, etag, _, digest = next(csv.reader([line.decode()]))
    return (path, size, mtime, etag), digest


KNOWN = ["path", "size", "mtime_ns", "etag", "sop_instance_uid", "pixel_digest"]
"""The columns of digests that were found before."""
