"""What the markers of a JPEG stream say, read in bounded time, and nothing taken for more than it is."""

import io
import random
import time
from typing import Any

import imagecodecs
import numpy as np
import pytest
from jpeg_lossless import Options, encode
from PIL import Image
from streams import STREAMS

from dicomsort.dicom.blank import has_blank_part
from dicomsort.dicom.jpeg import JPEG_LS, LOSSLESS, Component, JpegStream, read_stream

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
GRAY = (np.add.outer(np.arange(40) * 3, np.arange(50) * 2) % 251).astype(np.uint8)
COLORS = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=-1)
JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
ADOBE_RGB, ADOBE_YCC = (b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes((transform,)) for transform in (0, 1))
LETTERS = tuple(b"RGB")


def read(frame: bytes) -> JpegStream:
    stream = read_stream(frame)
    assert stream is not None
    return stream


def jpeg(pixels: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **options)
    return out.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def frame_header(marker: int, rows: int, columns: int, components: int = 1, precision: int = 8) -> bytes:
    triples = b"".join(bytes((number, 0x11, 0)) for number in range(1, components + 1))
    size = rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
    return segment(marker, bytes((precision,)) + size + bytes((components,)) + triples)


SCAN = segment(0xDA, bytes((1, 1, 0, 0, 63, 0)))


# What a stream says ----------------------------------------------------------------------------------------


def test_the_frame_header_is_read() -> None:
    stream = read(encode(GRAY.astype(np.uint16) * 16, Options(12, 5, 3, restart_rows=7)))
    assert (stream.process, stream.precision, stream.rows, stream.columns) == (LOSSLESS, 12, 40, 50)
    assert stream.components == (Component(1, 1, 1),)
    (scan,) = stream.scans
    assert (scan.selection, scan.point_transform, scan.interval) == (5, 3, 7 * 50)
    assert scan.restarts == (0, 1, 2, 3, 4)
    assert stream.ended


def test_sampling_factors_and_the_scans_place_are_read() -> None:
    frame = jpeg(COLORS, subsampling=2)
    stream = read(frame)
    assert [(each.horizontal, each.vertical) for each in stream.components] == [(2, 2), (1, 1), (1, 1)]
    assert frame[stream.scans[0].end :] == EOI
    assert frame[: stream.scans[0].start].endswith(b"\0\x3f\0")


def test_jpeg_ls_may_have_small_bytes_behind_ff_in_its_data() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60)).astype(np.uint8)
    frame = bytes(imagecodecs.jpegls_encode(pixels))
    stream = read(frame)
    assert any(frame[at] == 0xFF and 0 < frame[at + 1] < 0x80 for at in range(40, len(frame) - 1))
    assert stream.process == JPEG_LS
    assert stream.is_whole
    assert frame[stream.scans[0].end :] == EOI


@pytest.mark.parametrize("name", [name for name in STREAMS if "2000" not in name])
def test_streams_of_other_encoders_are_whole(name: str) -> None:
    assert read(STREAMS[name]).is_whole


@pytest.mark.parametrize(
    ("app", "ids", "is_rgb"),
    [
        (b"", (1, 2, 3), None),
        (b"", LETTERS, True),
        (b"", (82, 71, 67), None),
        (JFIF, (1, 2, 3), False),
        (JFIF, LETTERS, False),
        (ADOBE_RGB, (1, 2, 3), True),
        (ADOBE_YCC, LETTERS, False),
        (JFIF + ADOBE_RGB, (1, 2, 3), False),
        (ADOBE_RGB[:-3] + b"\0", (1, 2, 3), None),
    ],
    ids=str,
)
def test_rgb_is_what_the_markers_say_in_the_order_of_decoders(
    app: bytes, ids: tuple[int, ...], is_rgb: bool | None
) -> None:
    if app.startswith(ADOBE_RGB[:4]) and len(app) < len(ADOBE_RGB):
        app = segment(0xEE, b"Adobe\0\x64")  # too short to name a transform
    assert read(encode(COLORS, Options(8, ids=ids, app=app))).is_rgb is is_rgb


@pytest.mark.parametrize("ids", [(1, 2, 3), LETTERS])
@pytest.mark.parametrize("app", [b"", JFIF, ADOBE_RGB, ADOBE_YCC], ids=["bare", "jfif", "rgb", "ycc"])
def test_what_is_said_of_rgb_is_what_libjpeg_does(app: bytes, ids: tuple[int, ...]) -> None:
    """Pillow gives out RGB as it is, and turns YCbCr into RGB."""
    plain = jpeg(COLORS, quality=100, subsampling=0, keep_rgb=True)
    at = plain.index(b"\xff\xdb")
    frame = SOI + app + plain[at:]
    for number, letter in enumerate(LETTERS):
        for old in (bytes((letter, 0x11)), bytes((letter, 0x00))):
            frame = frame.replace(old, bytes((ids[number],)) + old[1:], 1)
    found = np.asarray(Image.open(io.BytesIO(frame))).astype(int)
    unchanged = bool(np.abs(found - COLORS).mean() < 3)
    said = read(frame).is_rgb
    assert unchanged is bool(said)


