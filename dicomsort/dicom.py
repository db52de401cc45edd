"""One file in; its header and one small uint8 image out."""

import errno
import os
from typing import BinaryIO

from pydicom.dataset import Dataset

from dicomsort.greyscale import render
from dicomsort.header import Stop, header_of, is_cut, is_standard, looks_dicom, read_header, sop_class
from dicomsort.outcome import Failure, Header, Picture, Reason, Stamp, Status
from dicomsort.pixels import Layout, PixelSource
from dicomsort.preprocess import Preprocessing, fitted_shape, to_canvas
from dicomsort.presentation import grey_scale, pixel_aspect
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
            self._refuse_others(dataset, is_cut(dataset, file))
            self.trouble = Reason.PIXELS_DAMAGED
            source = PixelSource(file, dataset, self.path)
            source.open()
            layout = Layout(dataset, self.header)
            layout.check()
            scale = grey_scale(dataset, layout, layout.frame)
            shape = fitted_shape(layout.rows, layout.columns, preprocessing.size, pixel_aspect(dataset))
            enough = (layout.rows, layout.columns) if scale.has_tables else shape
            stored = layout.stored_values(source, enough)
        try:
            grey, honoured = render(stored.pixels, scale, shape, stored.box(layout.rows, layout.columns))
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

    def _refuse_others(self, dataset: Dataset, cut: bool) -> None:
        """Stop at what is no radiograph; a cut header is believed only if its SOP class is whole."""
        known = sop_class(dataset)
        reason = why_not(known, self.header.modality)
        other = reason is not Reason.NONE and is_standard(known)
        if ((cut or not dataset) and not other) or (reason is Reason.NONE and self.header.rows is None):
            raise Stop(Status.DECODE_ERROR, Reason.HEADER_DAMAGED)
        if reason is not Reason.NONE:
            raise Stop(Status.NOT_XRAY, reason)
