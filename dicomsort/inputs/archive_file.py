"""Archives: what kind a file is, what is in it, and the bytes of its members.

Zip and tar files are listed, and their members read in place; a packed stream is gone through once, from
front to back. Nothing is unpacked but into memory or a temporary file without a name, and nothing is
trusted: see `members` for the limits.
"""

import io
import os
import queue
import re
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast

from dicomsort.inputs.held import Held
from dicomsort.inputs.members import (
    BETWEEN_TICKS,
    DAMAGED,
    INFLATES,
    MOST_OF_A_MEMBER,
    Ended,
    Listing,
    Member,
    MemberDamagedError,
    Streamed,
    Tick,
    name_of,
)
from dicomsort.inputs.opened import MissingBytes
from dicomsort.inputs.packed import Unpacking, is_whole, unpacked
from dicomsort.inputs.tar_file import BLOCK, Entry, Stream, Walk, is_tar, list_tar
from dicomsort.inputs.zip_file import ends_as_zip, list_zip
from dicomsort.outcome import Reason

__all__ = [
    "Ended",
    "Listing",
    "Member",
    "MemberDamagedError",
    "Streamed",
    "Tick",
    "is_document",
    "is_whole",
    "kind_of",
    "list_members",
    "stream_members",
    "unpacked",
]

LISTED = ("zip", "tar")
STREAMED = ("gzip", "bzip2", "xz", "zstd")
MOST = 5000

_MARKS = (
    ("zip", re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08|00PK)")),
    ("gzip", re.compile(rb"\x1f\x8b\x08")),
    ("bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)")),
    ("xz", re.compile(rb"\xfd7zXZ\0")),
    ("zstd", re.compile(rb"\x28\xb5\x2f\xfd")),
)
_SKIPPED = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_DOCUMENTS = (
    b"[Content_Types].xml", b"_rels/.rels", b"docProps/",
    b"word/document.xml", b"xl/work", b"ppt/presentation.xml", b"mimetype", b"META-INF/MANIFEST.MF",
)  # fmt: skip
"""What the first member of a zip is called that is an office document, a book or a program."""
_SUFFIX = re.compile(r"\.(?:gz|gzip|bz2|bzip2|xz|zst|zstd)\Z", re.IGNORECASE)
_IN_ONE_READ = 16 << 20
_BUFFER = 1 << 18
_AHEAD = 2


def kind_of(start: bytes, file: BinaryIO) -> str:
    """Return which kind of archive an open file is: one of LISTED or STREAMED, or "" if it is not opened.

    start: its first 512 bytes. A zip may also be known by its end, if something stands in front. Not
    opened are 7z, rar, iso, lz4 and compress, and documents and programs that are zip files inside (docx,
    odt, epub, jar).
    """
    if is_document(start):
        return ""
    for kind, mark in _MARKS:
        if mark.match(start):
            return kind
    if _SKIPPED.match(start):
        file.seek(8 + int.from_bytes(start[4:8], "little"))
        return "zstd" if file.read(4) == b"\x28\xb5\x2f\xfd" else ""
    if is_tar(start[:BLOCK]):
        return "tar"
    try:
        return "zip" if ends_as_zip(file) else ""
    except MissingBytes:  # of a file on another machine the end is not worth a request
        return ""


def is_document(start: bytes) -> bool:
    """Return whether a zip's first member is that of a document, by its local header (APPNOTE 4.3.7)."""
    return start.startswith(b"PK\x03\x04") and start[30:].startswith(_DOCUMENTS)


def list_members(
    file: str, kind: str, since: int = 0, start: int = 0, length: int | None = None, most: int = MOST
) -> Listing:
    """List up to `most` members of a zip or tar that lies in `file` at `start` (to the end, or of `length`).

    since: 0, or the `rest` of the listing before. Folders are not listed. Fewer than `most` may come
    though there are more. The parts tell places in `file`, by its absolute path. Memory does not grow
    with the archive. Raises OSError.
    """
    size = os.stat(file).st_size
    stop = size if length is None else min(size, start + length)
    return {"zip": list_zip, "tar": list_tar}[kind](file, since, start, stop, most)


def stream_members(file: str | BinaryIO, kind: str, name: str = "") -> Iterator[Streamed | Tick | Ended]:
    """Go once through a packed stream: a tar, or one file whose name is the archive's without `.gz`.

    name: the archive's, if `file` is not its path. Yields members, Ticks between them, and Ended last.
    The data of a member is valid until the next item is asked for; what was not read of it is passed
    over. Raises OSError if the file cannot be read.
    """
    if isinstance(file, str):
        with open(file, "rb") as opened:
            yield from _members_in(opened, kind, name or file)
    else:
        yield from _members_in(file, kind, name)


