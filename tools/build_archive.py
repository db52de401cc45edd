"""Builds archive, broken, expected.csv and DATA.md of tests from a folder of sources.

python tools/build_archive.py SHARED_FOLDER
"""

import csv
import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from attribution import Sources, document
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence
from pydicom.uid import UID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from committed import ARCHIVE, BROKEN, DATA, committed
from damage import MUTANTS, THUMBNAIL, Small
from synthetic import (
    BIG,
    BORN,
    BORN_LATELY,
    DEFLATED,
    DX,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    J2K,
    J2K_LOSSY,
    JPEG,
    JPEG_LS,
    JPEG_LS_NEAR,
    JPEG_SV1,
    RF,
    RLE,
    SECONDARY_CAPTURE,
    STORAGE,
    XA,
    Gray,
    Recipe,
    canary,
    dataset_of,
    dicom_bytes,
    file_bytes,
    uid,
    with_meta,
)

CD = "CD 2021"
TWICE = ("2019/CR01/IM000001", "Backup copy/2019/IM000001")
"""A file and its exact copy."""


@dataclass(frozen=True, slots=True)
class Radiograph:
    """A real picture, where it goes in the archive, and how it is stored."""

    source: str
    target: str
    label: str
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Copied:
    """A DICOM file taken over byte by byte."""

    source: str
    target: str
    status: str = "not_xray"
    label: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A file of the test data and what must become of it."""

    path: str
    status: str
    label: str = ""


RADIOGRAPHS = (
    # adult chest
    Radiograph("covid_cxnet_0533f8ba21", TWICE[0], "adult_chest",
               Recipe(IMPLICIT, bits=12, windowed=True, body_part="CHEST", view="PA")),
    Radiograph("covid_cxnet_198c3c0747", "2019/CR01/IM000002", "adult_chest",
               Recipe(JPEG_SV1, bits=12, inverted=True, windowed=True)),
    Radiograph("covid_cxnet_ec362c629e", "2019/CR01/IM000003", "adult_chest",
               Recipe(JPEG, SECONDARY_CAPTURE, body_part="HAND")),
    Radiograph("hannover_f4c89b1666", "DICOM/IM000001", "adult_chest",
               Recipe(J2K, DX, "DX", bits=12, body_part="CHEST", view="PA")),
    Radiograph("hannover_35ae7c6730", "DICOM/IM000002", "adult_chest",
               Recipe(JPEG_LS, DX, "DX", bits=16, inverted=True)),
    Radiograph("medpix_5f4262c37f", "Befunde/Röntgen Thorax (prä-OP) №1.dcm", "adult_chest",
               Recipe(EXPLICIT, bits=12, windowed=True, slope=2, intercept=-100, body_part="THORAX")),
    Radiograph("medpix_b524cc1c50", "DICOM/IM000003", "adult_chest",
               Recipe(HTJ2K, DX, "DX", body_part="ABDOMEN", view="LL")),
    # pediatric chest
    Radiograph("kermany_0ed580f75e", "2020/PAED/S001/IM000001", "pediatric_chest",
               Recipe(EXPLICIT, bits=16, signed=True, windowed=True, intercept=32768, body_part="CHEST")),
    Radiograph("kermany_10e60b7ba9", "2020/PAED/S001/IM000002", "pediatric_chest",
               Recipe(RLE, bits=12, inverted=True, windowed=True)),
    Radiograph("kermany_15bd063a81", "2020/PAED/S002/IM000001", "pediatric_chest",
               Recipe(J2K_LOSSY, DX, "DX", body_part="CHEST", view="AP")),
    Radiograph("kermany_234cbe4b94", "2020/PAED/S002/IM000002", "pediatric_chest",
               Recipe(DEFLATED, bits=12)),
    Radiograph("kermany_2ffd76c90a", "ACRNEMA/0001", "pediatric_chest",
               Recipe(IMPLICIT, headerless=True, body_part="CHEST")),
    Radiograph("kermany_31658de5cb", "2020/PAED/S002/IM000003", "pediatric_chest",
               Recipe(JPEG_LS_NEAR, DX, "DX", body_part="SPINE")),
    Radiograph("covid_cxnet_b04383a415", "2020/PAED/S002/IM000004", "pediatric_chest",
               Recipe(BIG, bits=12, windowed=True)),
    # abdominal
    Radiograph("medpix_2b8d03069d", "2019/ABD/a0001.dcm", "abdominal",
               Recipe(EXPLICIT, bits=12, voi_lut=True, body_part="ABDOMEN", view="AP")),
    Radiograph("medpix_334013e2d2", "2019/ABD/a0002.dcm", "abdominal",
               Recipe(JPEG, RF, "RF")),
    Radiograph("medpix_50c3bd4122", f"{CD}/PT000000/ST000000/SE000000/IM000000", "abdominal",
               Recipe(RLE, body_part="CHEST", study=CD)),
    Radiograph("medpix_6d31d010b0", "2019/ABD/a0003.dcm", "abdominal",
               Recipe(HTJ2K, DX, "DX", bits=16, inverted=True, body_part="ABDOMEN")),
    Radiograph("medpix_bfbe8c8ff2", "2019/ABD/a0004.dcm", "abdominal",
               Recipe(J2K, bits=12, inverted=True, windowed=True)),
    Radiograph("medpix_e29c88420e", "2019/ABD/a0005.dcm", "abdominal",
               Recipe(IMPLICIT, bits=12, aspect=2)),
    # spine
    Radiograph("medpix_6dede37dc4", f"{CD}/PT000000/ST000000/SE000001/IM000000", "spine",
               Recipe(JPEG_SV1, DX, "DX", bits=12, body_part="CSPINE", view="LL", study=CD)),
    Radiograph("medpix_7610e03009", "2019/Ortho/w1.dcm", "spine",
               Recipe(JPEG_LS, inverted=True, windowed=True, body_part="SKULL")),
    # others
    Radiograph("medpix_5e6e8a18f8", "2019/Ortho/w2.dcm", "others",
               Recipe(BIG, DX, "DX", bits=12, inverted=True, body_part="FOOT", view="AP")),
    Radiograph("medpix_86871fb897", "2019/Ortho/w3.dcm", "others",
               Recipe(DEFLATED, body_part="CHEST", view="PA")),
    Radiograph("medpix_d4a0e80988", "2019/Ortho/w4.dcm", "others",
               Recipe(JPEG_LS_NEAR, inverted=True, windowed=True, body_part="SKULL")),
    Radiograph("medpix_241d369f24", "2019/Ortho/w5.dcm", "others",
               Recipe(HTJ2K, bits=12, windowed=True, body_part="PELVIS", view="AP")),
    Radiograph("fracatlas_14b7034ddc", "2019/Ortho/w6.dcm", "others",
               Recipe(J2K_LOSSY, DX, "DX", bits=12, body_part="ABDOMEN")),
    Radiograph("fracatlas_3d3906f58e", f"{CD}/PT000000/ST000000/SE000002/IM000000", "others",
               Recipe(IMPLICIT, study=CD)),
    Radiograph("uci_shoulder_implants_18b35c9a2a", "2020/XA/run1", "others",
               Recipe(JPEG, XA, "XA", frames=3)),
    Radiograph("oai_knee_2ef55a3021", "2021/same uid/w6.dcm", "others",
               Recipe(EXPLICIT, DX, "DX", inverted=True, body_part="KNEE", instance="2019/Ortho/w6.dcm")),
)  # fmt: skip

COPIED = (
    # radiographs
    Copied("xray/fo-dicom__fo-dicom__CR-MONO1-10-chest", "ACRNEMA/MONO1-10-chest", "sorted", "adult_chest"),
    Copied("xray/pydicom__pylibjpeg-data__RG2_JPLY_fixed.dcm", "WG04/RG2_JPLY", "sorted", "others"),
    Copied("derived/derived__RG1chest15m1__jxl.dcm", "WG04/RG1_JXL", "sorted", "adult_chest"),
    Copied("derived/derived__hand12m2__jlsnear.dcm", "2019/Ortho/h1.dcm", "sorted", "others"),
    Copied("derived/derived__tricky__PixelAspectRatio_1_3.dcm", "2019/Ortho/h2.dcm", "sorted", "others"),
    Copied("broken/pydicom__pydicom__chrKoreanMulti.dcm", "2019/CR01/IM000004", "no_pixels"),
    # what else an archive holds
    Copied("broken/pwnlabmx__dicom-fuzzing-corpus__BASELINE_valid_ct.dcm", "2019/CT01/IMG0001.dcm"),
    Copied("other/cornerstonejs__cornerstoneWADOImageLoader__CTImage.dcm_JPEGProcess1TransferSyntax_1.2.840.10008."
           "1.2.4.50.dcm", "2019/CT01/IMG0002.dcm"),
    Copied("other/fo-dicom__fo-dicom__GH178.dcm", "2019/CT01/IMG0003.dcm"),
    Copied("other/pydicom__pydicom__MR_small_RLE.dcm", "2019/MR02/IM000001"),
    Copied("other/pydicom__pydicom__MR_small_bigendian.dcm", "2019/MR02/IM000002"),
    Copied("other/pydicom__pydicom-data__emri_small_jpeg_ls_lossless.dcm", "2019/MR02/IM000003"),
    Copied("other/pydicom__pydicom__JPEG2000.dcm", "2020/NM/bone.dcm"),
    Copied("other/Dashtid__dicom-fuzzer__pt_256x256_16bit_jpls.dcm", "2020/PT/slice.dcm"),
    Copied("other/cornerstonejs__cornerstoneWADOImageLoader__no-pixel-spacing.dcm", "2020/US/1.dcm"),
    Copied("other/pydicom__pydicom-data__OBXXXX1A_rle_2frame.dcm", "2020/US/2.dcm"),
    Copied("other/pydicom__pydicom__rtplan.dcm", "RT/plan.dcm"),
    Copied("other/pydicom__pydicom__rtdose.dcm", "RT/dose.dcm"),
    Copied("other/ImagingDataCommons__highdicom__seg_image_cr_binary.dcm", "2020/SEG/seg.dcm"),
    Copied("other/pydicom__pydicom-data__liver_j2k.dcm", "2020/SEG/liver.dcm"),
    Copied("other/ImagingDataCommons__highdicom__sr_document.dcm", "reports/sr1.dcm"),
    Copied("broken/pydicom__pydicom__reportsi_with_empty_number_tags.dcm", "reports/sr2.dcm"),
    Copied("other/ImagingDataCommons__highdicom__sm_annotations.dcm", "reports/annotations.dcm"),
)  # fmt: skip

COPIED_BROKEN = (
    Copied("broken/pwnlabmx__dicom-fuzzing-corpus__TC0265_depth_100.dcm", "ct_nesting_100.dcm"),
    Copied(
        "broken/pwnlabmx__dicom-fuzzing-corpus__TC0741_window_wc_1_ww_uint32max.dcm", "ct_huge_window.dcm"
    ),
    Copied("broken/pwnlabmx__dicom-fuzzing-corpus__TC0383_no_dicm.dcm", "ct_no_magic.dcm", "not_dicom"),
    Copied("broken/pydicom__pydicom__badVR.dcm", "rtdose_bad_vr.dcm"),
    Copied("broken/pydicom__pydicom__rtplan_truncated.dcm", "rtplan_truncated.dcm"),
    Copied("broken/pydicom__pydicom__ExplVR_BigEndNoMeta.dcm", "rtplan_big_endian_no_meta.dcm"),
    Copied("broken/fo-dicom__fo-dicom__GH364.dcm", "us_unknown_vr.dcm"),
)


def main(shared: Path) -> None:
    """Write everything anew."""
    for folder in (ARCHIVE, BROKEN):
        shutil.rmtree(folder, ignore_errors=True)
    written = [*archive(shared), *broken(shared)]
    write_expected(written)
    write_attribution(shared)


def archive(shared: Path) -> Iterable[Written]:
    """Fill tests/archive."""
    for radiograph in RADIOGRAPHS:
        born = BORN_LATELY if radiograph.label == "pediatric_chest" else BORN
        data = dicom_bytes(picture(shared, radiograph.source), radiograph.recipe, radiograph.target, born)
        yield put(Written(f"archive/{radiograph.target}", "sorted", radiograph.label), data)
    first = next(radiograph for radiograph in RADIOGRAPHS if radiograph.target == TWICE[0])
    original = (ARCHIVE / TWICE[0]).read_bytes()
    yield put(Written(f"archive/{TWICE[1]}", "duplicate", first.label), original)
    yield from copy(shared, COPIED, "archive")
    yield put(Written(f"archive/{CD}/DICOMDIR", "not_xray"), dicomdir(shared))
    for target, status, make in GENERATED:
        yield put(Written(f"archive/{target}", status), make())


def broken(shared: Path) -> Iterable[Written]:
    """Fill tests/data/broken."""
    small = Small(*(thumbnail(shared, source) for source in THUMBNAIL))
    for mutant in MUTANTS:
        yield put(
            Written(f"broken/{mutant.target}", mutant.status, mutant.label), mutant.make(small, mutant.target)
        )
    yield from copy(shared, COPIED_BROKEN, "broken")


def copy(shared: Path, files: Iterable[Copied], folder: str) -> Iterable[Written]:
    """Take files over byte by byte."""
    for file in files:
        data = (shared / "dicom" / file.source).read_bytes()
        yield put(Written(f"{folder}/{file.target}", file.status, file.label), data)


def put(file: Written, data: bytes) -> Written:
    """Write a file of the test data."""
    path = committed(file.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return file


def picture(shared: Path, source: str) -> Gray:
    """Read a radiograph of the sources as gray values."""
    with Image.open(shared / "xray" / "images" / f"{source}.webp") as image:
        return np.asarray(image.convert("L"))


def thumbnail(shared: Path, source: str) -> Gray:
    """Read a radiograph of the sources, at most 128 pixels a side."""
    image = Image.fromarray(picture(shared, source))
    image.thumbnail((128, 128), Image.Resampling.LANCZOS)
    return np.asarray(image)


def dicomdir(shared: Path) -> bytes:
    """Index the files below CD, as pydicom's FileSet writes it."""
    files = FileSet()
    files.UID = UID(uid(CD))
    files.ID = "CD2021"
    on_disc = [radiograph for radiograph in RADIOGRAPHS if radiograph.target.startswith(f"{CD}/")]
    for radiograph in on_disc:
        files.add(dataset_of(picture(shared, radiograph.source), radiograph.recipe, radiograph.target))
    with tempfile.TemporaryDirectory() as folder:
        files.write(folder)
        missing = [item.target for item in on_disc if not Path(folder, item.target[len(CD) + 1 :]).exists()]
        if missing:
            raise RuntimeError(f"DICOMDIR does not name {missing}")
        return Path(folder, "DICOMDIR").read_bytes()


