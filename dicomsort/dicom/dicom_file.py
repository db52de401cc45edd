"""One file in; its header and one small uint8 image out."""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicomsort.dicom.codecs import SUPPORTED
from dicomsort.dicom.deflate import InflatesTooFarError
from dicomsort.dicom.facts import facts_of
from dicomsort.dicom.header import (
    Rejected,
    header_of,
    is_cut,
    is_standard,
    looks_dicom,
    read_header,
    sop_class,
)
from dicomsort.dicom.other_files import reason_for
from dicomsort.dicom.pixel_data import ImagePixelDescription, StoredValues
from dicomsort.dicom.pixel_source import PixelSource
from dicomsort.dicom.sop_classes import ReadSettings, exclusion_reason, remarks_on
from dicomsort.dicom.transforms import grayscale_transform, pixel_aspect
from dicomsort.imaging.canvas import (
    NOTHING,
    Fitted,
    Preprocessing,
    fitted_shape,
    to_bytes,
    to_canvas,
    to_words,
)
from dicomsort.imaging.grayscale import (
    ConstantImageError,
    GrayscaleTransform,
    gray_values,
    render,
    window_shape,
)
from dicomsort.inputs.archive_file import MemberDamagedError
from dicomsort.inputs.names import is_plain
from dicomsort.inputs.opened import opened, size_of
from dicomsort.inputs.sources import local
from dicomsort.outcome import (
    Cost,
    Failure,
    FileStamp,
    Header,
    Part,
    ReadImage,
    Reason,
    Status,
    age_group_of,
    frame_remark,
)
from dicomsort.system.retry import retry_transient

On = Preprocessing | Fitted | None
"""What a picture is drawn on: a canvas, nothing around it, or nothing and all pixels."""

Wanted = Callable[[Header], bool]
"""Says whether the pixels of a radiograph with this header are to be read."""

_DEFAULTS = ReadSettings()
_NEAR = 4  # frames that are looked at for one that its window shows
_CAUSES: dict[type[Exception], tuple[Status, Reason]] = {
    FileNotFoundError: (Status.IO_ERROR, Reason.VANISHED),
    InflatesTooFarError: (Status.UNSUPPORTED, Reason.TOO_LARGE),
    ConstantImageError: (Status.DECODE_ERROR, Reason.CONSTANT_IMAGE),
}


def read(
    path: str,
    preprocessing: On,
    settings: ReadSettings = _DEFAULTS,
    further: Sequence[Preprocessing] = (),
    held: Part | BinaryIO | None = None,
    wanted: Wanted | None = None,
) -> ReadImage | Failure:
    """Read one file: is it DICOM, is it a projection radiograph, and what does the network see of it.

    Returns a ReadImage with a uint8 (size, size) image, or a Failure; never raises but for lack of memory.
    Without `preprocessing` the image has all pixels of the frame, square ones (Pixel Aspect Ratio is worked
    in). Fitted to 16 bits it is uint16, see `grayscale.gray_values`. Of a multi-frame image the middle frame
    counts. further: other canvases, which are made of the same
    pixels; as many of these are decoded as the largest canvas needs. held: where the bytes are, or what gives
    them, if they are not the file that the path names; then there is no stamp. Of what was fetched in part,
    `inputs.opened.MissingBytes` tells what else is needed. wanted: says by its header whether a radiograph's
    pixels are; if they are not, the image is empty, (0, 0).
    """
    reading = _Reading(path, held, wanted)
    try:
        picture = retry_transient(lambda: reading.picture((preprocessing, *further), settings))
        return replace(picture, cost=reading.cost())
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  (pydicom and the codecs raise nearly everything there is)
        status, reason = _cause(error, reading.trouble)
        return Failure(status, reason, reading.header, reading.stamp, reading.cost())


def _cause(error: Exception, trouble: Reason) -> tuple[Status, Reason]:
    """Say what the manifest tells of an error. A parser's OSError has no number, or EINVAL."""
    if isinstance(error, Rejected):
        return error.status, error.reason
    if isinstance(error, MemberDamagedError):
        status = Status.UNSUPPORTED if error.reason is Reason.INFLATES else Status.DECODE_ERROR
        return status, error.reason
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL, errno.ENOENT):
        return Status.IO_ERROR, Reason.UNREADABLE
    return _CAUSES.get(type(error), (Status.DECODE_ERROR, trouble))


