"""What the markers of a JPEG or JPEG-LS stream say, and whether a decoder has told the truth about it."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LOSSLESS, JPEG_LS = 3, 55
_BASELINE_OR_EXTENDED = frozenset({0, 1})
_PROGRESSIVE = frozenset({2, 6, 10, 14})
_FRAME_HEADERS = {**{0xC0 + number: number for number in range(16)}, 0xF7: JPEG_LS}
_NO_FRAME_HEADERS = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG, DAC (ITU-T T.81 Table B.1)
_SOI, _EOI, _SOS, _DHT, _DRI, _APP0, _APP14 = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD, 0xE0, 0xEE
_RESTARTS = range(0xD0, 0xD8)
_BARE = frozenset({0x01, _SOI, _EOI, *_RESTARTS})
_MOST_SCANS = 1000
_PROVEN = 64  # repetitions that no picture's last samples have by chance
_RGB_IDS = (ord("R"), ord("G"), ord("B"))


class Component(NamedTuple):
    """A component of the frame: its identifier and sampling factors (T.81 B.2.2)."""

    identifier: int
    horizontal: int
    vertical: int


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan: its components' identifiers and (DC, AC) table numbers, and what its header and DRI say.

    start, end: where its entropy-coded data lie in the stream. restarts: the numbers of the RSTn markers met.
    codes: by (class, number), the Huffman code of the symbol 0 as a string of bits.
    """

    components: tuple[int, ...]
    tables: tuple[tuple[int, int], ...]
    selection: int
    point_transform: int
    interval: int
    start: int
    end: int
    restarts: tuple[int, ...] = ()
    codes: Mapping[tuple[int, int], str] = field(default_factory=dict)


