"""Report on an output of very many rows: seconds, peak memory and size of the page.

    python benchmarks/report.py [--rows 1000000] [--classes 22] [--folder FOLDER]

Writes the manifest of `--rows` files as `classify` and `review` would leave it, with what is hard to count:
every file has a path of its own, one in ten a Body Part Examined of its own, one in fifty a trouble, one in a
hundred a person's decision, and one in a hundred has an older row too. The sources are gone, so that pictures
are read from the copies: eight radiographs of 3000 x 2400 pixels, JPEG lossless, to which all rows point.
Then `dicomsort report` runs on it as a user would, without pictures and with them. Prints the seconds of the
clock, those of the processor in the main process, the peak resident memory of that, and of all its processes
together (Linux), and the size of the page.
"""

import argparse
import csv
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from decode import radiograph, write
from scale import peak

from dicomsort.manifest.columns import columns
from dicomsort.outcome import TROUBLE, Reason

COPIES = 8
PARTS = ("CHEST", "HAND", "KNEE", "ABDOMEN", "LSPINE", "")
SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90")
OTHERS = (
    ("not_dicom", Reason.NO_DICOM),
    ("not_xray", Reason.OTHER_SOP_CLASS),
    ("not_xray", Reason.OTHER_MODALITY),
    ("duplicate", Reason.SAME_IMAGE),
)


def rows(count: int, labels: list[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a manifest, by column."""
    rng, troubles = random.Random(0), sorted(TROUBLE)
    for number in range(count):
        row = {
            "path": f"/archive/{number % 997:03d}/study-{number // 40:06d}/IM{number:07d}.dcm",
            "model": "router5@aa5c4449eec0+view@3eca9c40f819",
            "size": str(8_000_000 + number % 1000),
            "mtime_ns": str(1_795_921_225_633_197_621 + number),
            "dicomsort_version": "0.2.0",
        }
        if number % 50 == 0:
            row |= {"status": rng.choice(troubles), "reason": rng.choice(list(Reason)[1:])}
        elif number % 5 == 0:
            row["status"], row["reason"] = rng.choice(OTHERS)
        else:
            row |= radiograph_row(number, labels, rng)
        yield row
        if number % 100 == 0:
            yield row


def radiograph_row(number: int, labels: list[str], rng: random.Random) -> dict[str, str]:
    """Return what a row tells of a radiograph."""
    sure = 1 - rng.random() ** 4 / 2
    label = rng.choice(labels)
    row = {
        "status": "sorted" if sure > 0.9 else "review",
        "reason": "" if sure > 0.9 else Reason.BELOW_THRESHOLD.value,
        "label": label,
        "confidence": f"{sure:.6f}",
        "action": "copy",
        "destination": f"{label}/{number % COPIES}.dcm",
        "modality": rng.choice(("CR", "DX", "DX", "XA")),
        "body_part_examined": f"PART {number}" if number % 10 == 1 else rng.choice(PARTS),
        "transfer_syntax": rng.choice(SYNTAXES),
        "sop_instance_uid": f"1.2.826.0.1.3680043.8.498.{number:039d}",
        "study_instance_uid": f"1.2.826.0.1.3680043.8.498.{number // 40:039d}",
        "age_group": rng.choice(("child", "adult", "")),
        "view.label": rng.choice(("frontal", "lateral", "oblique")),
        "view.confidence": f"{rng.random():.6f}",
    }
    row |= {f"score_{each}": f"{rng.random() / 20:.6f}" for each in labels}
    if number % 100 == 7:
        decided = {"reviewed_label": rng.choice(labels), "reviewed_by": rng.choice(("ann", "bob"))}
        row |= {"status": "sorted", **decided, "reviewed_at": "2026-11-29T03:15:02Z"}
    return row


def build(out: Path, count: int, labels: list[str]) -> None:
    """Write the output: the manifest and the copies."""
    answers = [*(f"score_{label}" for label in labels), "view.label", "view.confidence"]
    with (out / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns(answers, True, True), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows(count, labels))
    gray = radiograph()
    for number in range(COPIES):
        for label in labels:
            copy = out / label / f"{number}.dcm"
            copy.parent.mkdir(exist_ok=True)
            if label == labels[0]:
                write(copy, gray, "JPEG lossless SV1")
            else:
                copy.hardlink_to(out / labels[0] / copy.name)


def together(pid: int) -> int:
    """Return the resident memory of a process and what it has started, in bytes; shared pages once."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii").splitlines()
            children = Path(f"/proc/{one}/task/{one}/children").read_text(encoding="ascii").split()
        except OSError:
            continue
        total += next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)
        waiting += map(int, children)
    return total


def measure(out: Path, page: Path, *words: str) -> None:
    """Make a report as a user would, and print its figures."""
    command = [sys.executable, "-m", "dicomsort", "report", str(out), "--out", str(page), "--quiet", *words]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    own = most = 0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            own, most = max(own, peak(process.pid)), max(most, together(process.pid))
            time.sleep(0.2)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        sys.exit(f"report ended with {process.returncode}")
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    name = " ".join(words) or "with pictures"
    print(
        f"{name:16} {seconds:6.1f} s, {busy:6.1f} s of its processor; main process {own / 1e6:.0f} MB, "
        f"all {most / 1e6:.0f} MB; page {page.stat().st_size / 1e6:.2f} MB",
        flush=True,
    )


def main() -> None:
    """Build the output, and make both reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=22)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        out = Path(folder) / "out"
        out.mkdir()
        build(out, given.rows, [f"class {number:04d}" for number in range(given.classes)])
        size = (out / "manifest.csv").stat().st_size
        print(f"{given.rows} files in {given.classes} classes, a manifest of {size / 1e6:.0f} MB", flush=True)
        measure(out, Path(folder) / "report.html", "--no-thumbnails")
        measure(out, Path(folder) / "report.html")


if __name__ == "__main__":
    main()