def ahead(members: Iterator[Streamed | Tick | Ended]) -> Iterator[Streamed | Tick | Ended]:
    """Unpack, in a thread, up to two members beyond the one that is read, as long as they lie in memory.

    One that is too large for that is taken from the stream as it is read, and nothing beyond it until then.
    """
    coming: queue.Queue[_Coming] = queue.Queue(_AHEAD)
    threading.Thread(target=_fill, args=(members, coming), name="unpack", daemon=True).start()
    while (one := (next_one := coming.get()).what) is not None:
        if isinstance(one, BaseException):
            raise one
        yield one
        next_one.was_read.set()


@dataclass(frozen=True, slots=True)
class _Coming:
    """What comes next of a stream: an item, what befell it, or None at the end. was_read: set behind it."""

    what: Streamed | Tick | Ended | BaseException | None
    was_read: threading.Event = field(default_factory=threading.Event)


def _fill(members: Iterator[Streamed | Tick | Ended], coming: "queue.Queue[_Coming]") -> None:
    try:
        for one in members:
            coming.put(each := _Coming(one))
            if isinstance(one, Streamed) and not isinstance(one.data, io.BytesIO):
                each.was_read.wait()
    except BaseException as error:  # noqa: BLE001  (raised again where the members are read)
        coming.put(_Coming(error))
    else:
        coming.put(_Coming(None))


def _members_in(file: BinaryIO, kind: str, name: str) -> Iterator[Streamed | Tick | Ended]:
    unpacking = Unpacking(file, kind)
    stream = io.BufferedReader(unpacking, _BUFFER)
    if is_tar(stream.peek(BLOCK)[:BLOCK]):
        yield from _walked(Stream(stream), unpacking)
    else:
        yield from _single(cast("BinaryIO", stream), unpacking, name)


def _single(stream: BinaryIO, unpacking: Unpacking, name: str) -> Iterator[Streamed | Tick | Ended]:
    own = _SUFFIX.sub("", os.path.basename(name))
    with _as_file(Held(stream, None, lambda _: _check(unpacking))) as data:
        yield Streamed(Member(name_of(os.fsencode(own)), 0), data)
    while stream.read(BETWEEN_TICKS // 2):
        yield Tick()
    yield Ended(unpacking.damage)


def _walked(front: Stream, unpacking: Unpacking) -> Iterator[Streamed | Tick | Ended]:
    walk = Walk(front)
    for met in walk:
        if isinstance(met, Tick):
            yield met
        else:
            streamed = _streamed(met, front, unpacking)
            with nullcontext() if isinstance(streamed.data, io.BytesIO) else streamed.data:
                yield streamed
    yield Ended(unpacking.damage or walk.damage)


def _streamed(entry: Entry, front: Stream, unpacking: Unpacking) -> Streamed:
    """Take a member from the stream; one of some size only as far as it is read."""
    member = Member(name_of(entry.name), entry.size, None, entry.failure)
    if member.failure is None and entry.size > MOST_OF_A_MEMBER:
        member = replace(member, failure=INFLATES)
    if member.failure is not None:
        return Streamed(member, io.BytesIO())
    if entry.size > _IN_ONE_READ:
        return Streamed(
            member,
            _as_file(
                Held(_Data(front, entry.size), entry.size, lambda got: _check(unpacking, got == entry.size))
            ),
        )
    data = front.read(entry.size)
    if len(data) < entry.size:
        member = replace(member, failure=INFLATES if unpacking.damage is Reason.INFLATES else DAMAGED)
    return Streamed(member, io.BytesIO(data))


class _Data:
    """The data of one member of a tar in a stream."""

    def __init__(self, front: Stream, size: int) -> None:
        self._front, self._left = front, size

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        data = self._front.read(min(size, self._left))
        self._left -= len(data)
        return data


def _check(unpacking: Unpacking, whole: bool = True) -> None:
    """Raise MemberDamagedError if a stream has ended where it should not."""
    if unpacking.damage is Reason.INFLATES:
        raise MemberDamagedError(Reason.INFLATES)
    if unpacking.damage or not whole:
        raise MemberDamagedError


def _as_file(held: Held) -> BinaryIO:
    return cast("BinaryIO", held)
