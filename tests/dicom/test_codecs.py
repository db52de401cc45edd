"""Streams with every legal option come out as the pixels that went in, and damaged ones not at all.

What the decoder that reads them now does is the smaller part: `imagecodecs.ljpeg_decode` 2026.3.6 gives
garbage without an error for restart intervals, several scans and a point transform, OpenJPEG 2.5.4 and
OpenJPH 0.26.3 leave a tile black that is missing, OpenJPH a tile coarse that is cut off, and libjpeg-turbo
3.1.3 fills the rest with gray. None of that may become a picture.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from jpeg_lossless import Options, encode
from made import (
    ADOBE_RGB,
    ADOBE_YCC,
    BASELINE,
    EXTENDED,
    HTJ2K,
    J2K,
    J2K_LOSSY,
    JFIF,
    JPEG_LS,
    JPEG_LS_NEAR,
    JPEG_XL,
    JPEG_XL_LOSSY,
    LOSSLESS,
    PROGRESSIVE,
    RLE,
    SV1,
    WRITTEN,
    Grid,
    jpeg_2000,
    pillow,
    rle,
    scene,
)
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from streams import STREAMS, pattern

from dicomsort.dicom import codecs, reader
from dicomsort.dicom.codecs import DamagedError, DecodedFrame, DecodeRequest
from dicomsort.outcome import Failure, ReadImage, Status

Write = Callable[..., Path]


def decoded(frame: bytes, syntax: str, pixels: Grid, halvings: int = 0, **wanted: Any) -> DecodedFrame:
    """Decode as the reader does: nothing that does not keep to the header gets as far as a decoder."""
    rows, columns = pixels.shape[:2]
    if not codecs.keeps_to(frame, syntax, (rows, columns)):
        raise DamagedError
    enough = -(-rows // (1 << halvings)), -(-columns // (1 << halvings))
    return codecs.decode(frame, syntax, DecodeRequest((rows, columns), enough, **wanted))


def errors(frame: bytes, syntax: str, pixels: Grid, **wanted: Any) -> Grid:
    """Return by how much each value is off."""
    result = decoded(frame, syntax, pixels, **wanted).pixels
    assert result.shape == pixels.shape
    return np.asarray(np.abs(result.astype(np.int64) - pixels))


def is_exact(frame: bytes, syntax: str, pixels: Grid, **wanted: Any) -> bool:
    return not errors(frame, syntax, pixels, **wanted).any()


# JPEG lossless: the right values are the array itself -------------------------------------------------------


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("predictor", range(1, 8))
def test_jpeg_lossless_of_every_predictor_and_precision_is_exact(predictor: int, bits: int) -> None:
    pixels = scene(21, 33, bits)
    for transform in {0, 1, bits - 1}:
        frame = encode(pixels, Options(bits, predictor, transform))
        assert is_exact(frame, LOSSLESS, pixels >> transform << transform, bits=bits)


@pytest.mark.parametrize("rows", [1, 2, 7, 40, 41, 100])
@pytest.mark.parametrize("predictor", range(1, 8))
def test_jpeg_lossless_with_restart_intervals_is_exact(predictor: int, rows: int) -> None:
    pixels = scene(40, 33, 12)
    for transform in (0, 3):
        frame = encode(pixels, Options(12, predictor, transform, restart_rows=rows))
        assert is_exact(frame, SV1 if predictor == 1 else LOSSLESS, pixels >> transform << transform, bits=12)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("app", [b"", JFIF, ADOBE_RGB, ADOBE_YCC], ids=["bare", "jfif", "rgb", "ycc"])
@pytest.mark.parametrize("ids", [(1, 2, 3), (0, 1, 2), (82, 71, 66), (3, 1, 2)])
@pytest.mark.parametrize(
    "scans", [None, ((0,), (1,), (2,)), ((2,), (0,), (1,)), ((0, 1), (2,)), ((0,), (1, 2))]
)
def test_jpeg_lossless_keeps_each_component_in_its_place(
    scans: tuple[tuple[int, ...], ...] | None, ids: tuple[int, ...], app: bytes, bits: int
) -> None:
    pixels = scene(20, 23, bits, 3)
    frame = encode(pixels, Options(bits, 4, restart_rows=6, scans=scans, ids=ids, app=app))
    for rgb in (True, False, None):
        assert is_exact(frame, LOSSLESS, pixels, bits=bits, rgb=rgb)


def test_noise_of_16_bits_with_differences_of_half_the_range_is_exact() -> None:
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (30, 31)).astype(np.uint16)
    pixels[3, :2] = 0, 1 << 15  # the one difference without low bits (T.81 H.1.2.2)
    assert is_exact(encode(pixels, Options(16)), SV1, pixels, bits=16)


@pytest.mark.parametrize("bits", range(2, 17))
def test_jpeg_lossless_of_libjpeg_is_exact(bits: int) -> None:
    pixels = scene(40, 30, bits)
    frame = bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=bits))
    assert is_exact(frame, SV1, pixels, bits=bits)


# JPEG with a DCT -------------------------------------------------------------------------------------------


def area_means(pixels: Grid, step: int) -> NDArray[np.float64]:
    rows, columns = (side // step for side in pixels.shape)
    whole = pixels[: rows * step, : columns * step].astype(np.float64)
    return np.asarray(whole.reshape(rows, step, columns, step).mean(axis=(1, 3)))


def brightness(pixels: Grid) -> Grid:
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114]))


@pytest.mark.parametrize("options", WRITTEN, ids=str)
def test_gray_jpeg_is_within_three_levels_at_full_and_reduced_size(options: dict[str, Any]) -> None:
    pixels = scene(96, 112, 8)
    frame = pillow(pixels, quality=98, **options)
    assert errors(frame, PROGRESSIVE if "progressive" in options else BASELINE, pixels, bits=8).max() <= 3
    for halvings in (1, 2, 3):
        small = decoded(frame, BASELINE, pixels, halvings, bits=8)
        assert small.step == 1 << halvings
        assert np.abs(small.pixels - area_means(pixels, small.step)).max() <= 1.5


@pytest.mark.parametrize("options", WRITTEN, ids=str)
@pytest.mark.parametrize("sampling", [0, 1, 2], ids=["4:4:4", "4:2:2", "4:2:0"])
def test_brightness_of_color_jpeg_is_right_whatever_the_sampling(
    sampling: int, options: dict[str, Any]
) -> None:
    pixels = scene(96, 112, 8, 3, noise=64)
    frame = pillow(pixels, quality=98, subsampling=sampling, **options)
    found = decoded(frame, BASELINE, pixels, bits=8, rgb=False)
    assert found.luma is False
    assert np.abs(brightness(found.pixels) - brightness(pixels)).mean() <= 2
    small = decoded(frame, BASELINE, pixels, 1, bits=8, rgb=False)
    assert small.step == 2
    assert np.abs(small.pixels - area_means(brightness(pixels), 2)).max() <= 3


@pytest.mark.parametrize("options", WRITTEN, ids=str)
@pytest.mark.parametrize("rgb", [True, False, None])
def test_rgb_in_a_jpeg_stays_rgb_if_the_stream_says_so(rgb: bool | None, options: dict[str, Any]) -> None:
    pixels = scene(96, 112, 8, 3)
    frame = pillow(pixels, quality=98, keep_rgb=True, **options)
    assert errors(frame, BASELINE, pixels, bits=8, rgb=rgb).max() <= 3
    assert decoded(frame, BASELINE, pixels, bits=8, rgb=rgb).contradicts is (rgb is False)


@pytest.mark.parametrize("optimize", [False, True])
def test_jpeg_of_12_bits_is_within_three_levels(optimize: bool) -> None:
    pixels = scene(96, 112, 12)
    frame = bytes(imagecodecs.jpeg8_encode(pixels, 99, bitspersample=12, optimize=optimize))
    assert errors(frame, EXTENDED, pixels, bits=12).max() <= 3


@pytest.mark.parametrize("space", ["RGB", "YCBCR"])
@pytest.mark.parametrize("sampling", ["444", "422", "420", "440", "411"])
def test_color_jpeg_of_12_bits_has_the_right_brightness(sampling: str, space: str) -> None:
    pixels = scene(96, 112, 12, 3, noise=256)
    spaces: dict[str, Any] = {"colorspace": "RGB", "outcolorspace": space}
    frame = bytes(imagecodecs.jpeg8_encode(pixels, 99, **spaces, subsampling=sampling, bitspersample=12))
    found = decoded(frame, EXTENDED, pixels, bits=12, rgb=space == "RGB")
    assert found.luma is False
    assert np.abs(brightness(found.pixels) - brightness(pixels)).mean() <= 40


@pytest.mark.parametrize(
    "name", [name for name in STREAMS if name.startswith("jpeg ") and "2000" not in name]
)
def test_rare_jpeg_streams_are_decoded(name: str) -> None:
    pixels = pattern(256, 3 if "scans" in name else 1)
    assert errors(STREAMS[name], BASELINE, pixels, bits=8, rgb=True).max() <= 6


# JPEG-LS ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("near", range(4))
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("bits", range(2, 17))
def test_jpeg_ls_is_as_near_as_it_says(bits: int, samples: int, near: int) -> None:
    pixels = scene(30, 41, bits, samples)
    frame = bytes(imagecodecs.jpegls_encode(pixels, level=near))
    assert errors(frame, JPEG_LS_NEAR if near else JPEG_LS, pixels, bits=bits).max() <= near


@pytest.mark.parametrize("name", [name for name in STREAMS if name.startswith("jpeg-ls by")])
def test_jpeg_ls_is_read_in_every_interleave_mode(name: str) -> None:
    near = int(name[-1])
    assert errors(STREAMS[name], JPEG_LS_NEAR if near else JPEG_LS, pattern(256, 3), bits=8).max() <= near


@pytest.mark.parametrize("bits", [2, 5, 7, 10, 12, 15])
def test_jpeg_ls_is_exact_at_its_own_precision(bits: int) -> None:
    assert is_exact(STREAMS[f"jpeg-ls of {bits} bits"], JPEG_LS, pattern(1 << bits), bits=bits)


# JPEG 2000, HTJ2K ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progression", ["LRCP", "RLCP", "RPCL", "PCRL", "CPRL"])
@pytest.mark.parametrize("samples", [1, 3])
def test_jpeg_2000_is_exact_in_every_progression(progression: str, samples: int) -> None:
    pixels = scene(96, 112, 8, samples)
    for options in ({}, {"tile_size": (64, 64)}, {"quality_layers": [20, 5, 0]}, {"precinct_size": (32, 32)}):
        settings = {"num_resolutions": 4, "progression": progression, **options}
        assert is_exact(jpeg_2000(pixels, **settings), J2K, pixels, bits=8)


@pytest.mark.parametrize("transform", [0, 1])
@pytest.mark.parametrize("irreversible", [False, True])
def test_jpeg_2000_colors_are_right_with_and_without_their_transform(
    irreversible: bool, transform: int
) -> None:
    pixels = scene(96, 112, 8, 3)
    frame = jpeg_2000(pixels, mct=transform, irreversible=irreversible)
    assert errors(frame, J2K_LOSSY if irreversible else J2K, pixels, bits=8).max() <= 4 * irreversible


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("signed", [False, True])
def test_jpeg_2000_of_every_precision_and_sign_is_exact(signed: bool, bits: int) -> None:
    pixels = scene(96, 112, bits).astype(np.int32) - (signed << bits - 1)
    stored = pixels.astype(("i" if signed else "u") + ("1" if bits <= 8 else "2"))
    frame = bytes(
        imagecodecs.jpeg2k_encode(stored, 0, codecformat="j2k", bitspersample=bits, reversible=True)
    )
    assert is_exact(frame, J2K, pixels, bits=bits, signed=signed)
    small = decoded(frame, J2K, pixels, 2, bits=bits, signed=signed)
    assert small.step == 4
    blurred = np.abs(small.pixels - area_means(pixels, 4))  # the low-pass image is sampled 1.5 pixels off
    assert blurred.mean() <= max(0.06 * (1 << bits), 1)


@pytest.mark.parametrize("name", [name for name in STREAMS if name.startswith("jpeg 2000 with")])
def test_jpeg_2000_of_other_options_is_exact(name: str) -> None:
    assert is_exact(STREAMS[name], J2K, pattern(4096), bits=12)


@pytest.mark.parametrize("name", ["jpeg 2000 sampled 2x2", "jpeg 2000 sYCC"])
def test_jpeg_2000_colors_that_the_decoder_converts_are_not_taken_for_luma(name: str) -> None:
    luma = pattern(256)
    found = decoded(STREAMS[name], J2K, np.stack([luma] * 3, axis=-1), bits=8, rgb=False)
    assert found.luma is False
    inside = (luma > 70) & (luma < 190)  # else the colors run out of RGB
    assert np.abs(brightness(found.pixels) - luma)[inside].max() <= 4


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("samples", [1, 3])
def test_htj2k_is_exact(samples: int, bits: int) -> None:
    pixels = scene(96, 112, bits, samples)
    for options in ({}, {"tile": (64, 64)}, {"resolutions": 2}, {"tilepart": 1}, {"tlm": True}):
        frame = bytes(imagecodecs.htj2k_encode(pixels, reversible=True, **options))
        assert is_exact(frame, HTJ2K, pixels, bits=bits)


# RLE and JPEG XL -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("samples", [1, 3])
def test_rle_is_exact(samples: int, bits: int) -> None:
    pixels = scene(40, 33, bits, samples)
    assert np.array_equal(codecs.decode_rle(rle(pixels), 40, 33, samples, bits), pixels)


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_xl_is_exact(bits: int, samples: int, boxed: bool) -> None:
    pixels = scene(40, 33, bits, samples)
    frame = bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, usecontainer=boxed))
    assert is_exact(frame, JPEG_XL, pixels, bits=bits)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("lossless", [True, False])
def test_jpeg_xl_that_is_cut_off_is_refused(lossless: bool, share: float) -> None:
    pixels = scene(96, 112, 8)
    frame = bytes(imagecodecs.jpegxl_encode(pixels, lossless=lossless, distance=0 if lossless else 1))
    with pytest.raises(imagecodecs.JpegxlError):
        decoded(frame[: int(len(frame) * share)], JPEG_XL, pixels, bits=8)


def test_lossy_jpeg_xl_is_close() -> None:
    pixels = scene(96, 112, 8)
    frame = bytes(imagecodecs.jpegxl_encode(pixels, lossless=False, distance=1))
    assert errors(frame, JPEG_XL_LOSSY, pixels, bits=8).mean() <= 4


# Damage ----------------------------------------------------------------------------------------------------

EOI = b"\xff\xd9"
PLAIN = scene(200, 160, 12)
EIGHT = (PLAIN >> 4).astype(np.uint8)
COLORS = scene(200, 160, 8, 3)
FLAT = PLAIN.copy()
FLAT[120:] = 0
DAMAGED_BY: dict[str, tuple[str, Grid, bytes]] = {
    # name: syntax, pixels, stream
    "baseline": (BASELINE, EIGHT, pillow(EIGHT, quality=95)),
    "baseline with restarts": (BASELINE, EIGHT, pillow(EIGHT, quality=95, restart_marker_rows=2)),
    "baseline, optimised": (BASELINE, EIGHT, pillow(EIGHT, quality=95, optimize=True)),
    "color 4:2:0": (BASELINE, COLORS, pillow(COLORS, quality=95, subsampling=2)),
    "color as RGB": (BASELINE, COLORS, pillow(COLORS, quality=95, keep_rgb=True)),
    "12 bit": (EXTENDED, PLAIN, bytes(imagecodecs.jpeg8_encode(PLAIN, 95, bitspersample=12))),
    "black below": (BASELINE, FLAT >> 4, pillow((FLAT >> 4).astype(np.uint8), quality=95)),
    "lossless": (SV1, PLAIN, encode(PLAIN)),
    "lossless, predictor 7": (LOSSLESS, PLAIN, encode(PLAIN, Options(predictor=7, restart_rows=80))),
    "lossless, point transform": (LOSSLESS, PLAIN, encode(PLAIN, Options(point_transform=2))),
    "lossless, black below": (SV1, FLAT, encode(FLAT)),
    "lossless color": (SV1, COLORS, encode(COLORS, Options(8))),
    "lossless color in three scans": (SV1, COLORS, encode(COLORS, Options(8, scans=((0,), (1,), (2,))))),
    "JPEG-LS": (JPEG_LS, PLAIN, bytes(imagecodecs.jpegls_encode(PLAIN))),
    "JPEG-LS near": (JPEG_LS_NEAR, PLAIN, bytes(imagecodecs.jpegls_encode(PLAIN, level=2))),
    "JPEG-LS color": (JPEG_LS, COLORS, bytes(imagecodecs.jpegls_encode(COLORS))),
    "JPEG 2000": (J2K, PLAIN, jpeg_2000(PLAIN)),
    "JPEG 2000 tiles": (J2K, EIGHT, jpeg_2000(EIGHT, tile_size=(64, 64))),
    "HTJ2K": (HTJ2K, PLAIN, bytes(imagecodecs.htj2k_encode(PLAIN))),
    "HTJ2K tiles": (HTJ2K, PLAIN, bytes(imagecodecs.htj2k_encode(PLAIN, tile=(64, 64)))),
}


def dicom(path: Path, write: Write, syntax: str, pixels: Grid, frame: bytes) -> ReadImage | Failure:
    """Read the frame as a file, as `classify` does."""
    deep = syntax in (BASELINE, JPEG_XL_LOSSY) or pixels.dtype == np.uint8
    facts: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8} if deep else {"BitsStored": 12}
    if pixels.ndim == 3:
        facts |= {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    write(path, pixels, syntax, PixelData=encapsulate([frame]), **facts)
    return reader.read_dicom(str(path), None)


def damaged(path: Path, write: Write, syntax: str, pixels: Grid, frame: bytes) -> bool:
    reading = dicom(path, write, syntax, pixels, frame)
    return isinstance(reading, Failure) and reading.status is Status.DECODE_ERROR


@pytest.mark.parametrize("name", DAMAGED_BY)
def test_the_undamaged_streams_are_pictures(name: str, tmp_path: Path, write_dicom: Write) -> None:
    syntax, pixels, frame = DAMAGED_BY[name]
    assert isinstance(dicom(tmp_path / "x.dcm", write_dicom, syntax, pixels, frame), ReadImage)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("name", DAMAGED_BY)
def test_a_stream_cut_off_is_no_picture_even_if_its_end_marker_is_put_back(
    name: str, share: float, tmp_path: Path, write_dicom: Write
) -> None:
    syntax, pixels, frame = DAMAGED_BY[name]
    start = max(frame.rfind(b"\xff\xda"), frame.find(b"\xff\x93"), 0) + 14
    cut = frame[: start + int((len(frame) - start - 2) * share)]
    assert damaged(tmp_path / "x.dcm", write_dicom, syntax, pixels, cut)
    assert damaged(tmp_path / "y.dcm", write_dicom, syntax, pixels, cut + EOI)


class Plugins:
    """Decoders of which libjpeg reads everything, and pyjpegls nothing."""

    available_plugins = ("pylibjpeg", "pyjpegls")

    def __init__(self) -> None:
        self.asked: list[str] = []

    def as_array(self, _data: Any, decoding_plugin: str, **_: Any) -> tuple[Grid, dict[str, str]]:
        self.asked.append(decoding_plugin)
        if decoding_plugin == "pyjpegls":
            raise RuntimeError
        return PLAIN, {"photometric_interpretation": "MONOCHROME2"}


def test_the_plugin_that_makes_pictures_of_damaged_jpeg_ls_is_not_asked(
    tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = Plugins()
    monkeypatch.setattr("dicomsort.dicom.pixel_data.get_decoder", lambda _: plugins)
    syntax, pixels, frame = DAMAGED_BY["JPEG-LS"]
    assert damaged(tmp_path / "x.dcm", write_dicom, syntax, pixels, frame[: len(frame) // 2] + EOI)
    assert plugins.asked == ["pyjpegls"]


def test_an_interval_that_is_cut_within_the_picture_is_seen(tmp_path: Path, write_dicom: Write) -> None:
    syntax, pixels, frame = DAMAGED_BY["baseline with restarts"]
    start, end = frame.index(b"\xff\xd2"), frame.index(b"\xff\xd3")
    short = frame[: (start + end) // 2] + frame[end:]
    assert damaged(tmp_path / "x.dcm", write_dicom, syntax, pixels, short)


RESTARTED = {
    "baseline": (BASELINE, EIGHT, pillow(EIGHT, quality=95, restart_marker_rows=1)),
    "progressive": (PROGRESSIVE, EIGHT, pillow(EIGHT, quality=95, restart_marker_rows=1, progressive=True)),
    "color": (BASELINE, COLORS, pillow(COLORS, quality=95, restart_marker_rows=1)),
    "lossless": (LOSSLESS, PLAIN, encode(PLAIN, Options(predictor=4, restart_rows=10))),
    "lossless color": (LOSSLESS, COLORS, encode(COLORS, Options(8, restart_rows=10))),
}


@pytest.mark.parametrize("name", RESTARTED)
def test_restart_markers_that_are_lost_or_swapped_are_seen(
    name: str, tmp_path: Path, write_dicom: Write
) -> None:
    syntax, pixels, frame = RESTARTED[name]
    third, fourth, fifth = (frame.index(b"\xff" + bytes((0xD0 + number,))) for number in (2, 3, 4))
    first, second = frame[third:fourth], frame[fourth:fifth]
    swapped = frame[:third] + second + first + frame[fifth:]
    unmarked = frame[:third] + frame[third + 2 :]
    without = frame[:third] + frame[fourth:]
    for change in (swapped, unmarked, without):
        assert damaged(tmp_path / "x.dcm", write_dicom, syntax, pixels, change)


def scans_of(frame: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each scan of a JPEG stream begins, with its tables, and where it ends."""
    at, start = 2, -1
    while frame[at : at + 2] != EOI:
        is_scan = frame[at + 1] == 0xDA
        start = at if start < 0 and frame[at + 1] in (0xC4, 0xDA) else start
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if is_scan:
            while frame[at] != 0xFF or frame[at + 1] == 0 or 0xD0 <= frame[at + 1] <= 0xD7:
                at += 1
            yield start, at
            start = -1


