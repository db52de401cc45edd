"""The part of a card that shows wrong answers, the surest first, as far as licences allow."""

import io
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from attribution import DATA_SETS
from card_text import table, wrapped
from numpy.typing import NDArray
from PIL import Image

from dicomsort.data import dataset
from dicomsort.data.dataset import Sample
from dicomsort.evaluation import evaluate
from dicomsort.evaluation.evaluate import Measured, Mistake
from dicomsort.evaluation.predictions import EvalSettings
from dicomsort.imaging import contact_sheet
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure

CREDITS = ("dataset", "licence", "source_repo")
FREE = frozenset({
    "CC BY 3.0", "CC BY 4.0", "CC BY 4.0 (as stated by the data source)", "MIT", "Apache-2.0", "BSD", "MS-PL",
})  # fmt: skip
"""Licences, as the column says them, of pictures that may be shown."""
PICTURE, LARGEST = "failures.png", 40_000  # bytes
COLUMNS, MOST = 8, 16  # pictures a row, and in all
STYLES = ((128, 16), (128, 8), (112, 8), (96, 8), (80, 8), (64, 8), (48, 8))  # side in pixels, grays
CAPTION, MOST_LINES, MOST_ROWS = 22, 3, 40  # characters, lines, rows of a table


@dataclass(frozen=True, slots=True)
class Shown:
    """The wrong answers, the surest first, and those of them that the picture shows."""

    wrong: tuple[Mistake, ...]
    pictured: tuple[Mistake, ...]
    png: bytes


def failures_of(measured: Measured, settings: EvalSettings, most: int) -> Shown:
    """Find the wrong answers, and draw those whose pictures may be shown."""
    wrong = evaluate.worst(measured, len(measured.known))
    free = [one for one in wrong if may_be_shown(one.prediction.sample)][:most]
    pictures = _pictures([one.prediction.sample for one in free], settings)
    tiles = {id(one): contact_sheet.Tile(pictures[id(one.prediction.sample)], _caption(one))
             for one in free if id(one.prediction.sample) in pictures}  # fmt: skip
    pictured = tuple(one for one in free if id(one) in tiles)
    return Shown(wrong, pictured, drawn(list(tiles.values())))


def may_be_shown(sample: Sample) -> bool:
    """Return whether the licence lets anyone pass a picture on; of a study only the first file's is known."""
    return not sample.views and sample.metadata.get("licence") in FREE


def _pictures(samples: Sequence[Sample], settings: EvalSettings) -> dict[int, NDArray[np.uint8]]:
    """Read samples again, by their id(); without what cannot be read any more."""
    readings = dataset.read_all(samples, Preprocessing(size=224), settings.pool)
    return {id(one): found.image for one, found in readings if not isinstance(found, Failure)}


def _caption(mistake: Mistake) -> tuple[str, ...]:
    facts = mistake.prediction.sample.metadata
    said = [f"truth: {_plain(mistake.truth)}", f"answer: {_plain(mistake.label)}"]
    lines = [line for text in said
             for line in textwrap.wrap(text, CAPTION, max_lines=MOST_LINES, placeholder=" ...")]  # fmt: skip
    return (facts["dataset"], *lines, f"confidence {mistake.confidence:.3f}")


def _plain(label: str) -> str:
    return label.replace("|", ", ") or "none"


def drawn(tiles: Sequence[contact_sheet.Tile]) -> bytes:
    """Draw a contact sheet as PNG, as large and in as many grays as the file may be; empty without tiles."""
    content = b""
    for side, greys in STYLES if tiles else ():
        picture = contact_sheet.sheet_of(tiles, min(COLUMNS, len(tiles)), side).convert("L")
        indices = np.rint(np.asarray(picture, np.float64) * (greys - 1) / 255).astype(np.uint8)
        paletted = Image.frombytes("P", picture.size, indices.tobytes())
        paletted.putpalette([level * 255 // (greys - 1) for level in range(greys) for _ in "rgb"])
        file = io.BytesIO()
        paletted.save(file, "PNG", optimize=True)
        content = file.getvalue()
        if len(content) <= LARGEST:
            break
    return content


def failures_text(shown: Shown, measured: Measured) -> list[str]:
    """Write which answers are wrong, and whose pictures are shown."""
    images, several = len(measured.known), measured.figures.kind == "multilabel"
    sure = " Their confidence is that of the wrong label that it was surest of." * several
    wrong = f"{len(shown.wrong):,} of {images:,} images are wrong{' in at least one label' * several}.{sure}"
    parts = ["### Wrong answers", wrong]
    if shown.pictured:
        parts += [f"![Wrong answers, the surest first]({PICTURE})", _credits(shown)]
    if shown.wrong:
        parts.append(_failure_table(shown))
    return parts


def _credits(shown: Shown) -> str:
    """Name the sources of the pictures, as their licences want it."""
    counts = Counter(
        tuple(one.prediction.sample.metadata.get(name, "") for name in CREDITS) for one in shown.pictured
    )
    lines = [
        f"The picture shows {len(shown.pictured)} of them, the surest first, made small and of few greys, "
        "and only those whose licence lets anyone pass them on. They come from"
    ]
    for (name, licence, repository), count in sorted(counts.items()):
        words = (DATA_SETS.get(name), repository and f"copied from {repository}", licence)
        lines.append(f"* {name} ({count}): {'; '.join(filter(None, words))}")
    first, *others = map(wrapped, lines)
    return "\n".join([first, "", *others])


def _failure_table(shown: Shown) -> str:
    def row(one: Mistake) -> tuple[str, str, str]:
        return one.prediction.sample.metadata["dataset"], _plain(one.truth), _plain(one.label)

    counts, pictured = Counter(map(row, shown.wrong)), Counter(map(row, shown.pictured))
    ranked = sorted(counts, key=lambda each: (-counts[each], each))
    rows = [[*each, str(counts[each]), str(pictured[each])] for each in ranked[:MOST_ROWS]]
    written = table(("data set", "truth", "answer", "images", "in the picture"), rows)
    rest = sum(counts[each] for each in ranked[MOST_ROWS:])
    return written + (f"\n\nThe rarer kinds, {rest:,} images in all, are left out." if rest else "")
