"""Small DICOM files that are easy to read wrongly, each with the picture that the standard asks for.

All are the radiograph of tests/archive/2019/ABD/a0001.dcm (CC BY 4.0, see tests/data/DATA.md), 384 x 308
pixels of 12 bits, stored anew; the right picture follows from how it was stored, without any reader. Used
by other_tools.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, generate_uid

SOURCE = Path(__file__).resolve().parents[1] / "tests" / "archive" / "2019" / "ABD" / "a0001.dcm"
NATIVE, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
BASELINE, PROCESS_14, LOSSLESS, JPEG_LS, JPEG_2000 = (
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 57, 70, 80, 90)
)
CR, DX, SC = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
Pixels = NDArray[Any]
OVERLAY = (  # rows, columns, type, origin, bits allocated, bit position (PS3.3 C.9.2 of 2003)
    *((0x10, "US", 384), (0x11, "US", 308), (0x40, "CS", "G")),
    *((0x50, "SS", [1, 1]), (0x100, "US", 16), (0x102, "US", 12)),
)


NOTES = {
    "plain": """
        12 bits, native, one window: nothing to go wrong.
    """,
    "left-justified": """
        High Bit 15 with Bits Stored 12, native: the values are the upper twelve bits of a word.
        Older editions of the standard allowed it, and archives keep it. Whoever masks the lower
        twelve bits has thrown the four most significant ones away.
    """,
    "left-justified, JPEG lossless": """
        The same words in a stream of 16 bits, as dcmcjpeg writes them.
    """,
    "overlay in the pixels": """
        Bit 12 of a word belongs to an overlay, as older editions allowed; here it is set in every
        eighth column. Drawing the overlay in white is a choice (DCMTK does it); taking the bit
        for a part of the value is not.
    """,
    "signed": """
        Pixel Representation 1 with Bits Stored 12: bit 11 is the sign. The four bits above are 0,
        and nothing may be assumed of them (PS3.5 8.1.1).
    """,
    "signed, JPEG-LS": """
        The same twelve bits in a JPEG-LS stream, which knows no signs; dcmcjpls writes it so.
    """,
    "8 bits in 16": """
        Bits Allocated 16 with Bits Stored 8, and a JPEG 2000 stream of 8 bits.
    """,
    "8 bits, big endian, OW": """
        Explicit VR Big Endian with OW: a word holds two pixels, so they change places (PS3.5
        8.1.1).
    """,
    "padding of the other sign": """
        Pixel Padding Value was written with VR SS as -1, pixels are unsigned, and 128 rows are
        65535. Right is a picture in which these are black.
    """,
    "VOI LUT, 8 bits, packed": """
        A VOI LUT of 4096 entries of 8 bits, two to a word (OW).
    """,
    "VOI LUT, 8 bits in words": """
        The same table, one entry to a word (US).
    """,
    "VOI LUT with VR SS": """
        Entries of 16 bits, and LUT Data with VR SS, which older editions let stand beside US. The
        entries are unsigned all the same.
    """,
    "VOI LUT and window": """
        Both are given; the window is narrow. The standard lets a viewer choose; dicomsort takes
        the table.
    """,
    "two windows": """
        The first is wide, the second narrow. The standard lets a viewer choose; here the first is
        called right.
    """,
    "SIGMOID": """
        VOI LUT Function SIGMOID (PS3.3 C.11.2.1.3).
    """,
    "Modality LUT": """
        Modality LUT Sequence with entries of 16 bits, then a window.
    """,
    "MONOCHROME1": """
        White is the lowest value, and Presentation LUT Shape is INVERSE, as DX objects have it.
    """,
    "MONOCHROME2 and INVERSE": """
        What SimpleITK writes of the file before: inverted values, MONOCHROME2, and the old
        Presentation LUT Shape. Right is the same picture.
    """,
    "restart intervals": """
        JPEG lossless with a restart marker every 100 rows.
    """,
    "point transform": """
        JPEG lossless with a point transform of 2 bits, as dcmcjpeg +el +pt 2 writes it; samples
        are to be shifted back (ITU-T T.81 H.2).
    """,
    "RGB": """
        Native, interleaved.
    """,
    "RGB in three scans": """
        JPEG lossless, a scan for each color.
    """,
    "YCbCr called RGB": """
        A JPEG stream in YCbCr with a JFIF marker, and Photometric Interpretation RGB.
    """,
    "YCbCr called YBR_FULL": """
        The same stream, labelled as it is.
    """,
}
"""What is special about each file."""


@dataclass(frozen=True, slots=True)
class Trap:
    """One file: its data set, and the right picture, gray 0..255."""

    name: str
    dataset: Dataset
    right: Pixels

    @property
    def what(self) -> str:
        """Say in a line what is special about the file."""
        return " ".join(NOTES[self.name].split())


def radiograph() -> Pixels:
    """Return the stored values, uint16 (384, 308), 0..4095."""
    return pydicom.dcmread(SOURCE).pixel_array


def image(pixels: Pixels, bits: int, **tags: Any) -> Dataset:
    """Return a native data set; `tags` are attributes by keyword and win."""
    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = UID(NATIVE)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID(tags.pop("SOPClassUID", DX))
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta = meta
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID("2.25.1"), UID("2.25.2")
    dataset.Modality, dataset.PatientID, dataset.PatientName = "DX", "TRAP", "TRAP"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.add_new("PixelData", "OB" if pixels.itemsize == 1 else "OW", pixels.tobytes())
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def compressed(dataset: Dataset, syntax: str, stream: bytes) -> Dataset:
    """Put a compressed frame in the place of Pixel Data."""
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.add_new("PixelData", "OB", encapsulate([stream]))
    dataset["PixelData"].is_undefined_length = True
    return dataset


def window(center: float | list[float] = 2048, width: float | list[float] = 4096) -> dict[str, Any]:
    """Return the tags of a window; as it stands, that of all 12 bits."""
    return {"WindowCenter": center, "WindowWidth": width}


def table(entries: Pixels, bits: int, vr: str, first: int = 0) -> Dataset:
    """Return the item of a Modality or VOI LUT Sequence; bytes in OW lie two to a word."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", vr, entries.tobytes() if vr == "OW" else entries.tolist())
    return item


