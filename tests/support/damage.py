"""Makes the files of tests/data/broken: small radiographs, each with one thing wrong."""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydicom.uid import UID
from synthetic import (
    BIG,
    DEFLATED,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    J2K,
    JPEG,
    JPEG_LS,
    JPEG_SV1,
    RLE,
    SECONDARY_CAPTURE,
    Gray,
    Recipe,
    dataset_of,
    file_bytes,
)

THUMBNAIL = ("covid_cxnet_198c3c0747", "medpix_86871fb897", "medpix_e29c88420e")
"""The pictures of Small, in its order."""

PIXEL_DATA = b"\xe0\x7f\x10\x00"
ITEM = b"\xfe\xff\x00\xe0"
ITEM_END, SEQUENCE_END = b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
UNDEFINED = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Small:
    """The pictures that are damaged, at most 128 pixels a side."""

    chest: Gray
    hands: Gray
    abdomen: Gray


Make = Callable[[Small, str], bytes]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A file of tests/data/broken and what must become of it; the label only where it can still be sorted."""

    target: str
    status: str
    make: Make
    label: str = ""


# What is done to a file ------------------------------------------------------------------------------------


def intact(small: Small, target: str, recipe: Recipe) -> bytes:
    return file_bytes(dataset_of(small.chest, recipe, target))


def edited(syntax: str = EXPLICIT, bits: int = 12, **values: object) -> Make:
    """Set attributes to wrong values; None removes them."""

    def make(small: Small, target: str) -> bytes:
        dataset = dataset_of(small.hands, Recipe(syntax, bits=bits), target)
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        return file_bytes(dataset)

    return make


def syntax_says(uid: str, **values: object) -> Make:
    """Name another transfer syntax in the file meta group than the one that is used."""

    def make(small: Small, target: str) -> bytes:
        data = edited(JPEG, 8, **values)(small, target)
        old, new = (_element(2, 0x10, b"UI", value) for value in (JPEG, uid))
        head = data.replace(old, new, 1)
        grown = len(new) - len(old)
        return _with_meta_length(head, grown)

    return make


def _element(group: int, element: int, vr: bytes, value: str) -> bytes:
    padded = value.encode() + b"\0" * (len(value) % 2)
    tag = group.to_bytes(2, "little") + element.to_bytes(2, "little")
    return tag + vr + len(padded).to_bytes(2, "little") + padded


def _with_meta_length(data: bytes, grown: int) -> bytes:
    length = int.from_bytes(data[140:144], "little") + grown
    return data[:140] + length.to_bytes(4, "little") + data[144:]


def cut(syntax: str, share: float, bits: int = 8) -> Make:
    """Keep this share of what follows the header."""

    def make(small: Small, target: str) -> bytes:
        data = intact(small, target, Recipe(syntax, bits=bits))
        start = 400 if syntax == DEFLATED else data.index(PIXEL_DATA)
        return data[: start + int((len(data) - start) * share)]

    return make


def overwritten(syntax: str, start: float, stop: float, bits: int = 8) -> Make:
    """Replace a part of the code stream, given in shares of its length, by noise without 0xFF."""

    def make(small: Small, target: str) -> bytes:
        data = bytearray(intact(small, target, Recipe(syntax, bits=bits)))
        first = 400 if syntax == DEFLATED else _code_stream(data)
        low, high = (first + int((len(data) - 8 - first) * share) for share in (start, stop))
        data[low:high] = np.random.default_rng(1).integers(1, 255, high - low, np.uint8).tobytes()
        return bytes(data)

    return make


def _code_stream(data: bytes | bytearray) -> int:
    """Where the first fragment's value begins: behind the offset table and an item's head."""
    return data.index(PIXEL_DATA) + 12 + 8 + 4 + 8


def fragments(value: Callable[[bytes], bytes], **values: object) -> Make:
    """Write Pixel Data of our own; `value` turns the intact code stream into the element's value."""

    def make(small: Small, target: str) -> bytes:
        dataset = dataset_of(small.hands, Recipe(JPEG), target)
        for keyword, number in values.items():
            setattr(dataset, keyword, number)
        data = file_bytes(dataset)
        start = data.index(PIXEL_DATA) + 12
        return data[:start] + value(data[_code_stream(data) : -len(SEQUENCE_END)])

    return make


