"""Where the bytes of a copied file go: into a file, hashed on the way, and deflated where the copy is."""

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

from pydicom.uid import UID

from dicomsort.dicom.header import DEFLATED

_CHUNK = 1 << 20


class Writable(Protocol):
    """What takes bytes."""

    def write(self, data: bytes, /) -> Any:
        """Take them."""


class Hashing:
    """Writes to a file, and keeps its checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Write to the file."""
        self._file.write(data)
        self._digest.update(data)

    @property
    def sha256(self) -> str:
        """Of all that was written, in hex."""
        return self._digest.hexdigest()


class _Deflating:
    """Deflates what is written (PS3.5 A.5)."""

    def __init__(self, out: Writable) -> None:
        self._out, self._deflater = out, zlib.compressobj(wbits=-zlib.MAX_WBITS)
        self._size = 0

    def write(self, data: bytes) -> None:
        """Deflate them, and write what is ready."""
        self._put(self._deflater.compress(data))

    def close(self) -> None:
        """Write what is left, and a byte more if their number would be odd (PS3.5 A.5)."""
        self._put(self._deflater.flush())
        if self._size % 2:
            self._put(b"\0")

    def _put(self, data: bytes) -> None:
        self._out.write(data)
        self._size += len(data)


@contextmanager
def deflated(out: Writable, syntax: UID) -> Iterator[Writable]:
    """Yield where to write a data set to, which is deflated if its transfer syntax wants that."""
    if syntax not in DEFLATED:
        yield out
        return
    deflating = _Deflating(out)
    yield deflating
    deflating.close()


def copy_to(stream: BinaryIO, start: int, end: int | None, out: Writable) -> None:
    """Copy bytes from `start` to `end` (None: to the last)."""
    stream.seek(start)
    left = _CHUNK if end is None else end - start
    while left and (data := stream.read(min(left, _CHUNK))):
        out.write(data)
        left -= len(data) if end is not None else 0
