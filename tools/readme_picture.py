"""Draw the README's picture: what became of an archive's radiographs, one row of the sheet per folder.

python tools/readme_picture.py OUT_OF_A_RUN SHEET.png
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageDraw

from dicomsort.dicom import reader
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import ReadImage
from dicomsort.system.escaping import unescape

SIDE, COLUMNS, MARGIN = 112, 8, 16


def main() -> None:
    """Read the manifest and draw up to eight radiographs of every folder."""
    out, sheet = Path(sys.argv[1]), Path(sys.argv[2])
    folders: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["destination"]:
                folders[row["destination"].split("/")[0]].append(row)
    canvas = Image.new("L", (COLUMNS * SIDE, len(folders) * (SIDE + MARGIN)), 255)
    draw = ImageDraw.Draw(canvas)
    for line, (folder, rows) in enumerate(sorted(folders.items())):
        top = line * (SIDE + MARGIN)
        draw.text((2, top + 2), f"{folder}/ ({len(rows)})", fill=0)
        for column, row in enumerate(rows[:COLUMNS]):
            picture = reader.read_dicom(unescape(row["path"]), Preprocessing(size=SIDE))
            if isinstance(picture, ReadImage):
                canvas.paste(Image.fromarray(picture.image), (column * SIDE, top + MARGIN))
            note = f"{row['label'] if folder == 'review' else ''} {float(row['confidence']):.2f}".strip()
            draw.text(
                (column * SIDE + 3, top + MARGIN + SIDE - 13), note, fill=255, stroke_width=1, stroke_fill=0
            )
    canvas.quantize(64).save(sheet, optimize=True)


if __name__ == "__main__":
    main()