SEVERAL = {
    "progressive gray": (PROGRESSIVE, EIGHT, pillow(EIGHT, quality=95, progressive=True)),
    "progressive color": (PROGRESSIVE, COLORS, pillow(COLORS, quality=95, progressive=True)),
    "lossless": (SV1, COLORS, encode(COLORS, Options(8, scans=((0,), (1,), (2,))))),
    "lossless in two": (SV1, COLORS, encode(COLORS, Options(8, scans=((0, 1), (2,))))),
    "sequential": (BASELINE, pattern(256, 3).astype(np.uint8), STREAMS["jpeg in three scans"]),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_a_missing_scan_is_seen(name: str, tmp_path: Path, write_dicom: Write) -> None:
    syntax, pixels, frame = SEVERAL[name]
    scans = list(scans_of(frame))
    assert len(scans) > 1
    assert isinstance(dicom(tmp_path / "x.dcm", write_dicom, syntax, pixels, frame), ReadImage)
    for number in range(1, len(scans)):  # the rest of them is missing
        cut = frame[: scans[number][0]] + EOI
        assert damaged(tmp_path / "x.dcm", write_dicom, syntax, pixels, cut)
    if "progressive" not in name:
        for start, end in scans:
            assert damaged(tmp_path / "x.dcm", write_dicom, syntax, pixels, frame[:start] + frame[end:])


def tile_parts(frame: bytes) -> list[tuple[int, int]]:
    """Return where the tile-parts of a JPEG 2000 stream begin and end."""
    at, found = frame.index(b"\xff\x90\0\x0a"), []
    while frame.startswith(b"\xff\x90", at):
        length = struct.unpack_from(">I", frame, at + 6)[0]
        found.append((at, at + length))
        at += length
    return found


TILED = {
    "JPEG 2000": (J2K, EIGHT, jpeg_2000(EIGHT, tile_size=(64, 64))),
    "JPEG 2000 color": (J2K, COLORS, jpeg_2000(COLORS, tile_size=(64, 64))),
    "JPEG 2000 resolutions": (
        J2K,
        pattern(4096).astype(np.uint16),
        STREAMS["jpeg 2000 with tile-parts by resolution"],
    ),
    "HTJ2K": (HTJ2K, PLAIN, bytes(imagecodecs.htj2k_encode(PLAIN, tile=(64, 64)))),
    "HTJ2K resolutions": (HTJ2K, PLAIN, bytes(imagecodecs.htj2k_encode(PLAIN, tilepart=1))),
}


@pytest.mark.parametrize("name", TILED)
def test_a_missing_tile_or_tile_part_is_seen(name: str, tmp_path: Path, write_dicom: Write) -> None:
    syntax, pixels, frame = TILED[name]
    parts = tile_parts(frame)
    assert len(parts) > 1
    assert isinstance(dicom(tmp_path / "x.dcm", write_dicom, syntax, pixels, frame), ReadImage)
    for start, end in parts:
        assert damaged(tmp_path / "x.dcm", write_dicom, syntax, pixels, frame[:start] + frame[end:])


def test_the_last_tile_part_may_leave_its_length_open() -> None:
    syntax, pixels, frame = TILED["JPEG 2000"]
    start, _ = tile_parts(frame)[-1]
    opened = frame[: start + 6] + bytes(4) + frame[start + 10 :]
    assert is_exact(opened, syntax, pixels, bits=8)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("samples", [1, 3])
def test_rle_segments_that_are_too_short_or_missing_are_seen(
    samples: int, bits: int, tmp_path: Path, write_dicom: Write
) -> None:
    pixels = scene(40, 34, bits, samples)
    frame = rle(pixels)
    count, *starts = struct.unpack_from("<16I", frame)
    ends = [*starts[1:count], len(frame)]
    segments = [frame[start:end] for start, end in zip(starts, ends, strict=False)]

    def joined(parts: list[bytes]) -> bytes:
        places = [64 + sum(map(len, parts[:number])) for number in range(len(parts))]
        return struct.pack("<16I", len(parts), *places, *[0] * (15 - len(parts))) + b"".join(parts)

    assert joined(segments) == frame
    for number, segment in enumerate(segments):
        half = [*segments[:number], segment[: len(segment) // 2], *segments[number + 1 :]]
        for parts in (half, segments[:number] + segments[number + 1 :]):
            assert damaged(tmp_path / "x.dcm", write_dicom, RLE, pixels, joined(parts))


# What is truly gray stays a picture ------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 8, 56, 199])
@pytest.mark.parametrize("name", [name for name in DAMAGED_BY if "J" not in name])
def test_a_picture_whose_lower_end_is_truly_gray_is_read(name: str, rows: int) -> None:
    syntax, pixels, frame = DAMAGED_BY[name]
    deep = syntax != BASELINE and pixels.ndim == 2
    gray: NDArray[Any] = pixels.astype(np.uint16 if deep else np.uint8)
    gray[-rows:] = 1 << (11 if deep else 7)
    if syntax == BASELINE:
        options: dict[str, Any] = {"optimize": "optimised" in name}
        options |= {"restart_marker_rows": 2} if "restarts" in name else {}
        options |= {"keep_rgb": True} if "RGB" in name else {}
        frame = pillow(gray, quality=95, **options)
    elif syntax == EXTENDED:
        frame = bytes(imagecodecs.jpeg8_encode(gray, 95, bitspersample=12))
    else:
        scans = ((0,), (1,), (2,)) if "scans" in name else None
        written = Options(12 if deep else 8, restart_rows=80 if "7" in name else 0, scans=scans)
        for predictor in range(1, 8):
            frame = encode(gray, replace(written, predictor=predictor))
            assert is_exact(frame, LOSSLESS, gray, bits=written.precision)
    for halvings in range(4):
        found = decoded(frame, syntax, gray, halvings, bits=12 if deep else 8).pixels
        off = np.abs(found[-1].astype(int) - (1 << (11 if deep else 7)))
        assert off.max() <= 3 or rows == 1


def test_an_image_of_gray_alone_but_for_a_line_is_read() -> None:
    gray = np.full((120, 100), 128, np.uint8)
    gray[10, 20:60] = 200
    for options in WRITTEN:
        assert errors(pillow(gray, quality=90, **options), BASELINE, gray, bits=8)[-1].max() == 0
    assert is_exact(encode(gray, Options(8)), SV1, gray, bits=8)
