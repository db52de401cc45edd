"""What the markers of a JPEG or JPEG-LS stream say, and whether all that they speak of is there."""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LOSSLESS, JPEG_LS = 3, 55
BASELINE_OR_EXTENDED = frozenset({0, 1})
_PROGRESSIVE = frozenset({2, 6, 10, 14})
_FRAME_HEADERS = {**{0xC0 + number: number for number in range(16)}, 0xF7: JPEG_LS}
_NO_FRAME_HEADERS = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG, DAC (ITU-T T.81 Table B.1)
_SOI, _EOI, _SOS, _DHT, _DRI, _APP0, _APP14 = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD, 0xE0, 0xEE
_RESTARTS = range(0xD0, 0xD8)
_BARE = frozenset({0x01, _SOI, _EOI, *_RESTARTS})
_MOST_SCANS, _MOST_TABLES = 1000, 10_000
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_RGB_IDS = (ord("R"), ord("G"), ord("B"))


class Component(NamedTuple):
    """A component of the frame: its identifier and sampling factors (T.81 B.2.2)."""

    identifier: int
    horizontal: int
    vertical: int


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan: its components' identifiers and (DC, AC) table numbers, and what its header and DRI say.

    selection, last: Ss and Se, the band of coefficients, or Ss is the predictor. point_transform: Al.
    start, end: where its entropy-coded data lie in the stream. restarts: the numbers of the RSTn markers met.
    codes: by (class, number), the Huffman code of the symbol 0 as a string of bits; empty if it has none.
    """

    components: tuple[int, ...]
    tables: tuple[tuple[int, int], ...]
    selection: int
    last: int
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
        may stand in place of the components' numbers. Green and blue are never sub-sampled.
        """
        if self.jfif:
            return False
        if self.adobe is not None:
            return self.adobe == 0
        if tuple(each.identifier for each in self.components) == _RGB_IDS:
            return True
        sampling = [(each.horizontal, each.vertical) for each in self.components]
        is_halved = self.process != LOSSLESS and any(each < sampling[0] for each in sampling)
        return False if is_halved else None

    @property
    def is_plain(self) -> bool:
        """Whether it is one scan, without restarts and point transform, which every decoder can read.

        Its tables must be there: some decoders do not look.
        """
        if len(self.scans) != 1:
            return False
        scan = self.scans[0]
        has_tables = all((0, direct) in scan.codes for direct, _ in scan.tables)
        return has_tables and not scan.interval and not scan.point_transform

    @property
    def is_whole(self) -> bool:
        """Whether every component has its scan, every scan all its restart markers, and the stream an end."""
        coded = [identifier for scan in self.scans for identifier in scan.components]
        told = {each.identifier for each in self.components}
        complete = self._is_refined if self.process in _PROGRESSIVE else len(coded) == len(told)
        return self.ended and set(coded) == told and complete and all(map(self._has_all_restarts, self.scans))

    @property
    def _is_refined(self) -> bool:
        """Whether the scans of a progressive stream give what they begin its last bit (T.81 G.1.1.1)."""
        low: dict[tuple[int, int], int] = {}
        for scan in self.scans:
            band = range(scan.selection, min(scan.last, 63) + 1)
            low.update(dict.fromkeys(product(scan.components, band), scan.point_transform))
        direct = {identifier for identifier, coefficient in low if coefficient == 0}
        return not any(low.values()) and direct == set(self._by_identifier)

    def _has_all_restarts(self, scan: Scan) -> bool:
        """Count RSTn and look at their order (T.81 B.1.1.3); one more at the end is forgiven."""
        if self.process == JPEG_LS:
            return True
        if any(mark != index % 8 for index, mark in enumerate(scan.restarts)):
            return False
        across, down = self.grid(scan)
        due = -(-across * down // scan.interval) - 1 if scan.interval else 0
        return due <= len(scan.restarts) <= due + 1

    def grid(self, scan: Scan) -> tuple[int, int]:
        """Return MCUs a row and rows of MCUs (T.81 A.2); with one component, each is one data unit."""
        unit = 1 if self.process == LOSSLESS else 8
        most_h, most_v = self.most
        if len(scan.components) > 1:
            return -(-self.columns // (unit * most_h)), -(-self.rows // (unit * most_v))
        own = self._by_identifier[scan.components[0]]
        across, down = -(-self.columns * own.horizontal // most_h), -(-self.rows * own.vertical // most_v)
        return -(-across // unit), -(-down // unit)

    @cached_property
    def most(self) -> tuple[int, int]:
        """The largest horizontal and vertical sampling factor."""
        most_h = max(each.horizontal for each in self.components)
        return most_h, max(each.vertical for each in self.components)

    @cached_property
    def _by_identifier(self) -> dict[int, Component]:
        return {each.identifier: each for each in self.components}

    def units(self, scan: Scan) -> list[int]:
        """Return how many data units of each component make an MCU of a scan (T.81 A.2.2, A.2.3)."""
        if len(scan.components) == 1:
            return [1]
        own = [self._by_identifier[identifier] for identifier in scan.components]
        return [each.horizontal * each.vertical for each in own]


def read_stream(frame: bytes) -> JpegStream | None:
    """Read the markers of a stream (T.81 B.1, T.87 C.1); None if it has no frame header or makes no sense.

    The last answer is kept, for several ask about one stream.
    """
    return _read(_Same(frame))


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """A stream that is equal to itself only: to hash megabytes takes longer than to read their markers."""

    frame: bytes

    def __hash__(self) -> int:
        return id(self.frame)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.frame is self.frame


@lru_cache(maxsize=1)
def _read(same: _Same) -> JpegStream | None:
    try:
        return _Walk(same.frame).stream()
    except (struct.error, IndexError, ValueError):
        return None


class _Walk:
    """The way through the markers of one stream."""

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self._marks: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self._head: tuple[int, int, int, int] | None = None
        self._components: tuple[Component, ...] = ()
        self._scans: list[Scan] = []
        self._interval = 0
        self._jfif = False
        self._adobe: int | None = None
        self._codes: dict[tuple[int, int], str] = {}
        self._tables_met = 0

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
        found = _MARKER.search(self._frame, at)
        return found.start() if found else -1

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
            self._tables(body)
        elif marker == _APP0 and body[:5] == b"JFIF\0":
            self._jfif = True
        elif marker == _APP14 and body[:5] == b"Adobe" and len(body) >= 12:
            self._adobe = body[11]
        return end

    def _tables(self, body: bytes) -> None:
        for place, code in _zero_codes(body):
            self._codes[place] = code
            self._tables_met += 1
            if self._tables_met > _MOST_TABLES:
                raise ValueError("tables without end")

    def _frame_header(self, process: int, body: bytes) -> None:
        precision, rows, columns, count = struct.unpack_from(">BHHB", body)
        self._head = process, precision, rows, columns
        triples = (body[at : at + 3] for at in range(6, 6 + 3 * count, 3))
        self._components = tuple(Component(one[0], one[1] >> 4 or 1, one[1] & 15 or 1) for one in triples)

    def _scan(self, body: bytes, start: int) -> int:
        count = body[0]
        pairs = [body[at : at + 2] for at in range(1, 1 + 2 * count, 2)]
        selection, last, approximation = body[1 + 2 * count : 4 + 2 * count]
        end, restarts = self._entropy_coded(start)
        scan = Scan(
            tuple(pair[0] for pair in pairs), tuple((pair[1] >> 4, pair[1] & 15) for pair in pairs),
            selection, last, approximation & 15, self._interval, start, end, restarts, dict(self._codes),
        )  # fmt: skip
        self._scans.append(scan)
        if len(self._scans) > _MOST_SCANS:
            raise ValueError("scans without end")
        return end

    def _entropy_coded(self, start: int) -> tuple[int, tuple[int, ...]]:
        """Return where entropy-coded data end, and the RSTn among them."""
        if self._marks is None:
            self._marks = self._markers(start)
        restarts, others = self._marks
        following = np.searchsorted(others, start)
        end = int(others[following]) if following < len(others) else len(self._frame)
        met = restarts[slice(*np.searchsorted(restarts, (start, end)))]
        return end, tuple(self._frame[place + 1] - _RESTARTS.start for place in met)

    def _markers(self, start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places of all RSTn from `start` on, and of all other markers.

        In JPEG-LS a byte below 80 may follow FF (T.87 A.1), else only 00 (T.81 B.1.1.5).
        """
        data = np.frombuffer(self._frame, np.uint8)
        places = start + np.flatnonzero(data[start:-1] == 0xFF)
        following = data[places + 1]
        least = 0x80 if self._head is not None and self._head[0] == JPEG_LS else 0x01
        is_marker = (following >= least) & (following != 0xFF)
        is_restart = (following >= _RESTARTS.start) & (following < _RESTARTS.stop)
        return places[is_restart], places[is_marker & ~is_restart]


def _zero_codes(body: bytes) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield for each Huffman table of a DHT segment the code of symbol 0, or "" (T.81 B.2.4.2, C.2)."""
    at = 0
    while at + 17 <= len(body):
        place, counts = (body[at] >> 4, body[at] & 15), body[at + 1 : at + 17]
        symbols = body[at + 17 : at + 17 + sum(counts)]
        yield place, next((code for symbol, code in _canonical(counts, symbols) if symbol == 0), "")
        at += 17 + sum(counts)


def _canonical(counts: bytes, symbols: bytes) -> Iterator[tuple[int, str]]:
    code, index = 0, 0
    for length, count in enumerate(counts, 1):
        for symbol in symbols[index : index + count]:
            yield symbol, f"{code:0{length}b}"
            code += 1
        index, code = index + count, code << 1
