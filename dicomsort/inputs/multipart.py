"""The first part of an answer of several parts, as it comes (multipart/related: RFC 2387, RFC 2046 5.1.1)."""

from collections.abc import Iterator
from email.message import Message

_HEAD_END = b"\r\n\r\n"
_LONGEST_HEAD = 1 << 16


class NoPartError(Exception):
    """Bytes that are no such answer, or that end before its first part does."""


def media_type(content_type: str) -> str:
    """Return the media type of a Content-Type header, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def boundary_of(content_type: str) -> bytes:
    """Return what stands between the parts. Raises NoPartError if the header does not say."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if not boundary:
        raise NoPartError
    return boundary.encode("latin-1", "replace")


def first_part(chunks: Iterator[bytes], boundary: bytes) -> Iterator[bytes]:
    """Yield the body of the first part, cut anyhow. Raises NoPartError.

    chunks: the answer, cut anyhow. At most a chunk of it and the parts' heads are held in memory.
    """
    end = b"\r\n--" + boundary
    rest = _after_head(chunks, boundary)
    while (at := rest.find(end)) < 0:
        sure = max(0, len(rest) - len(end) + 1)
        if sure:
            yield rest[:sure]
        rest = rest[sure:] + _next(chunks)
    yield rest[:at]


def _after_head(chunks: Iterator[bytes], boundary: bytes) -> bytes:
    """Return what has come of the first part's body, once its head is over."""
    mark, held = b"--" + boundary, b""
    while True:
        start = held.find(mark)
        head = held.find(_HEAD_END, start + len(mark)) if start >= 0 else -1
        if head >= 0:
            return held[head + len(_HEAD_END) :]
        if len(held) > _LONGEST_HEAD:
            raise NoPartError
        held += _next(chunks)


def _next(chunks: Iterator[bytes]) -> bytes:
    chunk = next(chunks, None)
    if chunk is None:
        raise NoPartError
    return chunk
