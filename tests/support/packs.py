"""Archives made and damaged, and what Info-ZIP and GNU tar make of them."""

import bz2
import gzip
import io
import lzma
import os
import random
import re
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from dicomsort.inputs.archive_file import (
    Ended,
    Listing,
    Member,
    MemberDamagedError,
    Streamed,
    is_whole,
    kind_of,
    list_members,
    stream_members,
    unpacked,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


Files = Mapping[str, bytes]


class _OneWay(io.RawIOBase):
    """A sink that cannot be sought in, so that a zip gets data descriptors."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        before = len(self.data)
        self.data += data
        return len(self.data) - before


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED, *, streamed: bool = False) -> bytes:
    sink = _OneWay() if streamed else io.BytesIO()
    with zipfile.ZipFile(cast("BinaryIO", sink), "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return bytes(sink.data) if isinstance(sink, _OneWay) else sink.getvalue()


def tarred(files: Files, layout: int = tarfile.GNU_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=layout) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
}
"""What packs a stream, by the usual ends of names."""

MAKERS: dict[str, Callable[[Files], bytes]] = {
    "stored.zip": lambda files: zipped(files, zipfile.ZIP_STORED),
    "deflated.zip": zipped,
    "streamed.zip": lambda files: zipped(files, streamed=True),
    "gnu.tar": tarred,
    "pax.tar": lambda files: tarred(files, tarfile.PAX_FORMAT),
    "a.tar.gz": lambda files: gzip.compress(tarred(files), 6, mtime=0),
    "a.tar.bz2": lambda files: bz2.compress(tarred(files)),
    "a.tar.xz": lambda files: lzma.compress(tarred(files)),
    "a.tar.zst": lambda files: zstd.compress(tarred(files)),
}
"""Makers of archives by the ends of their names."""


def some_files(rng: random.Random) -> dict[str, bytes]:
    """Make files that deflate to about half, no two the same; one has a name too long for a tar header."""
    sizes = [rng.choice((1, 300, 512, 3000, 20000)) for _ in range(rng.randint(4, 10))]
    names = [f"study/{number}.dcm" for number in range(len(sizes))]
    names[-1] = f"{'deep/' * 30}last.dcm"
    return {name: _noise(rng, size) for name, size in zip(names, sizes, strict=True)}


def _noise(rng: random.Random, size: int) -> bytes:
    return rng.randbytes(8) + bytes(value & 15 for value in rng.randbytes(size))


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Damage an archive at one to three places, in a way of its own at each."""
    mutant = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if mutant:
            rng.choice(_DAMAGES)(mutant, rng)
    return bytes(mutant)


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _zero(data: bytearray, rng: random.Random) -> None:
    at, size = _stretch(data, rng)
    data[at : at + size] = bytes(size)


def _drop(data: bytearray, rng: random.Random) -> None:
    at, size = _stretch(data, rng)
    del data[at : at + size]


def _insert(data: bytearray, rng: random.Random) -> None:
    at, size = _stretch(data, rng)
    data[at:at] = rng.randbytes(size)


def _surround(data: bytearray, rng: random.Random) -> None:
    more = rng.randbytes(rng.choice((1, 3, 512, 3000)))
    if data[:2] == b"PK" and rng.random() < 0.5:
        data[:0] = more
    else:
        data += more


def _number(data: bytearray, rng: random.Random) -> None:
    """Write another number where a header of a zip, or near the end of the file, has one."""
    marks = [at for at in range(len(data) - 46) if data[at : at + 2] == b"PK"] or [max(0, len(data) - 30)]
    at, size = rng.choice(marks) + rng.randrange(4, 46), rng.choice((2, 4))
    value = rng.choice((0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, len(data), rng.randrange(1 << 32)))
    data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")


def _stretch(data: bytearray, rng: random.Random) -> tuple[int, int]:
    at = rng.randrange(len(data))
    return at, min(len(data) - at, rng.choice((1, 2, 30, 512, 1024, 5000)))


_DAMAGES = (_flip, _flip, _cut, _zero, _drop, _insert, _surround, _number, _number)


def ours(
    path: Path, kind: str | None = None, most: int = 3
) -> tuple[list[tuple[Member, bytes | None]], bool]:
    """Return what we read of an archive: members with their bytes, None where damaged; and whether it is."""
    kind = kind_in(path) if kind is None else kind
    if kind in ("zip", "tar"):
        listings = list(listed(path, kind, most))
        members = [(member, _content(member)) for listing in listings for member in listing.members]
        return members, any(listing.damage for listing in listings)
    found: list[tuple[Member, bytes | None]] = []
    damage = False
    for item in stream_members(str(path), kind) if kind else ():
        if isinstance(item, Streamed):
            failed = item.member.failure is not None
            found.append((item.member, None if failed else _all_of(item.data.read)))
        elif isinstance(item, Ended):
            damage = bool(item.damage)
    return found, damage


def kind_in(path: Path) -> str:
    """Return the kind of an archive, by its bytes."""
    with path.open("rb") as file:
        return kind_of(file.read(512), file)


def listed(path: Path, kind: str, most: int = 5000) -> Iterator[Listing]:
    """List an archive in pieces."""
    since: int | None = 0
    while since is not None:
        listing = list_members(str(path), kind, since, most=most)
        assert len(listing.members) <= most
        assert listing.rest is None or listing.rest > since
        since = listing.rest
        yield listing


def _content(member: Member) -> bytes | None:
    if member.part is None:
        return None
    if member.part.crc is not None and not member.part.packing and not is_whole(member.part):
        return None
    with unpacked(member.part) as file:
        return _all_of(file.read)


def _all_of(read: Callable[[], bytes]) -> bytes | None:
    try:
        return read()
    except MemberDamagedError:
        return None


def by_unzip(path: Path, folder: Path) -> set[bytes]:
    """Return the files that Info-ZIP's unzip takes out of a zip without a complaint."""
    words: list[str | Path] = ["unzip", "-o", "-P", "", "-d", folder, path]
    done = subprocess.run(words, check=False, timeout=60, stdin=subprocess.DEVNULL, capture_output=True)
    complaints = {int(crc, 16) for crc in re.findall(rb"bad CRC ([0-9a-f]{8})", done.stderr)}
    return {data for data in _under(folder) if zlib.crc32(data) not in complaints}


def by_tar(path: Path, folder: Path) -> set[bytes]:
    """Return the files that GNU tar takes out of a tar, packed or not."""
    folder.mkdir(parents=True)
    how = {".gz": "-z", ".bz2": "-j", ".xz": "-J", ".zst": "--zstd"}.get(path.suffix, "-p")
    words: list[str | Path] = ["tar", how, "-xf", path, "-C", folder]
    subprocess.run(words, check=False, timeout=60, stdin=subprocess.DEVNULL, capture_output=True)
    return _under(folder)


def judged(path: Path, folder: Path) -> set[bytes]:
    """Return the files that the usual program takes out of an archive."""
    return (by_unzip if path.suffix == ".zip" else by_tar)(path, folder)


def _under(folder: Path) -> set[bytes]:
    found = set()
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top, name)
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                found.add(path.read_bytes())
    return found
