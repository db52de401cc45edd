"""The bytes of a source as a file: a plain file as ever, a window of an archive, what was fetched of it."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from dicomsort.outcome import Part

_BUFFER = 1 << 16

Span = tuple[int, int]
"""Bytes from the first number up to the second."""


class MissingBytes(BaseException):
    """Bytes are wanted that have not been fetched: from `start` to `stop`."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__(start, stop)
        self.start, self.stop = start, stop


@contextmanager
def opened(path: str, part: Part | None = None) -> Iterator[BinaryIO]:
    """Open a source for reading: a buffered, seekable file of its own bytes, unpacked.

    path: of a plain file, if there is no part. Reading raises MissingBytes of a file that was fetched in
    part. Raises OSError, or `archive_file.MemberDamagedError` where what was packed cannot be unpacked.
    """
    if part is None:
        with open(path, "rb", opener=_open) as file:
            yield file
    elif part.packing:
        from dicomsort.inputs.archive_file import unpacked  # noqa: PLC0415  (few need it)

        with unpacked(part) as stream:
            yield stream
    elif part.start == 0 and part.length is None and part.held is None:
        with open(part.file, "rb") as file:
            yield file
    else:
        with window(part.file, part.start, part.length, part.held) as file:
            yield file


def _open(path: str, flags: int) -> int:
    """Open without waiting for whoever might write into a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def window(
    file: str, start: int = 0, length: int | None = None, held: Sequence[Span] | None = None
) -> BinaryIO:
    """Return a stretch of a file as a file of its own, buffered; it ends where the file does, at the latest.

    held: the spans of it that are there; reading others raises MissingBytes. None for all. Raises OSError.
    """
    raw = open(file, "rb", buffering=0)  # noqa: SIM115  (closed by the window)
    size = max(0, os.fstat(raw.fileno()).st_size - start)
    return io.BufferedReader(
        _Window(raw, start, size if length is None else min(size, length), held), _BUFFER
    )


def read_part(part: Part) -> bytes:
    """Return the bytes of a part as they lie there, packed or not. Raises OSError."""
    with open(part.file, "rb", buffering=0) as file:
        file.seek(part.start)
        return file.read(-1 if part.length is None else part.length)


class _Window(io.RawIOBase):
    """A part of a file as a file of its own.

    held: the spans of it that are there; None for all.
    """

    def __init__(self, file: io.FileIO, offset: int, length: int, held: Sequence[Span] | None) -> None:
        self._file, self.offset, self._length, self._held = file, offset, length, held
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the file of which this is a part."""
        self._file.close()
        super().close()

    def fileno(self) -> int:
        """Return the descriptor of the file of which this is a part."""
        return self._file.fileno()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; beyond the end is allowed, as in any file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return the position in the window."""
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fill a buffer as far as bytes are there; raises MissingBytes where none has been fetched."""
        wanted = min(len(buffer), self._length - self._at)
        if wanted <= 0:
            return 0
        there = self._there(self._at, self._at + wanted)
        done = os.preadv(self._file.fileno(), [memoryview(buffer)[:there]], self.offset + self._at)
        self._at += done
        return done

    def _there(self, start: int, stop: int) -> int:
        """Return how many of these bytes are there in a row. Raises MissingBytes if the first is not."""
        if self._held is None:
            return stop - start
        for begin, end in self._held:
            if begin <= start < end:
                return min(stop, end) - start
        raise MissingBytes(start, stop)

    def require(self, start: int, stop: int) -> None:
        """Raise MissingBytes unless all of these bytes are there."""
        there = self._there(start, stop)
        if there < stop - start:
            raise MissingBytes(start + there, stop)


def on_disk(stream: BinaryIO, start: int, stop: int) -> tuple[int, int] | None:
    """Return the descriptor and the offset under which these bytes of an opened source lie, as they are.

    None if they do not, or the source ends before. Raises MissingBytes.
    """
    if not isinstance(stream, io.BufferedReader) or stop > stream.seek(0, io.SEEK_END):
        return None
    raw: object = stream.raw
    if not isinstance(raw, _Window):
        return stream.fileno(), start
    raw.require(start, stop)
    return stream.fileno(), raw.offset + start


def size_of(stream: BinaryIO) -> int:
    """Return the size of an opened source in bytes; its position is left at the start."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return size
