"""The list of all files of an archive, written once and cut so that each shard reads its own bytes of it.

In order: a mark of eight bytes; blocks; what the list is of, as packed JSON; where that begins, eight bytes
little-endian; the mark again. A block holds some files of the walk: the places in the file, eight bytes each,
where each shard's files of it begin, and where the block ends; then each shard's files, in the order of the
walk, packed by themselves (Zstandard). A file is four texts, each ended by NUL: see `_text_of`.
"""

import json
import os
import struct
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from dicomsort.errors import TargetError
from dicomsort.inputs.named import Archive, number_of, shared_by
from dicomsort.inputs.remotes import Remotes
from dicomsort.outcome import Failure, FileStamp, Reason, SourceFile, Status
from dicomsort.system.escaping import escape
from dicomsort.system.zstd import zstd

_MARK = b"DSFILES1"
_WORD = 8
_FILES_A_BLOCK, _BYTES_A_BLOCK = 200_000, 64 << 20
_LEVEL = 6
_ERRORS = "surrogateescape"


@dataclass(frozen=True, slots=True)
class About:
    """What a list is of.

    shards: how many files each shard has. failed: how many files cannot be read, as far as that is known
    before they are opened. empty_folders: see `named.Files`.
    """

    shards: tuple[int, ...]
    failed: int = 0
    empty_folders: int = 0

    @property
    def files(self) -> int:
        """How many there are."""
        return sum(self.shards)


def write(
    path: str, archive: Archive, of: int, on_file: Callable[[], object], block: int = _FILES_A_BLOCK
) -> None:
    """Write the list of an archive for so many shards, and see to it that it is on the disk.

    on_file: called at each file. block: files a block at most; as many are in memory at a time. Raises
    OSError, and what `Archive.stated` does.
    """
    counts, failed = array("Q", bytes(_WORD * of)), 0
    with open(path, "wb") as file:
        file.write(_MARK)
        files = archive.stated()
        while True:
            runs: defaultdict[int, bytearray] = defaultdict(bytearray)
            size = 0
            for found in islice(files, block):
                number, text = number_of(shared_by(found), of), _text_of(found)
                runs[number] += text
                counts[number - 1] += 1
                failed += found.failure is not None
                size += len(text)
                on_file()
                if size >= _BYTES_A_BLOCK:
                    break
            if not runs:
                break
            _write_block(file, runs, of)
        _write_end(file, {"shards": list(counts), "failed": failed, "empty_folders": archive.empty_folders})
        file.flush()
        os.fsync(file.fileno())


def _write_block(file: BinaryIO, runs: dict[int, bytearray], of: int) -> None:
    at = file.tell() + _WORD * (of + 1)
    packed = {number: zstd.compress(runs[number], level=_LEVEL) for number in sorted(runs)}
    places = array("Q", [at])
    for number in range(1, of + 1):
        at += len(packed.get(number, b""))
        places.append(at)
    file.write(struct.pack(f"<{of + 1}Q", *places))
    file.writelines(packed.values())


def _write_end(file: BinaryIO, about: dict[str, Any]) -> None:
    start = file.tell()
    file.write(zstd.compress(json.dumps(about).encode()))
    file.write(struct.pack("<Q", start) + _MARK)


def _text_of(found: SourceFile) -> bytes:
    """Return a file as four texts: the path is the second and what follows of the third; what else is known.

    first: how many characters of the relative path, the third, are not the path's.
    """
    path, relpath = found.path, found.relpath
    cut = 0
    if not path.endswith(relpath):  # the name of a root, which is not that of its folder, stands in front
        cut = relpath.find("/") + 1
        if not path.endswith(relpath[cut:]):
            cut = len(relpath)
    front = path[: len(path) - len(relpath) + cut]
    return f"{cut or ''}\0{front}\0{relpath}\0{_told_of(found)}\0".encode("utf-8", _ERRORS)


def _told_of(found: SourceFile) -> str:
    failure, stamp = found.failure, found.stamp
    if failure is None and stamp is None:
        return ""
    told: list[object] = [*(failure.status.value, failure.reason.value)] if failure else ["", ""]
    return json.dumps([*told, *((stamp.size, stamp.mtime_ns, stamp.etag) if stamp else ())])


