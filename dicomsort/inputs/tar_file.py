"""The members of a tar file, from front to back; what is damaged is stepped over (POSIX pax, GNU tar).

Python's tarfile ends at a damaged header without a word (findings/tarfile-damaged-header.sh), goes back where
a size is negative, and keeps 0.5 KB for every member.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

from dicomsort.inputs.members import (
    BETWEEN_TICKS,
    DAMAGED,
    LINK,
    PACKING,
    SPECIAL,
    Listing,
    Member,
    Tick,
    name_of,
)
from dicomsort.inputs.opened import window
from dicomsort.outcome import Failure, Part, Reason

BLOCK = 512
_ZEROS = bytes(BLOCK)
_END_BLOCKS = 2
_LONGEST_EXTENSION = 1 << 20
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_CHECKSUM = re.compile(rb"[ \0]*([0-7]{1,7})[ \0]*")
_RECORD = re.compile(rb"([0-9]{1,9}) ")

_FIELD = re.compile(rb"[ 0-7]*[0-7][ \0]+")
_FIELDS = ((100, 108), (108, 116), (116, 124), (124, 136), (136, 148), (148, 156))
_ENOUGH_FIELDS = 4
_OLD_FILE, _NAMES, _PAX, _GNU_SPARSE, _FOLDERS = b"\0", b"L", b"xX", b"S", b"5D"
_UNNAMED = b"LKxXgVN"
"""Types that tell of the next member, or of the tape."""
_FAILURES = {
    **dict.fromkeys((b"1", b"2"), LINK),
    **dict.fromkeys((b"3", b"4", b"6"), SPECIAL),
    _GNU_SPARSE: PACKING,
    b"M": DAMAGED,
}
_WITHOUT_DATA = b"123456"


class Front(Protocol):
    """Bytes that are read from front to back."""

    at: int

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""

    def skip(self, size: int) -> int:
        """Pass over so many bytes; returns how many there were."""


class Stream:
    """A stream that can only be read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.at = file, 0

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        data = self._file.read(size)
        self.at += len(data)
        return data

    def skip(self, size: int) -> int:
        """Read so many bytes away."""
        return sum(len(self.read(min(1 << 20, size - done))) for done in range(0, size, 1 << 20))


class File:
    """A file that can be sought in."""

    def __init__(self, file: BinaryIO, at: int, stop: int) -> None:
        self._file, self._stop = file, stop
        self.at = file.seek(at)

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        data = self._file.read(size)
        self.at += len(data)
        return data

    def skip(self, size: int) -> int:
        """Seek over so many bytes."""
        before, self.at = self.at, min(self._stop, self.at + size)
        self._file.seek(self.at)
        return self.at - before


@dataclass(frozen=True, slots=True)
class Entry:
    """A member: its name, its type, its size in bytes, why it cannot be read, and where its data begin."""

    name: bytes
    kind: bytes
    size: int
    failure: Failure | None
    start: int

    @property
    def stop(self) -> int:
        """Where the next header can be."""
        return self.start + _blocks(self.size)

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder; before POSIX only its name told that."""
        return self.kind in _FOLDERS or (self.kind == _OLD_FILE and self.name.endswith(b"/"))


@dataclass(frozen=True, slots=True)
class _Header:
    """What one header block says. extended: whether the map of a sparse file goes on in another block."""

    name: bytes
    kind: bytes
    size: int
    extended: bool = False


def header_of(block: bytes) -> _Header | None:
    """Return what a block says if it is a header with the right checksum, signed or not; else None."""
    stated = _CHECKSUM.fullmatch(block, 148, 156)
    if len(block) < BLOCK or not stated or not _sums(block, int(stated[1], 8)):
        return None
    size = _number(block[124:136])
    if size is None:
        return None
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    return _Header(name, block[156:157], size, block[482] != 0)


def is_tar(block: bytes) -> bool:
    """Return whether a tar begins with this block: a header, or most of the fields of one."""
    if len(block) < BLOCK or not block[0]:
        return False
    fields = sum(bool(_FIELD.fullmatch(block, begin, end)) for begin, end in _FIELDS)
    return fields + 2 * (block[257:262] == b"ustar") >= _ENOUGH_FIELDS or header_of(block) is not None


def _sums(block: bytes, stated: int) -> bool:
    """Return whether a checksum is right: of unsigned bytes or, as some old programs have it, signed ones."""
    total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if total == stated:
        return True
    high = sum(byte > 127 for byte in block[:148]) + sum(byte > 127 for byte in block[156:])
    return total - 256 * high == stated


def _number(field: bytes) -> int | None:
    """Return an octal number, or a binary one as GNU writes it; None if it is neither, or negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    found = _OCTAL.fullmatch(field.partition(b"\0")[0] if field[:1] != b"\0" else field)
    return int(found[1] or b"0", 8) if found else None


