"""Make what `dicomsort doctor` tries: a tiny radiograph in every transfer syntax, and the answer of a model.

    python tools/doctor_samples.py

Writes dicomsort/dicom/samples.zip, with the encoders of imagecodecs, Pillow and pydicom, and
dicomsort/model/trial.json, what PyTorch computes in float32 for the model that is the default. To be run
again when that is another one. The files hold no patient and nothing of anybody's: waves.
"""

import io
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import UID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from made import jpeg_2000, pillow

from dicomsort.dicom import codecs
from dicomsort.dicom.trial import SAMPLES
from dicomsort.model import trial

SIDE = 32
DEEP = (np.add.outer(np.sin(np.arange(SIDE) / 4), np.cos(np.arange(SIDE) / 3)) * 900 + 2000).astype(np.uint16)
FLAT = (DEEP >> 4).astype(np.uint8)
_4, _1 = "1.2.840.10008.1.2.4", "1.2.840.10008.1.2"


def rle(pixels: Any) -> bytes:
    """Encode as PS3.5 annex G has it."""
    facts = {"rows": SIDE, "columns": SIDE, "samples_per_pixel": 1, "bits_allocated": 16, "bits_stored": 16,
             "pixel_representation": 0, "number_of_frames": 1,
             "photometric_interpretation": "MONOCHROME2"}  # fmt: skip
    return RLELosslessEncoder.encode(pixels, encoding_plugin="pydicom", **facts)  # type: ignore[arg-type]


def deflated(words: bytes) -> bytes:
    """Deflate one frame (PS3.5 A.4.13)."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(words) + deflater.flush()


Encode = Callable[[Any], Any]
ENCODERS: dict[str, tuple[Any, Encode]] = {
    codecs.RLE: (DEEP, rle),
    codecs.ENCAPSULATED_UNCOMPRESSED: (DEEP, lambda a: a.tobytes()),
    codecs.DEFLATED_FRAMES: (DEEP, lambda a: deflated(a.tobytes())),
    f"{_4}.50": (FLAT, lambda a: imagecodecs.jpeg8_encode(a, level=95)),
    f"{_4}.51": (FLAT, lambda a: imagecodecs.jpeg8_encode(a, level=95)),
    f"{_4}.53": (FLAT, lambda a: pillow(a, progressive=True, quality=95)),
    f"{_4}.55": (FLAT, lambda a: pillow(a, progressive=True, quality=95)),
    f"{_4}.57": (DEEP, lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12)),
    f"{_4}.70": (DEEP, lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12)),
    f"{_4}.80": (DEEP, imagecodecs.jpegls_encode),
    f"{_4}.81": (DEEP, lambda a: imagecodecs.jpegls_encode(a, level=2)),
    f"{_4}.90": (DEEP, jpeg_2000),
    f"{_4}.91": (FLAT, lambda a: jpeg_2000(a, irreversible=True, quality_mode="dB", quality_layers=[45])),
    f"{_4}.110": (DEEP, lambda a: imagecodecs.jpegxl_encode(a, lossless=True)),
    f"{_4}.111": (
        FLAT,
        lambda a: imagecodecs.jpegxl_encode_jpeg(bytes(imagecodecs.jpeg8_encode(a, level=95))),
    ),
    f"{_4}.112": (FLAT, lambda a: imagecodecs.jpegxl_encode(a, level=95)),
    f"{_4}.201": (DEEP, imagecodecs.htj2k_encode),
    f"{_4}.202": (DEEP, imagecodecs.htj2k_encode),
    f"{_4}.203": (DEEP, imagecodecs.htj2k_encode),
}
"""By Transfer Syntax UID: the pixels, and what makes a frame of them."""


def sample(syntax: str) -> bytes:
    """Write a digital X-ray image in a transfer syntax."""
    pixels, encode = ENCODERS.get(syntax, (DEEP, None))
    uid, meta, dataset = UID(syntax), FileMetaDataset(), Dataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = uid, UID("2.25.1")
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    dataset.file_meta, dataset.preamble = meta, b"\0" * 128
    bits = 8 if pixels is FLAT else 12
    data = encapsulate([bytes(encode(pixels))]) if encode else pixels.astype(_words(syntax)).tobytes()
    for keyword, value in {
        "SOPClassUID": meta.MediaStorageSOPClassUID, "SOPInstanceUID": "2.25.1", "Modality": "DX",
        "Rows": SIDE, "Columns": SIDE, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8 * pixels.itemsize, "BitsStored": bits, "HighBit": bits - 1,
        "PixelRepresentation": 0, "PixelData": data,
    }.items():  # fmt: skip
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    dataset["PixelData"].is_undefined_length = encode is not None
    out = io.BytesIO()
    how = {"implicit_vr": syntax == codecs.IMPLICIT_LITTLE, "little_endian": syntax != codecs.EXPLICIT_BIG}
    known = uid.is_transfer_syntax  # pydicom writes others only as they are given
    if not known:
        meta.FileMetaInformationGroupLength, meta.FileMetaInformationVersion = 0, b"\0\1"
    dcmwrite(out, dataset, enforce_file_format=known, force_encoding=not known, **how)
    return out.getvalue()


def _words(syntax: str) -> str:
    return ">u2" if syntax == codecs.EXPLICIT_BIG else "<u2"


def main() -> None:
    """Write both files."""
    with zipfile.ZipFile(SAMPLES, "w", zipfile.ZIP_DEFLATED) as archive:
        for syntax in sorted(codecs.SUPPORTED):
            archive.writestr(zipfile.ZipInfo(f"{syntax}.dcm", (2026, 1, 1, 0, 0, 0)), sample(syntax))
    trial.write()


if __name__ == "__main__":
    main()
