"""Whether a decoder has run out of a JPEG stream's data and filled the picture in with gray."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.dicom.jpeg import BASELINE_OR_EXTENDED, LOSSLESS, JpegStream, Scan

_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_CHANCE = 16  # codes that the bits before a run may look like
_UNSEEN = 4  # MCUs: coefficients that are not 0, but too small for a picture, may be taken for gray
_DATA_UNIT = 8
_STEPS = (1, 2, 4, 8)


def has_blank_part(stream: JpegStream, frame: bytes, pixels: NDArray[Any]) -> bool:
    """Return whether a restart interval, or the whole stream, ends in pixels that are not in the data.

    stream, frame: the stream and its bytes. pixels: (rows, columns) or (rows, columns, samples), of any
    scale. Where the data end too early libjpeg gives middle gray without an error. Pixels truly of that
    gray are coded, with as many codes of "no difference" as there are of them, so these are counted.
    A loss of four MCUs, or two rows if lossless, is not seen. Progressive streams, and colors in several
    scans that a decoder has converted, are taken on trust.
    """
    if stream.process == LOSSLESS and pixels.ndim == 3:
        places = {each.identifier: index for index, each in enumerate(stream.components)}
        planes = ((scan, [places[one] for one in scan.components]) for scan in stream.scans)
        return any(_runs_out(stream, scan, frame, pixels[..., at]) for scan, at in planes)
    if stream.process not in (*BASELINE_OR_EXTENDED, LOSSLESS) or len(stream.scans) != 1:
        return False
    return _runs_out(stream, stream.scans[0], frame, pixels)


def _runs_out(stream: JpegStream, scan: Scan, frame: bytes, pixels: NDArray[Any]) -> bool:
    code = _blank_unit(stream, scan)
    gray = 1 << (stream.precision - 1)
    end = pixels[-1] if stream.process == LOSSLESS else pixels[-1, -1]
    if code is None or (not scan.interval and (end != gray).any()):
        return False
    across, _ = stream.grid(scan)
    unseen = 2 * across if stream.process == LOSSLESS else _UNSEEN
    return any(
        longest > unseen
        and not any(shortest - unseen <= codes <= longest + unseen + _CHANCE for codes in _codes(data, code))
        for shortest, longest, data in _blank_runs(stream, scan, frame, pixels == gray)
    )


def _blank_unit(stream: JpegStream, scan: Scan) -> str | None:
    """Return the bits of an MCU without any difference; empty if it cannot be coded, None if not known."""
    bits = ""
    for (direct, alternating), units in zip(scan.tables, stream.units(scan), strict=True):
        tables = [(0, direct)] if stream.process == LOSSLESS else [(0, direct), (1, alternating)]
        if any(table not in scan.codes for table in tables):
            return None
        if not all(scan.codes[table] for table in tables):
            return ""
        bits += "".join(scan.codes[table] for table in tables) * units
    return bits


def _blank_runs(
    stream: JpegStream, scan: Scan, frame: bytes, is_gray: NDArray[np.bool_]
) -> Iterator[tuple[int, int, bytes]]:
    """Yield for each interval that ends in gray how many MCUs are, at least and at most, and its data."""
    whole, inner = _blank_units(stream, scan, is_gray)
    interval = scan.interval or inner.size
    suspects = np.flatnonzero(
        inner[np.minimum(np.arange(interval, inner.size + interval, interval), inner.size) - 1]
    )
    parts = _RESTART.split(frame[scan.start : scan.end]) if suspects.size else []
    for index in suspects:
        own = slice(index * interval, (index + 1) * interval)
        yield _run(whole[own]), _run(inner[own]), parts[index] if index < len(parts) else b""


def _run(blank: NDArray[np.bool_]) -> int:
    """Return how many at the end are true."""
    others = np.flatnonzero(np.logical_not(blank))
    return int(blank.size - 1 - others[-1]) if others.size else blank.size


def _blank_units(
    stream: JpegStream, scan: Scan, is_gray: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return for each MCU, in the order of the stream, whether all its pixels are gray, and its inner ones.

    Its outer pixels may have been smoothed with those of its neighbours, where colors are of half size.
    """
    plane = is_gray if is_gray.ndim == 2 else np.asarray(is_gray.all(axis=2))
    if stream.process == LOSSLESS:
        return plane.reshape(-1), plane.reshape(-1)
    step = next((one for one in _STEPS if -(-stream.columns // one) == plane.shape[1]), 1)
    across, down = stream.grid(scan)
    factors = stream.most if len(scan.components) > 1 else (1, 1)
    wide, high = (max(_DATA_UNIT * factor // step, 1) for factor in factors)
    padded = np.ones((down * high, across * wide), np.bool_)
    padded[: plane.shape[0], : plane.shape[1]] = plane[: padded.shape[0], : padded.shape[1]]
    units = padded.reshape(down, high, across, wide)
    aside, above = wide // 8, high // 8
    inner = units[:, above : high - above, :, aside : wide - aside]
    return np.all(units, axis=(1, 3)).reshape(-1), np.all(inner, axis=(1, 3)).reshape(-1)


def _codes(data: bytes, code: str) -> Iterator[int]:
    """Yield how often data end with a code, for each padding of up to seven bits (T.81 F.1.2.3)."""
    if not code:
        return
    data = data.rstrip(b"\xff").replace(b"\xff\x00", b"\xff")
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    pattern = np.array([int(bit) for bit in code], np.uint8)
    for padding in range(min(8, bits.size)):
        end = bits.size - padding
        words = bits[end % pattern.size : end].reshape(-1, pattern.size)[::-1]
        wrong = (words != pattern).any(axis=1)
        yield int(wrong.argmax()) if wrong.any() else len(words)
