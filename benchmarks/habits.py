"""What other tools do to files that no single picture tells: spacing, copies, lossy copies, archives.

Used by other_tools.py; each function returns a section in Markdown, and leaves out tools that are not
installed.
"""

import importlib
import io
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import traps
from PIL import Image
from traps import CR, DX, SC

import dicomsort

SPACINGS = {
    "PixelSpacing": [0.1, 0.2],
    "ImagerPixelSpacing": [0.3, 0.4],
    "NominalScannedPixelSpacing": [0.5, 0.6],
}
GIVEN = (
    ("PixelSpacing",),
    ("ImagerPixelSpacing",),
    ("NominalScannedPixelSpacing",),
    ("PixelSpacing", "ImagerPixelSpacing"),
    ("ImagerPixelSpacing", "NominalScannedPixelSpacing"),
    tuple(SPACINGS),
)


def habits(folder: Path) -> Iterator[str]:
    """Yield the sections."""
    yield spacing(folder)
    yield copies(folder)
    yield lossy_copies(folder)
    yield archives()


def module(name: str) -> Any:
    """Import what may not be installed."""
    return importlib.import_module(name)


def table(title: str, what: str, heads: list[str], rows: list[list[str]]) -> str:
    """Return a section with a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join([f"### {title}", "", what, "", *(f"| {' | '.join(line)} |" for line in lines)])


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True, timeout=60)


def _simple_itk(path: Path) -> float:
    _, rows, *_ = module("SimpleITK").ReadImage(str(path)).GetSpacing()
    return float(rows)


def _gdcm(path: Path) -> float:
    reader = module("gdcm").ImageReader()
    reader.SetFileName(str(path))
    reader.Read()
    return float(reader.GetImage().GetSpacing()[1])


def _vtk(path: Path) -> float:
    reader = module("vtk").vtkDICOMImageReader()
    reader.SetFileName(str(path))
    reader.Update()
    return float(reader.GetOutput().GetSpacing()[1])


def _nifti(*command: str) -> Callable[[Path], float]:
    def rows(path: Path) -> float:
        out = path.with_name("spacing.nii")
        out.unlink(missing_ok=True)
        _run(*(word.format(out=out, folder=path.parent) for word in command), str(path))
        return float(module("nibabel").load(out).header.get_zooms()[1])

    return rows


def _dcm2pnm(path: Path) -> str:
    out = path.with_name("spacing.pgm")
    _run("dcm2pnm", "+Sxv", "308", str(path), str(out))
    return f"{Image.open(out).size[1] / 384:.2f}"


def _dicomsort(path: Path) -> str:
    height, width = dicomsort.read_image(path, preprocessing=None).shape
    return f"{height / 384 / (width / 308):.2f}"


BIN = Path(sys.executable).parent
MILLIMETERS: dict[str, Callable[[Path], float]] = {
    "SimpleITK": _simple_itk,
    "gdcm": _gdcm,
    "VTK": _vtk,
    "dcm2niix": _nifti(str(BIN / "dcm2niix"), "-s", "y", "-b", "n", "-f", "spacing", "-o", "{folder}"),
    "dicomtonifti": _nifti("dicomtonifti", "-o", "{out}"),
}
RATIOS: dict[str, Callable[[Path], str]] = {"dcm2pnm +Sxv": _dcm2pnm, "dicomsort": _dicomsort}
TOLD: dict[str, Callable[[Path], float | str]] = {**MILLIMETERS, **RATIOS}


def _tried(work: Callable[[Path], float | str], path: Path) -> str:
    try:
        answer = work(path)
    except Exception:  # noqa: BLE001  (not installed, or not taken)
        return "-"
    return answer if isinstance(answer, str) else f"{answer:.1f}"


def spacing(folder: Path) -> str:
    """Tell which of three spacings a tool takes."""
    rows = []
    pixels = (traps.radiograph() >> 4).astype(np.uint8)
    for name, sop_class in (("CR and DX", CR), ("CR and DX", DX), ("secondary capture", SC)):
        for given in GIVEN:
            tags = {keyword: SPACINGS[keyword] for keyword in given}
            dataset = traps.image(pixels, 8, SOPClassUID=sop_class, **tags)
            path = traps.write(dataset, folder / "spacing.dcm")
            answers = [_tried(work, path) for work in TOLD.values()]
            row = [
                name,
                ", ".join(keyword.removesuffix("PixelSpacing") or "Pixel" for keyword in given),
                *answers,
            ]
            if row not in rows:
                rows.append(row)
    heads = ["SOP class", "given", *(f"{name}, mm" for name in MILLIMETERS), *RATIOS]
    what = (
        "Pixel Spacing is 0.1 mm between rows and 0.2 between columns, Imager Pixel Spacing 0.3 and 0.4, "
        "Nominal Scanned Pixel Spacing 0.5 and 0.6. Millimeters between rows as the tool tells them; for the "
        "last two the height of a pixel over its width as it is drawn (0.50, 0.75, 0.83)."
    )
    return table("Three spacings", what, heads, rows)


def _facts(path: Path, right: traps.Pixels) -> list[str]:
    """Return polarity and pixels of a file, and how pictures of it are related to the right one."""
    dataset = pydicom.dcmread(path)
    out = path.with_name("copy.pgm")
    _run("dcm2pnm", "+Wi", "1", str(path), str(out))
    shown = (
        module("highdicom").imread(path).get_frame(1, apply_voi_transform=True, apply_presentation_lut=True)
    )
    ours = dicomsort.read_image(path, preprocessing=None)
    pictures = (dataset.pixel_array, shown, np.asarray(Image.open(out)), ours)
    related = [f"{np.corrcoef(picture.ravel(), right.ravel())[0, 1]:.2f}" for picture in pictures]
    tags = (
        dataset.PhotometricInterpretation,
        dataset.get("PresentationLUTShape", "none"),
        str(dataset.BitsStored),
    )
    return [*map(str, tags), *related]


def copies(folder: Path) -> str:
    """Tell what is left of MONOCHROME1 in copies."""
    pixels = traps.radiograph()
    rows = []
    for shape in ({"PresentationLUTShape": "INVERSE"}, {}):
        tags: dict[str, Any] = {"PhotometricInterpretation": "MONOCHROME1", **shape, **traps.window()}
        path = traps.write(traps.image(4095 - pixels, 12, **tags), folder / "original.dcm")
        library = module("SimpleITK")
        library.WriteImage(library.ReadImage(str(path)), str(folder / "copied.dcm"))
        _run(str(BIN / "gdcmconv"), "--raw", str(path), str(folder / "converted.dcm"))
        for name, file in (
            ("the file", path.name),
            ("SimpleITK's copy", "copied.dcm"),
            ("gdcmconv --raw", "converted.dcm"),
        ):
            rows.append([name, *_facts(folder / file, pixels)])
    heads = [
        "file",
        "photometric",
        "LUT shape",
        "bits",
        "pixel_array",
        "highdicom",
        "dcm2pnm +Wi 1",
        "dicomsort",
    ]
    what = (
        "A MONOCHROME1 file with and without Presentation LUT Shape, and copies of it: correlation of "
        "pictures with the right one."
    )
    return table("Copies of MONOCHROME1", what, heads, rows)


def lossy_copies(folder: Path) -> str:
    """Tell what dcmcjpeg keeps."""
    pixels = (traps.radiograph() // 2 + 500).astype(np.uint16)
    dark = np.rint((np.arange(4096) / 4095) ** 2.2 * 4095).astype(np.uint16)
    cases: dict[str, dict[str, Any]] = {
        "window": traps.window(1000, 1500),
        "rescale": {"RescaleSlope": 2, "RescaleIntercept": -100, **traps.window(2000, 3000)},
        "padding": {"PixelPaddingValue": 500, **traps.window(1000, 1500)},
        "VOI LUT": {"VOILUTSequence": [traps.table(dark, 12, "US")]},
    }
    rows = []
    for name, tags in cases.items():
        path = traps.write(traps.image(pixels, 12, **tags), folder / "original.dcm")
        for options in (["+eb"], ["+eb", "+rm"], ["+ee"], ["+e1"]):
            out = folder / "lossy.dcm"
            _run("dcmcjpeg", *options, str(path), str(out))
            rows.append([name, " ".join(options), *_kept(path, out)])
    heads = ["file", "options", "bits", "values", "rescale", "window", "padding", "VOI LUT", "gray off"]
    what = (
        "12 bits, values 500 to 2547, and what dcmcjpeg makes of them. Gray off: mean difference of "
        "dicomsort's pictures of the file and of its copy, of 255. That VOI LUTs go is in dcmcjpeg's manual."
    )
    return table("Lossy copies by dcmcjpeg", what, heads, rows)


def _kept(before: Path, after: Path) -> list[str]:
    dataset = pydicom.dcmread(after)
    pixels = dataset.pixel_array
    pair = [dicomsort.read_image(path, preprocessing=None).astype(float) for path in (before, after)]

    def numbers(*keywords: str) -> str:
        return (
            ", ".join(f"{float(dataset[keyword].value):.4g}" for keyword in keywords if keyword in dataset)
            or "none"
        )

    return [
        str(dataset.BitsStored),
        f"{pixels.min()} to {pixels.max()}",
        numbers("RescaleSlope", "RescaleIntercept"),
        numbers("WindowCenter", "WindowWidth"),
        numbers("PixelPaddingValue"),
        "kept" if "VOILUTSequence" in dataset else "none",
        f"{np.abs(pair[0] - pair[1]).mean():.1f}",
    ]


class _ConfusionMetrics(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def archives() -> str:
    """Tell how often a tar.gz is inflated while its members are read."""
    pixels = traps.radiograph()
    native = traps.image(pixels, 12, **traps.window())
    stream = traps.jpeg_lossless([pixels], 12)
    compressed = traps.compressed(traps.image(pixels, 12, **traps.window()), traps.LOSSLESS, stream)
    rows = []
    for name, dataset in (("native", native), ("JPEG lossless", compressed)):
        for members in (20, 40, 80):
            data = _archive(dataset, members)
            rows.append([name, str(members), *_inflated(data, whole=False), *_inflated(data, whole=True)])
    heads = [
        "members",
        "number",
        "dcmread(member): inflated",
        "seconds",
        "dcmread(BytesIO): inflated",
        "seconds",
    ]
    what = "A tar.gz, read member by member with pydicom.dcmread; how many times its contents are inflated."
    return table("Members of a tar.gz", what, heads, rows)


def _archive(dataset: pydicom.Dataset, members: int) -> bytes:
    file, archive = io.BytesIO(), io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for number in range(members):
            info = tarfile.TarInfo(f"{number}.dcm")
            info.size = len(file.getvalue())
            tar.addfile(info, io.BytesIO(file.getvalue()))
    return archive.getvalue()


def _inflated(data: bytes, whole: bool) -> list[str]:
    started, stream = time.perf_counter(), _ConfusionMetrics(data)
    with tarfile.open(fileobj=stream, mode="r:gz") as tar:
        for member in tar:
            opened = tar.extractfile(member)
            assert opened is not None  # noqa: S101
            pydicom.dcmread(io.BytesIO(opened.read()) if whole else opened)
        return [f"{stream.count / len(data):.1f} times", f"{time.perf_counter() - started:.2f}"]
