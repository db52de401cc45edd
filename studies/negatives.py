"""Make pictures that are no radiographs of a person, to measure whether a model tells them apart.

    python studies/negatives.py DICOM_FOLDER --out FOLDER [--each 48] [--sheets]

DICOM_FOLDER holds collected files in `other`, `broken` and `xray`, named OWNER__REPOSITORY__FILE. Those
listed in REAL are rendered as an archive's captures would be, up to six pictures each: frames, CT windows,
parts, a viewer's screen, the negative. Photographs come with scikit-learn and matplotlib. The other kinds
are drawn, `--each` pictures of each, always the same. Left out are equal files, thumbnails, and what really
is a radiograph: CT scouts, angiograms, mammograms, a dog.

Writes 8-bit gray PNGs of at most 384 pixels a side and negatives.csv (file, kind, half, origin); `--sheets`
also a contact sheet of each kind. Thresholds may be tuned on the half `tune` and are reported on `report`:
no kind and no owner of files is in both (ct_a and ct_b come from different owners), and both have slices,
ultrasound, exposures without a patient, pages and photographs; nuclear medicine is in `report` alone.
Pictures of one origin are much alike: count origins where that matters.
"""

import argparse
import csv
import sys
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from drawn import MAKERS
from drawn.basics import GREATEST, Dice, Gray
from drawn.pages import overlaid
from PIL import Image
from sklearn.datasets import load_sample_images

from dicomsort.dicom.header import Rejected, header_of, read_header
from dicomsort.dicom.pixel_data import ImagePixelDescription
from dicomsort.dicom.pixel_source import PixelSource
from dicomsort.dicom.transforms import grayscale_transform, pixel_aspect
from dicomsort.imaging import contact_sheet
from dicomsort.imaging.canvas import fitted_shape, to_bytes
from dicomsort.imaging.grayscale import ConstantImageError, Window, render

TUNE, REPORT = HALVES = ("tune", "report")
TABLE, COLUMNS = "negatives.csv", ("file", "kind", "half", "origin")
SEED, EACH, MOST = 0, 48, 6

REAL: dict[str, tuple[str, ...]] = {
    # tune
    "ct_a": (
        "other/cornerstonejs__*_JPEG2000TransferSyntax_*",
        "broken/cornerstonejs__*__CT0012.not_fragmented*",
        "other/fo-dicom__*__IM-0001-0029.dcm",
        "other/grailbio__*__IM-0001-0001.dcm",
        "other/wasserth__*__CT.*",
        "broken/notZaki__*__CT_Implicit_Little*",
    ),
    "mr_a": (
        "other/dicom__*__explicit_mr_rle_mono2.dcm",
        "broken/dicom__*__no-header_implicit_mr*",
        "other/fo-dicom__*__GH064.dcm",
        "other/ivmartel__*__osirix-cerebrix.dcm",
    ),
    "us_a": (
        "other/fo-dicom__*__GH538*",
        "broken/fo-dicom__*__GH364.dcm",
        "other/dicom__*__implicit_us*",
        "other/GoogleCloudPlatform__*__1.2.840.113543*",
    ),
    "photo_a": ("other/fo-dicom__*__LEADTOOLS_FLOWERS*", "other/fo-dicom__*__GH195.dcm"),
    "test_card": (
        "other/cornerstonejs__*__TestPattern_JPEG-Lossless_RGB.dcm",
        "xray/notZaki__*__MG_Explicit_Little.dcm",
        "xray/GoogleCloudPlatform__*__example-redacted-mg*",
        "other/BrahimSoufghalem__*__test.dcm",
    ),
    # report
    "ct_b": (
        "broken/orthanc-mirrors__*__Issue124.dcm",
        "broken/orthanc-mirrors__*__Issue141.dcm",
        "broken/orthanc-mirrors__*__WithEmptyPatientComments.dcm",
        "other/pydicom__*__693_J2KR.dcm",
        "broken/pydicom__*__bad_sequence.dcm",
        "broken/pydicom__*__CTImageStorage_bad_meta.dcm",
        "other/robyoung__*__CT1_JLSL",
    ),
    "mr_b": (
        "other/orthanc-mirrors__*__JpegLossless.dcm",
        "other/orthanc-mirrors__*__IM-0001-0001.dcm",
        "other/dcm4che__*__MR-JPEGLosslessSV1.dcm",
        "other/pydicom__*__MR_small_RLE.dcm",
        "other/pydicom__*__emri_small_RLE.dcm",
        "broken/robyoung__*__MR1_JPLY",
        "broken/robyoung__*__MR3_JPLY",
    ),
    "us_b": (
        "other/dcm4che__*__US-RGB-8-esopecho",
        "other/dcm4che__*__YBR_FULL-RLE.dcm",
        "other/dcm4che__*__jpeg-ls-Palette.dcm",
        "other/orthanc-mirrors__*__jp2k91YBR-ICT.dcm",
        "other/pydicom__*__OBXXXX1A_rle_2frame.dcm",
        "other/pydicom__*__JPGBaseline_3s_1f_8b.dcm",
    ),
    "nm_pt": (
        "other/wearemothership__*__NM1_UNC",
        "other/pydicom__*__JPEG2000_UNC.dcm",
        "other/orthanc-mirrors__*__Pet_IM-0001-0001.dcm",
        "other/orthanc-mirrors__*SalimKanounAnonymization.dcm",
        "other/Dashtid__*__pt_256x256*",
        "other/bhklab__*__1-001.dcm",
    ),
    "photo_b": (
        "broken/orthanc-mirrors__*__LenaTwice*",
        "other/pydicom__*__HTJ2KLossless_08_RGB.dcm",
        "broken/pydicom__*__JLSL_RGB_ILV0.dcm",
    ),
}  # fmt: skip
"""Kinds made of files: one of each group of equal ones, as a pattern that only it fits."""

