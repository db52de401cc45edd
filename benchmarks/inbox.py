"""What a watched inbox costs: looks at files that lie there, and passes into outputs that have grown.

    python benchmarks/inbox.py --files 100000 --rows 1000 --rows 100000

Seconds of a processor, each the median of three. The output's manifest is made longer by copied rows, whose
copies are hard links of one file.
"""

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dicomsort.inputs import walk
from dicomsort.inputs.once import Once
from dicomsort.inputs.quiet import QuietFiles
from dicomsort.model import bundle
from dicomsort.model.load import predictors_for
from dicomsort.outcome import SourceFile
from dicomsort.sorting import pipeline
from dicomsort.sorting.pipeline import SortSettings
from dicomsort.system.pool_settings import PoolSettings

ROUNDS = 3
MOST_LINKS = 30_000
RADIOGRAPH = Path(__file__).resolve().parents[1] / "tests" / "archive" / "2019" / "CR01" / "IM000001"


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time that work takes in this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def looks(folder: Path, files: int) -> dict[str, float]:
    """Measure looks at so many empty files in a hundred folders."""
    for number in range(files):
        place = folder / str(number % 100)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"DX.1.2.840.{number}").touch()
    roots, now = walk.roots_of([str(folder)]), [0.0]
    taken: dict[str, list[float]] = {"walk": [], "look, all new": [], "look, all handed out before": []}
    for _ in range(ROUNDS):
        quiet = QuietFiles(10, lambda: now[0])
        taken["walk"].append(seconds(lambda: list(walk.find(roots, ""))))
        taken["look, all new"].append(seconds(lambda: list(quiet.look(walk.find(roots, "")))))  # noqa: B023
        now[0] += 10
        list(quiet.look(walk.find(roots, "")))
        quiet.confirm()
        taken["look, all handed out before"].append(
            seconds(lambda: list(quiet.look(walk.find(roots, ""))))  # noqa: B023
        )
    return {what: statistics.median(times) for what, times in taken.items()}


def lengthen(out: Path, inbox: Path, rows: int) -> str:
    """Make the manifest longer by copies of its row, each with a link to its copy; return the first's UID."""
    path = out / "manifest.csv"
    names, first = csv.reader(path.read_text(encoding="utf-8").splitlines())
    row = dict(zip(names, first, strict=True))
    copy = out / row["destination"]
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        for number in range(1, rows):
            if number % MOST_LINKS == 0:
                (copy.parent / f"again-{number}").write_bytes(copy.read_bytes())
                copy = copy.parent / f"again-{number}"
            place = out / row["label"] / str(number % 100) / f"{number}.dcm"
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(copy, place)
            told = {"path": str(inbox / f"{number}.dcm"), "destination": str(place.relative_to(out))}
            writer.writerow({**row, **told, "sop_instance_uid": f"2.25.{number}"})
    return row["sop_instance_uid"]


def passes(folder: Path, rows: int) -> float:
    """Measure passes of one new file into an output of so many rows."""
    inbox, out = folder / "in", folder / "out"
    inbox.mkdir(parents=True)
    settings = SortSettings((str(inbox),), str(out), pool=PoolSettings(1))
    (inbox / "0.dcm").write_bytes(RADIOGRAPH.read_bytes())
    models = [bundle.load(bundle.locate("router5"))]
    with predictors_for(models, "cpu", "auto", "auto") as (predictor, *_):
        pipeline.sort(settings, predictor)
        uid = lengthen(out, inbox, rows)
        times = []
        for number in range(ROUNDS):
            other = f"{uid[:-1]}{(int(uid[-1]) + number + 1) % 10}"
            content = RADIOGRAPH.read_bytes().replace(uid.encode(), other.encode())
            (inbox / f"new{number}.dcm").write_bytes(content)
            one = SourceFile(str(inbox / f"new{number}.dcm"), f"new{number}.dcm")
            files = Once(iter([one]), pipeline.archive_of(settings))
            times.append(seconds(lambda: pipeline.sort(replace(settings), predictor, None, (), files)))  # noqa: B023
    return statistics.median(times)


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rows", type=int, action="append", default=[])
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for what, taken in looks(Path(folder, "looks"), told.files).items():
            print(f"{what}: {taken:.2f} s of {told.files} files")
        for rows in told.rows or [1_000, 100_000]:
            print(f"pass of one file: {passes(Path(folder, str(rows)), rows):.2f} s with {rows} rows")


if __name__ == "__main__":
    main()
