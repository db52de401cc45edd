"""Seconds, memory and disk of `dicomsort merge` over parts that are made up, of this build and of others.

    python benchmarks/merge.py ROWS [ROWS ...] [--build FOLDER ...] [--parts 16] [--long] [--no-digests]

Rows look like those of a run with `--action none`: paths, UIDs, a label; 5 % of them share their SOP Instance
UID with another row, in another part, and nine of ten such pairs are one image. There are no files: digests
of their pixels lie next to the parts, as `merge --shard` leaves them; a build that does not know them, and
every build with --no-digests, looks for the files and finds none. Short rows have about 180 bytes, with
--long about 600. Builds take turns, each with parts of its own, which go when it is done. Memory is the
largest sum of the resident memory of all its processes (Pss), disk what lies in the output at most, both
looked at four times a second. Prints one line of JSON for each run.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicomsort.manifest.columns import columns
from dicomsort.manifest.names import MANIFEST
from dicomsort.manifest.run_file import RunFacts, RunFile
from dicomsort.sorting.repeats import KNOWN

ANSWERS = tuple(f"score_{label}" for label in ("abdominal", "adult_chest", "others", "child_chest", "spine"))
NAMES = columns(ANSWERS, rejects=True)
FIXED = {"model": "made-up@0", "review_below": 0.5, "layout": "{label}/{relpath}"}
FACTS = {"action": "none", "verify": False, "relative": True, "dry_run": False, "roots": ["/data"]}
STAMP = ("524288", "1700000000123456789", "")
PERIOD = 40
"""Of so many rows the first and the last share their UID with another one."""
_CHUNK = 100_000
_MARKS = {"@": 6, "#": 12, "^": 12}  # folder, file, UID; so many digits each


def template(is_long: bool) -> bytes:
    """Return a row with places for numbers."""
    cells = dict.fromkeys(NAMES, "")
    cells |= {"path": f"/data/a/{'@' * 6}/IM{'#' * 12}.dcm", "status": "sorted", "label": "spine"}
    cells |= {"sop_instance_uid": f"1.2.826.0.1.368.{'^' * 12}", "size": STAMP[0], "mtime_ns": STAMP[1]}
    cells |= {"confidence": "0.912345", "dicomsort_version": "0.2.0"}
    if is_long:
        uid = "1.2.826.0.1.3680043.8.498.1234567890123456789012345678"
        cells |= dict.fromkeys(("study_instance_uid", "series_instance_uid"), uid)
        cells |= dict.fromkeys(ANSWERS, "0.123456") | {"model": "router5-mobilenet@0123456789ab"}
        cells |= {"modality": "DX", "body_part_examined": "LSPINE", "view_position": "LATERAL"}
        cells |= {"photometric_interpretation": "MONOCHROME2", "transfer_syntax": "1.2.840.10008.1.2.4.70"}
        cells |= {"rows": "2022", "columns": "2022", "frames": "1", "age_group": "adult", "sha256": "0" * 64}
        cells |= {
            "evidence": "body part examined: LSPINE; view position: LATERAL",
            "region_code": "421060004",
        }
    return (",".join(cells[name] for name in NAMES) + "\n").encode()


def written(line: bytes, numbers: dict[str, NDArray[np.int64]]) -> bytes:
    """Return the line once for each number, with its digits in the places of their mark."""
    count = len(next(iter(numbers.values())))
    table = np.tile(np.frombuffer(line, np.uint8), (count, 1))
    for mark, values in numbers.items():
        places = np.flatnonzero(table[0] == ord(mark))
        for power, place in enumerate(places[::-1]):
            table[:, place] = values // 10**power % 10 + ord("0")
    return table.tobytes()


def uids(rows: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Return the number in each row's UID: that of its first one if it repeats another."""
    return np.where(rows % PERIOD == PERIOD - 1, (total - 1 - rows) // PERIOD * PERIOD, rows)


def chunks(start: int, stop: int) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers of rows, some at a time."""
    for first in range(start, stop, _CHUNK):
        yield np.arange(first, min(stop, first + _CHUNK), dtype=np.int64)


def make(out: Path, total: int, parts: int, is_long: bool, digests: bool) -> None:
    """Write an output whose shards wait to be merged."""
    line, run = template(is_long), RunFacts(FIXED, FACTS, {})
    edges = [total * part // parts for part in range(parts + 1)]
    RunFile(_made(out / "manifest.parts")).add(run)
    for part, (start, stop) in enumerate(pairwise(edges), 1):
        folder = _made(out / "manifest.parts" / f"shard-{part:03d}-of-{parts:03d}")
        with Path(folder, MANIFEST).open("wb") as file:
            file.write((",".join(NAMES) + "\n").encode())
            for rows in chunks(start, stop):
                file.write(written(line, {"@": rows // 1000, "#": rows, "^": uids(rows, total)}))
        done = RunFile(folder)
        done.add(run)
        done.settled = True
    if digests:
        _make_digests(out, total)


def _make_digests(out: Path, total: int) -> None:
    uid = f"1.2.826.0.1.368.{'^' * 12}"
    cells = [f"/data/a/{'@' * 6}/IM{'#' * 12}.dcm", *STAMP, uid, f"1.2.840.10008.1.2.1 {'$' * 12}"]
    line = (",".join(cells) + "\n").encode()
    with (out / "manifest.parts" / "pixels-001-of-001.csv").open("wb") as file:
        file.write((",".join(KNOWN) + "\n").encode())
        for all_rows in chunks(0, total):
            rows = all_rows[np.isin(all_rows % PERIOD, (0, PERIOD - 1))]
            uid_of = uids(rows, total)
            other = (uid_of // PERIOD % 10 == 0) & (rows % PERIOD == 0)  # one pair of ten is of two images
            file.write(
                written(
                    line, {"@": rows // 1000, "#": rows, "^": uid_of, "$": uid_of + other.astype(np.int64)}
                )
            )


def _made(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def memory_of(pid: int) -> int:
    """Return the resident memory of a process and all below it, in bytes."""
    total = 0
    with suppress(OSError, ValueError, StopIteration):
        told = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total = 1024 * int(next(line for line in told if line.startswith("Pss:")).split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(memory_of(int(child)) for child in (task / "children").read_text().split())
    return total


def disk_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(place, name).lstat().st_blocks * 512
    return total


def run(build: Path, out: Path) -> dict[str, object]:
    """Merge an output with a build; returns what it took."""
    words = [sys.executable, "-m", "dicomsort", "merge", str(out), "--json", "--workers", "2"]
    before, started, memory, disk = disk_of(out), time.monotonic(), 0, 0
    spent = os.times()
    with (out.parent / "said.json").open("w") as said:
        program = subprocess.Popen(
            words, cwd=build, stdout=said, env={**os.environ, "PYTHONPATH": str(build)}
        )
        while program.poll() is None:
            memory, disk = max(memory, memory_of(program.pid)), max(disk, disk_of(out))
            time.sleep(0.25)
    seconds, ended = time.monotonic() - started, os.times()
    found = json.loads((out.parent / "said.json").read_text() or "{}")
    processor = ended.children_user + ended.children_system - spent.children_user - spent.children_system
    return {
        "exit": program.returncode,
        "rows": found.get("rows"),
        "duplicates": found.get("statuses", {}).get("duplicate"),
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "rows_per_second": round(found.get("rows", 0) / seconds),
        "memory_mb": round(memory / 1e6),
        "parts_gb": round(before / 1e9, 2),
        "most_disk_gb": round(disk / 1e9, 2),
    }


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--build", type=Path, action="append", default=[], help="another one; may come again")
    parser.add_argument("--parts", type=int, default=16)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--no-digests", action="store_true")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="where outputs are made, and removed")
    given = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    for rows in given.rows:
        total = rows // PERIOD * PERIOD
        for build in [here, *given.build] * given.turns:
            out = given.folder.absolute() / "out"
            try:
                started = time.monotonic()
                make(out, total, given.parts, given.long, not given.no_digests)
                made = {"build": build.name, "made_in_seconds": round(time.monotonic() - started, 1)}
                print(json.dumps({**made, **run(build, out)}), flush=True)
            finally:
                shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main()
