"""What dividing a run costs, and what follows from it for very many files.

    python benchmarks/cluster.py [--radiographs 2000] [--rounds 2] [--small 40] [--against FOLDER]
                                 [--rows 200000] [--nodes 100] [--folder FOLDER]
    python benchmarks/cluster.py --shards 10000 [--folder FOLDER]
    python benchmarks/cluster.py --twice 2000 [--rounds 2] [--against FOLDER] [--folder FOLDER]

Sorts `--radiographs` synthetic radiographs (1200 x 1000, 12 bit, uncompressed) as a user would: in one plain
run, in four shards one after the other (loky), and on a dask cluster of one and of two worker processes; then
a tenth of them in one shard and in `--small` shards, which tells what a further shard costs. All that
`--rounds` times, each time beside the same by another build, if `--against` names its checkout. Then a tree
of `--rows` lines of text and a few headers: the walk, a plain run, four `--shard` and their merge. From these
it computes, on paper, a run on `--nodes` such machines. Ratios are of one round.

With `--shards` nothing of that, but so many shards of 100 tiny files each, for real, beside a plain run.

With `--twice` nothing of that, but so many radiographs, by loky in two tasks at a time: each of them once,
then each of them twice, and how many files nodes have read to compare them.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import scale
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicomsort.inputs import walk

SHARDS = 4
FEWEST, LARGEST, A_NODE = 500, 20_000, 16  # files a shard, and shards a node, as the driver chooses


@dataclass(frozen=True)
class Costs:
    """Seconds. file: of a radiograph on one machine. shard: what each shard adds. plan, row: of each file."""

    file: float
    shard: float
    plan: float
    row: float
    row_bytes: float
    start: float


def radiographs(folder: Path, number: int) -> None:
    """Write radiographs that differ, with a body in the middle."""
    down, across = np.mgrid[-1:1:1200j, -1:1:1000j]
    body = np.clip(1.4 - down**2 - 2 * across**2, 0, 1) * 3000
    noise = np.random.default_rng(0)
    meta, dataset = FileMetaDataset(), Dataset()
    meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns, dataset.PixelRepresentation = 1200, 1000, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.file_meta = meta
    for at in range(number):
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(f"2.25.{10**20 + at}")
        pixels = body + noise.normal(0, 60, (1, 1000)) + 300
        dataset.PixelData = np.clip(pixels, 0, 4095).astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        path = folder / f"{at // 500:03}" / f"{at}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def timed(*words: str | Path, build: Path | None = None) -> float:
    """Run the program as a user would, or that of another build; return the seconds."""
    started = time.monotonic()
    command = [sys.executable, "-m", "dicomsort", *map(str, words), "--quiet"]
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, env=environment(build), cwd=home(build), check=False
    )
    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    return time.monotonic() - started


def home(build: Path | None) -> Path:
    """Return the checkout of a build, ours by default: `python -m` looks into the current folder first."""
    return (build or Path(__file__).parents[1]).resolve()


def environment(build: Path | None) -> dict[str, str]:
    """Return the environment in which Python finds a build."""
    return {**os.environ, "PYTHONPATH": str(home(build))}


def started(*words: str, build: Path | None) -> "subprocess.Popen[bytes]":
    """Start a module as a program that says nothing."""
    command = [sys.executable, "-m", *words]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment(build), cwd=home(build), stdout=nowhere, stderr=nowhere)


@contextmanager
def dask(folder: Path, workers: int, build: Path | None) -> Iterator[str]:
    """Start a scheduler and workers, processes of their own over TCP; yield the address."""
    folder.mkdir(exist_ok=True)
    found = folder / "scheduler.json"
    found.unlink(missing_ok=True)
    head = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(found)]
    running = [started("distributed.cli.dask_scheduler", *head, build=build)]
    try:
        while not found.exists() or not found.read_text():
            time.sleep(0.1)
        address = json.loads(found.read_text())["address"]
        for _ in range(workers):
            words = [address, "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]
            running.append(started("distributed.cli.dask_worker", *words, build=build))
        time.sleep(5)
        yield str(address)
    finally:
        for program in running:
            program.terminate()
        for program in running:
            program.wait()


class Divided:
    """Radiographs sorted plain and divided, by one build or another; seconds by what was run."""

    def __init__(self, folder: Path, number: int, small: int) -> None:
        """Write the radiographs: all, and the tenth that is cut into small shards."""
        self.folder, self.number, self.small = folder, number, small
        radiographs(folder / "radiographs", number)
        radiographs(folder / "few", number // 10)
        self.seconds: dict[str, list[float]] = {}
        self.again = 0.0

    def run(
        self, name: str, *words: str | Path, source: str = "radiographs", build: Path | None = None
    ) -> float:
        """Sort, and print how long that took."""
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        sort = ("classify", self.folder / source, "--out", out, "--action", "symlink")
        took = timed(*sort, *words, build=build)
        self.seconds.setdefault(name, []).append(took)
        if name == "here plain" and not self.again:
            self.again = timed(*sort, *words, build=build)
        return took

    def round(self, which: str, build: Path | None) -> None:
        """Sort in every way once."""
        size = ("--shard-size", str(-(-self.number // SHARDS)))
        plain = self.run(f"{which} plain", build=build)
        took = {"loky": self.run(f"{which} loky", "--backend", "loky", *size, build=build)}
        for workers, each in ((1, 2), (2, 1)):
            with dask(self.folder / "dask", workers, build) as address:
                engine = ("--backend", "dask", "--address", address, "--workers", str(each))
                name = f"dask {workers} worker"
                took[name] = self.run(f"{which} {name}", *engine, *size, build=build)
        few = self.number // 10
        whole, cut = (
            self.run(f"{which} {few} in {count}", "--backend", "loky", "--shard-size", str(-(-few // count)),
                     source="few", build=build)
            for count in (1, self.small)
        )  # fmt: skip
        told = ", ".join(f"{name} {seconds:.1f} s ({seconds / plain:.2f})" for name, seconds in took.items())
        each_costs = (cut - whole) / (self.small - 1)
        print(f"{which}: plain {plain:.1f} s, {told}; a further shard {each_costs:.2f} s", flush=True)

    def best(self, name: str) -> float:
        """Return the least seconds that something took."""
        return min(self.seconds[name])


def divided(given: argparse.Namespace, folder: Path) -> tuple[float, float, float, float]:
    """Time radiographs plain and divided.

    Returns seconds of a plain run, of a resumed one and of a shard, and bytes of a row.
    """
    runs = Divided(folder, given.radiographs, given.small)
    for _ in range(given.rounds):
        runs.round("here", None)
        if given.against:
            runs.round("there", given.against.resolve())
    few = given.radiographs // 10
    whole, cut = (runs.best(f"here {few} in {count}") for count in (1, given.small))
    runs.run("here plain")
    row_bytes = (folder / "out" / "manifest.csv").stat().st_size / given.radiographs
    return runs.best("here plain"), runs.again, max(0.0, cut - whole) / (given.small - 1), row_bytes


def many(folder: Path, rows: int) -> tuple[float, float]:
    """Time what hardly reads anything; return seconds of the walk and of the merge."""
    source, out = folder / "many", folder / "sharded"
    scale.build(source, rows, rows // 50)
    started = time.monotonic()
    found = sum(1 for _ in walk.find(walk.roots_of([str(source)]), avoid=str(out)))
    walked = time.monotonic() - started
    words = ("classify", source, "--action", "symlink")
    plain = timed(*words, "--out", folder / "whole")
    shards = [timed(*words, "--out", out, "--shard", f"{at}/{SHARDS}") for at in range(1, SHARDS + 1)]
    merged = timed("merge", out)
    print(
        f"{found} tiny files: walk {walked:.1f} s, plain {plain:.1f} s, {SHARDS} shards one by one", end=" "
    )
    print(f"{sum(shards):.1f} s, merge {merged:.1f} s", flush=True)
    return walked, merged


def very_many(folder: Path, shards: int, files: int = 100) -> None:
    """Time so many shards of so many tiny files, of which a few are headers, beside a plain run."""
    scale.build(folder / "many", shards * files, shards)
    words = ("classify", folder / "many", "--action", "symlink")
    for name, more in (("plain", ()), ("loky", ("--backend", "loky", "--shard-size", files))):
        print(f"{name}: {timed(*words, '--out', folder / name, *map(str, more)):.0f} s", flush=True)
    plain, divided = (sorted(read(folder / name / "manifest.csv")) for name in ("plain", "loky"))
    same = [row for row, other in zip(plain, divided, strict=True) if row == other]
    print(f"{shards} shards, {len(divided)} rows, {len(same)} of them those of the plain run")


def twice(folder: Path, number: int, rounds: int, against: Path | None) -> None:
    """Time radiographs by two tasks at a time, each there once and twice, by one build and the other."""
    radiographs(folder / "one", number)
    shutil.copytree(folder / "one", folder / "two")
    out = folder / "out"
    for _ in range(rounds):
        for which, build in (("here", None), *([("there", against.resolve())] if against else [])):
            for sources in ([folder / "one"], [folder / "one", folder / "two"]):
                shutil.rmtree(out, ignore_errors=True)
                words = ("--out", out, "--action", "symlink", "--backend", "loky", "--tasks", "2")
                took = timed("classify", *sources, *words, "--workers", "1", build=build)
                log = (out / "parts.log").read_text().split()
                read = sum(int(word.removeprefix("read=")) for word in log if word.startswith("read="))
                print(
                    f"{which}: {number * len(sources)} files {took:.1f} s, {read} read by nodes", flush=True
                )


def read(manifest: Path) -> Iterator[tuple[str, ...]]:
    """Yield path, status and reason of each row."""
    with manifest.open(newline="") as file:
        for row in csv.DictReader(file):
            yield row["path"], row["status"], row["reason"]


def on_paper(costs: Costs, files: int, nodes: int) -> None:
    """Print how long a run would take if nothing but these costs counted."""
    size = min(LARGEST, max(FEWEST, files // (A_NODE * nodes)))
    shards = -(-files // size)
    plan, work = files * costs.plan, -(-shards // nodes) * (costs.shard + size * costs.file)
    merge = files * costs.row
    steps = (
        ("plan", plan),
        ("work", work),
        ("merge", merge),
        ("together", costs.start + plan + work + merge),
    )
    hours = ", ".join(f"{name} {seconds / 3600:.3f} h" for name, seconds in steps)
    alone, manifest = files * costs.file / 3600, files * costs.row_bytes / 1e9
    print(f"{files:,} files on {nodes} nodes: {shards} shards of {size}; {hours}")
    print(f"{files:,} files on one node: {alone:.1f} h; manifest {manifest:.1f} GB")


def main() -> None:
    """Measure, and compute."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--radiographs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--small", type=int, default=40)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--shards", type=int)
    parser.add_argument("--twice", type=int)
    given = parser.parse_args()
    if given.twice:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            twice(Path(folder), given.twice, given.rounds, given.against)
        return
    if given.shards:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            very_many(Path(folder), given.shards)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        plain, start, shard, row_bytes = divided(given, Path(folder))
        walked, merged = many(Path(folder), given.rows)
    file = (plain - start) / given.radiographs
    costs = Costs(file, shard, walked / given.rows, merged / given.rows, row_bytes, start)
    print(
        f"a file {1e3 * file:.2f} ms, a shard {shard:.2f} s, start {start:.1f} s, a row {row_bytes:.0f} bytes"
    )
    for files in (10**6, 10**9):
        on_paper(costs, files, given.nodes)


if __name__ == "__main__":
    main()