def jpeg_lossless(planes: list[Pixels], bits: int, restart_rows: int = 0, point_transform: int = 0) -> bytes:
    """Encode planes by ITU-T T.81 annex H, predictor 1, a scan for each; 5 bits code every category."""
    rows, columns = planes[0].shape
    numbers = range(1, len(planes) + 1)
    components = b"".join(bytes([number, 0x11, 0]) for number in numbers)
    head = bytes([bits]) + _words(rows, columns) + bytes([len(planes)]) + components
    parts = [b"\xff\xd8\xff\xc3" + _words(len(head) + 2) + head]
    parts.append(b"\xff\xc4" + _words(36) + bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)]))
    if restart_rows:
        parts.append(b"\xff\xdd" + _words(4, restart_rows * columns))
    for number, plane in zip(numbers, planes, strict=True):
        parts.append(b"\xff\xda" + _words(8) + bytes([1, number, 0, 1, 0, point_transform]))
        shifted = plane.astype(np.int32) >> point_transform
        parts += _intervals(shifted, bits - point_transform, restart_rows or rows)
    return b"".join(parts) + b"\xff\xd9"


def _intervals(plane: Pixels, bits: int, rows: int) -> list[bytes]:
    """Return the restart intervals, and a marker before each but the first."""
    parts = []
    for index, start in enumerate(range(0, len(plane), rows)):
        marker = bytes([0xFF, 0xD0 + (index - 1) % 8]) if index else b""
        parts.append(marker + _entropy_coded(plane[start : start + rows], bits))
    return parts


def _entropy_coded(plane: Pixels, bits: int) -> bytes:
    predicted = np.empty_like(plane)
    predicted[:, 1:], predicted[1:, 0], predicted[0, 0] = plane[:, :-1], plane[:-1, 0], 1 << (bits - 1)
    codes = []
    for difference in ((plane - predicted + (1 << 15)) % (1 << 16) - (1 << 15)).ravel().tolist():
        category = abs(difference).bit_length()
        extra = difference if difference > 0 else difference + (1 << category) - 1
        codes.append(f"{category:05b}" + (f"{extra:0{category}b}" if 0 < category < 16 else ""))
    text = "".join(codes)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def _luma(rgb: Pixels) -> Pixels:
    return np.asarray(rgb @ np.array([0.299, 0.587, 0.114]))


def _bits() -> list[Trap]:
    """How the bits lie in a word."""
    gray = radiograph()
    plain = gray / 4095 * 255
    masked = ((gray.astype(np.int32) - 2048) & 0xFFF).astype(np.uint16)
    signed = image(masked, 12, PixelRepresentation=1, **window(0))
    jpeg_ls = bytes(imagecodecs.jpegls_encode(masked))
    crossed = gray.copy()
    crossed[:, ::8] |= 1 << 12
    overlay = image(crossed, 12, **window())
    for element, vr, value in OVERLAY:
        overlay.add_new((0x6000, element), vr, value)
    padded = gray.copy()
    padded[256:] = 0xFFFF
    padding = image(padded, 16, **window())
    padding.add_new("PixelPaddingValue", "SS", -1)
    eight = (gray >> 4).astype(np.uint8)
    stream = bytes(imagecodecs.jpeg2k_encode(eight, codecformat="j2k", bitspersample=8, reversible=True))
    spare = compressed(image(eight.astype(np.uint16), 8, **window(128, 256)), JPEG_2000, stream)
    swapped = image(eight, 8, **window(128, 256))
    swapped.file_meta.TransferSyntaxUID = UID(BIG_ENDIAN)
    swapped.add_new("PixelData", "OW", eight.view(np.uint16).byteswap().tobytes())
    return [
        Trap("plain", image(gray, 12, **window()), plain),
        Trap(
            "left-justified",
            image(gray << 4, 12, HighBit=15, **window()),
            plain,
        ),
        Trap(
            "left-justified, JPEG lossless",
            compressed(
                image(gray << 4, 12, HighBit=15, **window()), LOSSLESS, jpeg_lossless([gray << 4], 16)
            ),
            plain,
        ),
        Trap(
            "overlay in the pixels",
            overlay,
            plain,
        ),
        Trap(
            "signed",
            signed,
            plain,
        ),
        Trap(
            "signed, JPEG-LS",
            compressed(image(masked, 12, PixelRepresentation=1, **window(0)), JPEG_LS, jpeg_ls),
            plain,
        ),
        Trap(
            "8 bits in 16",
            spare,
            eight * 1.0,
        ),
        Trap(
            "8 bits, big endian, OW",
            swapped,
            eight * 1.0,
        ),
        Trap(
            "padding of the other sign",
            padding,
            np.where(padded == 0xFFFF, 0, plain),
        ),
    ]