# Whether a stream is whole ---------------------------------------------------------------------------------

OPTIONS: list[dict[str, Any]] = [
    {},
    {"optimize": True},
    {"progressive": True},
    {"restart_marker_rows": 1},
    {"restart_marker_blocks": 3},
    {"progressive": True, "restart_marker_blocks": 1},
    {"restart_marker_rows": 100},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("sampling", [0, 1, 2])
def test_what_an_encoder_has_written_is_whole(sampling: int, options: dict[str, Any]) -> None:
    for rows, columns in ((1, 1), (7, 9), (16, 16), (17, 33), (40, 50)):
        assert read(jpeg(GRAY[:rows, :columns], **options)).is_whole
        assert read(jpeg(COLORS[:rows, :columns], subsampling=sampling, **options)).is_whole


def test_without_its_end_a_stream_is_not_whole() -> None:
    frame = jpeg(GRAY)
    assert not read(frame[:-2]).is_whole
    assert read(frame + b"\0").is_whole


def test_restart_markers_must_be_there_and_in_order() -> None:
    frame = jpeg(GRAY, restart_marker_rows=1)
    assert read(frame).scans[0].restarts == (0, 1, 2, 3)
    one, two = b"\xff\xd1", b"\xff\xd2"
    assert not read(frame.replace(one, b"")).is_whole
    assert not read(frame.replace(one, two)).is_whole
    assert not read(frame.replace(one, b"\xff\xd7").replace(two, one)).is_whole


def test_one_restart_marker_more_at_the_end_is_forgiven() -> None:
    frame = jpeg(GRAY, restart_marker_rows=1)
    assert read(frame[:-2] + b"\xff\xd4" + EOI).is_whole
    assert not read(frame[:-2] + b"\xff\xd4" + b"\0\0" + b"\xff\xd5" + EOI).is_whole


def test_a_component_without_its_scan_or_with_two_is_not_whole() -> None:
    frame = encode(COLORS, Options(8, scans=((0,), (1,), (2,))))
    first, second, third = (scan.start for scan in read(frame).scans)
    header = len(segment(0xDA, bytes(6)))
    without = frame[: second - header] + frame[third - header :]
    assert read(frame).is_whole
    assert not read(without).is_whole
    twice = frame[: second - header] + frame[first - header : second - header] + frame[second - header :]
    assert not read(twice).is_whole


def test_a_progressive_stream_without_its_refinements_is_not_whole() -> None:
    stream = read(jpeg(GRAY, progressive=True))
    frame = jpeg(GRAY, progressive=True)
    assert len(stream.scans) > 3
    for scan in stream.scans[:-1]:
        assert not read(frame[: scan.end] + EOI).is_whole


# Blank parts -----------------------------------------------------------------------------------------------


def blank(frame: bytes) -> bool:
    pixels = np.asarray(imagecodecs.jpeg8_decode(frame))
    return has_blank_part(read(frame), frame, pixels)


@pytest.mark.parametrize("optimize", [False, True])
def test_gray_that_the_decoder_has_filled_in_is_told_from_gray_that_is_there(optimize: bool) -> None:
    large = np.tile(GRAY, (4, 4))
    gray = large.copy()
    gray[80:] = 128
    assert not blank(jpeg(gray, optimize=optimize))
    frame = jpeg(large, optimize=optimize)
    assert not blank(frame)
    assert blank(frame[: len(frame) // 2] + EOI)


def test_a_cut_within_black_is_told_from_gray_behind_black() -> None:
    black = np.tile(GRAY, (4, 4))
    black[60:] = 0
    both = black.copy()
    both[120:] = 128
    frame, coded = jpeg(black), encode(black, Options(8))
    assert not blank(jpeg(both))
    assert not blank(encode(both, Options(8)))
    assert blank(frame[:-40] + EOI)
    assert blank(coded[:-600] + EOI)


def test_an_interval_in_the_middle_counts_for_itself() -> None:
    large = np.tile(GRAY, (4, 4))
    frame = jpeg(large, restart_marker_rows=1)
    start, end = frame.index(b"\xff\xd4"), frame.index(b"\xff\xd5")
    assert not blank(frame)
    assert blank(frame[: start + 8] + frame[end:])


def test_tables_that_cannot_code_a_gray_block_prove_that_there_is_none() -> None:
    """Optimised tables have no code for what does not occur."""
    board = np.kron(np.indices((12, 12)).sum(axis=0) % 2, np.full((8, 8), 200)).astype(np.uint8)
    frame = jpeg(board + GRAY[:8, :8].repeat(12, axis=0).repeat(12, axis=1) // 8, optimize=True)
    stream = read(frame)
    assert "" in stream.scans[0].codes.values()
    assert not blank(frame)
    assert blank(frame[: len(frame) // 2] + EOI)


def test_tables_that_are_not_in_the_stream_leave_it_on_trust() -> None:
    frame = jpeg(GRAY)
    at, end = frame.index(b"\xff\xc4"), frame.index(b"\xff\xda")
    bare = frame[:at] + frame[end:]
    assert read(bare).is_whole
    assert not has_blank_part(read(bare), bare, np.full((40, 50), 128, np.uint8))


# Hostile input ---------------------------------------------------------------------------------------------

SECONDS = 10.0
HUGE = 1 << 20
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no frame header": SOI + EOI,
    "segments without end": SOI + segment(0xFE, b"") * HUGE,
    "markers without length": SOI + b"\xff\x01" * HUGE,
    "fill bytes": SOI + b"\xff" * (4 * HUGE),
    "length 0": SOI + b"\xff\xfe\0\0" * HUGE,
    "scans without end": SOI + frame_header(0xC0, 8, 8) + SCAN * HUGE + EOI,
    "restarts without end": SOI + frame_header(0xC0, 8, 8) + SCAN + b"\0\xff\xd0" * HUGE + EOI,
    "frame headers without end": SOI + frame_header(0xC0, 8, 8, 255) * (HUGE // 256) + EOI,
    "tables without end": SOI + segment(0xC4, (b"\0" + bytes(16)) * 3000) * 300 + EOI,
    "full tables": SOI + segment(0xC4, b"\0" + b"\xff" * 16 + bytes(range(255)) * 16) * 500 + EOI,
    "starts without end": SOI * HUGE,
    "a scan of no component": SOI + frame_header(0xC0, 8, 8) + segment(0xDA, b"\0\0\0\0") + EOI,
    "a scan of an unknown component": SOI + frame_header(0xC0, 8, 8) + SCAN.replace(b"\1\1", b"\1\7") + EOI,
    "no component": SOI + frame_header(0xC0, 8, 8, 0) + SCAN + EOI,
    "no rows": SOI + frame_header(0xC0, 0, 8) + segment(0xDD, b"\0\1") + SCAN + EOI,
    "no columns": SOI + frame_header(0xC3, 8, 0) + segment(0xDD, b"\0\1") + SCAN + EOI,
    "a short frame header": SOI + segment(0xC0, b"\x08\0\x08") + SCAN + EOI,
    "a short scan header": SOI + frame_header(0xC0, 8, 8) + segment(0xDA, b"\1") + EOI,
    "an interval of many bytes": SOI + segment(0xDD, b"\xff" * 60000) + frame_header(0xC0, 8, 8) + SCAN + EOI,
    "precision 0": SOI + frame_header(0xC0, 8, 8, precision=0) + SCAN + EOI,
    "components of one name": SOI + frame_header(0xC0, 8, 8, 3).replace(b"\2\x11", b"\1\x11") + SCAN + EOI,
    "ends in a marker": SOI + frame_header(0xC0, 8, 8) + SCAN + b"\xff",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_streams_are_read_in_bounded_time_without_an_error(name: str) -> None:
    began = time.process_time()
    stream = read_stream(HOSTILE[name])
    assert stream is None or stream.is_whole in (True, False)
    assert stream is None or stream.is_rgb in (True, False, None)
    assert time.process_time() - began < SECONDS


def test_cut_and_changed_streams_never_raise() -> None:
    frames = [
        jpeg(COLORS, progressive=True, restart_marker_rows=1),
        encode(COLORS, Options(8, restart_rows=3, scans=((0,), (1, 2)), app=JFIF + ADOBE_YCC)),
        bytes(imagecodecs.jpegls_encode(COLORS)),
    ]
    draw = random.Random(0)
    for frame in frames:
        for length in range(len(frame) // 4):
            stream = read_stream(frame[:length])
            assert stream is None or not stream.is_whole
        for _ in range(2000):
            changed = bytearray(frame)
            for _ in range(draw.randint(1, 8)):
                changed[draw.randrange(min(len(changed), 700))] = draw.randrange(256)
            stream = read_stream(bytes(changed))
            if stream is not None and stream.is_whole:
                has_blank_part(stream, bytes(changed), np.full((40, 50), 128, np.uint8))


def test_a_stream_without_tables_is_not_plain() -> None:
    """A decoder that does not look for them is never asked about it."""
    frame = encode(np.arange(64 * 48).reshape(64, 48).astype(np.uint16), Options(12))
    start = frame.index(b"\xff\xc4")
    end = start + 2 + int.from_bytes(frame[start + 2 : start + 4], "big")
    whole, bare = read_stream(frame), read_stream(frame[:start] + frame[end:])
    assert whole is not None
    assert whole.is_plain
    assert bare is not None
    assert not bare.is_plain
