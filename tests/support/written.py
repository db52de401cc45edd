"""Small DICOM files, written as a test wants them."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian


def write_dicom(path: Path, pixels: Any = None, syntax: str | None = None, **elements: Any) -> Path:
    """Write a small DICOM file; keyword arguments are elements of the data set."""
    if pixels is None:
        pixels = np.add.outer(np.arange(40), np.arange(30)).astype(np.uint16) * 10
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax or ExplicitVRLittleEndian)
    sop_class = elements.get("SOPClassUID", "1.2.840.10008.5.1.4.1.1.1.1")
    if sop_class is not None:
        meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    dataset = Dataset()
    dataset.file_meta, dataset.preamble = meta, b"\0" * 128
    defaults: dict[str, Any] = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": uid_of(path.name),
        "Modality": "DX",
        "PatientName": "CANARY^NAME",
        "PatientID": "CANARY-ID",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": pixels.dtype.itemsize * 8,
        "BitsStored": pixels.dtype.itemsize * 8,
        "HighBit": elements.get("BitsStored", pixels.dtype.itemsize * 8) - 1,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in {**defaults, **elements}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if dataset.get("PixelData") is not None:
        dataset["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    uid = UID(meta.TransferSyntaxUID)
    encoding = {"implicit_vr": uid.is_implicit_VR, "little_endian": uid.is_little_endian}
    dcmwrite(path, dataset, enforce_file_format=sop_class is not None, **encoding)
    return path


def uid_of(name: str) -> str:
    """Return a UID for a name, the same in every process, of the same length for all names."""
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return f"2.25.{10**11 + int.from_bytes(digest[:8]) % (9 * 10**11)}"


def picture(seed: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    generator = np.random.default_rng(seed)
    return (generator.random((40, 30)) ** generator.uniform(0.2, 4) * 4000).astype(np.uint16)
