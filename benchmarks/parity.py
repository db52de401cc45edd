"""Compare the picture that the network sees with pydicom's own gray-scale, file by file.

    pip install '.[bench]' && python benchmarks/parity.py FOLDER... [--size 224]

For every radiograph under the folders: the mean and the greatest difference, in gray levels of 255, between
`dicomsort.read_image` and `tests/support/reference.py`, which decodes every pixel with pydicom, applies
pydicom's modality and VOI functions, and averages areas exactly. What is no radiograph is left out; what the
reference cannot decode is compared with what is right, and the table says why. Ends with exit code 1 if a
mean is beyond 1.5 or a file could not be compared.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

import dicomsort

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import reference

LIMIT = 1.5
Standin = Callable[[Path, Dataset], Any]


def _sibling(name: str) -> Standin:
    def frame(path: Path, _: Dataset) -> Any:
        return reference.frame_of(reference.load(path.parent / name))

    return frame


def _jpeg_xl(_: Path, dataset: Dataset) -> Any:
    return np.asarray(imagecodecs.jpegxl_decode(get_frame(dataset.PixelData, 0)), np.float64)


SE_ZERO = "12-bit scan header with Se = 0, which no decoder of pydicom's takes: stored values of "
STANDINS: dict[str, tuple[Standin, str]] = {
    # the end of a file's name: what to compare with, and why
    "RG2_JPLY_fixed.dcm": (_sibling("robyoung__dicom-test-files__RG2_JPLL"), SE_ZERO + "RG2_JPLL"),
    "XA1_JPLY": (_sibling("wearemothership__dicom-test-files__XA1_UNC"), SE_ZERO + "XA1_UNC"),
    "jxl.dcm": (_jpeg_xl, "pydicom knows no JPEG XL decoder: imagecodecs at full size"),
}


def compare(path: Path, size: int) -> tuple[float, float, str]:
    """Return the mean and the greatest difference, and a remark. Raises UnreadableError for no radiograph."""
    settings = dicomsort.ReadSettings(secondary_capture=True)
    seen = dicomsort.read_image(path, dicomsort.Preprocessing(size=size), settings)
    dataset = reference.load(path)
    standin = next((pair for name, pair in STANDINS.items() if path.name.endswith(name)), None)
    frame = standin[0](path, dataset) if standin else None
    difference = np.abs(seen - reference.picture(dataset, size, frame))
    return float(difference.mean()), float(difference.max()), standin[1] if standin else ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=224)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    means: list[float] = []
    refused = 0
    for path in sorted(path for folder in given.folder for path in folder.rglob("*") if path.is_file()):
        try:
            mean, most, remark = compare(path, given.size)
        except dicomsort.UnreadableError as error:
            refused += error.status not in ("not_xray", "not_dicom", "no_pixels")
            print(f"   -    -  {path.name[-70:]}: {error}")
            continue
        except Exception as error:  # noqa: BLE001  (the reference refuses: that is a line of the table)
            refused += 1
            print(f"   ?    ?  {path.name[-70:]}: reference: {type(error).__name__}")
            continue
        means.append(mean)
        print(f"{mean:4.2f} {most:4.0f}  {path.name[-70:]}{': ' if remark else ''}{remark}", flush=True)
    if not means:
        sys.exit("there is no radiograph")
    beyond = sum(mean > LIMIT for mean in means)
    print(f"{len(means)} files; mean {np.mean(means):.2f}, worst {max(means):.2f}, {beyond} beyond {LIMIT}")
    sys.exit(1 if beyond or refused else 0)


if __name__ == "__main__":
    main()
