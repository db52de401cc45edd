"""Frames of encapsulated Pixel Data, with offset tables that are right, wrong, cut or missing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from committed import ARCHIVE
from numpy.typing import NDArray
from pydicom.pixels.encoders.base import RLELosslessEncoder

from dicomsort import Preprocessing, ReadSettings
from dicomsort.dicom import reader
from dicomsort.dicom.encapsulated import Fragment, group
from dicomsort.outcome import Failure, ReadImage, Reason, Status, frame_remark

Write = Callable[..., Path]
FRAMES = 5
CHEST = ARCHIVE / "2019" / "CR01" / "IM000001"
XA = "1.2.840.10008.5.1.4.1.1.12.1"
CANVAS = Preprocessing(size=96)
RLE, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
JPEG, JPEG_SV1 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"


def rle(pixels: NDArray[Any]) -> bytes:
    options: dict[str, Any] = {
        "rows": pixels.shape[0], "columns": pixels.shape[1], "samples_per_pixel": 1, "bits_allocated": 8,
        "bits_stored": 8, "pixel_representation": 0, "number_of_frames": 1,
        "photometric_interpretation": "MONOCHROME2",
    }  # fmt: skip
    return RLELosslessEncoder.encode(pixels, encoding_plugin="pydicom", **options)


ENCODERS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    RLE: rle,
    JPEG: lambda pixels: bytes(imagecodecs.jpeg8_encode(pixels, level=100)),
    JPEG_SV1: lambda pixels: bytes(imagecodecs.ljpeg_encode(pixels)),
    JPEG_LS: lambda pixels: bytes(imagecodecs.jpegls_encode(pixels)),
    JPEG_2000: lambda pixels: bytes(imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k")),
}


@pytest.fixture(scope="module")
def cine() -> list[NDArray[Any]]:
    """Five frames, a quarter the size of a radiograph of the archive, each moved on by 20 pixels."""
    chest = (pydicom.dcmread(CHEST).pixel_array[::2, ::2] >> 4).astype(np.uint8)
    return [np.ascontiguousarray(np.roll(chest, 20 * number, axis=1)) for number in range(FRAMES)]


def read(path: Path) -> ReadImage:
    reading = reader.read_dicom(str(path), CANVAS, ReadSettings())
    assert isinstance(reading, ReadImage), reading
    return reading


def item(value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return b"\xfe\xff\x00\xe0" + len(value).to_bytes(4, "little") + value


def words(entries: Sequence[int], size: int = 4) -> bytes:
    return b"".join(entry.to_bytes(size, "little") for entry in entries)


def places(fragments: Sequence[bytes]) -> list[int]:
    """Where each fragment's item begins, counted from the first one."""
    return [sum(len(item(before)) for before in fragments[:number]) for number in range(len(fragments))]