def inserted(element: bytes) -> Make:
    """Put bytes between the header's group 0008 and what follows."""

    def make(small: Small, target: str) -> bytes:
        data = intact(small, target, Recipe())
        at = data.index(b"\x10\x00\x10\x00PN")
        return data[:at] + element + data[at:]

    return make


def changed(change: Callable[[bytes], bytes], recipe: Recipe = Recipe()) -> Make:  # noqa: B008
    """Change the bytes of an intact file."""
    return lambda small, target: change(intact(small, target, recipe))


def just(content: bytes) -> Make:
    return lambda _small, _target: content


def constant(_small: Small, target: str) -> bytes:
    return file_bytes(dataset_of(np.full((64, 64), 77, np.uint8), Recipe(), target))


def native_length(difference: int, syntax: str = EXPLICIT) -> Make:
    """Make Pixel Data longer or shorter than rows x columns, its length field true."""

    def make(small: Small, target: str) -> bytes:
        dataset = dataset_of(small.abdomen, Recipe(syntax), target)
        data: bytes = dataset.PixelData
        dataset.PixelData = data[:difference] if difference < 0 else data + bytes(difference)
        return file_bytes(dataset)

    return make


def odd_length(small: Small, target: str) -> bytes:
    """An odd number of pixels without the byte that should pad them (PS3.5 8.1.1)."""
    gray = small.chest[:127, :127]
    data = file_bytes(dataset_of(gray, Recipe(), target))
    at = data.index(PIXEL_DATA) + 8
    return data[:at] + gray.size.to_bytes(4, "little") + data[at + 4 : -1]


def other_code_stream(syntax: str) -> Make:
    """A code stream of this syntax in a file that claims to hold JPEG-LS."""

    def make(small: Small, target: str) -> bytes:
        dataset = dataset_of(small.chest, Recipe(syntax), target)
        dataset.file_meta.TransferSyntaxUID = UID(JPEG_LS)
        return file_bytes(dataset)

    return make


def bomb(small: Small, target: str) -> bytes:
    """A private element of 48 MB of zeros before the image; some 50 KB on disk."""
    plain = intact(small, target, Recipe())
    meta_end = 144 + int.from_bytes(plain[140:144], "little")
    size = 48 << 20
    head = b"\x29\x00\x02\x10OB\0\0" + size.to_bytes(4, "little")
    at = plain.index(PIXEL_DATA)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(plain[meta_end:at] + head + bytes(size) + plain[at:]) + packer.flush()
    old, new = (_element(2, 0x10, b"UI", value) for value in (EXPLICIT, DEFLATED))
    return _with_meta_length(plain[:meta_end].replace(old, new, 1), len(new) - len(old)) + body


def big_endian_words(small: Small, target: str) -> bytes:
    """8 bit pixels as OW in big endian: the bytes of each word change places (PS3.5 A.3)."""
    dataset = dataset_of(small.chest, Recipe(BIG), target)
    words = np.frombuffer(dataset.PixelData, "<u2").byteswap()
    dataset.add_new("PixelData", "OW", words.tobytes())
    return file_bytes(dataset)


def big_endian_table(small: Small, target: str) -> bytes:
    """A VOI LUT as OW in big endian; pydicom hands it over as bytes."""
    dataset = dataset_of(small.chest, Recipe(BIG, bits=12, voi_lut=True), target)
    item = dataset.VOILUTSequence[0]
    item.LUTData = np.frombuffer(item.LUTData, "<u2").byteswap().tobytes()
    return file_bytes(dataset)


def nested(depth: int) -> bytes:
    """Private sequences of undefined length, one in the other."""
    open_ = b"\x09\x00\x10\x10SQ\0\0" + UNDEFINED + ITEM + UNDEFINED
    return open_ * depth + (ITEM_END + SEQUENCE_END) * depth


def item(value: bytes, length: int | None = None) -> bytes:
    return ITEM + (len(value) if length is None else length).to_bytes(4, "little") + value


