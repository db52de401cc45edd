"""The members of a zip file, by its central directory or, without one, by their own headers (PKWARE APPNOTE).

As lenient as Info-ZIP's unzip: bytes in front and behind, a wrong count, damaged entries between good
ones. (Python's zipfile refuses all of an archive for one bad entry, and keeps 0.66 KB for every member.)
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from dicomsort.inputs.members import (
    DAMAGED,
    ENCRYPTED,
    INFLATES,
    LINK,
    MOST_OF_A_MEMBER,
    PACKING,
    SPECIAL,
    Listing,
    Member,
    name_of,
)
from dicomsort.inputs.opened import window
from dicomsort.outcome import Failure, Part, Reason

_END = struct.Struct("<4s4H2LH")
_END_MARK, _END64_MARK, _LOCATOR_MARK = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_ENTRY = struct.Struct("<4s6H3L5H2L")
_ENTRY_MARK = b"PK\1\2"
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_MARK, _DESCRIPTOR_MARK = b"PK\3\4", b"PK\7\x08"
_TAIL = 22 + 65535 + 512
_UNKNOWN = 0xFFFFFFFF
_ENCRYPTED, _DESCRIBED, _UTF8 = 1, 8, 1 << 11
_UNIX = (3, 19)
_PACKINGS = {0: "", 8: "deflate", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz"}
_AES = 99
_MOST_NAME_BYTES = 16 << 20
_SCANNED = 1 << 20
_MOST_SCANNED = 256 << 20
_AFTER = (b"PK\5\5", _END_MARK, _END64_MARK)
_DEPTH = 3
"""So many members may lie over one another: more is a bomb, in which one stretch of bytes is all members."""


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where the central directory lies, and what must be added to the places that it tells."""

    start: int
    stop: int
    shift: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """What an entry of the central directory or a local header says."""

    flags: int
    method: int
    crc: int
    packed: int
    size: int
    name: bytes
    extra: bytes
    place: int = 0
    mode: int = 0


def list_zip(file: str, since: int, start: int, stop: int, most: int) -> Listing:
    """List up to `most` members of a zip that lies in a file from `start` to `stop`; see `archive_file`."""
    with open(file, "rb") as opened:
        archive = _Archive(opened, file, start, stop)
        directory = archive.directory()
        if directory is None:
            return archive.scanned(max(since, start), most)
        return archive.listed(directory, max(since, directory.start), most)