class _Reading:
    """The reading of one file, and how far it came."""

    def __init__(self, path: str, held: Part | BinaryIO | None = None, wanted: Wanted | None = None) -> None:
        self.path, self._held, self._wanted = path, held, wanted
        self.header = Header()
        self.stamp: FileStamp | None = None
        self.trouble = Reason.HEADER_DAMAGED
        self._began = time.process_time()
        self._known = 0.0

    def cost(self) -> Cost:
        """Return the processor time spent until now."""
        now = time.process_time()
        known = self._known or now
        return Cost(known - self._began, now - known)

    def picture(self, canvases: Sequence[On], settings: ReadSettings) -> ReadImage:
        with self._opened() as file:
            dataset, stream = read_header(file)
            self.header = header_of(dataset)
            facts = facts_of(dataset, self.header.modality)
            if group := age_group_of(facts):
                self.header = replace(self.header, age_group=group)
            self._refuse_others(dataset, is_cut(dataset, stream), settings.secondary_capture)
            if self._wanted is not None and not self._wanted(self.header):
                return ReadImage(NOTHING, self.header, self.stamp)
            layout = ImagePixelDescription(dataset, self.header)
            if layout.syntax not in SUPPORTED:
                raise Rejected(Status.UNSUPPORTED, Reason.TRANSFER_SYNTAX)
            self.trouble, self._known = Reason.PIXELS_DAMAGED, time.process_time()
            source = PixelSource(stream, dataset)
            source.open()
            if settings.pixel_digest:
                source.require()
            layout.check(settings.max_pixels)
            drawn = _first_good(layout, partial(_drawn, dataset, layout, source, canvases))
            digest = source.told() if settings.pixel_digest else ""
        remarks = [*remarks_on(sop_class(dataset), self.header.modality), *layout.remarks, *drawn.remarks]
        image, *further = drawn.images
        return ReadImage(
            image,
            self.header,
            self.stamp,
            tuple(dict.fromkeys(remarks)),
            further=tuple(further),
            facts=facts,
            pixel_digest=digest,
        )

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Open the file, and see whether it is a DICOM file; its position is at the start then."""
        if self._held is None and not is_plain(self.path) and not os.path.exists(self.path):
            with local(self.path) as here, opened(here.file) as file:
                self.stamp = here.stamp
                self._recognise(file, size_of(file))
                yield file
        elif self._held is None:
            with opened(self.path) as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode):
                    raise Rejected(Status.NOT_DICOM, Reason.SPECIAL_FILE)
                self.stamp = FileStamp(facts.st_size, facts.st_mtime_ns)
                self._recognise(file, facts.st_size)
                yield file
        elif isinstance(self._held, Part):
            with opened(self.path, self._held) as file:
                self._recognise(file, size_of(file) if self._held.size is None else self._held.size)
                yield file
        else:
            self._recognise(self._held, size_of(self._held))
            yield self._held

    def _recognise(self, file: BinaryIO, size: int) -> None:
        if size == 0:
            raise Rejected(Status.NOT_DICOM, Reason.EMPTY_FILE)
        if not looks_dicom(file, size):
            raise Rejected(Status.NOT_DICOM, reason_for(file))

    def _refuse_others(self, dataset: Dataset, cut: bool, secondary_capture: bool) -> None:
        """Stop at what is no radiograph; a cut header is believed only if its SOP class is whole."""
        known = sop_class(dataset)
        reason = exclusion_reason(known, self.header.modality, secondary_capture)
        other = reason is not Reason.NONE and is_standard(known)
        if (cut or not dataset) and not other:
            raise Rejected(Status.DECODE_ERROR, Reason.HEADER_DAMAGED)
        if reason is not Reason.NONE:
            raise Rejected(Status.NOT_XRAY, reason)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One frame on every canvas, and what a person should know of how it was read."""

    images: Sequence[NDArray[Any]]
    remarks: Sequence[str]


