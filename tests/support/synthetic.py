"""Turns a gray picture into a small DICOM file that has the same bytes on every run."""

import io
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder

Gray = NDArray[np.uint8]
Stored = NDArray[Any]

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG_SV1 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K, J2K_LOSSY, HTJ2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201"

STORAGE = "1.2.840.10008.5.1.4.1.1."
CR, DX, XA, RF = STORAGE + "1", STORAGE + "1.1", STORAGE + "12.1", STORAGE + "12.2"
SECONDARY_CAPTURE = STORAGE + "7"

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "dicomsort/tests")

# Some values are wrong on purpose.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a picture is stored; `bits` of 12 and 16 take two bytes, `aspect` is pixel height over width."""

    syntax: str = EXPLICIT
    sop_class: str = CR
    modality: str = "CR"
    bits: int = 8
    inverted: bool = False
    signed: bool = False
    windowed: bool = False
    slope: int = 1
    intercept: int = 0
    voi_lut: bool = False
    frames: int = 1
    aspect: int = 1
    headerless: bool = False
    body_part: str = ""
    view: str = ""
    instance: str = ""
    study: str = ""


def uid(text: str) -> str:
    """A UID that only depends on the text (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, text).int}"


BORN, BORN_LATELY = "19330303", "20150303"
"""An adult's and a child's date of birth, at the time of the studies."""


def dicom_bytes(gray: Gray, recipe: Recipe, name: str, born: str = BORN) -> bytes:
    dataset = dataset_of(gray, recipe, name)
    dataset.PatientBirthDate = born
    return file_bytes(dataset)


def dataset_of(gray: Gray, recipe: Recipe, name: str) -> Dataset:
    """The picture as a data set; `name` makes its UIDs unique."""
    dataset = canary(recipe.sop_class, recipe.instance or name, recipe.study or name)
    dataset.Modality = recipe.modality
    dataset.BodyPartExamined = recipe.body_part
    dataset.ViewPosition = recipe.view
    if not recipe.headerless:
        dataset.file_meta = _meta(dataset, recipe.syntax)
    _add_pixels(dataset, gray, recipe)
    return dataset


def canary(sop_class: str, instance: str, study: str) -> Dataset:
    """A data set with everything that must never leave an archive, but without an image."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid(f"instance {instance}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(f"study {study}"), uid(f"series {instance}")
    dataset.StudyDate, dataset.StudyTime = "20190412", "101500"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.InstitutionName, dataset.StudyDescription = "CANARY HOSPITAL", "CANARY STUDY"
    dataset.PatientName, dataset.PatientID = "CANARY^PATIENT^NAME", "CANARY-ID-4711"
    dataset.PatientBirthDate = BORN
    dataset.private_block(0x0029, "DICOMSORT TEST", create=True).add_new(0x01, "LO", "CANARY PRIVATE")
    return dataset


def file_bytes(dataset: Dataset) -> bytes:
    """Write the data set as a file with preamble, or as a bare one if it has no file meta group."""
    buffer = io.BytesIO()
    if hasattr(dataset, "file_meta"):
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    else:
        pydicom.dcmwrite(buffer, dataset, implicit_vr=True, little_endian=True)
    return buffer.getvalue()


def with_meta(dataset: Dataset) -> Dataset:
    """Add an explicit little endian file meta group."""
    dataset.file_meta = _meta(dataset, EXPLICIT)
    return dataset


