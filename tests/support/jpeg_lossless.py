"""Write JPEG lossless streams with every option of ITU-T T.81 process 14, for decoders to be tried on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int64]

_CODE_BITS = 5  # one length for all 17 categories; the code of all ones stays free (T.81 C.2)


@dataclass(frozen=True)
class Options:
    """How a stream is written.

    precision: bits of a sample, 2 to 16. predictor: 1 to 7 (T.81 Table H.1). point_transform: low bits that
    are left out. restart_rows: rows of a restart interval, 0 for none. scans: the components of each scan, in
    their order; None for one scan of all. ids: identifiers of the components. app: segments behind SOI.
    """

    precision: int = 12
    predictor: int = 1
    point_transform: int = 0
    restart_rows: int = 0
    scans: tuple[tuple[int, ...], ...] | None = None
    ids: tuple[int, ...] = (1, 2, 3)
    app: bytes = b""


def encode(pixels: NDArray[np.integer], options: Options = Options()) -> bytes:
    """Encode (rows, columns) or (rows, columns, 3) values below 2 ** precision."""
    planes = pixels.astype(np.int64)
    planes = planes[None] if planes.ndim == 2 else np.moveaxis(planes, -1, 0)
    rows, columns = planes.shape[1:]
    scans = options.scans or (tuple(range(len(planes))),)
    frame = b"".join(bytes((options.ids[index], 0x11, 0)) for index in range(len(planes)))
    out = b"\xff\xd8" + options.app + _huffman_table()
    out += _segment(0xC3, bytes((options.precision,)) + _words(rows, columns) + bytes((len(planes),)) + frame)
    for scan in scans:
        if options.restart_rows:
            out += _segment(0xDD, _words(options.restart_rows * columns))
        heads = b"".join(bytes((options.ids[index], 0)) for index in scan)
        tail = bytes((options.predictor, 0, options.point_transform))
        out += _segment(0xDA, bytes((len(scan),)) + heads + tail)
        out += _entropy_coded(planes[list(scan)] >> options.point_transform, options)
    return out + b"\xff\xd9"


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + _words(len(content) + 2) + content


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def _huffman_table() -> bytes:
    counts = bytes(17 if length == _CODE_BITS else 0 for length in range(1, 17))
    return _segment(0xC4, b"\0" + counts + bytes(range(17)))


def _entropy_coded(planes: Samples, options: Options) -> bytes:
    height = options.restart_rows or planes.shape[1]
    parts = []
    for top in range(0, planes.shape[1], height):
        part = planes[:, top : top + height]
        differences = np.stack([_differences(plane, options) for plane in part], axis=-1)
        parts.append(_bits(differences.reshape(-1)).replace(b"\xff", b"\xff\0"))
    marks = [bytes((0xFF, 0xD0 + index % 8)) for index in range(len(parts) - 1)]
    return b"".join(part + mark for part, mark in zip(parts, [*marks, b""], strict=True))


def _differences(plane: Samples, options: Options) -> Samples:
    """Return what is left of samples when their prediction is taken away (T.81 H.1.2.1), modulo 2 ** 16."""
    left = np.roll(plane, 1, axis=1)
    above = np.roll(plane, 1, axis=0)
    corner = np.roll(above, 1, axis=1)
    predicted = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[options.predictor].copy()
    predicted[:, 0], predicted[0] = above[:, 0], left[0]
    predicted[0, 0] = 1 << (options.precision - options.point_transform - 1)
    return np.asarray(((plane - predicted + 0x7FFF) & 0xFFFF) - 0x7FFF)


def _bits(differences: Samples) -> bytes:
    """Code each difference as its category and its low bits (T.81 H.1.2.2)."""
    magnitude = np.abs(differences)
    category = np.zeros(len(magnitude), np.int64)
    for bit in range(16):
        category += magnitude >> bit > 0
    low = np.where(differences < 0, differences - 1, differences) & ((1 << category) - 1)
    extra = np.where(category == 16, 0, category)
    word = (category << extra) | np.where(category == 16, 0, low)
    length = _CODE_BITS + extra
    places = np.arange(_CODE_BITS + 15, -1, -1)
    bits = (word[:, None] >> places & 1).astype(np.uint8)[places < length[:, None]]
    return np.packbits(np.concatenate([bits, np.ones(-len(bits) % 8, np.uint8)])).tobytes()
