"""A deflated data set as a file that is inflated only as far as it is read (PS3.5 A.5, RFC 1951)."""

import io
import zlib
from typing import BinaryIO

MOST_BYTES = 1 << 30
"""A data set is inflated no further than this."""

_CHUNK = 1 << 16
_KEPT = 1 << 20


class InflatesTooFarError(Exception):
    """The reader wants bytes that lie beyond MOST_BYTES."""


class Inflated(io.RawIOBase):
    """What lies deflated from the present position of `file` to its end, readable and seekable.

    Only the last megabyte before the position is kept, so one cannot go further back. A stream that is cut
    off or damaged ends where it can be inflated no further, or raises zlib.error.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._kept = bytearray()
        self._dropped = 0  # bytes before the kept ones
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True; only io.SEEK_SET and io.SEEK_CUR are possible, for the end is unknown."""
        return True

    def tell(self) -> int:
        """Return the position in the inflated data set."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; beyond the end is allowed, as in any file."""
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the end of an inflated data set is not known")
        self._at = max(0, offset + (self._at if whence == io.SEEK_CUR else 0))
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes from the position; fewer only at the end."""
        if self._at < self._dropped:
            raise io.UnsupportedOperation("what lies so far back is no longer there")
        wanted = MOST_BYTES if size is None or size < 0 else self._at + size
        self._inflate(wanted)
        start = self._at - self._dropped
        with memoryview(self._kept) as kept:
            data = bytes(kept[start : start + wanted - self._at])
        self._at += len(data)
        return data

    def _inflate(self, wanted: int) -> None:
        """Inflate until `wanted` bytes are there, or no more can come."""
        while self._dropped + len(self._kept) < wanted and not self._inflater.eof:
            if self._dropped + len(self._kept) >= MOST_BYTES:
                raise InflatesTooFarError
            deflated = self._inflater.unconsumed_tail or self._file.read(_CHUNK)
            if not deflated:
                return
            self._kept += self._inflater.decompress(deflated, _CHUNK << 4)
            self._forget()

    def _forget(self) -> None:
        spare = min(self._at - self._dropped - _KEPT, len(self._kept))
        if spare > _KEPT:
            del self._kept[:spare]
            self._dropped += spare
