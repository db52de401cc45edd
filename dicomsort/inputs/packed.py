"""Packed bytes as files: a stream from front to back, a member at any place."""

import bz2
import io
import lzma
import mmap
import os
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

from isal.igzip_lib import DECOMP_DEFLATE, DECOMP_GZIP, IgzipDecompressor, IsalError
from isal.isal_zlib import crc32

from dicomsort.inputs.held import Held
from dicomsort.inputs.members import (
    IN_MEMORY,
    MOST_FOR_ITS_SIZE,
    MOST_OF_AN_ARCHIVE,
    MemberDamagedError,
)
from dicomsort.inputs.opened import read_part, window
from dicomsort.outcome import Part, Reason
from dicomsort.system.zstd import zstd

_CHUNK = 1 << 17
_AT_ONCE = 1 << 20
_XZ_MEMORY = 1 << 30
_STEP = 1 << 16
_REPLAYED = 256 << 20
_CAREFUL = 16
_ISAL_ERROR = cast("type[Exception]", IsalError)  # its stub says an object
_ERRORS = (_ISAL_ERROR, zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, EOFError, ValueError, IndexError)


class _Unpacker(Protocol):
    """As bz2.BZ2Decompressor."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _LenientGzip:
    """A gzip stream as gzip(1) unpacks a damaged one: all before the damage, and behind it what goes on well.

    What refers to bytes before the beginning gets zeros. The checksum is not looked at.
    """

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS, bytes(1 << zlib.MAX_WBITS))
        self._begun = False

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if not self._begun:
            self._begun, data = True, data[_after_gzip_header(data) :]
        return self._inflater.decompress(self._inflater.unconsumed_tail + data, max(0, max_length))


def _after_gzip_header(data: bytes) -> int:
    """Return where the deflated data begin (RFC 1952 2.3). Raises ValueError if that is not there."""
    flags, at = data[3], 10
    if flags & 4:
        at += 2 + int.from_bytes(data[10:12], "little")
    for text in (8, 16):
        if flags & text:
            at = data.index(0, at) + 1
    return at + (2 if flags & 2 else 0)


class _ZipLzma:
    """The LZMA of a zip: four bytes on the version, five of properties, then the stream (APPNOTE 5.8.8)."""

    def __init__(self) -> None:
        self._head = b""
        self._inner: lzma.LZMADecompressor | None = None

    @property
    def eof(self) -> bool:
        return self._inner is not None and self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._inner is None or self._inner.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data if self._inner else b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if self._inner is None:
            self._head += data
            if len(self._head) < 9:
                return b""
            self._inner, data = _lzma_of(self._head[4:9]), self._head[9:]
        return self._inner.decompress(data, max_length)


def _lzma_of(properties: bytes) -> lzma.LZMADecompressor:
    """Return what unpacks an LZMA1 stream of these properties. Raises LZMAError if they are none."""
    code, dictionary = struct.unpack("<BL", properties)
    if code >= 9 * 5 * 5 or dictionary > _XZ_MEMORY:
        raise lzma.LZMAError
    rest, lc = divmod(code, 9)
    pb, lp = divmod(rest, 5)
    chain = [{"id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": lp, "pb": pb}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)


_UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "deflate": lambda: IgzipDecompressor(DECOMP_DEFLATE),
    "gzip": lambda: IgzipDecompressor(DECOMP_GZIP),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY),
    "lzma": _ZipLzma,
    "zstd": zstd.ZstdDecompressor,
}
_BEGINS = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bzip2": re.compile(rb"BZh[1-9]"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
}
_LONGEST_MARK = 6


class Unpacking(io.RawIOBase):
    """What packed bytes unpack to, once from front to back; several streams in a row are one.

    Raises OSError if the file cannot be read; for bytes that cannot be unpacked it never raises, but ends
    before them, and `damage` says why: NONE at a good end, ARCHIVE_DAMAGED, or INFLATES at the limits.
    What follows the streams and is none of them is no damage, as gzip(1) has it. length: of a single
    stream; None for all that comes. Up to the first damage every byte is given; in a stream that was
    longer than 256 MiB by then up to 128 KiB before it may be missing.
    """

    def __init__(self, file: BinaryIO, packing: str, length: int | None = None) -> None:
        self.damage = Reason.NONE
        self.given = 0
        self.crc = 0
        self._file, self._left = file, length
        self._make, self._begins = _UNPACKERS[packing], _BEGINS.get(packing)
        self._careful = _LenientGzip if packing == "gzip" else self._make
        self._inner, self._taken, self._ended = self._make(), 0, False
        self._waiting = b""
        self._begun = (file.tell(), 0)  # the stream: where it begins, and what was given before
        self._most = _STEP

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Unpack into a buffer until it is full; fewer bytes only at the end."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (data := self._unpack(len(view) - done)):
            view[done : done + len(data)] = data
            done += len(data)
            self.given += len(data)
            self.crc = crc32(data, self.crc)
        return done

    def _unpack(self, most: int) -> bytes:
        """Return the next bytes; none at the end."""
        while not self._ended:
            if self.given > min(MOST_OF_AN_ARCHIVE, IN_MEMORY + MOST_FOR_ITS_SIZE * self._taken):
                self._end(Reason.INFLATES)
                break
            try:
                if data := self._step(min(most, self._most)):
                    return data
            except _ERRORS as error:
                if _is_of_the_disk(error):
                    raise
                self._fail()
        return b""

    def _end(self, damage: Reason) -> None:
        self.damage, self._ended = damage, True

    def _step(self, most: int) -> bytes:
        if self._inner.eof:
            if self._most < _STEP:
                self._end(Reason.ARCHIVE_DAMAGED)
            else:
                self._next_stream()
            return b""
        hungry = self._inner.needs_input
        packed = self._packed() if hungry else b""
        data = self._inner.decompress(packed, most)
        stalled = (
            hungry or not self._inner.needs_input
        )  # else a step gave all there was, and tells it only now
        if stalled and not (data or packed or self._inner.eof):
            self._end(Reason.ARCHIVE_DAMAGED)
        return data

    def _packed(self) -> bytes:
        data, self._waiting = self._waiting, b""
        if not data:
            data = self._file.read(_CHUNK if self._left is None else min(_CHUNK, self._left))
            self._taken += len(data)
            if self._left is not None:
                self._left -= len(data)
        return data

    def _next_stream(self) -> None:
        """Begin with the stream that follows, past zeros that fill a block of a tape or of xz."""
        data = self._inner.unused_data
        if self._left is not None or not self._begins:
            return self._end(Reason.NONE)
        while not data.lstrip(b"\0"):
            if not (data := self._packed()):
                return self._end(Reason.NONE)
        data = data.lstrip(b"\0")
        while len(data) < _LONGEST_MARK and (more := self._packed()):
            data += more
        if not self._begins.match(data):
            return self._end(Reason.NONE)
        self._begun = (self._file.tell() - len(data), self.given)
        self._waiting, self._inner = data, self._make()
        return None

    def _fail(self) -> None:
        """End, but first give what the failed step has swallowed: go again through the stream up to there."""
        place, before = self._begun
        if self._most < _STEP or self._left is not None or self.given - before > _REPLAYED:
            return self._end(Reason.ARCHIVE_DAMAGED)
        self._file.seek(place)
        self._inner, self._waiting, missing = self._careful(), b"", self.given - before
        try:
            while missing and not self._ended:
                missing -= len(self._step(min(_STEP, missing)))
        except _ERRORS as error:
            if _is_of_the_disk(error):
                raise
            self._end(Reason.ARCHIVE_DAMAGED)
        self._most = _CAREFUL
        return None


def _is_of_the_disk(error: Exception) -> bool:
    """Return whether bytes could not be read, rather than not unpacked; bz2 says OSError for both."""
    return isinstance(error, OSError) and error.errno is not None


class _MemberFile(Held):
    """A packed member, inflated as a whole as soon as much of it is wanted."""

    def __init__(self, part: Part) -> None:
        self._part, self._packed = part, window(part.file, part.start, part.length)
        self._unpacking = Unpacking(self._packed, part.packing, part.length)
        self._tried = not _fits_at_once(part)
        super().__init__(io.BufferedReader(self._unpacking, _CHUNK), part.size, self._verify)

    def close(self) -> None:
        """Close the archive's file too."""
        self._packed.close()
        super().close()

    def _take(self, wanted: int | None) -> None:
        if not self._tried and (wanted is None or wanted > _AT_ONCE):
            self._tried = True
            data = _at_once(read_part(self._part), self._part)
            if data is not None:
                self._keep(data)
        super()._take(wanted)

    def _verify(self, size: int) -> None:
        if self._unpacking.damage is Reason.INFLATES:
            raise MemberDamagedError(Reason.INFLATES)
        right = (
            self._unpacking.crc == self._part.crc if self._part.crc is not None else size == self._part.size
        )
        if self._unpacking.damage is not Reason.NONE or not right:
            raise MemberDamagedError