def _meta(dataset: Dataset, syntax: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    meta.ImplementationClassUID = pydicom.uid.UID(uid("implementation"))
    meta.ImplementationVersionName = "DICOMSORT_TESTS"
    return meta


def _add_pixels(dataset: Dataset, gray: Gray, recipe: Recipe) -> None:
    values = _stored(gray[:: recipe.aspect], recipe)
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if recipe.inverted else "MONOCHROME2"
    dataset.BitsAllocated = 8 * values.itemsize
    dataset.BitsStored, dataset.HighBit = recipe.bits, recipe.bits - 1
    dataset.PixelRepresentation = int(recipe.signed)
    _add_gray_scale(dataset, recipe)
    frames = [values] if recipe.frames == 1 else _run(values, recipe.frames)
    if recipe.frames > 1:
        dataset.NumberOfFrames, dataset.FrameTime = recipe.frames, "66.7"
        dataset.FrameIncrementPointer = 0x00181063
    if recipe.aspect != 1:
        dataset.PixelAspectRatio = [recipe.aspect, 1]
    set_pixel_data(dataset, frames, recipe)


def _stored(gray: Gray, recipe: Recipe) -> Stored:
    """Gray levels 0..255 to stored values over the full range of the bits."""
    top = (1 << recipe.bits) - 1
    values: Stored = np.rint(gray * (top / 255)).astype(np.int32)
    if recipe.inverted:
        values = top - values
    if recipe.signed:
        return np.asarray(values - (top + 1) // 2, np.int16)
    return np.asarray(values, np.uint8 if recipe.bits == 8 else np.uint16)


def _run(values: Stored, frames: int) -> list[Stored]:
    """A run of frames in which the object wanders to the right."""
    return [np.roll(values, 2 * index, axis=1) for index in range(frames)]


def _add_gray_scale(dataset: Dataset, recipe: Recipe) -> None:
    low = -(1 << recipe.bits - 1) if recipe.signed else 0
    if (recipe.slope, recipe.intercept) != (1, 0):
        dataset.RescaleSlope, dataset.RescaleIntercept = recipe.slope, recipe.intercept
        dataset.RescaleType = "US"
    if recipe.windowed:
        width = recipe.slope * (1 << recipe.bits)
        dataset.WindowCenter = recipe.slope * low + recipe.intercept + width // 2
        dataset.WindowWidth = width
    if recipe.voi_lut:
        dataset.VOILUTSequence = [_gamma_table(recipe.bits)]


def _gamma_table(bits: int) -> Dataset:
    """A VOI LUT that brightens the middle a little (PS3.3 C.11.2)."""
    entries = 1 << bits
    curve = np.rint((np.arange(entries) / (entries - 1)) ** 0.8 * (entries - 1))
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, 0, bits])
    item.LUTExplanation = "GAMMA"
    item.add_new("LUTData", "OW", curve.astype("<u2").tobytes())
    return item


def set_pixel_data(dataset: Dataset, frames: list[Stored], recipe: Recipe) -> None:
    """Store the frames as the syntax wants them."""
    if recipe.syntax in _ENCODERS:
        encode = _ENCODERS[recipe.syntax]
        dataset.add_new("PixelData", "OB", encapsulate([encode(frame, recipe.bits) for frame in frames]))
        dataset["PixelData"].is_undefined_length = True
        return
    stored = np.stack(frames).astype(frames[0].dtype.newbyteorder(">" if recipe.syntax == BIG else "<"))
    data = stored.tobytes()
    dataset.add_new("PixelData", "OB" if frames[0].itemsize == 1 else "OW", data + bytes(len(data) % 2))


def _jpeg(values: Stored, _bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(values, level=90))


def _jpeg_sv1(values: Stored, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=bits))


def _jpeg_ls(values: Stored, _bits: int) -> bytes:
    return bytes(imagecodecs.jpegls_encode(values))


def _jpeg_ls_near(values: Stored, bits: int) -> bytes:
    return bytes(imagecodecs.jpegls_encode(values, level=min(2 << bits - 8, 255)))


def _j2k(values: Stored, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True, bitspersample=bits))


def _j2k_lossy(values: Stored, bits: int) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(values, codecformat="j2k", level=45, reversible=False, bitspersample=bits)
    )


def _htj2k(values: Stored, _bits: int) -> bytes:
    return bytes(imagecodecs.htj2k_encode(values, reversible=True))


def _rle(values: Stored, bits: int) -> bytes:
    allocated = 8 * values.itemsize
    return get_encoder(pydicom.uid.UID(RLE)).encode(
        values.tobytes(), rows=values.shape[0], columns=values.shape[1], number_of_frames=1,
        samples_per_pixel=1, bits_allocated=allocated, bits_stored=bits, pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
    )  # fmt: skip


_ENCODERS: dict[str, Callable[[Stored, int], bytes]] = {
    JPEG: _jpeg,
    JPEG_SV1: _jpeg_sv1,
    JPEG_LS: _jpeg_ls,
    JPEG_LS_NEAR: _jpeg_ls_near,
    J2K: _j2k,
    J2K_LOSSY: _j2k_lossy,
    HTJ2K: _htj2k,
    RLE: _rle,
}
