"""What a header says about the look of its values: each rule of PS3.3 on a small file with a known answer."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
import reference
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from readings import SMOOTH, SMOOTH8, Write, decoded_alike, image_of, picture_of, read

from dicomsort import ReadSettings
from dicomsort.dicom import reader
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import ReadImage, Reason, Status

ROWS, COLUMNS = 64, 64

CR, XA = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.12.1"

FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"

ENHANCED_XA = "1.2.840.10008.5.1.4.1.1.12.1.1"

RAMP = np.linspace(0, 4095, ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(np.uint16)
"""Every value from 0 to 4095 once, from the upper left to the lower right."""

RAMP8 = (RAMP >> 4).astype(np.uint8)

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def picture(path: Path) -> ReadImage:
    """Read at 64 pixels: one pixel of the file is one of the picture."""
    reading = reader.read_dicom(str(path), Preprocessing(size=ROWS), ReadSettings())
    assert isinstance(reading, ReadImage), reading
    return reading


def image(path: Path) -> NDArray[Any]:
    return picture(path).image.astype(int)


def table(values: NDArray[Any], first: int = 0, bits: int = 16) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values) % (1 << 16), first, bits])
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return item


def same(one: NDArray[Any], other: NDArray[Any], levels: float = 1) -> bool:
    return bool(np.abs(one - other).max() <= levels)


def test_a_window_is_applied_after_the_rescale(tmp_path: Path, write_dicom: Write) -> None:
    rescale = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 3000, "WindowWidth": 2001}
    seen = image(write_dicom(tmp_path / "x.dcm", RAMP, BitsStored=12, **rescale))
    values = RAMP.astype(float) * 2 - 1000
    assert same(seen, np.clip((values - 1999.5) / 2000 * 255, 0, 255))


@pytest.mark.parametrize(
    ("window", "why"),
    [
        ({"WindowCenter": 90000, "WindowWidth": 400}, "beside the data"),
        ({"WindowCenter": 2000, "WindowWidth": 0}, "LINEAR wants at least 1 (PS3.3 C.11.2.1.2.1)"),
        ({"WindowCenter": 2000, "WindowWidth": -5, "VOILUTFunction": "SIGMOID"}, "more than 0"),
        ({"WindowCenter": 2000, "WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"}, "more than 0"),
        ({"WindowCenter": -600, "WindowWidth": 1600}, "the lung window of a CT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unusable_window_gives_way_to_percentiles_and_says_so(
    window: dict[str, Any], why: str, tmp_path: Path, write_dicom: Write
) -> None:
    plain = picture(write_dicom(tmp_path / "plain.dcm", RAMP, BitsStored=12))
    odd = picture(write_dicom(tmp_path / "odd.dcm", RAMP, BitsStored=12, **window))
    assert plain.remarks == ()
    assert odd.remarks == (Reason.PERCENTILE_WINDOW,)
    assert np.array_equal(plain.image, odd.image)


def test_a_table_that_is_too_short_gives_way_too(tmp_path: Path, write_dicom: Write) -> None:
    item = table(np.arange(100))
    item["LUTDescriptor"].value = [4096, 0, 16]
    odd = picture(write_dicom(tmp_path / "odd.dcm", RAMP, BitsStored=12, VOILUTSequence=[item]))
    assert odd.remarks == (Reason.PERCENTILE_WINDOW, Reason.TABLE_UNREADABLE)
    path = write_dicom(tmp_path / "window.dcm", RAMP, BitsStored=12, VOILUTSequence=[item], **WINDOW)
    assert picture(path).remarks == (Reason.TABLE_UNREADABLE,)
    assert same(image(path), RAMP / 4095 * 255)
    path = write_dicom(tmp_path / "modality.dcm", RAMP, BitsStored=12, ModalityLUTSequence=[item], **WINDOW)
    assert picture(path).remarks == (Reason.PERCENTILE_WINDOW, Reason.TABLE_UNREADABLE)
    plain = picture(write_dicom(tmp_path / "plain.dcm", RAMP, BitsStored=12))
    bare = picture(write_dicom(tmp_path / "bare.dcm", RAMP, BitsStored=12, VOILUTSequence=[Dataset()]))
    assert bare.remarks == (Reason.PERCENTILE_WINDOW, Reason.TABLE_UNREADABLE)
    assert np.array_equal(bare.image, plain.image)


def test_a_voi_lut_beside_the_data_gives_way(tmp_path: Path, write_dicom: Write) -> None:
    item = table(np.arange(100), first=30000)
    odd = picture(write_dicom(tmp_path / "odd.dcm", RAMP, BitsStored=12, VOILUTSequence=[item]))
    assert odd.remarks == (Reason.PERCENTILE_WINDOW,)
    assert odd.image.std() > 60


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
@pytest.mark.parametrize(
    ("signed", "intercept", "first"),
    [(0, 0, 0), (0, -1024, -1024), (1, 40000, 37952), (1, 0, -2048), (0, 38000, 38000)],
)
def test_the_first_value_of_a_voi_lut_has_the_sign_of_what_comes_in(
    signed: int, intercept: int, first: int, syntax: str, tmp_path: Path, write_dicom: Write
) -> None:
    """PS3.3 C.11.2.1.1: signed if the rescaled values can be, whatever VR the file gives the descriptor."""
    item = table(np.arange(4096) // 16, first % (1 << 16), bits=8)
    values = (RAMP.astype(np.int32) - 2048).astype(np.int16) if signed else RAMP
    path = write_dicom(
        tmp_path / "x.dcm", values, syntax, BitsStored=12, HighBit=11, PixelRepresentation=signed,
        RescaleSlope=1, RescaleIntercept=intercept, VOILUTSequence=[item],
    )  # fmt: skip
    assert same(image(path), RAMP // 16)


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (16, 255)])
def test_white_is_what_the_bits_of_a_voi_lut_hold(
    bits: int, white: int, tmp_path: Path, write_dicom: Write
) -> None:
    """A descriptor that says 16 bits for entries of 8 is one of the many that exaggerate."""
    item = table(np.arange(4096) // 16, bits=bits)
    path = write_dicom(tmp_path / "x.dcm", RAMP, BitsStored=12, VOILUTSequence=[item])
    assert same(image(path), RAMP // 16 * (255 / white))


def test_entries_of_8_bits_may_lie_two_to_a_word(tmp_path: Path, write_dicom: Write) -> None:
    item = table(np.arange(256), bits=8)
    item["LUTData"].value = np.arange(255, -1, -1).astype(np.uint8).tobytes()
    item["LUTDescriptor"].value = [256, 0, 8]
    path = write_dicom(tmp_path / "x.dcm", RAMP8, VOILUTSequence=[item])
    assert same(image(path), 255 - RAMP8.astype(int))


def test_a_table_of_65536_entries_says_0(tmp_path: Path, write_dicom: Write) -> None:
    item = table(np.arange(65536))
    assert item.LUTDescriptor[0] == 0
    path = write_dicom(tmp_path / "x.dcm", RAMP * 16, VOILUTSequence=[item])
    assert same(image(path), RAMP * 16 / 65535 * 255)


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_the_function_of_a_window(function: str, tmp_path: Path, write_dicom: Write) -> None:
    elements = {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": function}
    seen = image(write_dicom(tmp_path / "x.dcm", RAMP, BitsStored=12, **elements))
    distance = (RAMP.astype(float) - 2000) / 1000
    wanted = (distance + 0.5).clip(0, 1) if function == "LINEAR_EXACT" else 1 / (1 + np.exp(-4 * distance))
    assert same(seen, wanted * 255)


def test_a_ct_window_that_touches_the_data_is_refused(tmp_path: Path, write_dicom: Write) -> None:
    window = {"WindowCenter": -600, "WindowWidth": 1600}
    path = write_dicom(tmp_path / "x.dcm", RAMP // 64, BitsStored=12, **window)
    assert picture(path).remarks == (Reason.PERCENTILE_WINDOW,)


@pytest.mark.parametrize("slope", ["1E39", "1E300", "1E-300"])
def test_an_absurd_rescale_is_ignored(slope: str, tmp_path: Path, write_dicom: Write) -> None:
    plain = image(write_dicom(tmp_path / "plain.dcm", RAMP))
    path = write_dicom(tmp_path / "x.dcm", RAMP, RescaleSlope=slope, RescaleIntercept=0)
    assert same(image(path), plain)


def test_a_large_intercept_costs_no_gray_level(tmp_path: Path, write_dicom: Write) -> None:
    plain = image(write_dicom(tmp_path / "plain.dcm", RAMP))
    path = write_dicom(tmp_path / "x.dcm", RAMP, RescaleSlope=1, RescaleIntercept="1000000000")
    assert same(image(path), plain)


def test_modality_lut_comes_before_the_window(tmp_path: Path, write_dicom: Write) -> None:
    backwards = table(np.arange(4095, -1, -1))
    elements = {"ModalityLUTSequence": [backwards], "PixelIntensityRelationship": "LOG", **WINDOW}
    turned = image(write_dicom(tmp_path / "x.dcm", RAMP, BitsStored=12, SOPClassUID=CR, **elements))
    assert same(turned, 255 - RAMP / 4095 * 255)


@pytest.mark.parametrize("relationship", ["LOG", "DISP"])
def test_the_modality_lut_of_an_angiography_is_not_for_display(
    relationship: str, tmp_path: Path, write_dicom: Write
) -> None:
    backwards = table(np.arange(4095, -1, -1))
    elements = {
        "ModalityLUTSequence": [backwards],
        "PixelIntensityRelationship": relationship,
        "Modality": "XA",
        **WINDOW,
    }
    seen = image(write_dicom(tmp_path / "x.dcm", RAMP, BitsStored=12, SOPClassUID=XA, **elements))
    assert same(seen, RAMP / 4095 * 255)


def test_voi_lut_takes_signed_rescaled_values(tmp_path: Path, write_dicom: Write) -> None:
    item = table(np.arange(4096) // 16, first=(-2048) % (1 << 16), bits=8)
    signed = (RAMP.astype(np.int32) - 2048).astype(np.int16)
    path = write_dicom(
        tmp_path / "x.dcm",
        signed,
        BitsStored=16,
        PixelRepresentation=1,
        VOILUTSequence=[item],
        RescaleSlope=1,
        RescaleIntercept=0,
    )
    assert same(image(path), RAMP // 16)


def test_padding_is_black_and_does_not_count(tmp_path: Path, write_dicom: Write) -> None:
    plain = image(write_dicom(tmp_path / "plain.dcm", RAMP + 10000))
    padded = RAMP + 10000
    padded[:8] = 0
    path = write_dicom(tmp_path / "padded.dcm", padded, PixelPaddingValue=0)
    seen = image(path)
    assert (seen[:8] == 0).all()
    assert np.abs(seen[9:] - plain[9:]).mean() < 20
    inverted = write_dicom(
        tmp_path / "inverted.dcm", padded, PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1"
    )
    assert (image(inverted)[:8] == 0).all()


def test_signed_padding_and_a_range_of_it(tmp_path: Path, write_dicom: Write) -> None:
    values = RAMP.astype(np.int16)
    values[:4], values[4:8] = -2000, -1990
    elements = {"PixelRepresentation": 1, "PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1985}
    seen = image(write_dicom(tmp_path / "x.dcm", values, **elements))
    assert (seen[:8] == 0).all()
    assert seen[9:].std() > 60


@pytest.mark.parametrize("value", [0, 60000])
def test_shutters_and_burnt_borders_do_not_spoil_the_contrast(
    value: int, tmp_path: Path, write_dicom: Write
) -> None:
    rng = np.random.default_rng(0)
    inner = rng.integers(20000, 24000, (ROWS, COLUMNS)).astype(np.uint16)
    framed = inner.copy()
    framed[:10], framed[-10:], framed[:, :10], framed[:, -10:] = value, value, value, value
    seen = image(write_dicom(tmp_path / "x.dcm", framed))[12:-12, 12:-12]
    assert seen.min() < 10
    assert seen.max() > 245


def test_palette_color_is_shown_as_brightness(tmp_path: Path, write_dicom: Write) -> None:
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color, strength in (("Red", 1.0), ("Green", 1.0), ("Blue", 1.0)):
        elements[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        values = np.arange(255, -1, -1) * 257 * strength
        elements[f"{color}PaletteColorLookupTableData"] = values.astype("<u2").tobytes()
    assert same(image(write_dicom(tmp_path / "x.dcm", RAMP8, **elements)), 255 - RAMP8.astype(int))
    del elements["BluePaletteColorLookupTableData"]
    reading = reader.read_dicom(str(write_dicom(tmp_path / "x.dcm", RAMP8, **elements)), Preprocessing())
    assert (reading.status, reading.reason) == (Status.UNSUPPORTED, Reason.PALETTE)  # type: ignore[union-attr]


def test_enhanced_objects_have_their_window_and_rescale_in_functional_groups(
    tmp_path: Path, write_dicom: Write
) -> None:
    frames = np.stack([RAMP // 4, RAMP // 2, RAMP])
    shared, per_frame = Dataset(), []
    transformation = Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept = 2, 100
    shared.PixelValueTransformationSequence = [transformation]
    for center in (100, 4196, 100):
        window = Dataset()
        window.WindowCenter, window.WindowWidth = center, 8192
        group = Dataset()
        group.FrameVOILUTSequence = [window]
        per_frame.append(group)
    path = write_dicom(
        tmp_path / "x.dcm",
        frames[0],
        SOPClassUID=ENHANCED_XA,
        Modality="XA",
        NumberOfFrames=3,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=per_frame,
        PixelData=frames.astype("<u2").tobytes(),
    )
    values = frames[1].astype(float) * 2 + 100
    assert same(image(path), np.clip((values - 100) / 8191 * 255, 0, 255))


@pytest.mark.parametrize("sign", [1, -1])
def test_intensity_for_processing_is_shown_as_its_logarithm(
    sign: int, tmp_path: Path, write_dicom: Write
) -> None:
    attenuation = np.linspace(0, 3, ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    intensity = np.rint(60000 * np.exp(-attenuation)).astype(np.uint16)
    stored = intensity if sign == 1 else 65000 - intensity
    raw = {
        "SOPClassUID": FOR_PROCESSING,
        "PixelIntensityRelationship": "LIN",
        "PixelIntensityRelationshipSign": sign,
    }
    seen = image(write_dicom(tmp_path / "raw.dcm", stored, **raw))
    even = attenuation / 3 * 255
    assert np.abs(seen - (255 - even if sign == 1 else even)).max() < 20
    windowed = write_dicom(tmp_path / "windowed.dcm", stored, **raw, WindowCenter=32768, WindowWidth=65536)
    assert same(image(windowed), stored / 65535 * 255, 2)


@pytest.mark.parametrize(
    "spacing", ["PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"]
)
def test_pixels_that_are_not_square(spacing: str, tmp_path: Path, write_dicom: Write) -> None:
    seen = image(write_dicom(tmp_path / "x.dcm", RAMP[::2, :], **{spacing: ["4", "1"]}))
    columns = np.flatnonzero(seen.max(axis=0) > 0)
    assert len(columns) == pytest.approx(32, abs=1)


@pytest.mark.parametrize(
    ("sequence", "keyword"),
    [
        ("PixelMeasuresSequence", "PixelSpacing"),
        ("FramePixelDataPropertiesSequence", "ImagerPixelSpacing"),
    ],
)
def test_the_spacing_of_enhanced_objects(
    sequence: str, keyword: str, tmp_path: Path, write_dicom: Write
) -> None:
    measures, shared = Dataset(), Dataset()
    setattr(measures, keyword, ["4", "1"])
    setattr(shared, sequence, [measures])
    elements = {"SOPClassUID": ENHANCED_XA, "SharedFunctionalGroupsSequence": [shared]}
    seen = image(write_dicom(tmp_path / "x.dcm", RAMP[::2, :], **elements))
    assert len(np.flatnonzero(seen.max(axis=0) > 0)) == pytest.approx(32, abs=1)


@pytest.mark.parametrize("nonsense", [["0", "0"], ["0.001", "900"], ["-1", "1"]])
def test_nonsense_about_pixels_is_ignored(nonsense: list[str], tmp_path: Path, write_dicom: Write) -> None:
    plain = image(write_dicom(tmp_path / "plain.dcm", RAMP))
    assert np.array_equal(image(write_dicom(tmp_path / "x.dcm", RAMP, PixelSpacing=nonsense)), plain)


def test_monochrome1_and_inverse_presentation_are_inverted_once(tmp_path: Path, write_dicom: Write) -> None:
    plain = image_of(write_dicom(tmp_path / "plain.dcm", SMOOTH))
    inside = plain[:, 8:-8].astype(int)
    for number, (photometric, shape) in enumerate(
        [("MONOCHROME1", None), ("MONOCHROME1", "INVERSE"), (None, "INVERSE")]
    ):
        path = tmp_path / f"inverse{number}.dcm"
        write_dicom(path, SMOOTH, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
        assert picture_of(path).remarks == ()
        assert np.abs(255 - image_of(path)[:, 8:-8].astype(int) - inside).max() <= 1


def test_pixel_aspect_ratio_is_honoured(tmp_path: Path, write_dicom: Write) -> None:
    wanted = image_of(write_dicom(tmp_path / "plain.dcm", SMOOTH))
    flat = (SMOOTH[::2] + SMOOTH[1::2]) // 2
    path = write_dicom(tmp_path / "flat.dcm", flat, PixelAspectRatio=["2", "1"])
    assert np.abs(image_of(path).astype(int) - wanted).mean() < 1


def test_color_is_read_as_brightness(tmp_path: Path, write_dicom: Write) -> None:
    wanted = image_of(write_dicom(tmp_path / "plain.dcm", SMOOTH8))
    rgb = np.stack([SMOOTH8] * 3, axis=-1)
    color: dict[str, Any] = {"SamplesPerPixel": 3, "Rows": 96, "Columns": 80, "PlanarConfiguration": 0}
    path = write_dicom(tmp_path / "rgb.dcm", rgb, PhotometricInterpretation="RGB", **color)
    assert np.abs(image_of(path).astype(int) - wanted).max() <= 1
    planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    color["PlanarConfiguration"] = 1
    path = write_dicom(tmp_path / "planar.dcm", planes, PhotometricInterpretation="RGB", **color)
    assert np.abs(image_of(path).astype(int) - wanted).max() <= 1
    planes[1:] = 128
    path = write_dicom(tmp_path / "ybr.dcm", planes, PhotometricInterpretation="YBR_FULL", **color)
    assert np.array_equal(image_of(path), wanted)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"])
@pytest.mark.parametrize("value", [0, 4095])
def test_padding_in_a_compressed_image(value: int, syntax: str, tmp_path: Path, write_dicom: Write) -> None:
    large = np.kron(SMOOTH, np.ones((6, 6))).astype(np.uint16)
    rows, columns = np.indices(large.shape)
    large[np.hypot(rows - large.shape[0] / 2, columns - large.shape[1] / 2) > 200] = value
    plain = write_dicom(tmp_path / "plain.dcm", large, BitsStored=12, PixelPaddingValue=value)
    if syntax.endswith("90"):
        frame = imagecodecs.jpeg2k_encode(large, level=0, codecformat="j2k", reversible=True)
    else:
        frame = imagecodecs.htj2k_encode(large)
    data = encapsulate([bytes(frame)])
    path = write_dicom(
        tmp_path / "x.dcm", large, syntax, BitsStored=12, PixelPaddingValue=value, PixelData=data
    )
    decoded_alike(path, plain, 0.1)
    expected = reference.picture(reference.load(plain), 64)
    assert np.abs(image_of(plain) - expected).mean() <= 1.5


def test_a_table_with_a_sharp_bend_is_looked_up_pixel_by_pixel(tmp_path: Path, write_dicom: Write) -> None:
    rng = np.random.default_rng(0)
    large = (
        (np.kron(SMOOTH, np.ones((4, 4))) + rng.normal(0, 300, (384, 320))).clip(0, 4095).astype(np.uint16)
    )
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.add_new("LUTData", "OW", np.where(np.arange(4096) % 1000 < 500, 0, 65535).astype("<u2").tobytes())
    frame = bytes(imagecodecs.jpeg2k_encode(large, level=0, codecformat="j2k", reversible=True))
    plain = write_dicom(tmp_path / "plain.dcm", large, BitsStored=12, VOILUTSequence=[item])
    data = encapsulate([frame])
    path = write_dicom(
        tmp_path / "x.dcm", large, "1.2.840.10008.1.2.4.90", BitsStored=12,
        VOILUTSequence=[item], PixelData=data,
    )  # fmt: skip
    decoded_alike(path, plain, 0)


@pytest.mark.parametrize("photometric", ["LO", "SH"])
def test_the_polarity_does_not_depend_on_a_vr(photometric: str, tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "x.dcm", SMOOTH, PhotometricInterpretation="MONOCHROME1")
    wanted = image_of(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x28\x00\x04\x00CS", b"\x28\x00\x04\x00" + photometric.encode()))
    assert np.array_equal(image_of(path), wanted)
    assert read(path).header.photometric_interpretation == ""


def test_a_smooth_table_is_looked_up_at_reduced_size(tmp_path: Path, write_dicom: Write) -> None:
    large = np.kron(SMOOTH, np.ones((4, 4))).astype(np.uint16)
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    curve = 65535 / (1 + np.exp(-(np.arange(4096) - 2000) / 500))
    item.add_new("LUTData", "OW", curve.astype("<u2").tobytes())
    frame = bytes(imagecodecs.jpeg2k_encode(large, level=0, codecformat="j2k", reversible=True))
    plain = write_dicom(tmp_path / "plain.dcm", large, BitsStored=12, VOILUTSequence=[item])
    path = write_dicom(
        tmp_path / "x.dcm", large, "1.2.840.10008.1.2.4.90", BitsStored=12,
        VOILUTSequence=[item], PixelData=encapsulate([frame]),
    )  # fmt: skip
    decoded_alike(path, plain, 1.5)
