"""How far a split is from 0.7, 0.15 and 0.15, over all images and class by class, on small data and a table.

    python benchmarks/splits.py
    python benchmarks/splits.py labels.csv --target group --target body_parts

For each data set, the mean over five seeds of three figures: the largest deviation of a part's share of all
images, the largest of a part's share of any class, and the mean over classes of the largest. To compare with
an earlier version, run it with PYTHONPATH set to a checkout of that.
"""

import argparse
import csv
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dicomsort.data.dataset import Sample
from dicomsort.data.splits import make_split
from dicomsort.data.targets import heads_of, labels_in
from dicomsort.errors import UsageError
from dicomsort.model.heads import Head

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
SEEDS = range(5)


def sizes(low: int, high: int, patients: int) -> list[int]:
    """Draw how many images each patient has; the same each time."""
    return [random.Random(f"{low} {high} {number}").randint(low, high) for number in range(patients)]


SMALL = {
    "3 classes of 50 patients": {"a": [1] * 50, "b": [1] * 50, "c": [1] * 50},
    "60, 30 and 12 patients": {"a": [1] * 60, "b": [1] * 30, "c": [1] * 12},
    "60, 30 and 5 patients": {"a": [1] * 60, "b": [1] * 30, "c": [1] * 5},
    "40 and 4 patients": {"a": [1] * 40, "b": [1] * 4},
    "1,000 and 3 patients": {"a": [1] * 1000, "b": [1] * 3},
    "one patient has 40 of 120 images": {"a": [40] + [2] * 40, "b": [2] * 60},
    "3 classes of 11 patients, 1 to 8 images each": {name: sizes(1, 8, 11) for name in "abc"},
    "4 classes of 8 patients, 1 to 20 images each": {name: sizes(1, 20, 8) for name in "abcd"},
}


def samples_of(classes: dict[str, list[int]]) -> list[Sample]:
    """Images of patients of one class each."""
    made: list[Sample] = []
    for label, counts in classes.items():
        for patient, count in enumerate(counts):
            for _ in range(count):
                name = f"{len(made):016x}"
                made.append(Sample(name, name, (label,), f"{label} {patient}", name))
    return made


def read(path: Path, target: str) -> list[Sample]:
    """Read a table with the columns file and patient; the files themselves are not needed."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[target]]
    return [
        Sample(row["file"], row["file"], (row[target],), row["patient"] or row["file"], f"{at:016x}")
        for at, row in enumerate(rows)
    ]


def deviations(samples: Sequence[Sample], heads: Sequence[Head], seed: int) -> tuple[float, float, float]:
    """Return the three figures of one split."""
    split = make_split(samples, heads, seed)
    counts: Counter[tuple[tuple[str, str], str]] = Counter()
    for sample in samples:
        for pair in [("", ""), *labels_in(sample, heads)]:
            counts[pair, split[sample.sha256]] += 1
            counts[pair, "all"] += 1
    off = {
        pair: max(abs(counts[pair, part] / total - share) for part, share in SHARES.items())
        for (pair, part), total in list(counts.items())
        if part == "all"
    }
    overall = off.pop(("", ""))
    return overall, max(off.values()), sum(off.values()) / len(off)


def tell(name: str, samples: Sequence[Sample], target: str) -> None:
    """Print one line of the table."""
    heads, before = heads_of(samples, (target,)), time.process_time()
    try:
        found = [deviations(samples, heads, seed) for seed in SEEDS]
    except UsageError as error:
        print(f"| {name} | refused: {str(error).partition(':')[0]} | | | |")
        return
    seconds = (time.process_time() - before) / len(SEEDS)
    figures = " | ".join(f"{sum(each) / len(each):.4f}" for each in zip(*found, strict=True))
    print(f"| {name} | {figures} | {seconds:.2f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path, nargs="?")
    parser.add_argument("--target", action="append", default=[])
    asked = parser.parse_args()
    print("| data | all images | worst class | mean of classes | CPU seconds a split |")
    print("|---|---|---|---|---|")
    for name, classes in SMALL.items():
        tell(name, samples_of(classes), "label")
    for target in asked.target:
        tell(f"{asked.table.name}, {target}", read(asked.table, target), target)


if __name__ == "__main__":
    main()
