"""The whole road against the usual one, on the same archives in one run.

    pip install '.[bench]' && python benchmarks/throughput.py [--files 6000] [--usual 40] [--archive NAME]...

Builds archives of `--files` names: radiographs of 3000 x 2400 pixels, 12 bits, in one syntax, or `mixed`:
70 % CT, MR, reports, PDF and text, and 30 % radiographs in six syntaxes. Each name is a hard link to one of a
few distinct files, so that everything comes from the page cache and no disk is measured; --keep-duplicates
tells dicomsort to place each. On each archive it runs

* the floor: reading the bytes into one buffer, and the processor time of decoding alone (one process) and of
  the network alone, each on the distinct files and scaled to all names;
* the usual way, `benchmarks/usual.py`, on the first `--usual` names, rounded up to whole rounds of the
  distinct files;
* `dicomsort classify --action symlink`, as a user would, start of the program included.

ratio: files/s of dicomsort against the usual way, whose start is not counted. sorting: the same after
dicomsort's start. efficiency: wall time x cores over the processor time of decoding and network alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from decode import radiograph, write
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from scale import peak

from dicomsort.dicom import reader
from dicomsort.model.batching import predict
from dicomsort.model.bundle import load, locate
from dicomsort.model.load import classifier_for
from dicomsort.outcome import ReadImage
from dicomsort.system.malloc import keep_freed_memory
from dicomsort.system.timing import StageTimer

HERE = Path(__file__).resolve().parent
CORES = len(os.sched_getaffinity(0))
SINGLE = {
    "JPEG 2000 lossless": "jpeg2000",
    "uncompressed": "uncompressed",
    "JPEG lossless SV1": "jpeg-lossless",
}
MIXED = (*SINGLE, "JPEG baseline", "JPEG-LS", "RLE")
OTHERS = (*6 * ("CT",), *4 * ("MR",), "report", "PDF", "text", "text")
"""Fourteen to six radiographs."""


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured of one program: seconds, files and images done, and what else it told."""

    seconds: float
    files: int
    images: int
    more: dict[str, Any]


def other(path: Path, kind: str, number: int) -> None:
    """Write a file that is no radiograph."""
    if kind == "text":
        path.write_text("a list of things\n" * 200, encoding="ascii")
        return
    dataset, meta = Dataset(), FileMetaDataset()
    classes = {
        "CT": "1.2.840.10008.5.1.4.1.1.2",
        "MR": "1.2.840.10008.5.1.4.1.1.4",
        "report": "1.2.840.10008.5.1.4.1.1.88.11",
        "PDF": "1.2.840.10008.5.1.4.1.1.104.1",
    }
    meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID(classes[kind])
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(f"2.25.{number + 1}")
    dataset.file_meta = meta
    dataset.Modality = {"report": "SR", "PDF": "DOC"}.get(kind, kind)
    if kind == "PDF":
        dataset.add_new("EncapsulatedDocument", "OB", bytes(300_000))
    elif kind != "report":
        side = 512 if kind == "CT" else 256
        dataset.Rows = dataset.Columns = side
        dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.BitsAllocated = 1, 0, 16
        dataset.BitsStored, dataset.HighBit, dataset.PhotometricInterpretation = 12, 11, "MONOCHROME2"
        values = np.random.default_rng(number).integers(0, 4096, (side, side), np.uint16)
        dataset.add_new("PixelData", "OW", values.tobytes())
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def build(folder: Path, archive: str, files: int) -> list[Path]:
    """Make an archive; returns its distinct files, in the order in which their names go round."""
    originals, target = folder / "originals", folder / "archive"
    originals.mkdir(parents=True)
    single = [name for name, short in SINGLE.items() if short == archive]
    kinds = 10 * single or 2 * [*MIXED, *OTHERS]
    gray, paths = radiograph(), [originals / f"{number}.dcm" for number in range(len(kinds))]
    for number, (path, kind) in enumerate(zip(paths, kinds, strict=True)):
        if kind in OTHERS:
            other(path, kind, number)
        else:
            write(path, np.roll(gray, 200 * number, axis=0), kind)
    link(paths, target, files)
    return paths


def link(paths: list[Path], target: Path, files: int) -> None:
    """Give a few files many names."""
    for number in range(files):
        place = target / f"{number // 500:04d}"
        place.mkdir(parents=True, exist_ok=True)
        os.link(paths[number % len(paths)], place / f"{number:07d}.dcm")


