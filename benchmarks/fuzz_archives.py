"""Read damaged archives, and count what Info-ZIP or GNU tar read of them and we do not.

    python benchmarks/fuzz_archives.py [--mutants 2000] [--seed 0] [--classify] [--only NUMBER --keep FILE]

Mutants of zips (stored, deflated, with data descriptors) and tars (GNU, pax; plain, gz, bz2, xz, zst):
bits flipped, ends cut off, stretches zeroed, dropped or added, numbers of headers changed. A member is
lost if the other program gives its bytes unharmed, and we give no member with these bytes. (Unknown: its
first and last bytes are destroyed, so that nobody asks what is in it.) Every mutant must be read to its
end within seconds and raise nothing, and no member of a zip may come out altered. Ends with exit code 1
otherwise. A mutant depends on the seed and its number alone. Needs unzip, tar, bzip2, xz and zstd.

With `--classify` the archives hold radiographs, and the whole program sorts a folder of them: each archive
and each radiograph that the other program reads must have its row.
"""

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS / "support"))

from packs import MAKERS, damaged, judged, kind_in, ours, some_files  # noqa: E402
from written import picture, write_dicom  # noqa: E402

_SLOW = 5
_READ = ("sorted", "review", "duplicate")


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
    got = {content for _, content in ours(path)[0] if content}
    mine = got & whole
    lost = len(theirs - mine)
    counts = Counter(members=len(whole), theirs=len(theirs), ours=len(mine))
    counts["lost" if kind_in(path) else "lost in what is unknown"] = lost
    counts["altered"] = len(got - whole) if path.suffix == ".zip" else 0
    counts[f"more than theirs in {path.name}"] = len(mine - theirs)
    return counts


def compare_all(given: argparse.Namespace) -> bool:
    """Read mutants, print the counts, and return whether all is well."""
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
        if lost := counts["lost"] + counts["altered"]:
            print(f"mutant {number}, {ending}: {lost} lost or altered", flush=True)
    for what, count in total.items():
        print(f"{count:7} {what}")
    print(f"slowest {slowest:.2f} s")
    return not total["lost"] and not total["altered"] and slowest < _SLOW


def classify_all(given: argparse.Namespace) -> bool:
    """Classify a folder of mutants that hold radiographs; return whether every one of theirs has its row."""
    wanted: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as top:
        folder, out = Path(top, "in"), Path(top, "out")
        for number in range(given.mutants):
            rng = random.Random(f"{given.seed} {number}")
            ending = list(MAKERS)[number % len(MAKERS)]
            files = {f"{at}.dcm": radiograph(Path(top, "one.dcm"), number * 10 + at) for at in range(5)}
            path = folder / str(number) / ending
            path.parent.mkdir(parents=True)
            path.write_bytes(damaged(MAKERS[ending](files), rng))
            theirs = judged(path, Path(top, "theirs", str(number))) if kind_in(path) else set()
            wanted[str(path)] = len(theirs & set(files.values()))
        words: list[str | Path] = ["classify", folder, "--out", out, "--action", "none", "--device", "cpu"]
        done = subprocess.run(
            [sys.executable, "-m", "dicomsort", *words], check=False, stdout=subprocess.PIPE
        )
        rows = list(csv.DictReader((out / "manifest.csv").open(encoding="utf-8")))
    ends = Counter(f"{row['status']}: {row['reason']}" for row in rows)
    for end, count in ends.most_common():
        print(f"{count:7} {end}")
    read = Counter(row["path"].partition("!")[0] for row in rows if row["status"] in _READ)
    twice = len(rows) - len({row["path"] for row in rows})
    without = len(set(wanted) - {row["path"] for row in rows})
    for name, count in (wanted - read).items():
        print(f"{Path(name).parent.name}/{Path(name).name}: {count} lost")
    lost = (wanted - read).total()
    print(f"exit code {done.returncode}; {wanted.total()} radiographs that they read, {lost} lost;")
    print(f"{without} archives without a row, {twice} rows twice")
    dead = sum(row["status"] in ("crash", "timeout") for row in rows)
    return done.returncode in (0, 3) and not (lost or twice or without or dead)


def radiograph(path: Path, number: int) -> bytes:
    """Make a small radiograph with a UID of its own."""
    return write_dicom(path, picture(number), SOPInstanceUID=f"2.25.{number + 1}").read_bytes()


def main() -> int:
    """Read or classify mutants."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classify", action="store_true")
    parser.add_argument("--only", type=int)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    if given.only is not None:
        given.keep.write_bytes(mutant(given.seed, given.only)[2])
        return 0
    return 0 if (classify_all if given.classify else compare_all)(given) else 1


if __name__ == "__main__":
    sys.exit(main())
