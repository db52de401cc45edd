"""What a caller has in memory in place of a file: its bytes, an open file, or numbers."""

import io
from typing import BinaryIO, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import UsageError
from dicomsort.imaging.canvas import (
    Canvas,
    GrayFloat,
    Preprocessing,
    fitted_shape,
    shrink,
    to_bytes,
    to_canvas,
)
from dicomsort.imaging.grayscale import GrayscaleTransform, render, window_shape

Bytes = bytes | bytearray | memoryview
"""The whole content of a file."""

_PLAIN = GrayscaleTransform()


def is_in_memory(source: object) -> TypeGuard[Bytes | BinaryIO]:
    """Return whether this is the content of a file, or an open one, rather than a name or an array."""
    return isinstance(source, Bytes) or (hasattr(source, "read") and not isinstance(source, np.ndarray))


def stream_of(source: Bytes | BinaryIO) -> BinaryIO:
    """Return what was handed in as a file that can be read anywhere, at its start.

    A file of the disk stays one; anything else that is open, such as a member of an archive or the answer of
    a server, is read to its end. Raises UsageError for one that is closed, or was opened as text.
    """
    if isinstance(source, Bytes):
        return io.BytesIO(source)
    if getattr(source, "closed", False):
        raise UsageError("the file is closed: hand in one that is open")
    if source.seekable() if hasattr(source, "seekable") else hasattr(source, "seek"):
        source.seek(0)
        if type(source) is io.BytesIO or _is_of_the_disk(source):
            return source
    content = cast("object", source.read())
    if not isinstance(content, Bytes):
        raise UsageError("the file was opened as text: open it in binary mode, as by open(name, 'rb')")
    return io.BytesIO(content)


def _is_of_the_disk(source: BinaryIO) -> bool:
    """Return whether the bytes under the descriptor are those that are read: not so with gzip, for one."""
    return type(source) is io.BufferedReader and type(source.raw) is io.FileIO


def drawn(values: NDArray[np.generic], preprocessing: Preprocessing | None) -> Canvas:
    """Draw numbers as the gray picture that the network sees.

    values: (rows, columns), square pixels, low is black. uint8 is gray already, and is only fitted to the
    canvas. Other whole numbers and floats have any unit, and get the window of a DICOM file that has none: by
    percentiles of what is no border. preprocessing: None for all pixels.

    Returns uint8 (size, size), or (rows, columns) without canvas. Raises UsageError for an array of another
    kind, ConstantImageError.
    """
    numbers = _checked(values)
    rows, columns = numbers.shape
    shape = (rows, columns) if preprocessing is None else fitted_shape(rows, columns, preprocessing.size)
    gray = (
        shrink(np.asarray(numbers, np.float32), shape)
        if numbers.dtype == np.uint8
        else _windowed(numbers, shape)
    )
    return to_bytes(gray) if preprocessing is None else to_canvas(gray, preprocessing)


def _checked(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the numbers in a type that can be averaged. Raises UsageError if there is no picture in them."""
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "uif":
        raise UsageError(
            "an array must be gray, (rows, columns) of whole numbers or floats, "
            f"not {values.dtype} {values.shape}"
        )
    if values.dtype.kind != "f" and values.dtype.itemsize <= 2:
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise UsageError("an array must hold finite numbers that float32 can hold: it has NaN or infinity")
    return numbers


def _windowed(numbers: NDArray[np.generic], shape: tuple[int, int]) -> GrayFloat:
    rows, columns = numbers.shape
    return render(numbers, _PLAIN, shape, judged=window_shape(rows, columns, 1.0))[0]