def ends_as_zip(file: BinaryIO) -> bool:
    """Return whether a file ends as a zip does that has members and no comment, whatever stands in front."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END.size))
    record = file.read(_END.size)
    if len(record) < _END.size or not record.startswith(_END_MARK):
        return False
    file.seek(max(0, size - _END.size - _END.unpack(record)[5]))
    return file.read(4) == _ENTRY_MARK


class _Archive:
    """A zip in an open file."""

    def __init__(self, opened: BinaryIO, file: str, start: int, stop: int) -> None:
        self._opened, self._file, self._start, self._stop = opened, file, start, stop

    def _read(self, at: int, size: int) -> bytes:
        """Return bytes of the archive, fewer only at its ends."""
        return (
            os.pread(self._opened.fileno(), max(0, min(size, self._stop - at)), at)
            if at >= self._start
            else b""
        )

    def directory(self) -> _Directory | None:
        """Find the central directory by the last end record that leads to one (APPNOTE 4.3.16)."""
        base = max(self._start, self._stop - _TAIL)
        tail = self._read(base, _TAIL)
        at = len(tail)
        while (at := tail.rfind(_END_MARK, 0, at)) >= 0:
            if (record := tail[at : at + _END.size]) and len(record) == _END.size:
                count, size, place = _END.unpack(record)[4:7]
                if found := self._confirmed(base + at, count, size, place):
                    return found
        return None

    def _confirmed(self, end: int, count: int, size: int, place: int) -> _Directory | None:
        """Return the directory if it is where an end record says, from the start or from the record."""
        if record := self._end64(end):
            end, count, size, place = record
        for begin in (end - size, self._start + place):
            if self._read(begin, 4) == _ENTRY_MARK:
                return _Directory(begin, end, begin - place)
        if count == 0 and size == 0:
            return _Directory(end, end, self._start)
        return None

    def _end64(self, end: int) -> tuple[int, int, int, int] | None:
        """Return what a ZIP64 end record says, if there is one: its place; count, size, place of entries."""
        locator = self._read(end - 20, 20)
        if locator[:4] != _LOCATOR_MARK:
            return None
        (place,) = struct.unpack_from("<Q", locator, 8)
        for at in (self._start + place, end - 20 - 56):
            record = self._read(at, 56)
            if record[:4] == _END64_MARK and len(record) == 56:
                return at, *struct.unpack_from("<3Q", record, 32)
        return None

    def listed(self, directory: _Directory, since: int, most: int) -> Listing:
        """List members by the central directory."""
        found: list[Member] = []
        names = 0
        with window(self._file, since, directory.stop - since) as opened:
            entries = _Entries(opened, since)
            for entry in entries:
                names += len(entry.name)
                if not _is_folder(entry):
                    found.append(self._member(entry, directory.shift))
                if len(found) >= most or names >= _MOST_NAME_BYTES:
                    return Listing(_without_bombs(found), entries.at, entries.damage)
        return Listing(_without_bombs(found), None, entries.damage)

    def _member(self, entry: _Entry, shift: int) -> Member:
        """Say where a member of the central directory is, and why it cannot be read if so."""
        local = next(
            filter(None, map(self._local, {shift + entry.place: 0, self._start + entry.place: 0})), None
        )
        if local is None:
            return Member(_name(entry), entry.size, None, _refusal(entry) or DAMAGED)
        return self._found(local.agreed(entry), local.data)

    def _found(self, entry: _Entry, data: int) -> Member:
        failure = _refusal(entry)
        packing = _PACKINGS.get(entry.method, "")
        cut = data + entry.packed > self._stop
        if failure is None and cut and (not packing or data >= self._stop):
            failure = DAMAGED
        if failure is not None:
            return Member(_name(entry), entry.size, None, failure)
        size = entry.size if packing else entry.packed
        length = min(entry.packed, self._stop - data)
        return Member(_name(entry), size, Part(self._file, data, length, packing, size, entry.crc))

    def _local(self, at: int) -> "_Local | None":
        """Read the local header at a place, if there is one."""
        raw = self._read(at, _LOCAL.size)
        if len(raw) < _LOCAL.size or not raw.startswith(_LOCAL_MARK):
            return None
        _, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack(raw)
        return _Local(flags, method, crc, packed, size, at + _LOCAL.size, name, extra)

    def scanned(self, since: int, most: int) -> Listing:
        """List members by their own headers, as there is no directory: the archive is cut off."""
        found: list[Member] = []
        at = since
        while (place := self._next(_LOCAL_MARK, at, self._stop)) is not None:
            if len(found) >= most or place - since > _MOST_SCANNED:
                return Listing(tuple(found), place, Reason.ARCHIVE_DAMAGED)
            local = self._local(place)
            if local is None:
                break
            entry = self._alone(local)
            if not _is_folder(entry):
                found.append(self._found(entry, local.data))
            ends = local.data + entry.packed
            at = ends if ends <= self._stop else local.data
        return Listing(tuple(found), None, Reason.ARCHIVE_DAMAGED)

    def _alone(self, local: "_Local") -> _Entry:
        """Make an entry of a local header alone, with the data descriptor if it is one of those (4.3.9)."""
        name = self._read(local.at, local.name)
        extra = self._read(local.at + local.name, local.extra)
        entry = _Entry(local.flags, local.method, local.crc, local.packed, local.size, name, extra)
        if local.flags & _DESCRIBED and not local.packed:
            return self._described(entry, local.data)
        return _large(entry)

    def _described(self, entry: _Entry, data: int) -> _Entry:
        """Find the data descriptor: it is the first one that says how far away it is."""
        begin = data
        while (at := self._next(_DESCRIPTOR_MARK, begin, self._stop)) is not None:
            raw = self._read(at, 24)
            for kind in ("<LLL", "<LQQ"):
                if len(raw) >= 4 + struct.calcsize(kind):
                    crc, packed, size = struct.unpack_from(kind, raw, 4)
                    if packed == at - data:
                        return replace(entry, crc=crc, packed=packed, size=size)
            begin = at + 4
        following = self._next(_LOCAL_MARK, data, self._stop)
        packed = (self._stop if following is None else following) - data
        return replace(entry, packed=packed, size=packed)

    def _next(self, mark: bytes, at: int, stop: int) -> int | None:
        """Return where a mark comes next."""
        while at < stop:
            block = self._read(at, min(_SCANNED, stop - at))
            if (found := block.find(mark)) >= 0:
                return at + found
            if len(block) < len(mark):
                return None
            at += len(block) - len(mark) + 1
        return None


@dataclass(frozen=True, slots=True)
class _Local:
    """A local header (4.3.7). at: where its name begins, of `name` bytes, and `extra` ones."""

    flags: int
    method: int
    crc: int
    packed: int
    size: int
    at: int
    name: int
    extra: int

    @property
    def data(self) -> int:
        """Where the member's data begin."""
        return self.at + self.name + self.extra

    def agreed(self, entry: _Entry) -> _Entry:
        """Return what counts where they differ: the header, if it states all, as unzip has it."""
        vague = _UNKNOWN in (self.packed, self.size) or (entry.packed and not self.packed)
        method = self.method if self.method in _PACKINGS else entry.method
        if self.flags & _DESCRIBED or vague:
            return replace(entry, method=method)
        return replace(entry, method=method, crc=self.crc, packed=self.packed, size=self.size)


