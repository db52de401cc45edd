"""Read damaged DICOM files through the worker processes and count how they end.

    python benchmarks/fuzz.py [--mutants 5000] [--seed 0] [--workers 2] [--timeout 20]

Mutants of the files in tests/archive and tests/data/broken: bits flipped, ends cut off, lengths of elements
changed, stretches swapped, zeroed or repeated, fragments swapped. Every mutant must end exactly once, as a
picture or as a failure, within the time limit; no header value that names a person may come out. Ends with
exit code 1 otherwise. A mutant depends on the seed and its number alone: `--only NUMBER --keep FILE` writes
it again.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from dicomsort.dicom import isolation, reader
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure
from dicomsort.system.pool_settings import PoolSettings

TESTS = Path(__file__).resolve().parents[1] / "tests"
CANARY = "CANARY"
ITEM = b"\xfe\xff\x00\xe0"


def flip_bits(data: bytearray, rng: random.Random) -> None:
    """Flip up to 32 bits anywhere, or in the first two kilobytes, where the header is."""
    end = rng.choice((len(data), min(len(data), 2048)))
    for _ in range(rng.randint(1, 32)):
        data[rng.randrange(end)] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random) -> None:
    """Cut the file off anywhere."""
    del data[rng.randrange(len(data)) :]


def change_length(data: bytearray, rng: random.Random) -> None:
    """Write another number where an element, an item or a sequence has its length."""
    marks = [at for at in range(132, min(len(data) - 8, 4096), 2) if data[at + 4 : at + 6].isalpha()]
    marks += [at for at in range(132, len(data) - 8) if data[at : at + 4] == ITEM][:64]
    if marks:
        at = rng.choice(marks) + rng.choice((4, 6, 8))
        value = rng.choice((0, 1, 3, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, len(data), rng.randrange(1 << 32)))
        size = rng.choice((2, 4))
        data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")


def swap_fragments(data: bytearray, rng: random.Random) -> None:
    """Swap two fragments, heads and all; without any, two stretches."""
    marks = [at for at in range(132, len(data) - 8) if data[at : at + 4] == ITEM]
    if len(marks) < 3:
        return move(data, rng)
    first, second = sorted(rng.sample(range(1, len(marks)), 2))
    ends = [*marks[1:], len(data)]
    parts = [bytes(data[marks[index] : ends[index]]) for index in range(len(marks))]
    parts[first], parts[second] = parts[second], parts[first]
    data[marks[0] :] = b"".join(parts)
    return None


def move(data: bytearray, rng: random.Random) -> None:
    """Repeat, zero or drop a stretch."""
    start = rng.randrange(len(data))
    stretch = data[start : start + rng.randint(1, 512)]
    kind = rng.randrange(3)
    if kind == 0:
        data[start:start] = stretch * rng.randint(1, 4)
    elif kind == 1:
        data[start : start + len(stretch)] = bytes(len(stretch))
    else:
        del data[start : start + len(stretch)]


KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip_bits,
    cut,
    change_length,
    swap_fragments,
    move,
)


def mutant(sources: list[Path], seed: int, number: int) -> bytes:
    """Make the mutant of that number: one to three damages."""
    rng = random.Random(f"{seed} {number}")
    data = bytearray(rng.choice(sources).read_bytes())
    for _ in range(rng.randint(1, 3)):
        if len(data) > 160:
            rng.choice(KINDS)(data, rng)
    return bytes(data)


def written(folder: Path, sources: list[Path], seed: int, numbers: range) -> Iterator[str]:
    """Write mutants one by one, as the workers have room for them."""
    for number in numbers:
        path = folder / f"{number}.dcm"
        path.write_bytes(mutant(sources, seed, number))
        yield str(path)


def main() -> None:
    """Read the mutants and print the counts by status and reason."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=20.0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    folders = (TESTS / "archive", TESTS / "data" / "broken")
    sources = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    sources = [path for path in sources if path.stat().st_size > 0]
    if given.only is not None:
        given.keep.write_bytes(mutant(sources, given.seed, given.only))
        return
    sys.exit(0 if fuzz(sources, given) else 1)


def fuzz(sources: list[Path], given: argparse.Namespace) -> bool:
    """Return whether every mutant ended once, in time, and told nothing."""
    settings = PoolSettings(workers=given.workers, timeout=given.timeout)
    read = partial(reader.read_dicom, preprocessing=Preprocessing())
    ends: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    told, slow = 0, 0.0
    started = last = now = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        paths = written(Path(folder), sources, given.seed, range(given.mutants))
        for path, result in isolation.read_all(read, paths, settings):
            now = time.monotonic()
            slow, last = max(slow, now - last), now
            seen[path] += 1
            end = f"{result.status}: {result.reason}" if isinstance(result, Failure) else "picture"
            ends[end] += 1
            told += CANARY in repr(result.header)
            if end.startswith(("crash", "timeout")):
                print(f"{end}: mutant {Path(path).stem}", flush=True)
            Path(path).unlink()
    for end, count in sorted(ends.items()):
        print(f"{count:6} {end}")
    lost = given.mutants - len(seen)
    twice = sum(count > 1 for count in seen.values())
    print(f"{given.mutants} mutants of {len(sources)} files, seed {given.seed}, {now - started:.0f} s;")
    print(f"{lost} lost, {twice} twice, {told} told a name, longest wait {slow:.1f} s")
    in_time = slow < 2 * given.timeout + 10
    return not lost and not twice and not told and in_time


if __name__ == "__main__":
    main()
