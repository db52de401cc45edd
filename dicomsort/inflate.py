"""A deflated data set as a file that is inflated only as far as it is read (PS3.5 A.5, RFC 1951)."""

import io
import zlib
from typing import BinaryIO

MOST_BYTES = 1 << 30
"""A data set that inflates to more than this is not read further."""

_CHUNK = 1 << 16


class InflatesTooFarError(Exception):
    """The reader wants bytes that lie beyond MOST_BYTES."""


class Inflated(io.RawIOBase):
    """What lies deflated from the present position of `file` to its end, readable and seekable.

    A stream that is cut off or damaged ends where it can be inflated no further, or raises zlib.error.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._bytes = bytearray()
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True; only io.SEEK_SET and io.SEEK_CUR are possible, for nobody knows the end."""
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
        wanted = MOST_BYTES if size is None or size < 0 else self._at + size
        self._inflate(wanted)
        data = bytes(self._bytes[self._at : wanted])
        self._at += len(data)
        return data

    def _inflate(self, wanted: int) -> None:
        """Inflate until `wanted` bytes are there, or no more can come."""
        while len(self._bytes) < wanted and not self._inflater.eof:
            if len(self._bytes) >= MOST_BYTES:
                raise InflatesTooFarError
            deflated = self._inflater.unconsumed_tail or self._file.read(_CHUNK)
            if not deflated:
                return
            self._bytes += self._inflater.decompress(deflated, _CHUNK << 4)
