"""Get bytes of a file from another machine, whole and of one version, though requests fail now and then."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from dicomsort.inputs.store import FetchError, RemoteSettings
from dicomsort.outcome import FileStamp, Reason

PIECE = 8 << 20
"""Bytes that one request asks for at most: what is lost if it fails, and what its time limit is made for."""
SLOWEST = 64 << 10
"""Bytes in a second below which a connection counts as hanging."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0
_MOST_VERSIONS = 5
_MANY = 64
_SECOND = 10**9
_WEAK = "W/"

Result = TypeVar("Result")


class PassingError(Exception):
    """What may be gone a moment later: an error of the server, a lost connection, too slow an answer."""


class ChangedError(Exception):
    """The file is not the one any more of which the first bytes were got."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sends. chunks: the bytes that were asked for, fewer at the file's end.

    in_parts: whether the server knows ranges; one that does not sends all that lies before them too.
    """

    stamp: FileStamp
    chunks: Iterator[bytes]
    in_parts: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a listing. seconds: its time since 1970. etag: with its quotes."""

    key: str
    size: int
    seconds: float
    etag: str


Ask = Callable[[int, int, str], Answer]
"""Asks for bytes from, to (not included), of the version with an etag ("" for any). Raises PassingError,
ChangedError or FetchError; so do the chunks."""


def time_for_piece(settings: RemoteSettings, size: int = PIECE) -> float:
    """Return the seconds that a request may take with its answer. size: bytes that have to come."""
    return settings.timeout + max(size, PIECE) / SLOWEST


class Patience:
    """Tries again what may pass, for all files of a store. Thread-safe.

    The pauses double, and are drawn at random from half to one and a half times their length, so that many
    connections do not come back at the same moment. Once many in a row were in vain, the store is most likely
    gone: then nothing is tried twice until something passes.
    """

    def __init__(self, settings: RemoteSettings) -> None:
        self._tries, self._in_vain = settings.tries, 0
        self._stop = threading.Event()

    def stop(self) -> None:
        """Try nothing more, and give up what is between two tries."""
        self._stop.set()

    def check(self) -> None:
        """Raise PassingError if nothing is to be tried any more."""
        if self._stop.is_set():
            raise PassingError

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Call `work`, again while it raises PassingError, as often as the settings allow; then raise it."""
        pause = _FIRST_PAUSE
        for left in reversed(range(self._tries if self._in_vain < _MANY else 1)):
            self.check()
            try:
                result = work()
            except PassingError:
                if not left:
                    self._in_vain += 1
                    raise
            else:
                self._in_vain = 0
                return result
            self._stop.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise PassingError


def transfer(ask: Ask, start: int, stop: int | None, into: BinaryIO, patience: Patience) -> FileStamp:
    """Write bytes `start` to `stop` (None: to the end) into a file, as `Store.fetch` does.

    They come in pieces. A request that fails is made again from where it stopped, on the condition that the
    file is still the same; if it is not, all begins anew.
    """
    place = into.tell()
    try:
        for _ in range(_MOST_VERSIONS):
            into.seek(place)
            with suppress(ChangedError):
                return _Transfer(ask, start, stop, into, patience).run()
    except (FetchError, OSError):
        raise
    except Exception as error:  # whatever a library raises: one file must not end the others
        raise FetchError(Reason.REMOTE) from error
    raise FetchError(Reason.REMOTE)


class _Transfer:
    """One way through a file. at: where in it the next byte is to come from."""

    def __init__(self, ask: Ask, start: int, stop: int | None, into: BinaryIO, patience: Patience) -> None:
        self._ask, self._into, self._patience = ask, into, patience
        self._at, self._stop = start, stop
        self._stamp: FileStamp | None = None
        self._step = PIECE

    def run(self) -> FileStamp:
        """Return the stamp of the file once all bytes were written."""
        while True:
            stamp = self._patience(self._piece)
            if self._at >= self._end(stamp):
                return stamp

    def _piece(self) -> FileStamp:
        known = self._stamp
        end = self._at + self._step if self._stop is None else min(self._stop, self._at + self._step)
        answer = self._ask(self._at, end, known.etag if known else "")
        if known is not None and (answer.stamp.size, answer.stamp.etag) != (known.size, known.etag):
            raise ChangedError
        self._stamp = answer.stamp
        if not answer.in_parts:
            self._step = max(PIECE, answer.stamp.size)
        for chunk in answer.chunks:
            self._patience.check()
            self._into.write(chunk)
            self._at += len(chunk)
        if self._at < min(end, answer.stamp.size):
            raise PassingError
        return answer.stamp

    def _end(self, stamp: FileStamp) -> int:
        return stamp.size if self._stop is None else min(self._stop, stamp.size)


def stamp_of(size: int, seconds: float, etag: str | None) -> FileStamp:
    """Return a stamp of what a server says; one that has no etags is known by size and time.

    seconds: since 1970, of which whole ones count: a listing may know fractions where an answer does not.
    """
    whole = int(seconds)
    return FileStamp(size, whole * _SECOND, (etag or f"{_WEAK}{size:x}-{whole:x}").replace('"', ""))


def condition(etag: str) -> str | None:
    """Return an etag as `If-Match` wants it (RFC 9110 13.1.1); None where there is none, or a weak one."""
    return None if not etag or etag.startswith(_WEAK) else f'"{etag}"'