class _Entries:
    """Goes through a central directory; what is no entry is stepped over, and noted as damage."""

    def __init__(self, opened: BinaryIO, at: int) -> None:
        self.at, self.damage = at, Reason.NONE
        self._opened = opened

    def __iter__(self) -> Iterator[_Entry]:
        """Yield entries; `at` is where the next one begins."""
        while len(raw := self._opened.read(_ENTRY.size)) == _ENTRY.size:
            if raw.startswith(_ENTRY_MARK):
                yield self._entry(raw)
            elif raw.startswith(_AFTER) or not self._found_again(raw):
                return

    def _entry(self, raw: bytes) -> _Entry:
        fields = _ENTRY.unpack(raw)
        _, made, _, flags, method, _, _, crc, packed, size, name, extra, comment, _, _, outer, place = fields
        rest = self._opened.read(name + extra + comment)
        self.at += _ENTRY.size + len(rest)
        mode = outer >> 16 if made >> 8 in _UNIX else 0
        more = rest[name : name + extra]
        return _large(_Entry(flags, method, crc, packed, size, rest[:name], more, place, mode))

    def _found_again(self, raw: bytes) -> bool:
        """Go to the next entry after something else; False if there is none."""
        self.damage = Reason.ARCHIVE_DAMAGED
        self.at += 1
        raw = raw[1:]
        while (found := raw.find(_ENTRY_MARK)) < 0:
            kept = raw[-3:]
            self.at += len(raw) - len(kept)
            if not (more := self._opened.read(_SCANNED)):
                return False
            raw = kept + more
        self.at += found
        self._opened.seek(found - len(raw), os.SEEK_CUR)
        return True


def _large(entry: _Entry) -> _Entry:
    """Fill in what stands in the ZIP64 extra field (4.5.3)."""
    if _UNKNOWN not in (entry.size, entry.packed, entry.place):
        return entry
    data = _extra(entry.extra, 1)
    numbers = list(struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]))
    large = {
        name: numbers.pop(0)
        for name in ("size", "packed", "place")
        if getattr(entry, name) == _UNKNOWN and numbers
    }
    return replace(entry, **large)


def _extra(extra: bytes, kind: int) -> bytes:
    """Return an extra field (4.5.1); empty if there is none."""
    at = 0
    while at + 4 <= len(extra):
        number, length = struct.unpack_from("<HH", extra, at)
        if number == kind:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _name(entry: _Entry) -> str:
    """Return a member's name: UTF-8 if it says so or is, else the code page of MS-DOS (appendix D)."""
    spelled = _extra(entry.extra, 0x7075)  # Info-ZIP Unicode Path (4.6.9)
    if spelled[:1] == b"\1" and spelled[1:5] == zlib.crc32(entry.name).to_bytes(4, "little"):
        return name_of(spelled[5:])
    if entry.flags & _UTF8 or _is_utf8(entry.name):
        return name_of(entry.name)
    return name_of(entry.name, "cp437")


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_folder(entry: _Entry) -> bool:
    return stat.S_ISDIR(entry.mode) or (entry.name.endswith((b"/", b"\\")) and entry.size == 0)


def _refusal(entry: _Entry) -> Failure | None:
    """Return why a member cannot be read, by what its headers say."""
    if entry.flags & _ENCRYPTED or entry.method == _AES:
        return ENCRYPTED
    if stat.S_ISLNK(entry.mode):
        return LINK
    if stat.S_IFMT(entry.mode) not in (0, stat.S_IFREG) and entry.size == 0:
        return SPECIAL
    if entry.method not in _PACKINGS:
        return PACKING
    return INFLATES if entry.method and entry.size > MOST_OF_A_MEMBER else None


def _without_bombs(members: list[Member]) -> tuple[Member, ...]:
    """Refuse members of which several lie over one another in the file; the first few may be good ones."""
    lying = [
        (part.start, part.start + (part.length or 0), at)
        for at, each in enumerate(members)
        if (part := each.part)
    ]
    open_ends: list[int] = []
    for start, stop, at in sorted(lying):
        open_ends = [end for end in open_ends if end > start]
        if len(open_ends) >= _DEPTH:
            members[at] = replace(members[at], part=None, failure=INFLATES)
        elif stop > start:
            open_ends.append(stop)
    return tuple(members)
