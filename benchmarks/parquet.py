"""The manifest as Parquet: size beside the CSV's, time and memory to write it, and a question put to both.

    python benchmarks/parquet.py [--rows 1000000] [--runs 15] [--threads 2] [--folder FOLDER]

Makes a manifest.csv as a run with the default models (router5 and view) writes it, of an archive in which a
study has one to four images; half of the files are no radiographs. Writes manifest.parquet of it in a process
of its own and prints its size as a share of the CSV's, seconds by the clock and of processor time, and the
process's peak resident memory (VmHWM, Linux). Then DuckDB counts rows by label and modality in both files by
turns, with the same number of threads; the ratio is that of the medians. Both answers must be the same. Needs
`pip install duckdb pyarrow`.
"""

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from dicomsort.manifest.columns import columns
from dicomsort.manifest.rows import Row
from dicomsort.model.anatomy import Region
from dicomsort.model.heads import Decision
from dicomsort.outcome import FileStamp, Header, Reason, Status

GROUPS = ("abdominal", "adult_chest", "others", "pediatric_chest", "spine")
VIEWS, TURNS = ("frontal", "lateral", "oblique"), ("0", "90", "180", "270")
PARTS = ("CHEST", "ABDOMEN", "LSPINE", "HAND", "", "KNEE")
ANSWERS = [
    *(f"score_{label}" for label in GROUPS),
    *("view.label", "view.confidence", *(f"view.score_{label}" for label in VIEWS)),
]
CHEST = Region("816094009", "Thorax")
WRITE = """
import resource, sys, time
from dicomsort.manifest import parquet
started, spent = time.perf_counter(), time.process_time()
parquet.write(sys.argv[1], sys.argv[2])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.perf_counter() - started, time.process_time() - spent, int(peak) * 1024)
"""


def scores(draw: random.Random, count: int) -> tuple[int, tuple[float, ...]]:
    """Return a winner and the scores of all labels, mostly sure, as a model's are."""
    rest = min(0.5, draw.expovariate(60))
    shares = [draw.random() ** 4 for _ in range(count)]
    winner = draw.randrange(count)
    total = sum(shares) - shares[winner] or 1
    return winner, tuple(1 - rest if at == winner else rest * shares[at] / total for at in range(count))


def uid(draw: random.Random, kind: int) -> str:
    """Return a UID as a manufacturer makes them: a root, a time and a number."""
    return (
        f"1.2.840.113619.2.203.4.2147483647.{kind}.{draw.randrange(10**9, 2 * 10**9)}.{draw.randrange(10**6)}"
    )


def radiograph(draw: random.Random, path: str, study: str, stamp: FileStamp) -> Row:
    """Return the row of a radiograph that was sorted, or went to review."""
    group, grouped = scores(draw, len(GROUPS))
    view, viewed = scores(draw, len(VIEWS))
    sure = grouped[group] > 0.982
    modality = draw.choices(("DX", "CR", "RF"), (6, 3, 1))[0]
    header = Header(
        uid(draw, 3), study, uid(draw, 2), modality, draw.choice(PARTS), draw.choice(("PA", "AP", "LL", "")),
        "MONOCHROME2", "1.2.840.10008.1.2.4.70", draw.choice((2022, 2500, 3056)), draw.choice((2022, 2048)),
        None, draw.choice(("adult", "adult", "child")),
    )  # fmt: skip
    label = GROUPS[group]
    return Row(
        path, Status.SORTED if sure else Status.REVIEW, () if sure else (Reason.BELOW_THRESHOLD,), label,
        grouped[group], "symlink", f"{label if sure else 'review'}/{path.removeprefix('/archive/')}", "",
        header, grouped, (Decision(VIEWS[view], viewed[view], viewed),), draw.gauss(-8, 2), 0, label,
        grouped[group], ("age=adult",), CHEST if "chest" in label else None, stamp,
    )  # fmt: skip


def write_csv(target: Path, rows: int, seed: int = 0) -> None:
    """Write a manifest of so many rows."""
    draw = random.Random(seed)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns(ANSWERS, True, True))
        study, left, at = "", 0, 1_600_000_000_000_000_000
        for number in range(rows):
            if not left:
                study, left, at = uid(draw, 1), draw.randint(1, 4), at + draw.randrange(10**12)
            left -= 1
            path = f"/archive/{2015 + number * 8 // rows}/{number // 1000:05d}/{study}/IM{left:06d}.dcm"
            stamp = FileStamp(draw.randrange(10**5, 2 * 10**7), at + draw.randrange(10**9))
            if number % 2:
                row = Row(path, Status.NOT_XRAY, (Reason.OTHER_SOP_CLASS,), stamp=stamp, header=Header(
                    uid(draw, 3), study, uid(draw, 2), "CT", "CHEST", transfer_syntax="1.2.840.10008.1.2.1"
                ))  # fmt: skip
            else:
                row = radiograph(draw, path, study, stamp)
            writer.writerow(row.cells(len(ANSWERS), True, "router5@1e0f5d7a2b3c+view@9d8c7b6a5f4e", True))


def question(path: Path, threads: int) -> tuple[float, list[tuple[str, str, int]]]:
    """Count rows by label and modality; return seconds by the clock, and the answer."""
    import duckdb  # noqa: PLC0415

    with duckdb.connect(config={"threads": threads}) as database:
        database.execute("SET enable_progress_bar = false")
        started = time.perf_counter()
        found = database.sql(
            f"SELECT label, modality, count(*) FROM '{path}' GROUP BY label, modality"  # noqa: S608
        ).fetchall()
        return time.perf_counter() - started, sorted(found, key=repr)


def main() -> None:
    """Make it, write it, ask it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        source, target = Path(folder) / "manifest.csv", Path(folder) / "manifest.parquet"
        write_csv(source, given.rows)
        told = subprocess.run(
            [sys.executable, "-c", WRITE, str(source), str(target)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        seconds, spent, peak = map(float, told.split())
        sizes = source.stat().st_size, target.stat().st_size
        print(f"{given.rows} rows: CSV {sizes[0] / 1e6:.1f} MB, Parquet {sizes[1] / 1e6:.1f} MB "
              f"(1/{sizes[0] / sizes[1]:.2f})")  # fmt: skip
        print(f"written in {seconds:.2f} s ({spent:.2f} s of processor time), peak {peak / 1e6:.0f} MB")
        times: dict[Path, list[float]] = {source: [], target: []}
        answers = []
        for _ in range(given.runs):
            for path in (source, target):
                took, answer = question(path, given.threads)
                times[path].append(took)
                answers.append(answer)
    if any(answer != answers[0] for answer in answers):
        sys.exit("the two files give different answers")
    slow, quick = (median(times[path]) for path in (source, target))
    print(f"GROUP BY label, modality with {given.threads} threads, median of {given.runs}: "
          f"CSV {slow * 1000:.0f} ms, Parquet {quick * 1000:.1f} ms, {slow / quick:.0f} times")  # fmt: skip


if __name__ == "__main__":
    main()