PACKAGED = {"photo_a": ("china.jpg",), "photo_b": ("flower.jpg", "grace_hopper.jpg")}
"""Photographs of scikit-learn and matplotlib."""

HALF_OF: dict[str, str] = {
    **dict.fromkeys(("ct_a", "mr_a", "us_a", "photo_a", "test_card"), TUNE),
    **dict.fromkeys(("text_page", "ecg", "test_pattern", "blank_plate", "noise", "ct_like", "scene"), TUNE),
    **dict.fromkeys(("ct_b", "mr_b", "us_b", "nm_pt", "photo_b"), REPORT),
    **dict.fromkeys(("form", "screenshot", "phantom", "mr_like", "us_like", "slide", "texture"), REPORT),
}
"""The half of each kind."""

_CT_WINDOWS = (Window(-600, 1500), Window(400, 1800), Window(40, 400))  # lung, bone, soft parts
_MAX_PIXELS = 50_000_000
_ALIKE, _LEAST_RANGE = 4.0, 8  # gray levels: mean difference of two pictures, range of one


@dataclass(frozen=True, slots=True)
class Negative:
    """A picture's file, its kind and half, and what it was made of."""

    path: Path
    kind: str
    half: str
    origin: str


class Made(NamedTuple):
    """A picture that was made: (rows, columns)."""

    kind: str
    origin: str
    image: Gray


def load(table: Path) -> list[Negative]:
    """Read negatives.csv."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return [Negative(table.parent / row["file"], row["kind"], row["half"], row["origin"]) for row in rows]


def dice_for(kind: str, number: int) -> Dice:
    """Return the numbers that a picture is drawn with."""
    return np.random.default_rng([SEED, zlib.crc32(kind.encode()), number])


def draw(kind: str, number: int) -> Gray:
    """Draw a picture of a kind; equal numbers give equal pictures."""
    return MAKERS[kind](dice_for(kind, number))


def drawn(each: int) -> Iterator[Made]:
    """Draw so many pictures of each kind that is drawn."""
    for kind in MAKERS:
        for number in range(each):
            yield Made(kind, f"drawn {kind} {number}", draw(kind, number))


def found(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield kind and path of the files of REAL; those that are missing are told on stderr."""
    for kind, patterns in REAL.items():
        for pattern in patterns:
            fitting = sorted(folder.glob(pattern))
            if fitting:
                yield kind, fitting[0]
            else:
                print(f"missing: {pattern}", file=sys.stderr)


def rendered(folder: Path) -> Iterator[Made]:
    """Render the files of REAL, and the photographs of packages; what cannot be read is told on stderr."""
    for kind, path in found(folder):
        origin = path.relative_to(folder).as_posix()
        try:
            plain = list(renderings(path))
        except (Rejected, ConstantImageError) as error:
            print(f"not readable: {origin}: {error}", file=sys.stderr)
            continue
        yield from (Made(kind, origin, image) for image in _unlike(_looks(plain, dice_for(origin, 0))))
    for kind, names in PACKAGED.items():
        for name in names:
            plain = [photograph(name)]
            yield from (Made(kind, name, image) for image in _unlike(_looks(plain, dice_for(name, 0))))