def encapsulated_pdf() -> bytes:
    """Make an object that holds a document."""
    dataset = canary(STORAGE + "104.1", "pdf", "pdf")
    dataset.Modality, dataset.MIMETypeOfEncapsulatedDocument = "DOC", "application/pdf"
    dataset.EncapsulatedDocument = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    )
    return file_bytes(with_meta(dataset))


def presentation_state() -> bytes:
    """Make an object that only says how to show another."""
    dataset = canary(STORAGE + "11.1", "presentation", "DICOM/IM000001")
    dataset.Modality, dataset.ContentLabel = "PR", "MARKED"
    image = Dataset()
    image.ReferencedSOPClassUID = DX
    image.ReferencedSOPInstanceUID = uid("instance DICOM/IM000001")
    dataset.ReferencedImageSequence = Sequence([image])
    return file_bytes(with_meta(dataset))


def mammogram() -> bytes:
    """Make a mammogram of a ramp."""
    return gradient(STORAGE + "1.2", "MG", "BREAST")


def screenshot() -> bytes:
    """Make a secondary capture of a ramp."""
    return gradient(SECONDARY_CAPTURE, "OT", "")


def gradient(sop_class: str, modality: str, body_part: str) -> bytes:
    """Make an image object that is no radiograph; its picture is a ramp."""
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    recipe = Recipe(EXPLICIT, sop_class, modality, body_part=body_part)
    return dicom_bytes(ramp, recipe, f"gradient {modality}")


