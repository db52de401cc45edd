"""One file in; its header and one small uint8 image out."""

import errno
import os
from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset

from dicomsort.greyscale import GreyScale, LookUpTable, Window, render
from dicomsort.header import Stop, header_of, is_cut, looks_dicom, number, read_header, sop_class, text
from dicomsort.outcome import Failure, Header, Picture, Reason, Stamp, Status
from dicomsort.pixels import Layout, PixelSource
from dicomsort.preprocess import Preprocessing, to_canvas
from dicomsort.radiograph import why_not


def read(path: str, preprocessing: Preprocessing) -> Picture | Failure:
    """Read one file: is it DICOM, is it a projection radiograph, and what does the network see of it.

    Returns a Picture with a uint8 (size, size) image, or a Failure; never raises but for lack of memory.
    Of a multi-frame image the middle frame counts.
    """
    reading = _Reading(path)
    try:
        return reading.picture(preprocessing)
    except Stop as stop:
        return Failure(stop.status, stop.reason, reading.header, reading.stamp)
    except FileNotFoundError:
        return Failure(Status.IO_ERROR, Reason.VANISHED, reading.header, reading.stamp)
    except OSError as error:
        if error.errno is None or error.errno == errno.EINVAL:  # raised by a parser or for an absurd seek
            return Failure(Status.DECODE_ERROR, reading.trouble, reading.header, reading.stamp)
        return Failure(Status.IO_ERROR, Reason.UNREADABLE, reading.header, reading.stamp)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (pydicom and the codecs raise nearly everything there is)
        return Failure(Status.DECODE_ERROR, reading.trouble, reading.header, reading.stamp)


class _Reading:
    """The reading of one file, and how far it came."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.header = Header()
        self.stamp: Stamp | None = None
        self.trouble = Reason.HEADER_DAMAGED

    def picture(self, preprocessing: Preprocessing) -> Picture:
        with open(self.path, "rb") as file:
            self._recognise(file)
            dataset = read_header(file)
            self.header = header_of(dataset)
            self._refuse_others(dataset)
            if is_cut(dataset, file):
                raise Stop(Status.DECODE_ERROR, Reason.HEADER_DAMAGED)
            self.trouble = Reason.PIXELS_DAMAGED
            layout = Layout(dataset, self.header)
            stored = layout.stored_values(PixelSource(file, dataset, self.path))
        scale = _grey_scale(dataset, layout)
        try:
            grey, honoured = render(stored, scale, preprocessing.size, _pixel_aspect(dataset))
        except ValueError as error:
            raise Stop(Status.DECODE_ERROR, Reason.CONSTANT_IMAGE) from error
        reason = Reason.NONE if honoured else Reason.PERCENTILE_WINDOW
        return Picture(to_canvas(grey, preprocessing), self.header, self.stamp, reason)

    def _recognise(self, file: BinaryIO) -> None:
        facts = os.fstat(file.fileno())
        self.stamp = Stamp(facts.st_size, facts.st_mtime_ns)
        if facts.st_size == 0:
            raise Stop(Status.NOT_DICOM, Reason.EMPTY_FILE)
        if not looks_dicom(file, facts.st_size):
            raise Stop(Status.NOT_DICOM, Reason.NO_DICOM)

    def _refuse_others(self, dataset: Dataset) -> None:
        reason = why_not(sop_class(dataset), self.header.modality)
        if reason is Reason.NO_TYPE and not dataset:
            raise Stop(Status.DECODE_ERROR, Reason.HEADER_DAMAGED)
        if reason is not Reason.NONE:
            raise Stop(Status.NOT_XRAY, reason)


def _grey_scale(dataset: Dataset, layout: Layout) -> GreyScale:
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    shape = text(dataset, "PresentationLUTShape", "CS").upper()
    return GreyScale(
        slope=slope if slope else 1.0,
        intercept=intercept or 0.0,
        modality_lut=_look_up_table(dataset, "ModalityLUTSequence", layout),
        voi_lut=_look_up_table(dataset, "VOILUTSequence", layout),
        window=_window(dataset),
        inverse=layout.photometric == "MONOCHROME1" or shape == "INVERSE",
    )


def _window(dataset: Dataset) -> Window | None:
    center, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    if center is None or width is None:
        return None
    function = text(dataset, "VOILUTFunction", "CS").upper()
    return Window(center, width, function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR")


def _look_up_table(dataset: Dataset, keyword: str, layout: Layout) -> LookUpTable | None:
    """Return the first item's table, or None if there is none or it is shorter than it claims."""
    items = dataset.get(keyword)
    if not items or "LUTDescriptor" not in items[0] or "LUTData" not in items[0]:
        return None
    entries, first = (int(value) for value in items[0].LUTDescriptor[:2])
    data = items[0].LUTData
    table = np.frombuffer(data, layout.word) if isinstance(data, bytes) else np.asarray(data)
    entries = entries or 1 << 16
    if table.size < entries or table.size == 0:
        return None
    if layout.signed and first >= 1 << 15:
        first -= 1 << 16
    return LookUpTable(first, table[:entries].astype(np.uint16))


def _pixel_aspect(dataset: Dataset) -> float:
    """Return pixel height / width from Pixel Aspect Ratio (PS3.3 C.7.6.3.1.7), 1 where it is unusable."""
    try:
        vertical, horizontal = (float(value) for value in dataset.get("PixelAspectRatio", (1, 1)))
        ratio = vertical / horizontal
    except (TypeError, ValueError, ArithmeticError):
        return 1.0
    return ratio if 0.1 <= ratio <= 10 else 1.0  # noqa: PLR2004
