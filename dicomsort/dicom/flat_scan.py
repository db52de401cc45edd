"""The elements of a plain header that are asked for, found without pydicom, which takes many times as long.

Only what is plain is read: the prefix and a transfer syntax, little endian, elements in their order (PS3.5 7,
PS3.10 7.1). Whatever else a file may be is left to pydicom.
"""

import os
from dataclasses import dataclass, field
from struct import Struct

_CHUNK = 1 << 13
_DEEPEST, _MOST_ELEMENTS = 16, 100_000
_LONGEST = 1 << 16
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SYNTAX = 0x00020010
_IMPLICIT = "1.2.840.10008.1.2"
_NOT_PLAIN = frozenset({
    "1.2.840.10008.1.2.2",  # big endian
    "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205",  # deflated
})  # fmt: skip
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_VRS = {vr: vr.decode() for vr in _LONG_VRS | _SHORT_VRS}
_EXPLICIT_HEAD, _IMPLICIT_HEAD, _LENGTH = Struct("<HH2sH"), Struct("<HHL"), Struct("<L")


@dataclass(slots=True)
class Elements:
    """Elements of a data set by tag: VR (empty where the file has none) and value, as they stand in the file.

    items: of the sequences.
    """

    values: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    items: dict[int, list["Elements"]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which elements to find, at any depth. sequences: those of them that have items.

    last: behind it nothing is read. least: a header that does not go on to it is not plain: a damaged tag may
    have ended it too early.
    """

    tags: frozenset[int]
    sequences: frozenset[int]
    last: int
    least: int = 0
    plain: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", self.tags - self.sequences)


_META = Wanted(frozenset({0x00020002, _SYNTAX}), frozenset(), 0)
_NOTHING = Wanted(frozenset(), frozenset(), 0)


class _OddError(Exception):
    """The header is not plain."""


def scan(descriptor: int, size: int, wanted: Wanted) -> Elements | None:
    """Return the wanted elements of an open file of `size` bytes and its meta group; None if it is not plain.

    Reads little more than what it passes: values that are not wanted are skipped, whatever their length.
    Raises OSError.
    """
    try:
        cursor = _Cursor(descriptor, size)
        if cursor.take(132)[128:] != b"DICM":
            return None
        found = Elements()
        while cursor.is_in_meta():
            cursor.enter()
            _value(cursor, _META, found, 0)
        syntax = found.values.get(_SYNTAX, ("", b""))[1].strip(b" \0").decode("ascii", "replace")
        if not syntax or syntax in _NOT_PLAIN:
            return None
        cursor.implicit = syntax == _IMPLICIT
        if cursor.implicit and cursor.looks_explicit():
            return None
        _read(cursor, wanted, found)
    except _OddError:
        return None
    return found if found.items or found.values.keys() - _META.tags else None


class _Cursor:
    """A place in a file, of which only a part is in memory. tag, vr, length: of the element just entered."""

    __slots__ = ("_at", "_base", "_data", "_descriptor", "_left", "implicit", "length", "size", "tag", "vr")

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self.size = descriptor, size
        self._base = self._at = self.tag = self.length = 0
        self._data = os.pread(descriptor, _CHUNK, 0)
        self._left, self.implicit, self.vr = _MOST_ELEMENTS, False, b""

    def place(self) -> int:
        return self._base + self._at

    def _need(self, count: int) -> None:
        if self._at + count > len(self._data):
            self._base += self._at
            self._at, self._data = 0, os.pread(self._descriptor, max(count, _CHUNK), self._base)
            if len(self._data) < count:
                raise _OddError

    def take(self, count: int) -> bytes:
        self._need(count)
        value = self._data[self._at : self._at + count]
        self._at += count
        return value

    def skip(self, count: int) -> None:
        self._at += count
        if self._base + self._at > self.size:
            raise _OddError

    def is_in_meta(self) -> bool:
        """Return whether the next element belongs to the meta group, which is explicit always."""
        self._need(8)
        return self._data[self._at : self._at + 2] == b"\2\0"

    def looks_explicit(self) -> bool:
        """Return whether a VR stands where an implicit element has its length, as pydicom asks too."""
        self._need(8)
        return self._data[self._at + 4 : self._at + 6] in _VRS

    def enter(self) -> None:
        """Go behind the tag, VR and length of the next element."""
        if self._at + 12 > len(self._data):
            self._need(min(12, max(8, self.size - self.place())))
        self._left -= 1
        if self._left < 0:
            raise _OddError
        if self.implicit:
            self._enter_implicit()
        else:
            self._enter_explicit()

    def _enter_implicit(self) -> None:
        group, element, self.length = _IMPLICIT_HEAD.unpack_from(self._data, self._at)
        self.tag = group << 16 | element
        self._at += 8

    def _enter_explicit(self) -> None:
        group, element, self.vr, self.length = _EXPLICIT_HEAD.unpack_from(self._data, self._at)
        self.tag = group << 16 | element
        head = 8
        if self.vr not in _SHORT_VRS:
            if group == 0xFFFE:
                (self.length,) = _LENGTH.unpack_from(self._data, self._at + 4)
            elif self.vr in _LONG_VRS and self._at + 12 <= len(self._data):
                (self.length,) = _LENGTH.unpack_from(self._data, self._at + 8)
                head = 12
            else:
                raise _OddError
        self._at += head

    def run(self, wanted: Wanted, found: Elements, before: int) -> int:
        """Go through plain elements as far as they are in memory; returns the tag of the last one.

        before: the tag before. Does what `_read` does, in one loop: most of the time is spent here.
        """
        if self.implicit:
            return self._run_implicit(wanted, found, before)
        data, at, plain, last = self._data, self._at, wanted.plain, wanted.last
        unpack, enough = _EXPLICIT_HEAD.unpack_from, len(self._data) - 12
        while at <= enough:
            group, element, vr, length = unpack(data, at)
            tag, end = group << 16 | element, at + 8 + length
            if vr not in _SHORT_VRS or not before < tag <= last:
                break
            if tag in plain:
                if end > len(data):
                    break
                found.values[tag] = (_VRS[vr], data[at + 8 : end])
            before, at = tag, end
        self._at = at
        return before

    def _run_implicit(self, wanted: Wanted, found: Elements, before: int) -> int:
        data, at, tags, last = self._data, self._at, wanted.tags, wanted.last
        unpack, enough = _IMPLICIT_HEAD.unpack_from, len(self._data) - 12
        while at <= enough:
            group, element, length = unpack(data, at)
            tag, end = group << 16 | element, at + 8 + length
            if length == _UNDEFINED or not before < tag <= last:
                break
            if tag in tags:
                if tag not in wanted.plain or end > len(data):
                    break
                found.values[tag] = ("", data[at + 8 : end])
            before, at = tag, end
        self._at = at
        return before


def _read(cursor: _Cursor, wanted: Wanted, found: Elements) -> None:
    """Read a file's data set up to `wanted.last`."""
    before = 0x0002FFFF
    while (place := cursor.place()) < cursor.size:
        before = cursor.run(wanted, found, before)
        if cursor.place() > place:
            continue
        cursor.enter()
        tag = cursor.tag
        if tag <= before or tag >= _ITEM:
            raise _OddError
        if tag > wanted.last:
            break
        before = tag
        _value(cursor, wanted, found, 0)
    if before < wanted.least or cursor.place() > cursor.size:
        raise _OddError


def _value(cursor: _Cursor, wanted: Wanted, found: Elements, depth: int) -> None:
    """Take, or pass, the value of the element that was entered."""
    tag, length = cursor.tag, cursor.length
    if tag in wanted.sequences:
        found.items[tag] = _items(cursor, wanted, depth)
    elif length == _UNDEFINED:
        _items(cursor, _NOTHING, depth)
    elif tag not in wanted.tags:
        cursor.skip(length)
    elif length > _LONGEST:
        raise _OddError
    else:
        found.values[tag] = ("" if cursor.implicit else _VRS[cursor.vr], cursor.take(length))


def _items(cursor: _Cursor, wanted: Wanted, depth: int) -> list[Elements]:
    """Read the items of a sequence (PS3.5 7.5)."""
    if depth > _DEEPEST or not (cursor.implicit or cursor.vr == b"SQ"):
        raise _OddError
    length = cursor.length
    end = cursor.size if length == _UNDEFINED else cursor.place() + length
    items: list[Elements] = []
    while cursor.place() < end:
        cursor.enter()
        if cursor.tag == _SEQUENCE_END and length == _UNDEFINED:
            return items
        if cursor.tag != _ITEM:
            raise _OddError
        items.append(_item(cursor, wanted, depth + 1))
    if length == _UNDEFINED or cursor.place() > end:
        raise _OddError
    return items


def _item(cursor: _Cursor, wanted: Wanted, depth: int) -> Elements:
    found, length = Elements(), cursor.length
    if length != _UNDEFINED and not wanted.tags:
        cursor.skip(length)
        return found
    end = cursor.size if length == _UNDEFINED else cursor.place() + length
    while cursor.place() < end:
        cursor.enter()
        if cursor.tag == _ITEM_END and length == _UNDEFINED:
            return found
        if cursor.tag >= 0xFFFE0000:
            raise _OddError
        _value(cursor, wanted, found, depth)
    if length == _UNDEFINED or cursor.place() > end:
        raise _OddError
    return found