def _found_of(cut: str, front: str, relpath: str, told: str) -> SourceFile:
    path = front + (relpath[int(cut) :] if cut else relpath)
    if not told:
        return SourceFile(path, relpath)
    status, reason, *stamp = json.loads(told)
    failure = Failure(Status(status), Reason(reason)) if status else None
    return SourceFile(path, relpath, failure, stamp=FileStamp(*stamp) if stamp else None)


class DamagedListError(ValueError):
    """A list that is none of ours, or is not whole."""


class FileList:
    """A list that is whole; open from the beginning, so that it may be removed meanwhile."""

    def __init__(self, path: str) -> None:
        """Open it. Raises OSError, or DamagedListError."""
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  (closed by `close`)
        try:
            self._end, self.about = _end_of(self._file)
        except (ValueError, KeyError, TypeError, struct.error, zstd.ZstdError) as error:
            self._file.close()
            raise DamagedListError from error
        except OSError:
            self._file.close()
            raise

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def of_shard(self, number: int) -> Iterator[SourceFile]:
        """Yield the files of a shard, counted from 1; only their bytes are read. Raises OSError."""
        of, at = len(self.about.shards), len(_MARK)
        while at < self._end:
            start, stop = self._words(at + _WORD * (number - 1), 2)
            if stop > start:
                yield from _files_in(zstd.decompress(self._bytes(start, stop)))
            (at,) = self._words(at + _WORD * of, 1)

    def _words(self, at: int, count: int) -> Sequence[int]:
        return struct.unpack(f"<{count}Q", self._bytes(at, at + _WORD * count))

    def _bytes(self, start: int, stop: int) -> bytes:
        return _read(self._file.fileno(), start, stop)


def _read(descriptor: int, start: int, stop: int) -> bytes:
    """Read these bytes. Raises OSError, or DamagedListError where the file ends before."""
    found = bytearray()
    while start + len(found) < stop:
        piece = os.pread(descriptor, stop - start - len(found), start + len(found))
        if not piece:
            raise DamagedListError
        found += piece
    return bytes(found)


def _end_of(file: BinaryIO) -> tuple[int, About]:
    """Return where the blocks end, and what the list is of. Raises ValueError and others if it is damaged."""
    size = file.seek(0, os.SEEK_END)
    if size < 3 * _WORD:
        raise DamagedListError
    start, mark = struct.unpack("<Q8s", _read(file.fileno(), size - 2 * _WORD, size))
    if mark != _MARK or not _WORD <= start <= size - 2 * _WORD:
        raise DamagedListError
    about = json.loads(zstd.decompress(_read(file.fileno(), start, size - 2 * _WORD)))
    return start, About(tuple(about["shards"]), about["failed"], about["empty_folders"])


def _files_in(data: bytes) -> Iterator[SourceFile]:
    texts = iter(data.decode("utf-8", _ERRORS).split("\0"))
    for cut in texts:
        if (front := next(texts, None)) is not None:
            yield _found_of(cut, front, next(texts), next(texts))


@dataclass(frozen=True, slots=True)
class Listed:
    """The files of a shard, counted from 1, by a list of all."""

    archive: Archive
    files: FileList
    shard: int

    @property
    def repeats(self) -> bool:
        """Whether `find` may be called again."""
        return True

    @property
    def remotes(self) -> Remotes:
        """The stores from which files have to be fetched."""
        return self.archive.remotes

    @property
    def empty_folders(self) -> int:
        """How many folders without anything in them were met."""
        return self.files.about.empty_folders

    @property
    def number(self) -> int:
        """How many files there are."""
        return self.files.about.shards[self.shard - 1]

    def find(self) -> Iterator[SourceFile]:
        """Yield every file once. Raises TargetError if the list cannot be read to its end."""
        return self.archive.looked_up(self._read())

    def _read(self) -> Iterator[SourceFile]:
        try:
            yield from self.files.of_shard(self.shard)
        except (OSError, ValueError, zstd.ZstdError) as error:
            raise TargetError(
                f"the list of files, '{escape(self.files.path)}', is damaged or gone: remove it, and give "
                "the same command again"
            ) from error
