"""A stream as a file in which one can go back: what was read is kept."""

import io
import tempfile
from collections.abc import Callable
from typing import IO, Any, Protocol

from dicomsort.inputs.members import IN_MEMORY, MOST_OF_A_MEMBER, MemberDamagedError
from dicomsort.outcome import Reason

_CHUNK = 1 << 17
_PIECE = 1 << 20


class Source(Protocol):
    """What can be read once."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end."""


class Held(io.RawIOBase):
    """A file that is taken from a stream only as far as it is read, and kept, so that one can go back.

    size: as it is said to be; it is believed until the end was seen. `read` raises MemberDamagedError if
    the stream ends before, or if at its end `check` finds fault.
    """

    def __init__(self, source: Source, size: int | None, check: Callable[[int], None]) -> None:
        self._source, self._check = source, check
        self._size, self._known = size, False
        self._kept: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  (until `close`)
        self._got = self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; beyond the end is allowed, as in any file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        self._at = max(0, offset + (self._end() if base is None else base))
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes from the position; fewer only at the end. Raises MemberDamagedError."""
        wanted = None if size is None or size < 0 else self._at + size
        self._take(wanted)
        self._kept.seek(self._at)
        data = bytes(self._kept.read(-1 if wanted is None else wanted - self._at))
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, as `read`."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Let go of what was kept."""
        self._kept.close()
        super().close()

    def _keep(self, data: bytes) -> None:
        """Have all of it at once."""
        self._kept.close()
        self._kept, self._got = io.BytesIO(data), len(data)
        self._known, self._size = True, len(data)

    def _end(self) -> int:
        if self._size is None:
            self._take(None)
        return self._got if self._size is None else self._size

    def _take(self, wanted: int | None) -> None:
        """Take from the stream until `wanted` bytes are there; None: all."""
        if self._known or (wanted is not None and wanted <= self._got):
            return
        self._kept.seek(self._got)
        while wanted is None or self._got < wanted:
            data = self._source.read(_PIECE if wanted is None else min(_PIECE, wanted - self._got + _CHUNK))
            if not data:
                self._check(self._got)
                self._known, self._size = True, self._got
                return
            if self._got > MOST_OF_A_MEMBER:
                raise MemberDamagedError(Reason.INFLATES)
            self._kept.write(data)
            self._got += len(data)
