"""Packed streams of any length, read in steps of any size, come out as they went in, and are not damaged."""

import bz2
import gzip
import io
import lzma
import random
import sys
from collections.abc import Callable

import pytest

from dicomsort.inputs import packed
from dicomsort.outcome import Reason

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": zstd.compress,
}
STEPS = (512, 1000, 1 << 16, 1 << 18, 1 << 20)


def some_bytes(rng: random.Random, size: int) -> bytes:
    """Runs of one byte, noise, and what came before once more: decoders give these in pieces of all sizes."""
    found = bytearray()
    while len(found) < size:
        kind = rng.random()
        if kind < 0.4:
            found += rng.randbytes(rng.randint(1, 5000))
        elif kind < 0.8:
            found += bytes([rng.randint(0, 255)]) * rng.randint(1, 70_000)
        else:
            found += (found[-3000:] or b"x") * rng.randint(1, 8)
    return bytes(found[:size])


@pytest.mark.parametrize("kind", PACKERS)
def test_every_stream_comes_out_whole_however_it_is_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(kind)
    for _ in range(150):
        monkeypatch.setattr(packed, "_CHUNK", rng.choice((1, 7, 100, 1000, 4096, 1 << 16)))
        near = (1 << rng.randint(9, 16)) + rng.choice((-1, 0, 1))
        data = some_bytes(rng, rng.choice((rng.randint(0, 3000), rng.randint(0, 60_000), near)))
        cut = rng.randint(0, len(data)) if rng.random() < 0.3 else len(data)
        stored = b"".join(PACKERS[kind](part) for part in (data[:cut], data[cut:]) if part or not data)
        unpacking = packed.Unpacking(io.BytesIO(stored), kind)
        stream = io.BufferedReader(unpacking, rng.choice((512, 8192, 1 << 18)))
        out = b""
        while piece := stream.read(rng.choice((*STEPS, max(1, len(data) // 2), len(data) + 1))):
            out += piece
        assert (out == data, unpacking.damage) == (True, Reason.NONE)
