"""Classify a folder of real DICOM files with known contents and print what went wrong.

python studies/real_dicom.py FOLDER [--model NAME_OR_FOLDER] [--sheet WRONG.png]

FOLDER holds manifest.csv with the columns `file` and `label5` (the class that a person sees). Prints the
statuses, then every radiograph whose label differs from what a person sees, with its confidence, what the
pixels alone say and which evidence of the header was weighed; then what the header put right, and what it
contradicted. --sheet draws the wrong ones; --evidence pixels leaves the header out.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from dicomsort.dicom.reader import read_any
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.imaging.contact_sheet import Tile, save, sheet_of
from dicomsort.outcome import ReadImage, Reason


def main() -> None:
    """Run `dicomsort classify` on the folder and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="router5")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--evidence", default="header", choices=["header", "pixels"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        words = [
            "classify",
            given.folder,
            "--out",
            out,
            "--model",
            given.model,
            "--evidence",
            given.evidence,
            "--action",
            "symlink",
            "--include-secondary-capture",
            "--keep-duplicates",
            "--json",
        ]
        done = subprocess.run([sys.executable, "-m", "dicomsort", *words], capture_output=True, text=True)  # noqa: PLW1510
        if not done.stdout:
            sys.exit(done.stderr)
        rows = _table(Path(out) / "manifest.csv")
    print(f"exit code {done.returncode};", json.dumps(json.loads(done.stdout)["statuses"]))
    truth = {
        str((given.folder / row["file"]).resolve()): row for row in _table(given.folder / "manifest.csv")
    }
    wrong = _compare(rows, truth)
    if given.sheet is not None and wrong:
        _draw(wrong, given.sheet)


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


Wrong = list[tuple[dict[str, str], dict[str, str]]]
"""Rows of the manifest with what a person sees."""


def _draw(wrong: Wrong, sheet: Path) -> None:
    tiles = []
    for row, seen in wrong:
        reading = read_any(row["path"], Preprocessing())
        if isinstance(reading, ReadImage):
            caption = (
                f"is {seen['label5']}",
                f"said {row['label']} {float(row['confidence']):.2f}",
                row["status"],
            )
            tiles.append(Tile(reading.image, caption))
    save(sheet_of(tiles, columns=6), sheet)


def _compare(rows: list[dict[str, str]], truth: dict[str, dict[str, str]]) -> Wrong:
    every: Wrong = []
    judged = [(row, truth[row["path"]]) for row in rows if row["label"] and row["path"] in truth]
    judged = [(row, seen) for row, seen in judged if seen["label5"] not in ("", "unclear")]
    for group in sorted({seen["group"] for _, seen in judged}):
        members = [(row, seen) for row, seen in judged if seen["group"] == group]
        wrong = [(row, seen) for row, seen in members if row["label"] != seen["label5"]]
        every += wrong
        review = Counter(row["status"] for row, _ in members)["review"]
        alone = sum(row["pixel_label"] != seen["label5"] for row, seen in members)
        print(
            f"{group}: {len(members)} with a known class, {len(wrong)} wrong ({alone} by the pixels alone), "
            f"{sum(row['status'] == 'review' for row, _ in wrong)} of these in review; {review} in review"
        )
        for row, seen in members:
            moved = row["label"] != row["pixel_label"] or Reason.CONTRADICTION in row["reason"]
            if row["label"] != seen["label5"] or moved:
                print(f"  {_told(row, seen)}")
    return every


def _told(row: dict[str, str], seen: dict[str, str]) -> str:
    pixels = f"pixels {row['pixel_label']} {row['pixel_confidence']}"
    said = (
        f"{row['label']} {row['confidence']}, {pixels}, {row['evidence'] or 'no evidence'}, {row['status']}"
    )
    return f"{seen['label5']} as {said}: {row['reason']}: {seen['file']}"


if __name__ == "__main__":
    main()