def renderings(path: Path) -> Iterator[Gray]:
    """Render frames of a DICOM file, whatever it is, as dicomsort would; of a CT also with usual windows.

    Raises Rejected or ConstantImageError, or what a codec raises.
    """
    with path.open("rb") as file:
        dataset, stream = read_header(file)
        header = header_of(dataset)
        layout, source = ImagePixelDescription(dataset, header), PixelSource(stream, dataset)
        source.open()
        layout.check(_MAX_PIXELS)
        for frame in _spread(layout.frames):
            size = min(GREATEST, max(layout.rows, layout.columns))
            shape = fitted_shape(layout.rows, layout.columns, size, pixel_aspect(dataset, frame).ratio)
            decoded = layout.stored_values(source, frame, (layout.rows, layout.columns)).decoded
            scale = grayscale_transform(dataset, layout, frame)
            windows = _CT_WINDOWS if header.modality == "CT" else ()
            for given in (scale, *(replace(scale, window=window, voi_lut=None) for window in windows)):
                box = decoded.box(layout.rows, layout.columns)
                yield to_bytes(render(decoded.pixels, given, shape, box)[0])


def _spread(frames: int) -> list[int]:
    """Choose up to MOST frames, none of them the first or last of many."""
    return sorted({int((at + 0.5) * frames / MOST) for at in range(MOST)})


def photograph(name: str) -> Gray:
    """Return a photograph of a package, in gray."""
    if name == "grace_hopper.jpg":
        picture = Image.open(Path(mpl.get_data_path()) / "sample_data" / name).convert("L")
    else:
        samples = load_sample_images()
        places = [Path(each).name for each in samples.filenames]
        picture = Image.fromarray(samples.images[places.index(name)]).convert("L")
    picture.thumbnail((GREATEST, GREATEST))
    return np.asarray(picture, np.uint8)


def _looks(plain: Sequence[Gray], dice: Dice) -> Iterator[Gray]:
    """Show pictures as they are, then the middle one in other ways."""
    yield from plain
    middle = plain[len(plain) // 2]
    for look in (close_up, overlaid, close_up, _negative, close_up):
        yield look(middle, dice)


def close_up(gray: Gray, dice: Dice) -> Gray:
    """Cut a part out."""
    height, width = (max(8, int(side * dice.uniform(0.45, 0.85))) for side in gray.shape)
    top, left = (
        int(dice.integers(0, full - part + 1)) for full, part in zip(gray.shape, (height, width), strict=True)
    )
    return gray[top : top + height, left : left + width]


def _negative(gray: Gray, _: Dice) -> Gray:
    return 255 - gray


def _unlike(images: Iterator[Gray]) -> Iterator[Gray]:
    """Take up to MOST pictures that are not blank and differ from each other."""
    return islice(_new(images), MOST)


def _new(images: Iterator[Gray]) -> Iterator[Gray]:
    before: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    for image in images:
        small = np.asarray(Image.fromarray(image).resize((48, 48)), np.float32)
        if np.ptp(small) < _LEAST_RANGE or any(np.abs(small - other).mean() < _ALIKE for other in before):
            continue
        before.append(small)
        yield image


def write(made: Iterator[Made], out: Path) -> list[Negative]:
    """Write the pictures and their table."""
    numbers: Counter[str] = Counter()
    rows = []
    for kind, origin, image in made:
        name = f"{kind}/{numbers[kind]:03}.png"
        numbers[kind] += 1
        (out / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(out / name)
        rows.append((name, kind, HALF_OF[kind], origin))
    with (out / TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])
    return load(out / TABLE)


def counts(negatives: Sequence[Negative]) -> str:
    """Write how many there are as Markdown."""
    lines = ["| half | kind | pictures | origins |", "|---|---|---|---|"]
    for half in HALVES:
        for kind in (kind for kind, where in HALF_OF.items() if where == half):
            members = [each for each in negatives if each.kind == kind]
            lines.append(f"| {half} | {kind} | {len(members)} | {len({each.origin for each in members})} |")
        members = [each for each in negatives if each.half == half]
        lines.append(f"| {half} | **all** | {len(members)} | {len({each.origin for each in members})} |")
    return "\n".join(lines)


def write_sheets(negatives: Sequence[Negative], out: Path) -> None:
    """Write a contact sheet of each kind."""
    tiles: dict[str, list[contact_sheet.Tile]] = defaultdict(list)
    for each in negatives:
        image = np.asarray(Image.open(each.path), np.uint8)
        tiles[each.kind].append(contact_sheet.Tile(image, (each.path.name, each.origin.rpartition("__")[2])))
    for kind, members in tiles.items():
        contact_sheet.save(contact_sheet.sheet_of(members, 10, 130), out / f"sheet_{kind}.png")


def main() -> None:
    """Make the pictures and print their counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--each", type=int, default=EACH)
    parser.add_argument("--sheets", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # pydicom's, about the files
    stages: tuple[Callable[[], Iterator[Made]], ...] = (
        lambda: rendered(given.folder),
        lambda: drawn(given.each),
    )
    negatives = write((made for stage in stages for made in stage()), given.out)
    if given.sheets:
        write_sheets(negatives, given.out)
    print(counts(negatives))


if __name__ == "__main__":
    main()
