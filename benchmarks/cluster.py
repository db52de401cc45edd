"""What dividing a run costs, and what follows from it for very many files.

    python benchmarks/cluster.py [--radiographs 2000] [--rows 200000] [--nodes 100] [--folder FOLDER]

Sorts `--radiographs` synthetic radiographs (1200 x 1000, 12 bit, uncompressed) as a user would: in one plain
run, in shards one after the other (loky), and on a dask cluster of one and of two worker processes, then each
again when all is done. Then a tree of `--rows` lines of text and a few headers: the walk, a plain run, four
`--shard` and their merge. From these it computes, on paper, a run on `--nodes` such machines. Ratios are of
one run.
"""

import argparse
import json
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
FEWEST, LARGEST, A_NODE = 500, 20_000, 4  # files a shard, and shards a node, as the driver chooses


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


def timed(*words: str | Path) -> float:
    """Run the program as a user would; return the seconds."""
    started = time.monotonic()
    command = [sys.executable, "-m", "dicomsort", *map(str, words), "--quiet"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    return time.monotonic() - started


def started(*words: str) -> "subprocess.Popen[bytes]":
    """Start a module as a program that says nothing."""
    command = [sys.executable, "-m", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def dask(folder: Path, workers: int) -> Iterator[str]:
    """Start a scheduler and workers, processes of their own over TCP; yield the address."""
    found = folder / f"scheduler{workers}.json"
    head = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0", "--scheduler-file", str(found)]
    running = [started("distributed.cli.dask_scheduler", *head)]
    try:
        while not found.exists():
            time.sleep(0.1)
        address = json.loads(found.read_text())["address"]
        for _ in range(workers):
            words = [address, "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder / "dask")]
            running.append(started("distributed.cli.dask_worker", *words))
        time.sleep(5)
        yield str(address)
    finally:
        for program in running:
            program.terminate()
        for program in running:
            program.wait()


def divided(folder: Path, number: int) -> tuple[float, float, float, float]:
    """Time radiographs plain and divided.

    Returns seconds of a plain run, of a resumed one and of a shard, and bytes of a row.
    """
    source = folder / "radiographs"
    radiographs(source, number)
    size = ("--shard-size", str(-(-number // SHARDS)))
    seconds: dict[str, tuple[float, float]] = {}

    def both(name: str, *words: str | Path) -> None:
        out = ("classify", source, "--out", folder / name.replace(" ", ""), "--action", "symlink")
        seconds[name] = timed(*out, *words), timed(*out, *words)
        first, again = seconds[name]
        ratio = first / seconds["plain"][0]
        print(f"{name:16} {first:7.1f} s  {ratio:5.2f} of plain, all done already {again:5.1f} s", flush=True)

    both("plain")
    both("loky", "--backend", "loky", *size)
    for workers, each in ((1, 2), (2, 1)):
        with dask(folder, workers) as address:
            engine = ("--backend", "dask", "--address", address, "--workers", str(each))
            both(f"dask {workers} worker", *engine, *size)
    plain, resumed = seconds["plain"]
    row_bytes = (folder / "plain" / "manifest.csv").stat().st_size / number
    return plain, resumed, (seconds["loky"][0] - plain) / SHARDS, row_bytes


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
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        plain, start, shard, row_bytes = divided(Path(folder), given.radiographs)
        walked, merged = many(Path(folder), given.rows)
    file = (plain - start) / given.radiographs
    costs = Costs(file, shard, walked / given.rows, merged / given.rows, row_bytes, start)
    print(
        f"a file {1e3 * file:.2f} ms, a shard {shard:.1f} s, start {start:.1f} s, a row {row_bytes:.0f} bytes"
    )
    for files in (10**6, 10**9):
        on_paper(costs, files, given.nodes)


if __name__ == "__main__":
    main()