def _first_good(layout: ImagePixelDescription, draw: Callable[[int], _Drawn]) -> _Drawn:
    """Draw the middle frame, or the nearest one that is whole and no constant gray.

    One that its own window does not show, such as the noise before the X-rays, gives way to a near one that
    its window does. Raises what the middle one raises if there is no good one.
    """
    first: Exception | None = None
    spare: _Drawn | None = None
    for tried, frame in enumerate(layout.frames_to_try):
        if spare is not None and tried > _NEAR:
            break
        drawn = _tried(draw, frame)
        if isinstance(drawn, Exception):
            first = first or drawn
            continue
        if tried:
            drawn = replace(drawn, remarks=[*drawn.remarks, frame_remark(frame + 1)])
        if Reason.PERCENTILE_WINDOW not in drawn.remarks:
            return drawn
        spare = spare or drawn
    if spare is None:
        raise first or ConstantImageError
    return spare


def _tried(draw: Callable[[int], _Drawn], frame: int) -> _Drawn | Exception:
    """Draw a frame, or return what another frame may be free of."""
    try:
        return draw(frame)
    except MemoryError:
        raise
    except Exception as error:
        if not _is_of_one_frame(error):
            raise
        return error


def _is_of_one_frame(error: Exception) -> bool:
    """Return whether another frame may be free of a trouble; a device's is not."""
    if isinstance(error, Rejected):
        return error.status is Status.DECODE_ERROR
    return not isinstance(error, OSError) or error.errno is None


def _drawn(
    dataset: Dataset,
    layout: ImagePixelDescription,
    source: PixelSource,
    canvases: Sequence[On],
    frame: int,
) -> _Drawn:
    """Decode one frame, counted from 0, and draw it on every canvas."""
    scale, aspect = grayscale_transform(dataset, layout, frame), pixel_aspect(dataset, frame)
    shapes = [_shape(layout, aspect.ratio, canvas) for canvas in canvases]
    judged = window_shape(layout.rows, layout.columns, aspect.ratio)
    stored = _stored(layout, source, frame, scale, max(*shapes, judged))
    words, bits = stored.decoded.words, stored.decoded.bits
    box = stored.decoded.box(layout.rows, layout.columns)
    if isinstance(canvas := canvases[0], Fitted) and canvas.bits > 8:
        values = to_words(gray_values(words, scale, shapes[0], layout.range, box, bits))
        return _Drawn([values], [*scale.remarks, *aspect.remarks, *source.remarks, *stored.remarks])
    pictures = {shape: render(words, scale, shape, box, judged, bits) for shape in set(shapes)}
    images = [
        to_canvas(pictures[shape][0], canvas)
        if isinstance(canvas, Preprocessing)
        else to_bytes(pictures[shape][0])
        for shape, canvas in zip(shapes, canvases, strict=True)
    ]
    window_used = pictures[shapes[0]][1]
    remarks = [*scale.remarks, *aspect.remarks, *source.remarks, *stored.remarks]
    return _Drawn(images, [*([] if window_used else [Reason.PERCENTILE_WINDOW]), *remarks])


def _stored(
    layout: ImagePixelDescription,
    source: PixelSource,
    frame: int,
    scale: GrayscaleTransform,
    shape: tuple[int, int],
) -> StoredValues:
    """Decode as many pixels as the picture needs; all, if they have to be told apart one by one.

    That is so with look-up tables that have sharp bends, and with padding that does occur.
    """
    whole = layout.rows, layout.columns
    stored = layout.stored_values(source, frame, shape if scale.averages else whole)
    if stored.decoded.step > 1 and scale.is_padding(stored.decoded.pixels).any():
        return layout.stored_values(source, frame, whole)
    return stored


def _shape(layout: ImagePixelDescription, aspect: float, preprocessing: On) -> tuple[int, int]:
    """Return (height, width) of the picture; without canvas no pixel is given up to make them square."""
    if isinstance(preprocessing, Preprocessing):
        return fitted_shape(layout.rows, layout.columns, preprocessing.size, aspect)
    longest = round(max(layout.rows * max(aspect, 1), layout.columns * max(1 / aspect, 1)))
    if preprocessing is not None and preprocessing.size is not None:
        longest = min(longest, preprocessing.size)
    return fitted_shape(layout.rows, layout.columns, longest, aspect)