def photo() -> bytes:
    """Make a color JPEG that is no DICOM: a sky over noise."""
    noise = np.random.default_rng(4711).integers(0, 60, (120, 160, 3))
    ramp = np.linspace(200, 40, 120)[:, None, None]
    buffer = io.BytesIO()
    Image.fromarray((ramp * [0.6, 0.8, 1.0] + noise * 0.5).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def thumbs_db() -> bytes:
    """Write the magic of an OLE file, then noise."""
    return bytes.fromhex("d0cf11e0a1b11ae1") + np.random.default_rng(7).bytes(1528)


def text(content: str) -> Callable[[], bytes]:
    """Make a file of that text."""
    return content.encode


GENERATED: tuple[tuple[str, str, Callable[[], bytes]], ...] = (
    ("reports/letter.dcm", "not_xray", encapsulated_pdf),
    ("DICOM/IM000004", "not_xray", presentation_state),
    ("2020/MG/IM000001", "not_xray", mammogram),
    ("2020/QA/screen.dcm", "not_xray", screenshot),
    ("README.txt", "not_dicom", text("Export of the old PACS, 2019 to 2021.\nQuestions: ask the archive.\n")),
    ("2019/Thumbs.db", "not_dicom", thumbs_db),
    ("2020/QA/room.jpg", "not_dicom", photo),
    ("export.csv", "not_dicom", text("time,event\n")),
    (
        f"{CD}/INDEX.HTM",
        "not_dicom",
        text("<!DOCTYPE html>\n<title>Viewer</title>\n<p>Start the viewer.</p>\n"),
    ),
)


def write_expected(written: Iterable[Written]) -> None:
    """Write expected.csv."""
    with (DATA / "expected.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "status", "label"])
        writer.writerows(
            (one.path, one.status, one.label) for one in sorted(written, key=lambda one: one.path)
        )


def write_attribution(shared: Path) -> None:
    """Write DATA.md."""
    sources = Sources(shared)
    made = [(f"archive/{one.target}", *sources.picture(one.source)) for one in RADIOGRAPHS]
    damaged = [sources.picture(source) for source in THUMBNAIL]
    copied = [(f"archive/{one.target}", *sources.file(one.source)) for one in COPIED]
    copied += [(f"broken/{one.target}", *sources.file(one.source)) for one in COPIED_BROKEN]
    versions = {name: version(name) for name in ("imagecodecs", "pydicom")}
    (DATA / "DATA.md").write_text(document(versions, made, damaged, copied), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
