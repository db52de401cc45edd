"""Headers that other tools have been seen to write: read as meant, with a remark, or left to a person.

Every value is written into the file as it stands here, so that no library can put it right on the way; the
right picture is that of the same file with the value as the standard wants it.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from committed import ARCHIVE
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import UID

from dicomsort import Preprocessing, ReadSettings
from dicomsort.dicom import reader
from dicomsort.outcome import Failure, ReadImage, Reason

Write = Callable[..., Path]
CHEST = ARCHIVE / "2019" / "CR01" / "IM000001"
CAPTURE, CR = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.1"
GDCM = "1.2.826.0.1.3680043.2.1143.107.104.103.115.3.2.5.111.124.113"
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@pytest.fixture(scope="module")
def chest() -> NDArray[Any]:
    """The stored values of a radiograph of the archive, 12 bits."""
    return pydicom.dcmread(CHEST).pixel_array


def read(path: Path) -> ReadImage:
    reading = reader.read_dicom(str(path), Preprocessing(), ReadSettings())
    assert isinstance(reading, ReadImage), reading
    return reading


def put(path: Path, **texts: str) -> Path:
    """Replace values of a file in explicit little endian by other texts, byte for byte, without a check."""
    data = path.read_bytes()
    for keyword, text in texts.items():
        tag = Tag(keyword)
        head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
        at = data.index(head)
        length = int.from_bytes(data[at + 6 : at + 8], "little")
        value = text.encode() + b" " * (len(text) % 2)
        data = data[: at + 6] + len(value).to_bytes(2, "little") + value + data[at + 8 + length :]
    path.write_bytes(data)
    return path


WINDOWED = {"RescaleSlope": "-0.5", "RescaleIntercept": "2000", "WindowCenter": "900", "WindowWidth": "1800"}


@pytest.mark.parametrize(
    ("keyword", "comma"),
    [("RescaleSlope", "-0,5"), ("RescaleIntercept", "2000,0"), ("WindowCenter", "900,0"),
     ("WindowWidth", "1800,00\\2"), ("RescaleSlope", " -5,0e-1"), ("RescaleSlope", "-,5")],
)  # fmt: skip
def test_a_decimal_comma_is_a_point(
    keyword: str, comma: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    plain = read(write_dicom(tmp_path / "plain.dcm", chest, BitsStored=12, **WINDOWED))
    path = put(write_dicom(tmp_path / "x.dcm", chest, BitsStored=12, **WINDOWED), **{keyword: comma})
    assert plain.remarks == ()
    assert read(path).remarks == (Reason.DECIMAL_COMMA,)
    assert np.array_equal(read(path).image, plain.image)


@pytest.mark.parametrize("keyword", SPACINGS)
def test_decimal_commas_in_a_spacing(
    keyword: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    plain = read(write_dicom(tmp_path / "plain.dcm", chest, **{keyword: ["0.4", "0.2"]}))
    path = put(write_dicom(tmp_path / "x.dcm", chest, **{keyword: ["1", "1"]}), **{keyword: "0,4\\0,2"})
    assert read(path).remarks == (Reason.DECIMAL_COMMA,)
    assert np.array_equal(read(path).image, plain.image)
    assert plain.image[:, :20].max() == 0  # twice as high as wide


@pytest.mark.parametrize("text", ['"-0.5"', "-0.5 mm", "minus", "nan", "1.234,5", "0x10", "1_0", "--1"])
def test_a_slope_that_cannot_be_read_leaves_the_polarity_in_doubt(
    text: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    path = put(write_dicom(tmp_path / "x.dcm", chest, RescaleSlope="1"), RescaleSlope=text)
    assert read(path).remarks == (Reason.NUMBER_UNREADABLE, Reason.POLARITY)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [("RescaleIntercept", "zero"), ("WindowCenter", "2048 HU"), ("WindowWidth", "'400'"),
     ("PixelSpacing", "0.2 mm\\0.1 mm"), ("ImagerPixelSpacing", "0.2,0.1"), ("NumberOfFrames", "one")],
)  # fmt: skip
def test_other_numbers_that_cannot_be_read_cost_a_remark(
    keyword: str, text: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    value = ["1", "1"] if "Spacing" in keyword else "1"
    path = put(write_dicom(tmp_path / "x.dcm", chest, **{keyword: value}), **{keyword: text})
    assert read(path).remarks == (Reason.NUMBER_UNREADABLE,)
    plain = read(write_dicom(tmp_path / "plain.dcm", chest))
    assert np.array_equal(read(path).image, plain.image)


def test_a_window_that_cannot_be_read_gives_way_to_the_next(
    chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    plain = read(write_dicom(tmp_path / "plain.dcm", chest, WindowCenter="2000", WindowWidth="1000"))
    both = {"WindowCenter": ["1", "2"], "WindowWidth": ["1", "2"]}
    path = put(write_dicom(tmp_path / "x.dcm", chest, **both), WindowCenter="x\\2000", WindowWidth="9\\1000")
    assert read(path).remarks == (Reason.NUMBER_UNREADABLE,)
    assert np.array_equal(read(path).image, plain.image)
    impossible = write_dicom(
        tmp_path / "y.dcm", chest, WindowCenter=["2000", "2000"], WindowWidth=["0", "1000"]
    )
    assert np.array_equal(read(impossible).image, plain.image)


def test_the_sign_of_raw_values_may_leave_the_polarity_in_doubt(
    chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    raw = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1", "PixelIntensityRelationship": "LIN"}
    path = write_dicom(tmp_path / "x.dcm", chest, BitsStored=12, **raw)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelIntensityRelationshipSign", "LO", "minus")
    dataset.save_as(path)
    assert Reason.POLARITY in read(path).remarks


@pytest.mark.parametrize(
    "case",
    [(16, 0, 65535, -1), (16, 0, 63536, -2000), (16, 1, -2048, 63488), (12, 1, -2048, 63488),
     (12, 1, -1, 65535), (12, 1, -1, 4095), (12, 0, 4095, -1)],
    ids=lambda case: "{} bits, signed {}, {} written as {}".format(*case),
)  # fmt: skip
def test_padding_of_the_other_sign(
    case: tuple[int, int, int, int], chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    bits, signed, stored, said = case
    values = chest.astype(np.int32) - (2048 if signed else 0)
    values[:60] = stored
    values = values.astype(np.int16 if signed else np.uint16)
    elements = {"BitsStored": bits, "PixelRepresentation": signed, "PixelPaddingValue": stored}
    plain = read(write_dicom(tmp_path / "plain.dcm", values, **elements))
    path = write_dicom(tmp_path / "x.dcm", values, **elements)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US" if signed else "SS", said)
    dataset.save_as(path)
    assert plain.remarks == ()
    assert read(path).remarks == (Reason.PADDING_MEANT,)
    assert np.array_equal(read(path).image, plain.image)
    assert plain.image[:20].max() == 0


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_entries_of_a_table_are_unsigned_whatever_their_vr(
    keyword: str, syntax: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    """PS3.3 C.11.1.1.1. Some write entries above 32767 with VR SS."""
    entries = (np.arange(4096) * 16).astype(np.uint16)
    order = ">u2" if syntax.endswith(".2.2") else "<u2"
    big = {"PixelData": chest.astype(order).tobytes()}
    paths = []
    for name, vr, values in (("us.dcm", "US", entries), ("ss.dcm", "SS", entries.view(np.int16))):
        item = Dataset()
        item.add_new("LUTDescriptor", vr, [4096, 0, 16])
        item.add_new("LUTData", vr, values.tolist())
        paths.append(write_dicom(tmp_path / name, chest, syntax, BitsStored=12, **big, **{keyword: [item]}))
    plain, odd = map(read, paths)
    assert odd.remarks == plain.remarks == ()
    assert np.array_equal(odd.image, plain.image)
    assert plain.image.max() > 200


@pytest.mark.parametrize("spoil", ["empty", "no data", "no descriptor", "text for a descriptor", "too short"])
@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_the_first_table_that_can_be_read_counts(
    keyword: str, spoil: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    good, bad = Dataset(), Dataset()
    for item in (good, bad):
        item.add_new("LUTDescriptor", "US", [4096, 0, 16])
        item.add_new("LUTData", "OW", (np.arange(4096) ** 2 // 256).astype("<u2").tobytes())
    if spoil == "empty":
        bad = Dataset()
    elif spoil == "text for a descriptor":
        bad.add_new("LUTDescriptor", "LO", "4096, 0, 16")
    elif spoil == "too short":
        bad["LUTData"].value = bad["LUTData"].value[:100]
    else:
        del bad["LUTData" if spoil == "no data" else "LUTDescriptor"]
    elements = {"BitsStored": 12, "WindowCenter": "30000", "WindowWidth": "50000"}
    plain = read(write_dicom(tmp_path / "plain.dcm", chest, **elements, **{keyword: [good]}))
    path = write_dicom(tmp_path / "x.dcm", chest, **elements, **{keyword: [bad, good]})
    assert read(path).remarks == plain.remarks == ()
    assert np.array_equal(read(path).image, plain.image)
    path = write_dicom(tmp_path / "y.dcm", chest, **elements, **{keyword: [bad]})
    assert Reason.TABLE_UNREADABLE in read(path).remarks


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_half_a_table_is_no_table_of_bytes(
    keyword: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    """Only entries of 8 bits may lie two to a word; 2048 words of 4096 are a table that has been cut."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.add_new("LUTData", "OW", (np.arange(2048) * 16).astype("<u2").tobytes())
    plain = read(write_dicom(tmp_path / "plain.dcm", chest, BitsStored=12))
    path = write_dicom(tmp_path / "x.dcm", chest, BitsStored=12, **{keyword: [item]})
    assert Reason.TABLE_UNREADABLE in read(path).remarks
    assert np.array_equal(read(path).image, plain.image)