def floor(paths: list[Path], files: int) -> dict[str, float]:
    """Return what nobody can save: seconds for all names, from the distinct files."""
    keep_freed_memory()
    classifier = classifier_for(load(locate("router5")), "cpu", "auto")
    preprocessing, scale = classifier.bundle.preprocessing, files / len(paths)
    buffer = bytearray(max(path.stat().st_size for path in paths))

    def read_all() -> None:
        for path in paths:
            with path.open("rb", buffering=0) as file:
                file.readinto(buffer)

    def decode_all() -> list[ReadImage]:
        readings = [reader.read_dicom(str(path), preprocessing) for path in paths]
        return [reading for reading in readings if isinstance(reading, ReadImage)]

    pictures = decode_all()
    some = 8 * -(-400 // len(pictures) // 8)

    def network() -> None:
        readings = ((None, picture) for picture in pictures * some)
        for _ in predict(readings, classifier, classifier.batch_size, StageTimer()):
            pass

    return {
        "read": seconds(read_all, time.perf_counter) * scale,
        "decode": seconds(decode_all, time.process_time) * scale,
        "network": seconds(network, time.process_time, 1) / some * scale,
        "images": len(pictures) * scale,
        "bytes": sum(path.stat().st_size for path in paths) * scale,
    }


def seconds(work: Callable[[], object], clock: Callable[[], float], times: int = 3) -> float:
    """Return what a call takes, in the mean, after one that warms up."""
    work()
    started = clock()
    for _ in range(times):
        work()
    return (clock() - started) / times


def usual(archive: Path, out: Path, files: int, plugin: str | None) -> Run:
    """Run the usual way."""
    words = [sys.executable, str(HERE / "usual.py"), str(archive), "--out", str(out), "--files", str(files)]
    done = subprocess.run(
        [*words, *(["--plugin", plugin] if plugin else [])], check=True, stdout=subprocess.PIPE
    )
    told = json.loads(done.stdout)
    return Run(told["seconds"], told["files"], told.get("images", 0), told)


def ours(archive: Path, out: Path) -> Run:
    """Run dicomsort, and watch its processes from outside (Linux)."""
    words = ["classify", str(archive), "--out", str(out), "--action", "symlink", "--keep-duplicates"]
    started, first = time.perf_counter(), 0.0
    peaks: dict[int, int] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "dicomsort", *words, "--quiet", "--json"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        while process.poll() is None:
            for pid in session(process.pid):
                peaks[pid] = max(peaks.get(pid, 0), peak(pid))
            if not first and rows(out):
                first = time.perf_counter() - started
            time.sleep(0.05)
        wall = time.perf_counter() - started
        told = json.loads(process.stdout.read() if process.stdout else b"")
    if told["found"] != told["statuses"]["sorted"] + told["statuses"]["review"] + sum(
        told["statuses"][name] for name in ("not_xray", "not_dicom", "no_pixels")
    ):
        sys.exit(f"not all files were sorted: {told['statuses']}")
    workers = [size for pid, size in peaks.items() if pid != process.pid]
    images = told["statuses"]["sorted"] + told["statuses"]["review"]
    more = {"told": told, "first row": first, "main": peaks[process.pid], "worker": max(workers)}
    return Run(wall, told["found"], images, more)


def session(leader: int) -> list[int]:
    """Return the processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and os.getsid(int(entry.name)) == leader:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def rows(out: Path) -> bool:
    """Tell whether the manifest has its first row."""
    try:
        with (out / "manifest.csv").open("rb") as file:
            return len(file.readlines(4096)) > 1
    except OSError:
        return False


def measure(folder: Path, archive: str, given: argparse.Namespace) -> None:
    """Measure one archive and print its part of the table."""
    paths = build(folder, archive, given.files)
    least = floor(paths, given.files)
    rounds = -(-given.usual // len(paths)) * len(paths)
    before = usual(folder / "archive", folder / "usual", min(rounds, given.files), given.plugin)
    after = ours(folder / "archive", folder / "out")
    told, spent = after.more["told"], after.more["told"]["spent"]
    alone = least["decode"] + least["network"]
    print(f"\n{archive}: {given.files} files, {least['images']:.0f} images, {least['bytes'] / 1e9:.1f} GB")
    plugins = ", ".join(f"{name} {count}" for name, count in before.more["plugins"].items())
    for name, run, bytes_ in (
        (f"usual ({plugins})", before, before.more["bytes"]),
        ("dicomsort", after, least["bytes"]),
    ):
        print(
            f"  {name:44} {run.files / run.seconds:8.1f} files/s {run.images / run.seconds:8.1f} images/s "
            f"{bytes_ / run.seconds / 1e6:7.0f} MB/s"
        )
    each = before.seconds / before.files
    print(
        f"  ratio {each * after.files / after.seconds:.1f}, "
        f"sorting {each * after.files / told['seconds']:.1f}; "
        f"wall {after.seconds:.1f} s, sorting {told['seconds']:.1f} s, "
        f"first row after {after.more['first row']:.1f} s; "
        f"peak memory {after.more['main'] / 1e6:.0f} MB, worker {after.more['worker'] / 1e6:.0f} MB"
    )
    print("  processor seconds: " + ", ".join(f"{stage} {value:.1f}" for stage, value in spent.items()))
    print(
        f"  floor: reading {least['read']:.1f} s, decoding {least['decode']:.1f} and network "
        f"{least['network']:.1f} processor seconds; efficiency {CORES * after.seconds / alone:.2f}, sorting "
        f"{CORES * told['seconds'] / alone:.2f}",
        flush=True,
    )


def main() -> None:
    """Measure every archive."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*SINGLE.values(), "mixed"]
    parser.add_argument("--files", type=int, default=6000)
    parser.add_argument("--usual", type=int, default=40)
    parser.add_argument("--archive", action="append", choices=names)
    parser.add_argument("--plugin", help="pydicom's plug-in for the usual way; by default pydicom's choice")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    print(f"{CORES} cores, Python {sys.version.split()[0]}, pydicom {pydicom.__version__}")
    for archive in given.archive or names:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            measure(Path(folder), archive, given)


if __name__ == "__main__":
    main()
