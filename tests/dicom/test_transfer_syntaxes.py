"""Every transfer syntax against the uncompressed original, at full and at reduced size."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from readings import ENCODERS, SMOOTH, SMOOTH8, Write, decoded_alike, image_of, read

from dicomsort import read_image
from dicomsort.dicom import codecs, pixel_data
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure, ReadImage, Reason, Status


@pytest.mark.parametrize("name", ENCODERS)
def test_every_syntax_gives_the_picture_of_the_uncompressed_file(
    name: str, tmp_path: Path, write_dicom: Write
) -> None:
    syntax, encode, eight_bit, tolerance = ENCODERS[name]
    pixels = SMOOTH8 if eight_bit else SMOOTH
    plain = write_dicom(tmp_path / "plain.dcm", pixels, BitsStored=8 if eight_bit else 12)
    data = encapsulate([bytes(encode(np.ascontiguousarray(pixels)))])
    coded = write_dicom(
        tmp_path / "coded.dcm", pixels, syntax, BitsStored=8 if eight_bit else 12, PixelData=data
    )
    difference = np.abs(image_of(plain).astype(int) - image_of(coded))
    assert difference.mean() <= tolerance


@pytest.mark.parametrize(
    ("syntax", "step"),
    [("1.2.840.10008.1.2.4.50", 8), ("1.2.840.10008.1.2.4.51", 8), ("1.2.840.10008.1.2.4.90", 16),
     ("1.2.840.10008.1.2.4.91", 16), ("1.2.840.10008.1.2.4.201", 16), ("1.2.840.10008.1.2.4.202", 16),
     ("1.2.840.10008.1.2.4.203", 16)],
)  # fmt: skip
def test_no_more_pixels_are_decoded_than_needed(syntax: str, step: int) -> None:
    """1024 x 768 pixels for a picture of 60 x 45: the smallest size of the codec that covers it."""
    large = np.kron(SMOOTH8[:64, :48], np.ones((16, 16))).astype(np.uint8)
    encoders: dict[str, Any] = {
        "5": imagecodecs.jpeg8_encode,
        "9": imagecodecs.jpeg2k_encode,
        "2": imagecodecs.htj2k_encode,
    }
    frame = encoders[syntax[20]](large)
    decoded = codecs.decode(bytes(frame), syntax, codecs.DecodeRequest((1024, 768), (60, 45), 8))
    assert decoded.step == step
    assert decoded.pixels.shape == (1024 // step, 768 // step)


def test_a_level_that_cannot_be_decoded_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def refuse(_: bytes, halvings: int, wanted: codecs.DecodeRequest) -> codecs.DecodedFrame | None:
        tried.append(halvings)
        if halvings > 2:
            raise ValueError
        return codecs.DecodedFrame(np.zeros((1, 1), np.uint8), 1 << halvings) if halvings == 1 else None

    monkeypatch.setattr(codecs, "_REDUCERS", {"1.2.840.10008.1.2.4.90": refuse})
    wanted = codecs.DecodeRequest((1024, 768), (60, 45))
    assert codecs.decode(b"", "1.2.840.10008.1.2.4.90", wanted).step == 2
    assert tried == [4, 3, 2, 1]


def test_bytes_behind_the_end_of_a_code_stream_do_not_matter(tmp_path: Path, write_dicom: Write) -> None:
    large = np.kron(SMOOTH, np.ones((8, 8))).astype(np.uint16)
    frame = bytes(imagecodecs.jpeg2k_encode(large, level=0, codecformat="j2k", reversible=True))
    for tail in (b"", b"\0", b"\0" * 40):
        assert frame.endswith(b"\xff\xd9")
        wanted = codecs.DecodeRequest(large.shape, (60, 45))
        assert codecs.decode(frame + tail, "1.2.840.10008.1.2.4.90", wanted).step == 8


@pytest.mark.parametrize("size", [64, 500])
def test_rgb_in_a_jpeg_without_a_marker(size: int, tmp_path: Path, write_dicom: Write) -> None:
    gray = np.kron(SMOOTH8, np.ones((6, 6))).astype(np.uint8)
    rgb = np.stack([gray] * 3, axis=-1)
    frame = bytes(imagecodecs.jpeg8_encode(rgb, level=95, colorspace="RGB", outcolorspace="RGB"))
    marker = frame.find(b"\xff\xee")
    if marker >= 0:
        frame = frame[:marker] + frame[marker + 2 + int.from_bytes(frame[marker + 2 : marker + 4], "big") :]
    numbered = bytearray(frame)
    for segment, first, each in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        for number in range(3):
            numbered[frame.index(segment) + first + each * number] = number + 1
    frame = bytes(numbered)
    assert b"Adobe" not in frame
    plain = write_dicom(tmp_path / "plain.dcm", gray)
    color = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    data = encapsulate([frame])
    path = write_dicom(tmp_path / "x.dcm", gray, "1.2.840.10008.1.2.4.50", PixelData=data, **color)
    seen, wanted = (read_image(one, Preprocessing(size=size)).astype(int) for one in (path, plain))
    assert np.abs(seen - wanted).mean() < 2


def test_a_stream_that_claims_more_than_the_header_gets_no_memory(
    tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    monkeypatch.setattr(codecs, "decode", lambda *_: called.append(1))
    for name in ("jpeg baseline", "jpeg-ls", "jpeg lossless", "jpeg 2000", "htj2k"):
        syntax, encode, eight_bit, _ = ENCODERS[name]
        gray = SMOOTH8 if eight_bit else SMOOTH
        frame = bytes(encode(np.ascontiguousarray(gray)))
        assert codecs.keeps_to(frame, syntax, (gray.shape[0], gray.shape[1]))
        path = write_dicom(tmp_path / "x.dcm", gray[:-1], syntax, PixelData=encapsulate([frame]))
        reading = read(path)
        assert isinstance(reading, Failure)
        assert (reading.status, reading.reason) == (Status.DECODE_ERROR, Reason.PIXELS_DAMAGED)
    assert not called


@pytest.mark.parametrize("name", ["jpeg baseline", "jpeg lossless", "jpeg-ls"])
def test_a_stream_cut_off_inside_a_whole_fragment_is_no_picture(
    name: str, tmp_path: Path, write_dicom: Write
) -> None:
    syntax, encode, eight_bit, _ = ENCODERS[name]
    large = np.kron(SMOOTH8 if eight_bit else SMOOTH, np.ones((5, 5))).astype(
        np.uint8 if eight_bit else np.uint16
    )
    frame = bytes(encode(large))
    for part in (0.1, 0.6, 0.95):
        data = encapsulate([frame[: int(len(frame) * part)]])
        reading = read(write_dicom(tmp_path / "x.dcm", large, syntax, PixelData=data))
        assert isinstance(reading, Failure), part
        assert reading.status is Status.DECODE_ERROR


def test_the_size_of_a_stream_is_found_where_decoders_find_it() -> None:
    gray = np.ascontiguousarray(SMOOTH8)
    jpeg = bytes(imagecodecs.jpeg8_encode(gray))
    decoy = b"\xff\xfe\x00\x20\xff\x4f\xff\x51" + bytes(26)
    for frame in (jpeg, jpeg[:2] + decoy + jpeg[2:], jpeg[:2] + bytes(4) + jpeg[2:]):
        assert codecs.keeps_to(frame, "1.2.840.10008.1.2.4.50", (96, 80))
        assert not codecs.keeps_to(frame, "1.2.840.10008.1.2.4.50", (97, 80))
    for shape in ((96, 80), (96, 96), (120, 100), (1000, 3), (8, 2000), (77, 333), (256, 512)):
        image = np.zeros(shape, np.uint8)
        frame = bytes(imagecodecs.jpegxl_encode(image, lossless=True))
        assert codecs.keeps_to(frame, "1.2.840.10008.1.2.4.110", shape)
        assert not codecs.keeps_to(frame, "1.2.840.10008.1.2.4.110", (shape[0] + 1, shape[1]))
    boxed = bytes(imagecodecs.jpeg2k_encode(gray, codecformat="jp2"))
    assert codecs.keeps_to(boxed, "1.2.840.10008.1.2.4.90", (96, 80))
    assert not codecs.keeps_to(b"", "1.2.840.10008.1.2.4.90", (96, 80))


def test_a_stream_of_fewer_bits_than_are_stored_has_no_sign(tmp_path: Path, write_dicom: Write) -> None:
    plain = write_dicom(tmp_path / "plain.dcm", SMOOTH8.astype(np.int16), PixelRepresentation=1)
    data = encapsulate([bytes(imagecodecs.jpegls_encode(SMOOTH8))])
    path = write_dicom(
        tmp_path / "x.dcm", SMOOTH, "1.2.840.10008.1.2.4.80", PixelRepresentation=1, PixelData=data
    )
    decoded_alike(path, plain)


@pytest.mark.parametrize("name", ["jpeg baseline", "jpeg 2000", "htj2k"])
def test_reduced_decoding_neither_wraps_nor_shifts_hard_edges(
    name: str, tmp_path: Path, write_dicom: Write
) -> None:
    squares = np.kron(np.indices((7, 6)).sum(axis=0) % 2, np.ones((73, 73))).astype(np.uint8) * 255
    syntax, encode, *_ = ENCODERS[name]
    plain = write_dicom(tmp_path / "plain.dcm", squares)
    coded = write_dicom(
        tmp_path / "coded.dcm", squares, syntax, PixelData=encapsulate([bytes(encode(squares))])
    )
    difference = np.abs(image_of(plain).astype(int) - image_of(coded))
    assert difference.mean() < 10
    assert difference.max() < 128


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_color_of_codecs_that_do_not_know_color(photometric: str, tmp_path: Path, write_dicom: Write) -> None:
    plain = write_dicom(tmp_path / "plain.dcm", SMOOTH8)
    gray = np.full_like(SMOOTH8, 128)
    other = (SMOOTH8, SMOOTH8) if photometric == "RGB" else (gray, gray)
    frame = bytes(imagecodecs.jpegls_encode(np.stack([SMOOTH8, *other], axis=-1)))
    color = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": photometric}
    path = write_dicom(
        tmp_path / "x.dcm", SMOOTH8, "1.2.840.10008.1.2.4.80", PixelData=encapsulate([frame]), **color
    )
    decoded_alike(path, plain)


@pytest.mark.parametrize("stream_signed", [False, True])
@pytest.mark.parametrize("header_signed", [False, True])
def test_the_sign_of_jpeg_2000(
    stream_signed: bool, header_signed: bool, tmp_path: Path, write_dicom: Write
) -> None:
    """The header is right; a stream of the other sign holds the same bits."""
    large = np.kron(SMOOTH, np.ones((4, 4))).astype(np.uint16) * 15
    words = (large.astype(np.int32) - 30000).astype(np.int16) if header_signed else large
    signs = {"PixelRepresentation": int(header_signed)}
    plain = write_dicom(tmp_path / "plain.dcm", words, **signs)
    stream = words.view(np.int16 if stream_signed else np.uint16)
    frame = bytes(imagecodecs.jpeg2k_encode(stream, level=0, codecformat="j2k", reversible=True))
    path = write_dicom(
        tmp_path / "x.dcm", words, "1.2.840.10008.1.2.4.90", PixelData=encapsulate([frame]), **signs
    )
    decoded_alike(path, plain, 1.5)


def test_what_imagecodecs_refuses_another_plugin_may_read(
    tmp_path: Path, write_dicom: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: bytes) -> Any:
        raise ValueError

    syntax = "1.2.840.10008.1.2.4.90"
    frame = bytes(imagecodecs.jpeg2k_encode(SMOOTH, level=0, codecformat="j2k", reversible=True))
    path = write_dicom(tmp_path / "x.dcm", SMOOTH, syntax, PixelData=encapsulate([frame]))
    wanted = image_of(path)
    monkeypatch.setattr(codecs, "_REDUCERS", {})
    monkeypatch.setattr(codecs, "_DECODERS", {syntax: refuse})
    assert isinstance(read(path), Failure)
    monkeypatch.setattr(pixel_data, "_OTHER_PLUGINS", ("pillow", "gdcm"))
    reading = read(path)
    assert isinstance(reading, ReadImage)
    assert reading.remarks == (Reason.OTHER_DECODER,)
    assert np.abs(reading.image.astype(int) - wanted).mean() < 1


def test_gdcm_comes_last() -> None:
    assert pixel_data._OTHER_PLUGINS[-1] == "gdcm"