NO_TABLE = item(b"")
FAR_TABLE = item(b"\xf0\xff\xff\x7f" * 3)
PROSE = (
    b"This letter is no image. It only happens to have, just where the magic of a file stands, that is to "
    b"say at offset 128, one tag: DICM"
)
HTML = b"<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>\n"
ELF = bytes.fromhex("7f454c4602010100") + bytes(8) + bytes.fromhex("02003e0001000000")


MUTANTS = (
    # cut off
    Mutant("empty.dcm", "not_dicom", just(b"")),
    Mutant("cut_in_preamble.dcm", "not_dicom", just(bytes(100))),
    Mutant("cut_after_magic.dcm", "decode_error", just(bytes(128) + b"DICM")),
    Mutant("cut_in_header.dcm", "decode_error", changed(lambda data: data[: data.index(b"CANARY-ID") + 4])),
    Mutant("cut_before_pixels.dcm", "no_pixels", cut(EXPLICIT, 0)),
    Mutant("cut_in_pixels_native.dcm", "decode_error", cut(IMPLICIT, 0.5, bits=12)),
    Mutant("cut_in_pixels_deflated.dcm", "decode_error", cut(DEFLATED, 0.5)),
    Mutant("cut_in_pixels_jpeg.dcm", "decode_error", cut(JPEG, 0.5)),
    Mutant("cut_in_pixels_jpeg_sv1.dcm", "decode_error", cut(JPEG_SV1, 0.5)),
    Mutant("cut_in_pixels_jpeg_ls.dcm", "decode_error", cut(JPEG_LS, 0.5)),
    Mutant("cut_in_pixels_j2k.dcm", "decode_error", cut(J2K, 0.5)),
    Mutant("cut_in_pixels_htj2k.dcm", "decode_error", cut(HTJ2K, 0.5)),
    Mutant("cut_in_pixels_rle.dcm", "decode_error", cut(RLE, 0.5)),
    # overwritten
    Mutant("head_overwritten_jpeg.dcm", "decode_error", overwritten(JPEG, 0, 0.05)),
    Mutant("head_overwritten_jpeg_sv1.dcm", "decode_error", overwritten(JPEG_SV1, 0, 0.05)),
    Mutant("head_overwritten_jpeg_ls.dcm", "decode_error", overwritten(JPEG_LS, 0, 0.05)),
    Mutant("head_overwritten_j2k.dcm", "decode_error", overwritten(J2K, 0, 0.05)),
    Mutant("head_overwritten_htj2k.dcm", "decode_error", overwritten(HTJ2K, 0, 0.05)),
    Mutant("head_overwritten_rle.dcm", "decode_error", overwritten(RLE, 0, 0.01)),
    Mutant("middle_overwritten_jpeg_ls.dcm", "decode_error", overwritten(JPEG_LS, 0.4, 0.6)),
    Mutant("middle_overwritten_deflated.dcm", "decode_error", overwritten(DEFLATED, 0.4, 0.6)),
    # lies in the header
    Mutant("rows_columns_65535.dcm", "unsupported", edited(Rows=65535, Columns=65535)),
    Mutant("rows_too_many.dcm", "decode_error", edited(Rows=2000)),
    Mutant("rows_too_many_jpeg.dcm", "decode_error", edited(JPEG, 8, Rows=2000)),
    Mutant("rows_zero.dcm", "decode_error", edited(Rows=0)),
    Mutant("rows_missing.dcm", "decode_error", edited(Rows=None)),
    Mutant("frames_999999.dcm", "sorted", edited(NumberOfFrames=999999), "others"),
    Mutant("frames_999999_jpeg.dcm", "sorted", edited(JPEG, 8, NumberOfFrames=999999), "others"),
    Mutant("frames_negative.dcm", "sorted", edited(NumberOfFrames=-3), "others"),
    Mutant("bits_allocated_32.dcm", "unsupported", edited(BitsAllocated=32, BitsStored=32, HighBit=31)),
    Mutant("bits_stored_missing.dcm", "sorted", edited(bits=8, BitsStored=None, HighBit=None), "others"),
    Mutant("photometric_missing.dcm", "sorted", edited(PhotometricInterpretation=None), "others"),
    Mutant("samples_missing.dcm", "sorted", edited(SamplesPerPixel=None), "others"),
    Mutant("pixel_data_missing.dcm", "no_pixels", edited(PixelData=None)),
    Mutant("modality_is_a_path.dcm", "sorted",
           edited(Modality="../../../../tmp/evil", BodyPartExamined="..\\..\\..\\evil"), "others"),
    Mutant("modality_is_a_path_capture.dcm", "not_xray",
           edited(SOPClassUID=SECONDARY_CAPTURE, Modality="../../../../tmp/evil")),
    Mutant("uid_is_a_name.dcm", "sorted", edited(StudyInstanceUID="CANARY^PATIENT^NAME"), "others"),
    Mutant("window_width_zero.dcm", "sorted", edited(WindowCenter=0, WindowWidth=0), "others"),
    Mutant("nested_1000.dcm", "decode_error", inserted(nested(1000))),
    Mutant("nested_20.dcm", "sorted", inserted(nested(20)), "adult_chest"),
    Mutant("element_longer_than_file.dcm", "decode_error",
           inserted(b"\x09\x00\x10\x10OB\0\0" + (0x7FFFFFF0).to_bytes(4, "little"))),
    # transfer syntaxes
    Mutant("syntax_unknown.dcm", "unsupported", syntax_says("1.2.840.10008.1.2.4.999")),
    Mutant("syntax_mpeg2.dcm", "unsupported", syntax_says("1.2.840.10008.1.2.4.100")),
    Mutant("syntax_jpip.dcm", "unsupported", syntax_says("1.2.840.10008.1.2.4.94", PixelData=None)),
    Mutant("syntax_says_jpeg_ls_is_jpeg_sv1.dcm", "decode_error", other_code_stream(JPEG_SV1)),
    # pixel data
    Mutant("constant.dcm", "decode_error", constant),
    Mutant("pixels_odd_length.dcm", "sorted", odd_length, "adult_chest"),
    Mutant("pixels_one_row_short.dcm", "decode_error", native_length(-128)),
    Mutant("pixels_longer.dcm", "sorted", native_length(64), "abdominal"),
    Mutant("fragment_longer_than_file.dcm", "decode_error",
           fragments(lambda stream: NO_TABLE + item(stream, 0x0FFFFFFE) + SEQUENCE_END)),
    Mutant("fragment_empty.dcm", "decode_error", fragments(lambda _: NO_TABLE + NO_TABLE + SEQUENCE_END)),
    Mutant("fragments_none.dcm", "decode_error", fragments(lambda _: NO_TABLE + SEQUENCE_END)),
    Mutant("fragments_fewer_than_frames.dcm", "sorted",
           fragments(lambda stream: NO_TABLE + item(stream) + SEQUENCE_END, NumberOfFrames=3), "others"),
    Mutant("offset_table_beyond_file.dcm", "sorted",
           fragments(lambda stream: FAR_TABLE + item(stream) * 3 + SEQUENCE_END, NumberOfFrames=3), "others"),
    Mutant("fragments_split.dcm", "sorted",
           fragments(lambda stream: NO_TABLE + item(stream[:1000]) + item(stream[1000:]) + SEQUENCE_END),
           "others"),
    Mutant("big_endian_8_bit_words.dcm", "sorted", big_endian_words, "adult_chest"),
    Mutant("big_endian_voi_lut.dcm", "sorted", big_endian_table, "adult_chest"),
    # more or less than one file
    Mutant("garbage_behind.dcm", "sorted", changed(lambda data: data + b"\xa5\x5a" * 2048), "adult_chest"),
    Mutant("preamble_elf.dcm", "sorted", changed(lambda data: ELF + data[len(ELF) :]), "adult_chest"),
    Mutant("deflate_bomb.dcm", "sorted", bomb, "adult_chest"),
    # not DICOM
    Mutant("page.dcm", "not_dicom", just(HTML)),
    Mutant("packed.dcm", "not_dicom", changed(lambda data: gzip.compress(data, mtime=0))),
    Mutant("letter.dcm", "decode_error", just(PROSE + b" - and so on, in plain words, for one more line.\n")),
)  # fmt: skip