@dataclass(frozen=True, slots=True)
class _Told:
    """What extension headers say of the member that follows."""

    name: bytes = b""
    size: int | None = None
    sparse: bool = False

    def also(self, kind: bytes, data: bytes) -> "_Told":
        """Add what one more of them says."""
        if kind == _NAMES:
            return replace(self, name=data.partition(b"\0")[0])
        if kind not in _PAX:
            return self
        facts = _pax(data)
        size = facts.get(b"size", b"")
        return _Told(
            facts.get(b"GNU.sparse.name") or facts.get(b"path") or self.name,
            int(size) if size.isdigit() and len(size) < 20 else self.size,
            self.sparse or any(key.startswith(b"GNU.sparse") for key in facts),
        )


def _pax(data: bytes) -> dict[bytes, bytes]:
    """Return the records of a pax header as far as they can be read."""
    facts: dict[bytes, bytes] = {}
    at = 0
    while record := _RECORD.match(data, at):
        length = int(record[1])
        if length <= len(record[0]) or at + length > len(data):
            break
        key, _, value = data[record.end() : at + length - 1].partition(b"=")
        facts[key] = value
        at += length
    return facts


class Walk:
    """Goes through a tar, or several in a row, once from front to back.

    damage: of what was met until now: a header with a wrong checksum, or an end without zeros. What stands
    behind the two blocks of zeros at the end and is no header is none, unless a member follows it.
    """

    def __init__(self, front: Front) -> None:
        self.damage = Reason.NONE
        self._front = front
        self._told = _Told()
        self._zeros, self._lost = 0, False
        self._ticked = front.at

    def __iter__(self) -> Iterator[Entry | Tick]:
        """Yield members and Ticks; the data of a member may be read before the next is asked for."""
        while len(block := self._front.read(BLOCK)) == BLOCK:
            if block == _ZEROS:
                self._zeros += 1
            elif header := header_of(block):
                yield from self._meet(header)
            else:
                self._pass()
            yield from self._tick()
        if not self._zeros:
            self.damage = Reason.ARCHIVE_DAMAGED

    def _pass(self) -> None:
        """Pass a block that is no header; behind the end it is damage only if a member follows."""
        self._lost, self._told = True, _Told()
        if self._zeros < _END_BLOCKS:
            self.damage = Reason.ARCHIVE_DAMAGED

    def _tick(self) -> Iterator[Tick]:
        if self._front.at - self._ticked >= BETWEEN_TICKS // 2:
            self._ticked = self._front.at
            yield Tick()

    def _meet(self, header: _Header) -> Iterator[Entry | Tick]:
        if self._lost:
            self.damage = Reason.ARCHIVE_DAMAGED
        self._lost, self._zeros = False, 0
        if header.kind in _UNNAMED and header.size <= _LONGEST_EXTENSION:
            data = self._front.read(_blocks(header.size))
            self._told = self._told.also(header.kind, data[: header.size])
            return
        if header.kind == _GNU_SPARSE and header.extended:
            self._pass_maps()
        entry = self._entry(header)
        if not (header.kind in _UNNAMED or entry.is_folder):
            yield entry
        yield from self._go_to(entry.stop)

    def _pass_maps(self) -> None:
        """Pass the blocks that go on with the map of a sparse file (GNU tar manual, D.2)."""
        while len(block := self._front.read(BLOCK)) == BLOCK and block[504]:
            pass

    def _entry(self, header: _Header) -> Entry:
        told, self._told = self._told, _Told()
        without = header.kind in _WITHOUT_DATA
        size = 0 if without else header.size if told.size is None else told.size
        failure = PACKING if told.sparse else _FAILURES.get(header.kind)
        return Entry(told.name or header.name, header.kind, size, failure, self._front.at)

    def _go_to(self, place: int) -> Iterator[Tick]:
        while self._front.at < place:
            if not self._front.skip(min(BETWEEN_TICKS // 2, place - self._front.at)):
                return
            yield from self._tick()


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def list_tar(file: str, since: int, start: int, stop: int, most: int) -> Listing:
    """List up to `most` members of a tar that lies in a file from `start` to `stop`; see `archive_file`."""
    members: list[Member] = []
    with window(file, 0, stop) as opened:
        walk = Walk(File(opened, max(since, start), stop))
        for entry in walk:
            if isinstance(entry, Tick):
                continue
            members.append(_member(entry, file, stop))
            if len(members) >= most:
                return Listing(tuple(members), entry.stop, walk.damage)
    return Listing(tuple(members), None, walk.damage)


def _member(entry: Entry, file: str, stop: int) -> Member:
    name, failure = name_of(entry.name), entry.failure
    if failure is None and entry.start + entry.size > stop:
        failure = DAMAGED
    if failure is not None:
        return Member(name, entry.size, None, failure)
    return Member(name, entry.size, Part(file, entry.start, entry.size, size=entry.size))