@dataclass(frozen=True)
class JpegStream:
    """A stream as its markers tell it.

    process: n of SOFn, 55 for JPEG-LS. jfif: whether there is a JFIF marker. adobe: the transform that an
    Adobe marker names, None without one. ended: whether EOI stands behind the last scan.
    """

    process: int
    precision: int
    rows: int
    columns: int
    components: tuple[Component, ...]
    scans: tuple[Scan, ...]
    jfif: bool
    adobe: int | None
    ended: bool

    @property
    def is_rgb(self) -> bool | None:
        """Whether the stream itself says that it holds RGB; None if it says nothing.

        As decoders do: a JFIF marker means YCbCr, an Adobe one names the transform, else the letters R, G, B
        may stand in place of the components' numbers.
        """
        if self.jfif:
            return False
        if self.adobe is not None:
            return self.adobe == 0
        return True if tuple(each.identifier for each in self.components) == _RGB_IDS else None

    @property
    def is_plain(self) -> bool:
        """Whether it is one scan, without restarts and point transform, which every decoder can read."""
        return len(self.scans) == 1 and not self.scans[0].interval and not self.scans[0].point_transform

    @property
    def is_whole(self) -> bool:
        """Whether every component has its scan, every scan all its restart markers, and the stream an end."""
        coded = [identifier for scan in self.scans for identifier in scan.components]
        told = {each.identifier for each in self.components}
        once = self.process in _PROGRESSIVE or len(coded) == len(told)
        return self.ended and set(coded) == told and once and all(map(self._has_all_restarts, self.scans))

    def _has_all_restarts(self, scan: Scan) -> bool:
        """Count RSTn and look at their order (T.81 B.1.1.3); one more at the end is forgiven."""
        if self.process == JPEG_LS:
            return True
        if any(mark != index % 8 for index, mark in enumerate(scan.restarts)):
            return False
        due = -(-self._units(scan) // scan.interval) - 1 if scan.interval else 0
        return due <= len(scan.restarts) <= due + 1

    def _units(self, scan: Scan) -> int:
        """Return the number of MCUs of a scan (T.81 A.2)."""
        across, down = self._grid(scan)
        return across * down

    def _grid(self, scan: Scan) -> tuple[int, int]:
        """Return MCUs a row and rows of MCUs. A scan of one component has one data unit in each (A.2.2)."""
        unit = 1 if self.process == LOSSLESS else 8
        most_h, most_v = self._most
        if len(scan.components) > 1:
            return -(-self.columns // (unit * most_h)), -(-self.rows // (unit * most_v))
        own = self._by_identifier[scan.components[0]]
        across, down = -(-self.columns * own.horizontal // most_h), -(-self.rows * own.vertical // most_v)
        return -(-across // unit), -(-down // unit)

    @cached_property
    def _most(self) -> tuple[int, int]:
        most_h = max(each.horizontal for each in self.components)
        return most_h, max(each.vertical for each in self.components)

    @cached_property
    def _by_identifier(self) -> dict[int, Component]:
        return {each.identifier: each for each in self.components}

    def has_blank_tail(self, frame: bytes, pixels: NDArray[Any]) -> bool:
        """Return whether the decoder has run out of data and filled the end with middle grey.

        frame: the stream. pixels: (rows, columns) or (rows, columns, samples), of any scale. That is what
        libjpeg does, without an error. Pixels that are truly of that grey are coded: the data end with a
        code of "no difference" for each. Progressive streams, and colours in several scans that a decoder
        has converted, are taken on trust.
        """
        if self.process == LOSSLESS and pixels.ndim == 3:
            places = {each.identifier: index for index, each in enumerate(self.components)}
            planes = [(scan, [places[one] for one in scan.components]) for scan in self.scans]
            return any(self._runs_out(scan, frame, pixels[..., at]) for scan, at in planes)
        if self.process not in (*_BASELINE_OR_EXTENDED, LOSSLESS) or len(self.scans) != 1:
            return False
        return self._runs_out(self.scans[0], frame, pixels)

    def _runs_out(self, scan: Scan, frame: bytes, pixels: NDArray[Any]) -> bool:
        unit, count = self._blank_unit(scan), self._blank_units(scan)
        tail = -(-pixels.shape[1] * (count + 1) // self._grid(scan)[0])
        if not unit or count <= 0 or (pixels[-1, -tail:] != 1 << (self.precision - 1)).any():
            return False
        data = frame[max(scan.start, scan.end - count * len(unit) // 4 - 64) : scan.end]
        return not _ends_with(data, unit * count)

    def _blank_units(self, scan: Scan) -> int:
        """Return how many of the last MCUs are compared; each must have one before it in row and interval."""
        across, down = self._grid(scan)
        last = (across * down - 1) % scan.interval + 1 if scan.interval else across
        return min(across, last, _PROVEN + 1) - 1

    def _blank_unit(self, scan: Scan) -> str:
        """Return the bits of an MCU without any difference; empty if a table of it is not known."""
        bits = ""
        for identifier, (direct, alternating) in zip(scan.components, scan.tables, strict=True):
            own = self._by_identifier[identifier]
            units = own.horizontal * own.vertical if len(scan.components) > 1 else 1
            parts = [scan.codes.get((0, direct))]
            if self.process != LOSSLESS:
                parts.append(scan.codes.get((1, alternating)))
            if not all(parts):
                return ""
            bits += "".join(part or "" for part in parts) * units
        return bits


def _ends_with(data: bytes, code: str) -> bool:
    """Return whether entropy-coded data end with a code, up to seven bits of padding (T.81 F.1.2.3)."""
    data = data.rstrip(b"\xff").replace(b"\xff\x00", b"\xff")
    bits = "".join(f"{byte:08b}" for byte in data)
    return any(bits.endswith(code, 0, len(bits) - padding) for padding in range(8))


def read_stream(frame: bytes) -> JpegStream | None:
    """Read the markers of a stream (T.81 B.1, T.87 C.1); None if it has no frame header or makes no sense."""
    try:
        return _Walk(frame).stream()
    except (struct.error, IndexError, ValueError):
        return None


class _Walk:
    """The way through the markers of one stream."""

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self._marks: NDArray[np.int64] | None = None
        self._head: tuple[int, int, int, int] | None = None
        self._components: tuple[Component, ...] = ()
        self._scans: list[Scan] = []
        self._interval = 0
        self._jfif = False
        self._adobe: int | None = None
        self._codes: dict[tuple[int, int], str] = {}

    def stream(self) -> JpegStream | None:
        if self._frame[:2] != b"\xff\xd8":
            return None
        at, ended = 2, False
        while (at := self._next_marker(at)) >= 0 and not ended:
            marker, at = self._frame[at + 1], at + 2
            ended = marker == _EOI and bool(self._scans)
            if marker not in _BARE:
                at = self._segment(marker, at)
        if self._head is None:
            return None
        whole = tuple(self._scans)
        return JpegStream(*self._head, self._components, whole, self._jfif, self._adobe, ended)

    def _next_marker(self, at: int) -> int:
        """Find FF and a byte that makes a marker of it; fill bytes may stand before (T.81 B.1.1.2)."""
        while (at := self._frame.find(b"\xff", at)) >= 0 and at + 1 < len(self._frame):
            if self._frame[at + 1] not in (0x00, 0xFF):
                return at
            at += 1
        return -1

    def _segment(self, marker: int, at: int) -> int:
        """Take in a segment whose length stands at `at`; return where the search goes on."""
        end = at + int.from_bytes(self._frame[at : at + 2], "big")
        body = self._frame[at + 2 : end]
        if marker in _FRAME_HEADERS and marker not in _NO_FRAME_HEADERS:
            self._frame_header(_FRAME_HEADERS[marker], body)
        elif marker == _SOS and self._head is not None:
            return self._scan(body, end)
        elif marker == _DRI:
            self._interval = int.from_bytes(body, "big")
        elif marker == _DHT:
            self._codes.update(_zero_codes(body))
        elif marker == _APP0 and body[:5] == b"JFIF\0":
            self._jfif = True
        elif marker == _APP14 and body[:5] == b"Adobe" and len(body) >= 12:
            self._adobe = body[11]
        return end

    def _frame_header(self, process: int, body: bytes) -> None:
        precision, rows, columns, count = struct.unpack_from(">BHHB", body)
        self._head = process, precision, rows, columns
        triples = (body[at : at + 3] for at in range(6, 6 + 3 * count, 3))
        self._components = tuple(Component(one[0], one[1] >> 4 or 1, one[1] & 15 or 1) for one in triples)

    def _scan(self, body: bytes, start: int) -> int:
        count = body[0]
        pairs = [body[at : at + 2] for at in range(1, 1 + 2 * count, 2)]
        selection, approximation = body[1 + 2 * count], body[3 + 2 * count]
        end, restarts = self._entropy_coded(start)
        scan = Scan(
            tuple(pair[0] for pair in pairs), tuple((pair[1] >> 4, pair[1] & 15) for pair in pairs),
            selection, approximation & 15, self._interval, start, end, restarts, dict(self._codes),
        )  # fmt: skip
        self._scans.append(scan)
        if len(self._scans) > _MOST_SCANS:
            raise ValueError("scans without end")
        return end

    def _entropy_coded(self, start: int) -> tuple[int, tuple[int, ...]]:
        """Return where entropy-coded data end, and the RSTn among them."""
        if self._marks is None:
            self._marks = self._markers(start)
        marks = self._marks[np.searchsorted(self._marks, start) :]
        kinds = np.frombuffer(self._frame, np.uint8)[marks + 1]
        others = np.flatnonzero((kinds < _RESTARTS.start) | (kinds >= _RESTARTS.stop))
        last = int(others[0]) if others.size else len(marks)
        end = int(marks[last]) if last < len(marks) else len(self._frame)
        return end, tuple(int(kind) - _RESTARTS.start for kind in kinds[:last])

    def _markers(self, start: int) -> NDArray[np.int64]:
        """Return the places of all markers from `start` on.

        In JPEG-LS a byte below 80 may follow FF (T.87 A.1), else only 00 (T.81 B.1.1.5).
        """
        data = np.frombuffer(self._frame, np.uint8)
        places = start + np.flatnonzero(data[start:-1] == 0xFF)
        following = data[places + 1]
        least = 0x80 if self._head is not None and self._head[0] == JPEG_LS else 0x01
        return np.asarray(places[(following >= least) & (following != 0xFF)])


def _zero_codes(body: bytes) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield for each Huffman table of a DHT segment the code of symbol 0, if any (T.81 B.2.4.2, C.2)."""
    at = 0
    while at + 17 <= len(body):
        place, counts = (body[at] >> 4, body[at] & 15), body[at + 1 : at + 17]
        symbols = body[at + 17 : at + 17 + sum(counts)]
        yield from ((place, code) for symbol, code in _canonical(counts, symbols) if symbol == 0)
        at += 17 + sum(counts)


def _canonical(counts: bytes, symbols: bytes) -> Iterator[tuple[int, str]]:
    code, index = 0, 0
    for length, count in enumerate(counts, 1):
        for symbol in symbols[index : index + count]:
            yield symbol, f"{code:0{length}b}"
            code += 1
        index, code = index + count, code << 1