def in_parts(stream: bytes, parts: int) -> list[bytes]:
    step = (len(stream) // parts + 2) // 2 * 2
    return [stream[at : at + step] for at in range(0, len(stream), step)]


def value_of(table: bytes | None, fragments: Sequence[bytes]) -> bytes:
    return (b"" if table is None else item(table)) + b"".join(map(item, fragments))


LIES: dict[str, Callable[[list[int]], list[int]]] = {
    "only the first": lambda right: right[:1],
    "all zero": lambda right: [0] * len(right),
    "from the value's start": lambda right: [entry + 8 + 4 * len(right) for entry in right],
    "without the padding": lambda right: [entry - number for number, entry in enumerate(right)],
    "without the items' heads": lambda right: [entry - 8 * number for number, entry in enumerate(right)],
    "garbage": lambda right: [0xDEADBEEF - 7 * number for number in range(len(right))],
    "too many": lambda right: [*right, right[-1] + 1000, right[-1] + 2000],
    "too few": lambda right: right[:-1],
    "backwards": lambda right: right[::-1],
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("extended", [False, True], ids=["basic", "extended"])
@pytest.mark.parametrize("syntax", ENCODERS)
def test_a_table_that_lies_costs_no_frame(
    lie: str, extended: bool, syntax: str, cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    streams = [ENCODERS[syntax](frame) for frame in cine]
    wanted = read(write_dicom(tmp_path / "one.dcm", cine[2], syntax, PixelData=value_of(b"", streams[2:3])))
    wrong = LIES[lie](places(streams))
    tables = {"ExtendedOffsetTable": words(wrong, 8)} if extended else {}
    value = value_of(b"" if extended else words(wrong), streams)
    path = write_dicom(
        tmp_path / "x.dcm", cine[0], syntax, SOPClassUID=XA, NumberOfFrames=FRAMES, PixelData=value, **tables
    )
    assert read(path).remarks == (Reason.OFFSET_TABLE,)
    assert np.array_equal(read(path).image, wanted.image)


@pytest.mark.parametrize("lie", [*LIES, "none"])
@pytest.mark.parametrize("syntax", [JPEG, JPEG_SV1, JPEG_LS, JPEG_2000])
def test_frames_of_several_fragments_are_told_apart_by_their_code_streams(
    lie: str, syntax: str, cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    streams = [ENCODERS[syntax](frame) for frame in cine]
    wanted = read(write_dicom(tmp_path / "one.dcm", cine[2], syntax, PixelData=value_of(b"", streams[2:3])))
    parts = [in_parts(stream, 2 + number) for number, stream in enumerate(streams)]
    fragments = [part for each in parts for part in each]
    first = [sum(map(len, parts[:number])) for number in range(FRAMES)]
    right = [places(fragments)[number] for number in first]
    for name, table in (("right.dcm", right), ("x.dcm", [] if lie == "none" else LIES[lie](right))):
        value = value_of(words(table), fragments)
        path = write_dicom(
            tmp_path / name, cine[0], syntax, SOPClassUID=XA, NumberOfFrames=FRAMES, PixelData=value
        )
        expected = () if table in ([], right) else (Reason.OFFSET_TABLE,)
        assert read(path).remarks == expected
        assert np.array_equal(read(path).image, wanted.image)


@pytest.mark.parametrize("table", [[], [0], [0, 500], [0] * 9, [8], [0xFFFFFFFF], [0, 1, 2, 3]])
def test_one_frame_is_made_of_all_fragments_whatever_a_table_says(
    table: list[int], cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    stream = ENCODERS[JPEG_LS](cine[0])
    wanted = read(write_dicom(tmp_path / "plain.dcm", cine[0]))
    value = value_of(words(table), in_parts(stream, 4))
    path = write_dicom(tmp_path / "x.dcm", cine[0], JPEG_LS, PixelData=value)
    assert read(path).remarks == (() if table in ([], [0]) else (Reason.OFFSET_TABLE,))
    assert np.array_equal(read(path).image, wanted.image)


@pytest.mark.parametrize("frames", [1, FRAMES])
def test_a_missing_item_for_the_table_costs_no_frame(
    frames: int, cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    streams = [ENCODERS[JPEG_LS](frame) for frame in cine[:frames]]
    wanted = read(write_dicom(tmp_path / "plain.dcm", cine[frames // 2]))
    path = write_dicom(
        tmp_path / "x.dcm", cine[0], JPEG_LS, NumberOfFrames=frames, PixelData=value_of(None, streams)
    )
    assert np.array_equal(read(path).image, wanted.image)


BLANK = {"native": None, "jpeg": JPEG, "jpeg 2000": JPEG_2000}


@pytest.mark.parametrize("bad", [{2}, {1, 2}, {1, 2, 3}, {0, 1, 2, 3}])
@pytest.mark.parametrize("kind", BLANK)
def test_the_nearest_good_frame_takes_the_place_of_a_blank_one(
    kind: str, bad: set[int], cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    frames = [np.full_like(frame, 77) if number in bad else frame for number, frame in enumerate(cine)]
    taken = min(set(range(FRAMES)) - bad, key=lambda number: (abs(number - 2), number))
    syntax = BLANK[kind]
    if syntax is None:
        plain = write_dicom(tmp_path / "plain.dcm", cine[taken])
        value = np.stack(frames).tobytes()
    else:
        encode = ENCODERS[syntax]
        value = value_of(b"", [encode(cine[taken])])
        plain = write_dicom(tmp_path / "plain.dcm", cine[taken], syntax, PixelData=value)
        value = value_of(b"", [encode(frame) for frame in frames])
    path = write_dicom(
        tmp_path / "x.dcm", cine[0], syntax, SOPClassUID=XA, NumberOfFrames=FRAMES, PixelData=value
    )
    assert read(path).remarks == (frame_remark(taken + 1),)
    assert read(path).remarks[0].endswith(f"frame {taken + 1}")
    assert np.array_equal(read(path).image, read(plain).image)


@pytest.mark.parametrize("damage", ["empty", "garbage", "half", "another size"])
def test_the_nearest_good_frame_takes_the_place_of_a_damaged_one(
    damage: str, cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    streams = [ENCODERS[JPEG_SV1](frame) for frame in cine]
    streams[2] = {
        "empty": b"",
        "garbage": b"\xff\xd8\xff\xc3" + b"\x5a" * 900,
        "half": streams[2][: len(streams[2]) // 2],
        "another size": ENCODERS[JPEG_SV1](cine[2][:50]),
    }[damage]
    wanted = read(write_dicom(tmp_path / "plain.dcm", cine[1]))
    path = write_dicom(
        tmp_path / "x.dcm", cine[0], JPEG_SV1, NumberOfFrames=FRAMES, PixelData=value_of(b"", streams)
    )
    assert read(path).remarks == (frame_remark(2),)
    assert np.array_equal(read(path).image, wanted.image)


@pytest.mark.parametrize("with_table", [False, True])
@pytest.mark.parametrize("syntax", [None, JPEG_LS])
def test_the_frames_before_a_cut_are_read(
    syntax: str | None, with_table: bool, cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    """A file that ends in its third frame of five still has two."""
    wanted = read(write_dicom(tmp_path / "plain.dcm", cine[1]))
    path = tmp_path / "x.dcm"
    if syntax is None:
        write_dicom(path, cine[0], NumberOfFrames=FRAMES, PixelData=np.stack(cine).tobytes())
        behind = cine[0].size * 5 // 2
    else:
        streams = [ENCODERS[syntax](frame) for frame in cine]
        value = value_of(words(places(streams)) if with_table else b"", streams)
        write_dicom(path, cine[0], syntax, NumberOfFrames=FRAMES, PixelData=value)
        behind = sum(len(item(stream)) for stream in streams[2:]) - 200
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - behind])
    assert read(path).remarks == (frame_remark(2),)
    assert np.array_equal(read(path).image, wanted.image)


def test_the_trouble_of_the_middle_frame_is_told_if_none_is_good(
    cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    blank = np.zeros((FRAMES, *cine[0].shape), np.uint8)
    path = write_dicom(tmp_path / "x.dcm", cine[0], NumberOfFrames=FRAMES, PixelData=blank.tobytes())
    reading = reader.read_dicom(str(path), CANVAS, ReadSettings())
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.DECODE_ERROR, Reason.CONSTANT_IMAGE)


def test_a_long_run_of_blank_frames_is_tried_here_and_there(tmp_path: Path, write_dicom: Write) -> None:
    """A thousand small frames, of which the first hundred are good: found without a thousand decodes."""
    frames = np.zeros((1000, 24, 24), np.uint8)
    frames[:100] = np.add.outer(np.arange(24), np.arange(24)).astype(np.uint8)
    path = write_dicom(tmp_path / "x.dcm", frames[0], NumberOfFrames=1000, PixelData=frames.tobytes())
    assert read(path).remarks == (frame_remark(1),)


def test_a_table_of_a_long_value_may_wrap() -> None:
    """Entries of a Basic Offset Table have 32 bits; behind 4 GiB they begin again."""
    half = 3 << 30
    fragments = [Fragment(100 + at, 108 + at, half) for at in (0, half, 2 * half)]
    table = [(fragment.item - 100) % (1 << 32) for fragment in fragments]
    assert not group(fragments, [table], 3, lambda _: True).table_is_wrong


def test_what_cannot_be_told_apart_is_no_frame(
    cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    parts = [part for frame in cine for part in in_parts(frame.tobytes(), 3)]
    value = value_of(words([0, 3]), parts)
    path = write_dicom(tmp_path / "x.dcm", cine[0], JPEG_2000, NumberOfFrames=FRAMES, PixelData=value)
    reading = reader.read_dicom(str(path), CANVAS, ReadSettings())
    assert isinstance(reading, Failure)
    assert reading.status is Status.DECODE_ERROR


def test_a_right_basic_table_beside_an_extended_one_that_lies(
    cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    """Frames without a start of their own, each in two fragments."""
    parts = [part for frame in cine for part in in_parts(frame.tobytes(), 2)]
    right = places(parts)[::2]
    wanted = read(write_dicom(tmp_path / "plain.dcm", cine[2]))
    path = write_dicom(
        tmp_path / "x.dcm", cine[0], "1.2.840.10008.1.2.1.98", NumberOfFrames=FRAMES,
        ExtendedOffsetTable=words([4 + entry for entry in right], 8), PixelData=value_of(words(right), parts),
    )  # fmt: skip
    assert read(path).remarks == (Reason.OFFSET_TABLE,)
    assert np.array_equal(read(path).image, wanted.image)


def test_an_empty_item_at_the_end_is_no_frame(
    cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    streams = [*(frame.tobytes() for frame in cine), b""]
    wanted = read(write_dicom(tmp_path / "plain.dcm", cine[2]))
    value = value_of(b"", streams)
    path = write_dicom(
        tmp_path / "x.dcm", cine[0], "1.2.840.10008.1.2.1.98", NumberOfFrames=FRAMES, PixelData=value
    )
    assert np.array_equal(read(path).image, wanted.image)


def test_a_frame_that_its_window_does_not_show_gives_way_to_one_that_it_does(
    cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    """Before the X-rays come a cine holds noise, which is no constant gray."""
    noise = np.random.default_rng(0).integers(0, 4, cine[2].shape).astype(np.uint8)
    window = {"WindowCenter": "128", "WindowWidth": "240"}
    frames = [*cine[:2], noise, *cine[3:]]
    wanted = read(write_dicom(tmp_path / "plain.dcm", cine[1], **window))
    path = write_dicom(
        tmp_path / "x.dcm", cine[0], NumberOfFrames=FRAMES, PixelData=np.stack(frames).tobytes(), **window
    )
    assert read(path).remarks == (frame_remark(2),)
    assert np.array_equal(read(path).image, wanted.image)
    alone = write_dicom(tmp_path / "alone.dcm", noise, **window)
    everywhere = write_dicom(
        tmp_path / "y.dcm", noise, NumberOfFrames=FRAMES, PixelData=noise.tobytes() * FRAMES, **window
    )
    assert read(everywhere).remarks == read(alone).remarks == (Reason.PERCENTILE_WINDOW,)


def test_a_frame_of_one_gray_beside_its_padding_is_blank(
    cine: list[NDArray[Any]], tmp_path: Path, write_dicom: Write
) -> None:
    frames = [frame.copy() for frame in cine]
    frames[2][:] = 90
    for frame in frames:
        frame[:37] = 0
    value = np.stack(frames).tobytes()
    path = write_dicom(
        tmp_path / "x.dcm", frames[0], NumberOfFrames=FRAMES, PixelPaddingValue=0, PixelData=value
    )
    assert read(path).remarks == (frame_remark(2),)
