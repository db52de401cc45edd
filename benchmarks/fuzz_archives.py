"""Read damaged archives, and count what Info-ZIP or GNU tar read of them and we do not.

    python benchmarks/fuzz_archives.py [--mutants 2000] [--seed 0] [--only NUMBER --keep FILE]

Mutants of zips (stored, deflated, with data descriptors) and tars (GNU, pax; plain, gz, bz2, xz, zst):
bits flipped, ends cut off, stretches zeroed, dropped or added, numbers of headers changed. A member is
lost if the other program gives its bytes unharmed, and we give no member with these bytes. (Unknown: its
first and last bytes are destroyed, so that nobody asks what is in it.) Every mutant must be read to its
end within seconds, raise nothing, and no member may come out with bytes that its archive's checksum
contradicts. Ends with exit code 1 otherwise. A mutant depends on the seed and its number alone. Needs
unzip, tar, bzip2, xz and zstd.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS / "support"))

from packs import MAKERS, damaged, judged, kind_in, ours, some_files  # noqa: E402

_SLOW = 5


def mutant(seed: int, number: int) -> tuple[str, dict[str, bytes], bytes]:
    """Make a mutant: the end of its name, what its files were, and its bytes."""
    rng = random.Random(f"{seed}-{number}")
    ending = list(MAKERS)[number % len(MAKERS)]
    files = some_files(rng)
    return ending, files, damaged(MAKERS[ending](files), rng)


def compare(path: Path, whole: set[bytes]) -> Counter[str]:
    """Return how many files the other program reads, how many we do, and how many of theirs we lose."""
    with tempfile.TemporaryDirectory() as folder:
        theirs = judged(path, Path(folder, "out")) & whole
    mine = {content for _, content in ours(path)[0]} & whole
    lost = len(theirs - mine)
    counts = Counter(members=len(whole), theirs=len(theirs), ours=len(mine))
    counts["lost" if kind_in(path) else "lost in what is unknown"] = lost
    counts[f"more than theirs in {path.name}"] = len(mine - theirs)
    return counts


def main() -> int:
    """Read mutants and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    if given.only is not None:
        given.keep.write_bytes(mutant(given.seed, given.only)[2])
        return 0
    total: Counter[str] = Counter()
    slowest = 0.0
    for number in range(given.mutants):
        ending, files, data = mutant(given.seed, number)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, ending)
            path.write_bytes(data)
            began = time.process_time()
            counts = compare(path, set(files.values()))
            slowest = max(slowest, time.process_time() - began)
        total += counts
        if counts["lost"]:
            print(f"mutant {number}, {ending}: {counts['lost']} lost", flush=True)
    for what, count in total.items():
        print(f"{count:7} {what}")
    print(f"slowest {slowest:.2f} s")
    return 1 if total["lost"] or slowest > _SLOW else 0


if __name__ == "__main__":
    sys.exit(main())
