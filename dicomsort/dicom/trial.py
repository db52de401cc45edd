"""One tiny radiograph in every transfer syntax that can be read, to try whether it is read here.

`tools/doctor_samples.py` has made `samples.zip`.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from dicomsort.dicom import reader
from dicomsort.dicom.codecs import EXPLICIT_LITTLE
from dicomsort.dicom.uid_names import name_of
from dicomsort.imaging.canvas import Canvas, Preprocessing
from dicomsort.outcome import Failure, Reason, Status

SAMPLES = Path(__file__).with_name("samples.zip")

_CANVAS = Preprocessing(size=32)
_LATE = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}
"""Names that came into the standard after the table of names at hand."""

_TOLERANCE = 3.0  # gray levels of 255, on average: lossy ones are off by less, another picture by far more


def samples() -> list[str]:
    """Return the Transfer Syntax UIDs there are samples of."""
    with zipfile.ZipFile(SAMPLES) as archive:
        return sorted(name.removesuffix(".dcm") for name in archive.namelist())


def spoken(syntax: str) -> str:
    """Return what people call a transfer syntax."""
    return _LATE.get(syntax) or name_of(syntax)


def attempt(syntax: str) -> Failure | None:
    """Read a sample, and compare it with the one that is not compressed; None if all is well.

    Run in a worker process, where a decoder may crash.
    """
    picture, wanted = _picture(syntax), _picture(EXPLICIT_LITTLE)
    for each in (picture, wanted):
        if isinstance(each, Failure):
            return each
    assert not isinstance(picture, Failure)  # noqa: S101
    assert not isinstance(wanted, Failure)  # noqa: S101
    if np.abs(picture.astype(int) - wanted).mean() > _TOLERANCE:
        return Failure(Status.DECODE_ERROR, Reason.PIXELS_DAMAGED)
    return None


def _picture(syntax: str) -> Canvas | Failure:
    with zipfile.ZipFile(SAMPLES) as archive:
        content = archive.read(f"{syntax}.dcm")
    reading = reader.read_dicom("sample.dcm", _CANVAS, held=io.BytesIO(content))
    return reading if isinstance(reading, Failure) else reading.image