def _looks() -> list[Trap]:
    """How values become gray."""
    gray = radiograph()
    plain = gray / 4095 * 255
    dark = np.rint((np.arange(4096) / 4095) ** 2.2 * 255).astype(np.uint16)
    bright = np.rint((np.arange(4096) / 4095) ** 0.5 * 65535).astype(np.uint16)
    inverse: dict[str, Any] = {"PresentationLUTShape": "INVERSE"}

    def voi(entries: Pixels, bits: int, vr: str, **tags: Any) -> Dataset:
        return image(gray, 12, VOILUTSequence=[table(entries, bits, vr)], **tags)

    modality = image(gray, 12, ModalityLUTSequence=[table(bright, 16, "US")], **window(32768, 65536))
    sigmoid = image(gray, 12, VOILUTFunction="SIGMOID", **window(1000, 1500))
    return [
        Trap(
            "VOI LUT, 8 bits, packed",
            voi(dark.astype(np.uint8), 8, "OW"),
            dark[gray],
        ),
        Trap(
            "VOI LUT, 8 bits in words",
            voi(dark, 8, "US"),
            dark[gray],
        ),
        Trap(
            "VOI LUT with VR SS",
            voi(bright.view(np.int16), 16, "SS"),
            bright[gray] / 257,
        ),
        Trap(
            "VOI LUT and window",
            voi(dark, 8, "US", **window(1000, 500)),
            dark[gray],
        ),
        Trap(
            "two windows",
            image(gray, 12, **window([2048, 1000], [4096, 500])),
            plain,
        ),
        Trap(
            "SIGMOID",
            sigmoid,
            255 / (1 + np.exp(-4 * (gray - 1000.0) / 1500)),
        ),
        Trap(
            "Modality LUT",
            modality,
            bright[gray] / 257,
        ),
        Trap(
            "MONOCHROME1",
            image(4095 - gray, 12, PhotometricInterpretation="MONOCHROME1", **inverse, **window()),
            plain,
        ),
        Trap(
            "MONOCHROME2 and INVERSE",
            image(gray, 12, **inverse, **window()),
            plain,
        ),
    ]


def _streams() -> list[Trap]:
    """How a frame is compressed."""
    gray = radiograph()
    red = (gray >> 4).astype(np.uint8)
    rgb = np.stack([red, red[:, ::-1], red[::-1]], axis=-1)
    mixed = np.stack([red, red // 2 + red[:, ::-1] // 4, red[::-1] // 2], axis=-1)
    jfif = bytes(imagecodecs.jpeg8_encode(mixed, level=95, subsampling="444"))
    even = gray >> 2 << 2
    restarts, scans = jpeg_lossless([gray], 12, 100), jpeg_lossless(list(np.moveaxis(rgb, -1, 0)), 8)
    shifted = jpeg_lossless([gray], 12, point_transform=2)
    return [
        Trap(
            "restart intervals",
            compressed(image(gray, 12, **window()), LOSSLESS, restarts),
            gray / 4095 * 255,
        ),
        Trap(
            "point transform",
            compressed(image(gray, 12, **window()), PROCESS_14, shifted),
            even / 4095 * 255,
        ),
        Trap("RGB", image(rgb, 8), _luma(rgb)),
        Trap(
            "RGB in three scans",
            compressed(image(rgb, 8), LOSSLESS, scans),
            _luma(rgb),
        ),
        Trap(
            "YCbCr called RGB",
            compressed(image(mixed, 8), BASELINE, jfif),
            _luma(mixed),
        ),
        Trap(
            "YCbCr called YBR_FULL",
            compressed(image(mixed, 8, PhotometricInterpretation="YBR_FULL"), BASELINE, jfif),
            _luma(mixed),
        ),
    ]


def traps() -> list[Trap]:
    """Return every trap that is told by a picture."""
    return [*_bits(), *_looks(), *_streams()]


def write(dataset: Dataset, path: Path) -> Path:
    """Store a data set."""
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path
