"""Sort a tree of very many tiny files: memory of the main process, and files a second.

    python benchmarks/scale.py [--files 1000000] [--headers 20000] [--small 1000] [--folder FOLDER]

Builds a tree of `--files` files in folders of 1000: `--headers` of them are CT headers without pixels, the
rest a line of text. Runs `dicomsort classify --action symlink` on a tree of `--small` files and on the large
one, twice each, as a user would, and prints the peak resident memory of the main process (VmHWM, Linux), its
growth, and files/s for the bare walk, the first run and the resumed run.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicomsort.inputs import walk

PER_FOLDER = 1000


def header(number: int) -> bytes:
    """Return a small CT header as a file."""
    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(f"2.25.{10**20 + number}")
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "2.25.1"
    dataset.Modality, dataset.PatientName = "CT", "CANARY"
    dataset.file_meta = meta
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return bytes(buffer.getvalue())


def build(folder: Path, files: int, headers: int) -> None:
    """Write the tree; headers lie evenly in it."""
    every = max(files // max(headers, 1), 1)
    for start in range(0, files, PER_FOLDER):
        place = folder / f"{start // PER_FOLDER:06d}"
        place.mkdir(parents=True)
        for number in range(start, min(start + PER_FOLDER, files)):
            is_header = number % every == 0
            (place / f"{number}").write_bytes(header(number) if is_header else b"no picture\n")


def run(source: Path, out: Path) -> tuple[float, int]:
    """Classify as a user would; return seconds and the peak resident memory of the main process in bytes."""
    words = ["classify", str(source), "--out", str(out), "--action", "symlink", "--quiet", "--json"]
    started = time.monotonic()
    with subprocess.Popen([sys.executable, "-m", "dicomsort", *words], stdout=subprocess.DEVNULL) as process:
        highest = 0
        while process.poll() is None:
            highest = max(highest, peak(process.pid))
            time.sleep(0.2)
    if process.returncode not in (0, 3):
        sys.exit(f"classify ended with {process.returncode}")
    return time.monotonic() - started, highest


def peak(pid: int) -> int:
    """Return the peak resident memory of a process in bytes; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


def measure(folder: Path, files: int, headers: int) -> tuple[int, int]:
    """Build and sort one tree, print its figures, and return both peaks."""
    source, out = folder / f"in{files}", folder / f"out{files}"
    build(source, files, headers)
    started = time.monotonic()
    found = sum(1 for _ in walk.find(walk.roots_of([str(source)]), avoid=str(out)))
    walked = time.monotonic() - started
    if found != files:
        sys.exit(f"walked {found} of {files} files")
    first, peak = run(source, out)
    again, resumed = run(source, out)
    with (out / "manifest.csv").open("rb") as manifest:
        rows = sum(1 for _ in manifest) - 1
    if rows != files:
        sys.exit(f"{rows} rows for {files} files")
    for name, seconds in (("walk", walked), ("first run", first), ("resumed run", again)):
        print(f"{files:8} files  {name:12} {seconds:7.1f} s  {files / seconds:9.0f} files/s", flush=True)
    print(f"{files:8} files  peak memory {peak / 1e6:.0f} MB, resumed {resumed / 1e6:.0f} MB", flush=True)
    return peak, resumed


def main() -> None:
    """Measure the small tree, then the large one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--headers", type=int, default=20_000)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        small = measure(Path(folder), given.small, given.small // 50)
        large = measure(Path(folder), given.files, given.headers)
    for name, before, after in zip(("first run", "resumed run"), small, large, strict=True):
        print(f"growth of memory, {name}: {(after - before) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