def _fits_at_once(part: Part) -> bool:
    """Return whether a member can be inflated in one go, if it is what it is said to be."""
    known = part.packing == "deflate" and part.crc is not None and part.length is not None
    return known and max(part.size or 0, part.length or 0) <= IN_MEMORY


def _at_once(packed: bytes, part: Part) -> bytes | None:
    """Inflate in one call; None if that does not give what the archive says."""
    try:
        data = IgzipDecompressor(DECOMP_DEFLATE).decompress(packed, (part.size or 0) + 1)
    except _ISAL_ERROR:
        return None
    return data if len(data) == part.size and crc32(data) == part.crc else None


def is_whole(part: Part) -> bool:
    """Return whether a member that is not packed has the checksum that its archive says. Raises OSError."""
    with open(part.file, "rb") as file:
        stop = min(part.start + (part.length or 0), os.fstat(file.fileno()).st_size)
        if stop <= part.start:
            return part.crc == 0
        page = part.start - part.start % mmap.ALLOCATIONGRANULARITY
        with (
            mmap.mmap(file.fileno(), stop - page, access=mmap.ACCESS_READ, offset=page) as mapped,
            memoryview(mapped) as view,
            view[part.start - page :] as member,
        ):
            return crc32(member) == part.crc


def unpacked(part: Part) -> BinaryIO:
    """Return a part of an archive, unpacked and seekable; inflated only as far as it is read.

    A member of up to 1 MiB is inflated at once, a larger one piece by piece until more than that is read,
    and then as a whole: in memory up to 64 MiB, beyond in a temporary file without a name. Reading raises
    MemberDamagedError where it cannot be inflated, where it inflates to too much, and at its end if its
    CRC-32 (or without one, its size) is not what the archive says. As Info-ZIP has it, a size that lies
    is no damage if the CRC is right. Raises OSError.
    """
    if not part.packing:
        return window(part.file, part.start, part.length)
    if _fits_at_once(part) and (part.size or 0) <= _AT_ONCE:
        data = _at_once(read_part(part), part)
        if data is not None:
            return io.BytesIO(data)
    return cast("BinaryIO", _MemberFile(part))
