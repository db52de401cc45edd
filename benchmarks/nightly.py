"""What a command costs that has nothing to do: help, and the second run of very many files.

    python benchmarks/nightly.py [--older CHECKOUT] [--files 1000000] [--pairs 3] [--repeats 15]
        [--folder FOLDER]

With `--older`, beside an older build: a checkout, for example a `git worktree` of an earlier commit. Both are
run by this interpreter, as `python -m dicomsort`, in the order A B, B A. Measured are seconds by the clock,
the processor seconds of the main process and of those that it waited for, and its peak resident memory:

* help, classify-help: `dicomsort --help` and `dicomsort classify --help`, `--repeats` times each, medians;
* nothing-new: `classify` on tests/archive, where all is done, likewise;
* second-run: `classify --action symlink` on the tree of `benchmarks/scale.py` with `--files` files, all done,
  in `--pairs` pairs. Each build has filled its own output before.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from scale import build

HERE = Path(__file__).resolve().parents[1]
HEADERS = 20_000


class Cost(NamedTuple):
    """Seconds by the clock and of processors, and the peak of resident memory in bytes."""

    seconds: float
    processor: float
    peak: int


def run(checkout: Path, words: Sequence[str | Path]) -> Cost:
    """Run a command of one build to its end."""
    started = time.monotonic()
    program = subprocess.Popen(
        [sys.executable, "-m", "dicomsort", *map(str, words)], cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, used = os.wait4(program.pid, 0)
    seconds = time.monotonic() - started
    if os.waitstatus_to_exitcode(status) not in (0, 3):
        sys.exit(f"{words} ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss << 10)


def alternating(
    builds: Sequence[Path], words: Callable[[Path], Sequence[str | Path]], pairs: int
) -> dict[Path, list[Cost]]:
    """Run both builds in turns, the first one second in every other pair."""
    found: dict[Path, list[Cost]] = {each: [] for each in builds}
    for number in range(pairs):
        for each in builds if number % 2 == 0 else reversed(builds):
            found[each].append(run(each, words(each)))
    return found


def tell(name: str, found: dict[Path, list[Cost]]) -> None:
    """Print the medians of each build, and the ratio of each pair."""
    for each, costs in found.items():
        seconds, processor = (statistics.median(cost[at] for cost in costs) for at in (0, 1))
        peak = max(cost.peak for cost in costs) / 1e6
        which = "this build" if each == HERE else "older build"
        print(f"{name:14} {which:12} {seconds:7.2f} s {processor:7.2f} s of processors, {peak:4.0f} MB")
    newer, *older = found.values()
    for other in older:
        ratios = sorted(one.seconds / two.seconds for one, two in zip(newer, other, strict=True))
        print(f"{name:14} ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--older", type=Path)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    builds = [HERE, *([given.older.resolve()] if given.older else [])]
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        outs = {each: folder / f"small{number}" for number, each in enumerate(builds)}
        small: dict[Path, list[str | Path]] = {
            each: ["classify", HERE / "tests" / "archive", "--out", out] for each, out in outs.items()
        }
        for each in builds:
            run(each, small[each])
        tell("help", alternating(builds, lambda _: ["--help"], given.repeats))
        tell("classify-help", alternating(builds, lambda _: ["classify", "--help"], given.repeats))
        tell("nothing-new", alternating(builds, lambda each: small[each], given.repeats))
        if not given.files:
            return
        build(folder / "in", given.files, min(HEADERS, given.files))
        large: dict[Path, list[str | Path]] = {
            each: ["classify", folder / "in", "--out", folder / f"large{number}", "--action", "symlink", "-q"]
            for number, each in enumerate(builds)
        }
        for each in builds:
            run(each, large[each])
        tell("second-run", alternating(builds, lambda each: large[each], given.pairs))


if __name__ == "__main__":
    main()
