"""`dicomsort export` beside `dicomsort classify` on the same files, by turns.

    pip install '.[bench]' && python benchmarks/export.py [--files 600] [--rounds 3] [--archive NAME]...
        [--to FORM] [--size PIXELS]... [--image png8|png16]

Builds archives of `--files` names as `throughput.py` does: radiographs of 3000 x 2400 pixels, 12 bits, in one
syntax, each name a hard link to one of a few distinct files, so that no disk is measured. The files have no
SOP Instance UID, or all but a few would be left out as repeated. A round classifies the archive into a new
folder (`--action symlink`, start of the program included) and exports it with each `--size`, start included.
Prints images a second by the clock and processor seconds an image, programs they start included, both as
medians, and the ratio of the speeds.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
import pydicom
from decode import radiograph
from decode import write as write_dicom
from throughput import SINGLE, link, session

DISTINCT = 6


def build(folder: Path, archive: str, files: int) -> Path:
    """Write the distinct files and link to them; return the folder of names."""
    paths, gray = [], radiograph()
    for number in range(DISTINCT):
        path = folder / f"distinct-{archive}" / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dicom(path, np.roll(gray, 200 * number, axis=0), archive)
        dataset = pydicom.dcmread(path)
        del dataset.SOPInstanceUID
        dataset.PatientID = f"patient {number}"
        dataset.save_as(path)
        paths.append(path)
    link(paths, folder / archive, files)
    return folder / archive


def processor_seconds(pid: int) -> float:
    """Return what a process has used until now; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(*words: str | Path) -> tuple[float, float]:
    """Run the program; return seconds by the clock and of processor time, of all its processes (Linux)."""
    command = [sys.executable, "-m", "dicomsort", *map(str, words), "--quiet"]
    spent: dict[int, float] = {}
    started = time.perf_counter()
    with subprocess.Popen(command, start_new_session=True) as program:
        while program.poll() is None:
            spent |= {pid: max(spent.get(pid, 0), processor_seconds(pid)) for pid in session(program.pid)}
            time.sleep(0.05)
    if program.returncode != 0:
        sys.exit(f"it ended with {program.returncode}")
    return time.perf_counter() - started, sum(spent.values())


def measure(folder: Path, archive: str, given: argparse.Namespace) -> None:
    """Classify and export an archive by turns, and print the figures."""
    source = build(folder, archive, given.files)
    figures: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in range(given.rounds):
        out = folder / f"out-{archive}-{number}"
        words: list[str | Path] = [
            "--out",
            out,
            "--action",
            "symlink",
            "--device",
            "cpu",
            "--keep-duplicates",
        ]
        figures["classify"].append(run("classify", source, *words, "--review-below", "0"))
        for size in given.size:
            words = ["--out", folder / f"set-{archive}-{number}-{size}", "--image", given.image]
            words += ["--status", "sorted", "--status", "review"]
            words += ["--to", given.to, "--size", str(size)]
            figures[f"export, {size}"].append(run("export", out, *words))
    usual = median(took for took, _ in figures["classify"])
    for name, runs in figures.items():
        took, spent = (median(column) for column in zip(*runs, strict=True))
        speed, each = given.files / took, spent / given.files * 1000
        print(f"{archive:20} {name:12} {speed:6.1f} images/s, {each:5.1f} ms of processor time an image; "
              f"{usual / took:.2f} of classify", flush=True)  # fmt: skip


def main() -> None:
    """Measure each archive."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--archive", action="append", choices=SINGLE)
    parser.add_argument("--to", default="webdataset")
    parser.add_argument("--size", type=int, action="append")
    parser.add_argument("--image", default="png8")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    given.size = given.size or [256, 512]
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for archive in given.archive or SINGLE:
            measure(Path(folder), archive, given)


if __name__ == "__main__":
    main()