def test_entries_two_to_a_word_change_places_in_big_endian(
    chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    """The first of two lies in the lower half of its word (PS3.5 8.1.1, 8.1.2)."""
    entries = (np.arange(256) % 2 * 120 + np.arange(256) // 4).astype(np.uint8)
    values = np.ascontiguousarray(chest >> 4).astype(np.uint16)
    paths = []
    for name, syntax, order in (("le", "1.2.840.10008.1.2.1", "<u2"), ("be", "1.2.840.10008.1.2.2", ">u2")):
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [256, 0, 8])
        item.add_new("LUTData", "OW", entries.view("<u2").astype(order).tobytes())
        elements: dict[str, Any] = {"PixelData": values.astype(order).tobytes(), "VOILUTSequence": [item]}
        paths.append(write_dicom(tmp_path / name, values, syntax, BitsStored=8, **elements))
    little, big = map(read, paths)
    assert big.remarks == little.remarks == ()
    assert np.array_equal(big.image, little.image)


@pytest.mark.parametrize("vr", ["OW", "OB", "UN", "SS"])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_the_descriptor_of_a_table_may_have_another_vr(
    vr: str, syntax: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    order = ">u2" if syntax.endswith(".2.2") else "<u2"
    paths = []
    for name, kind in (("us.dcm", "US"), ("x.dcm", vr)):
        item = Dataset()
        said = np.array([4096, 0, 16], order)
        item.add_new("LUTDescriptor", kind, said.tolist() if kind in ("US", "SS") else said.tobytes())
        item.add_new("LUTData", "OW", (np.arange(4096) ** 2 // 256).astype(order).tobytes())
        elements: dict[str, Any] = {"PixelData": chest.astype(order).tobytes(), "VOILUTSequence": [item]}
        paths.append(write_dicom(tmp_path / name, chest, syntax, BitsStored=12, **elements))
    plain, odd = map(read, paths)
    assert odd.remarks == plain.remarks == ()
    assert np.array_equal(odd.image, plain.image)


def test_a_slope_that_a_table_has_replaced_leaves_no_doubt(
    chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.add_new("LUTData", "OW", (np.arange(4096) ** 2 // 256).astype("<u2").tobytes())
    path = write_dicom(tmp_path / "x.dcm", chest, BitsStored=12, ModalityLUTSequence=[item], RescaleSlope="1")
    plain = read(path)
    odd = read(put(path, RescaleSlope="x"))
    assert odd.remarks == (Reason.NUMBER_UNREADABLE,)
    assert np.array_equal(odd.image, plain.image)


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_table_of_one_value_costs_the_table_and_not_the_image(
    keyword: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.add_new("LUTData", "OW", np.full(4096, 7, "<u2").tobytes())
    plain = read(write_dicom(tmp_path / "plain.dcm", chest, BitsStored=12))
    path = write_dicom(tmp_path / "x.dcm", chest, BitsStored=12, **{keyword: [item]})
    assert read(path).remarks == (Reason.PERCENTILE_WINDOW,)
    assert np.array_equal(read(path).image, plain.image)


@pytest.mark.parametrize(
    "said", ["MONOCHROME 1", "MONOCHROME1\t", "monochrome1", "MONOCHROME_1", "Monochrome-1"]
)
def test_a_misspelled_photometric_interpretation(
    said: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    plain = read(write_dicom(tmp_path / "plain.dcm", chest, PhotometricInterpretation="MONOCHROME1"))
    path = put(write_dicom(tmp_path / "x.dcm", chest), PhotometricInterpretation=said)
    assert read(path).remarks == (Reason.PHOTOMETRIC_MEANT,)
    assert np.array_equal(read(path).image, plain.image)


def test_an_unknown_photometric_interpretation_leaves_the_polarity_in_doubt(
    chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    path = put(write_dicom(tmp_path / "x.dcm", chest), PhotometricInterpretation="MONOCHROME")
    assert read(path).remarks == (Reason.PHOTOMETRIC_UNKNOWN, Reason.POLARITY)


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")])
@pytest.mark.parametrize("writer", [GDCM, "1.2.276.0.7230010.3.0.3.6.7"])
def test_photometric_interpretation_decides_about_the_polarity(
    photometric: str, shape: str, writer: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    """SimpleITK 2.5.7 (GDCM 3.2.5) inverts the values of MONOCHROME1, writes MONOCHROME2, and keeps INVERSE.

    Seen with a DX image of MONOCHROME1 and INVERSE that ImageFileWriter wrote again with all its tags.
    """
    plain = read(write_dicom(tmp_path / "plain.dcm", chest, PhotometricInterpretation=photometric))
    elements = {"PhotometricInterpretation": photometric, "PresentationLUTShape": shape}
    path = write_dicom(tmp_path / "x.dcm", chest, **elements)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.ImplementationClassUID = UID(writer)
    dataset.save_as(path)
    doubts = () if writer == GDCM else (Reason.POLARITY,)
    assert read(path).remarks == (Reason.SHAPE_IGNORED, *doubts)
    assert np.array_equal(read(path).image, plain.image)


@pytest.mark.parametrize("modality", ["cr", "Dx", " DX ", "DF", "DR", "rf", "DX\t"])
def test_the_modality_of_a_capture_is_read_as_meant(
    modality: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    path = write_dicom(tmp_path / "x.dcm", chest, SOPClassUID=CAPTURE, Modality="CR")
    plain = read(path)
    assert plain.remarks == ()
    odd = read(put(path, Modality=modality))
    assert odd.remarks == (() if modality.strip() == "DX" else (Reason.MODALITY_MEANT,))
    assert np.array_equal(odd.image, plain.image)


def test_a_private_sop_class_is_judged_by_its_modality(
    chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    private = "1.2.392.200036.9125.1.1.2"
    path = write_dicom(tmp_path / "x.dcm", chest, SOPClassUID=private, Modality="CR")
    assert read(path).remarks == (Reason.BY_MODALITY,)
    left_out = write_dicom(tmp_path / "y.dcm", chest, SOPClassUID=private, Modality="OT")
    reading = reader.read_dicom(str(left_out), Preprocessing(), ReadSettings())
    assert isinstance(reading, Failure)
    assert "--include-secondary-capture" in reading.reason
    asked = reader.read_dicom(str(left_out), Preprocessing(), ReadSettings(secondary_capture=True))
    assert isinstance(asked, ReadImage)


def test_a_private_sop_class_may_stand_in_the_meta_group_alone(
    chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    private = "1.2.392.200036.9125.1.1.2"
    path = write_dicom(tmp_path / "x.dcm", chest, SOPClassUID=private, Modality="CR")
    dataset = pydicom.dcmread(path)
    del dataset.SOPClassUID
    pydicom.dcmwrite(path, dataset)
    assert read(path).remarks == (Reason.BY_MODALITY,)


def test_an_x_ray_sop_class_needs_no_remark_on_the_modality(
    chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    assert read(write_dicom(tmp_path / "x.dcm", chest, SOPClassUID=CR, Modality="cr")).remarks == ()


JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
ADOBE = b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0"
SAYS_RGB = {b"": None, JFIF: False, ADOBE + b"\0": True, ADOBE + b"\1": False}


def _without_app(frame: bytes) -> bytes:
    """Leave out every APPn segment in front of the frame header."""
    at, kept = 2, frame[:2]
    while frame[at + 1] not in (0xC0, 0xC1):
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        kept += b"" if 0xE0 <= frame[at + 1] <= 0xEF else frame[at:end]
        at = end
    return kept + frame[at:]


def _numbered(frame: bytes) -> bytes:
    """Number the components 1, 2, 3, whatever letters stand there."""
    changed = bytearray(frame)
    for segment, first, each in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        for number in range(3):
            changed[frame.index(segment) + first + each * number] = number + 1
    return bytes(changed)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize("marker", SAYS_RGB, ids=["no marker", "JFIF", "Adobe RGB", "Adobe YCbCr"])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": "128", "WindowWidth": "200"}], ids=["", "window"])
def test_the_code_stream_decides_about_its_colors(
    photometric: str,
    marker: bytes,
    window: dict[str, str],
    chest: NDArray[Any],
    tmp_path: Path,
    write_dicom: Write,
) -> None:
    """PS3.5 8.2.1; only a stream that says nothing leaves it to Photometric Interpretation."""
    says = SAYS_RGB[marker]
    rgb = photometric == "RGB" if says is None else says
    gray = np.kron(chest >> 4, np.ones((2, 2))).astype(np.uint8)
    color = np.stack([gray, gray // 2, gray // 3], axis=-1)
    coded = "RGB" if rgb else "YCBCR"
    frame = _numbered(
        _without_app(bytes(imagecodecs.jpeg8_encode(color, level=98, colorspace="RGB", outcolorspace=coded)))
    )
    frame = frame[:2] + marker + frame[2:]
    elements: dict[str, Any] = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, **window}
    plain = read(
        write_dicom(tmp_path / "plain.dcm", color, PhotometricInterpretation="RGB", Rows=color.shape[0],
                    Columns=color.shape[1], **elements)
    )  # fmt: skip
    elements["PhotometricInterpretation"] = photometric
    data = encapsulate([frame])
    path = write_dicom(tmp_path / "x.dcm", gray, "1.2.840.10008.1.2.4.50", PixelData=data, **elements)
    contradicts = says is not None and says is not (photometric == "RGB")
    assert read(path).remarks == ((Reason.STREAM_DECIDES,) if contradicts else ())
    assert np.abs(read(path).image.astype(int) - plain.image).mean() < 2


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"])
def test_progressive_jpeg_of_a_retired_syntax(
    syntax: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    """dcmtk 3.6.7 reads both, 12 bits under the latter too."""
    eight = syntax.endswith("53")
    values = (chest >> 4).astype(np.uint8) if eight else chest
    encoded = io.BytesIO()
    Image.fromarray((chest >> 4).astype(np.uint8)).save(encoded, "JPEG", quality=98, progressive=True)
    frame = encoded.getvalue()
    if not eight:
        frame = bytes(imagecodecs.jpeg8_encode(chest, bitspersample=12, level=98))
    plain = read(write_dicom(tmp_path / "plain.dcm", values, BitsStored=8 if eight else 12))
    path = write_dicom(
        tmp_path / "x.dcm", values, syntax, BitsStored=8 if eight else 12, PixelData=encapsulate([frame])
    )
    assert read(path).remarks == (Reason.RETIRED_SYNTAX,)
    assert np.abs(read(path).image.astype(int) - plain.image).mean() < 2


LEFT: dict[str, tuple[str, Callable[[NDArray[Any], int], bytes]]] = {
    "JPEG lossless": (
        "1.2.840.10008.1.2.4.70",
        lambda a, bits: bytes(imagecodecs.ljpeg_encode(a, bitspersample=bits)),
    ),
    "JPEG-LS": (
        "1.2.840.10008.1.2.4.80",
        lambda a, _: bytes(imagecodecs.jpegls_encode(a)),
    ),
    "JPEG 2000": (
        "1.2.840.10008.1.2.4.90",
        lambda a, bits: bytes(
            imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k", reversible=True, bitspersample=bits)
        ),
    ),
    "HTJ2K": (
        "1.2.840.10008.1.2.4.201",
        lambda a, _: bytes(imagecodecs.htj2k_encode(a)),
    ),
}


@pytest.mark.parametrize("pixels", ["", "dark", "signed", "dark signed"])
@pytest.mark.parametrize(
    ("codec", "bits"), [*((codec, 16) for codec in LEFT), ("JPEG lossless", 12), ("JPEG 2000", 12)]
)
def test_values_at_the_upper_end_of_their_word_in_a_code_stream(
    codec: str, bits: int, pixels: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    """High Bit 15 of 12 stored bits; a stream of 12 bits was made without those below."""
    (syntax, encode), dark, signed = LEFT[codec], "dark" in pixels, "signed" in pixels
    values = np.kron(chest, np.ones((3, 3))).astype(np.uint16) // (16 if dark else 1)
    stored = ((values.astype(np.int32) - 2048) & 0xFFF).astype(np.uint16) if signed else values
    elements: dict[str, Any] = {"BitsStored": 12, "PixelRepresentation": int(signed), **WINDOWED}
    if signed:
        elements["RescaleIntercept"] = "976"  # the gray of 0 is that of 2048 without sign
    plain = read(write_dicom(tmp_path / "plain.dcm", stored, HighBit=11, **elements))
    coded = stored << 4 if bits == 16 else stored
    data = encapsulate([encode(np.ascontiguousarray(coded), bits)])
    path = write_dicom(tmp_path / "x.dcm", stored, syntax, HighBit=15, PixelData=data, **elements)
    assert np.abs(read(path).image.astype(int) - plain.image).mean() <= 1


@pytest.mark.parametrize("sampling", ["422", "420"])
def test_sub_sampled_colors_without_a_marker_are_no_rgb(
    sampling: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    """Nobody sub-samples green and blue, whatever Photometric Interpretation says."""
    gray = np.kron(chest >> 4, np.ones((2, 2))).astype(np.uint8)
    color = np.stack([gray] * 3, axis=-1)
    plain = read(write_dicom(tmp_path / "plain.dcm", gray))
    frame = _without_app(bytes(imagecodecs.jpeg8_encode(color, level=98, subsampling=sampling)))
    elements = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    path = write_dicom(
        tmp_path / "x.dcm", gray, "1.2.840.10008.1.2.4.50", PixelData=encapsulate([frame]), **elements
    )
    assert read(path).remarks == (Reason.STREAM_DECIDES,)
    assert np.abs(read(path).image.astype(int) - plain.image).mean() < 2


@pytest.mark.parametrize("photometric", ["YBR_RCT", "RGB", "YBR_FULL"])
def test_colors_that_jpeg_2000_has_transformed_come_out_as_rgb(
    photometric: str, chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    gray = (chest >> 4).astype(np.uint8)
    color = np.stack([gray // 3, gray, gray // 2], axis=-1)
    elements: dict[str, Any] = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    shape = {"Rows": gray.shape[0], "Columns": gray.shape[1]}
    plain = read(write_dicom(tmp_path / "p.dcm", color, PhotometricInterpretation="RGB", **elements, **shape))
    frame = bytes(imagecodecs.jpeg2k_encode(color, level=0, codecformat="j2k", reversible=True, mct=True))
    elements["PhotometricInterpretation"] = photometric
    data = encapsulate([frame])
    path = write_dicom(tmp_path / "x.dcm", gray, "1.2.840.10008.1.2.4.90", PixelData=data, **elements)
    assert np.abs(read(path).image.astype(int) - plain.image).mean() < 1


def test_a_known_modality_is_believed_whatever_its_vr(
    chest: NDArray[Any], tmp_path: Path, write_dicom: Write
) -> None:
    path = write_dicom(tmp_path / "x.dcm", chest, SOPClassUID=CAPTURE, Modality="DX")
    dataset = pydicom.dcmread(path)
    dataset["Modality"] = pydicom.DataElement("Modality", "LO", "DX")
    dataset.save_as(path)
    assert read(path).header.modality == "DX"
