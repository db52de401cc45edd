"""Seconds of an epoch of training: this build against the checkout of another one, in turns.

    python benchmarks/epoch.py labels.csv --target group --against FOLDER [--images N] [--rounds 3]

FOLDER: a checkout of the other commit, as `git worktree add FOLDER 64a7e3b` makes one; both run in the Python
of this environment. Each turn is a training of its own in a process of its own, whose pictures are in the
cache already; what is measured is its first epochs, with their validation, and nothing else. The recipe is
MobileNet-V1 at 224 pixels, bfloat16 and the default augmentation; options behind `--` are added. --images:
only so many, as many of each label. Processor seconds are those of all threads and children.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from paired import Comparison, Goal, Kind, lines, turns

HERE = Path(__file__).resolve().parents[1]
_MOST = 0.75  # of the other build's time

_CHILD = """
import importlib, json, os, resource, sys, time

def spent():
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in times)

epochs = int(sys.argv.pop(1))
try:
    trainer = importlib.import_module("dicomsort.training.trainer")
except ModuleNotFoundError:
    trainer = importlib.import_module("dicomsort.trainer")
plain, found = trainer.Trainer._epoch, []

def timed(self, number):
    seconds, processor = time.perf_counter(), spent()
    epoch = plain(self, number)
    found.append({"seconds": time.perf_counter() - seconds, "processor": spent() - processor,
                  "loss": epoch.loss, "recall": epoch.recall_macro})
    if len(found) == epochs:
        print(json.dumps(found), flush=True)
        os._exit(0)
    return epoch

trainer.Trainer._epoch = timed
importlib.import_module("dicomsort.__main__").main()
"""


def epochs_of(checkout: Path, words: list[str], out: Path, epochs: int) -> list[dict[str, float]]:
    """Return the figures of the first epochs of a training by the package of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", _CHILD, str(epochs), "train", *words, "--out", str(out)]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)
    last = (done.stdout.splitlines() or [""])[-1]  # behind what train tells of the split
    if not last.startswith("[{"):
        raise SystemExit(f"{checkout}: {done.stderr[-2000:]}")
    found: list[dict[str, float]] = json.loads(last)
    return found


def some_of(data: Path, target: str, images: int, folder: Path) -> Path:
    """Write a table of so many rows of another one, as many of each label, with absolute paths."""
    with data.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    of_label: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        of_label.setdefault(row[target], []).append(row)
    share = images // len(of_label)
    taken = [row for alike in of_label.values() for row in alike[:: max(1, len(alike) // share)][:share]]
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "file": str((data.parent / row["file"]).resolve())} for row in taken)
    return path


def compared(name: str, unit: str, goal: Goal | None, older: list[float], newer: list[float]) -> Comparison:
    """Return a figure of both builds."""
    return Comparison(Kind(name, unit, goal), "newer", tuple(older), tuple(newer))


def main() -> None:
    """Measure both builds in turns and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path)
    options.add_argument("--target", required=True)
    options.add_argument("--against", type=Path, required=True)
    options.add_argument("--images", type=int)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--epochs", type=int, default=1, help="of each turn; every one counts")
    options.add_argument("more", nargs="*", help="options of train, behind --")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = (
            given.data.resolve()
            if given.images is None
            else some_of(given.data, given.target, given.images, folder)
        )
        words = [
            str(data),
            "--target",
            given.target,
            "--precision",
            "bfloat16",
            "--epochs",
            "20",
            *given.more,
        ]
        found: dict[Path, list[dict[str, float]]] = {}
        checkouts = (given.against.resolve(), HERE)
        for at, order in enumerate([checkouts, *turns(checkouts, given.rounds)]):
            for checkout in order:
                cache = ["--cache", str(folder / f"cache-{checkouts.index(checkout)}")]
                out = folder / f"{at}-{checkouts.index(checkout)}"
                epochs = epochs_of(checkout, [*words, *cache], out, given.epochs if at else 1)
                found.setdefault(checkout, []).extend(epochs if at else [])  # (the first fills the cache)
                print(f"{checkout.name}: {json.dumps(epochs)}", file=sys.stderr, flush=True)
        older, newer = ([dict(each) for each in found[checkout]] for checkout in checkouts)
        figures = (("epoch", "s", Goal(_MOST), "seconds"), ("epoch, processor", "s", None, "processor"),
                   ("training loss", "", None, "loss"), ("macro recall", "", None, "recall"))  # fmt: skip
        table = [
            compared(title, unit, goal, [each[key] for each in older], [each[key] for each in newer])
            for title, unit, goal, key in figures
        ]
        print("\n".join(lines(table)))


if __name__ == "__main__":
    main()
