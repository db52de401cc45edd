"""Archives among the files: known by their content, counted, and never passed over in silence."""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from outputs import rows, settings
from predictors import FixedPredictor
from program import Ran, inside

from dicomsort.dicom import dicom_file
from dicomsort.dicom.archives import is_archive
from dicomsort.errors import ExitCode
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.inputs.named import Shard
from dicomsort.outcome import Failure, Reason, Status
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.system.pool_settings import PoolSettings

Write = Callable[..., Path]
CONTENT = b"not much, but something" * 50


def zipped(*names: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            archive.writestr(name, CONTENT)
    return held.getvalue()


def tarred(format_: int = tarfile.PAX_FORMAT, mode: str = "w", name: str = "studies/ü.dcm") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode, format=format_) as archive:  # type: ignore[call-overload]
        member = tarfile.TarInfo(name)
        member.size = len(CONTENT)
        archive.addfile(member, io.BytesIO(CONTENT))
    return held.getvalue()


def old_tar() -> bytes:
    """As tar wrote it before POSIX: the same block without mark and owners, and its checksum."""
    block = bytearray(tarred(tarfile.USTAR_FORMAT, name="a.dcm"))
    block[257:512] = bytes(255)
    block[148:156] = b" " * 8
    block[148:156] = b"%6o\0 " % sum(block[:512])
    return bytes(block)


# The last ones are the first bytes that the formats' own descriptions give: nothing here writes them.
ARCHIVES = {
    "zip": zipped("studies/a.dcm"),
    "empty zip": zipped(),
    "spanned zip": b"PK\x07\x08" + zipped("a.dcm"),
    "zip of a folder": zipped("studies/"),
    "ustar": tarred(tarfile.USTAR_FORMAT, name="a.dcm"),
    "gnu tar": tarred(tarfile.GNU_FORMAT),
    "pax tar": tarred(),
    "old tar": old_tar(),
    "tar.gz": tarred(mode="w:gz"),
    "tar.bz2": tarred(mode="w:bz2"),
    "tar.xz": tarred(mode="w:xz"),
    "gz": gzip.compress(CONTENT),
    "bz2": bz2.compress(CONTENT),
    "empty bz2": bz2.compress(b""),
    "xz": lzma.compress(CONTENT),
    "zst": b"\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00" + bytes(40),
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(40),
    "rar 4": b"Rar!\x1a\x07\x00\xcf\x90\x73" + bytes(40),
    "rar 5": b"Rar!\x1a\x07\x01\x00\x33\x92" + bytes(40),
    "iso": bytes(0x8000) + b"\x01CD001\x01" + bytes(2041),
}
OTHERS = {
    "docx": zipped("[Content_Types].xml", "word/document.xml"),
    "xlsx": zipped("docProps/app.xml", "xl/workbook.xml"),
    "odt": zipped("mimetype", "content.xml"),
    "jar": zipped("META-INF/MANIFEST.MF", "A.class"),
    "text": b"PK is short for a name, BZhang for another; 7z and Rar! too\n" * 20,
    "zeros": bytes(100_000),
    "short": b"PK\x03",
    "numbers": b"0000000 " * 100,
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_are_known_by_their_content(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(ARCHIVES[kind])
    reading = dicom_file.read(str(tmp_path / "a.dcm"), Preprocessing())
    assert isinstance(reading, Failure)
    assert (reading.status, reading.reason) == (Status.NOT_DICOM, Reason.ARCHIVE)


@pytest.mark.parametrize("kind", OTHERS)
def test_documents_and_everything_else_are_none(kind: str) -> None:
    assert not is_archive(io.BytesIO(OTHERS[kind]))


@pytest.mark.parametrize("kind", ["zip", "gz", "7z"])
def test_a_dicom_file_with_the_mark_of_an_archive_in_its_preamble_is_dicom(
    kind: str, tmp_path: Path, write_dicom: Write
) -> None:
    path = write_dicom(tmp_path / "a.zip")
    whole = path.read_bytes()
    path.write_bytes(ARCHIVES[kind][:100].ljust(128, b"\0")[:128] + whole[128:])
    assert not isinstance(dicom_file.read(str(path), Preprocessing()), Failure)


@pytest.fixture
def packed(inbox: Path) -> Path:
    """An archive of twelve radiographs and, packed in three ways, some more."""
    for name in ("zip", "tar.gz", "rar 5"):
        (inbox / f"studies.{name.split()[0]}").write_bytes(ARCHIVES[name])
    (inbox / "letter.docx").write_bytes(OTHERS["docx"])
    return inbox


def test_archives_are_counted_again_when_all_is_done(
    packed: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    run = settings(packed, tmp_path / "out", archives=False)
    assert sort(run, predictor).archives == 3
    again = sort(run, predictor)
    assert (again.already_done, again.archives) == (again.found, 3)
    assert (again.statuses[Status.NOT_DICOM], again.exit_code) == (5, ExitCode.DONE)
    (packed / "studies.zip").unlink()
    assert sort(run, predictor).archives == 2, "what has been unpacked and taken away is told no longer"


def test_archives_of_all_shards_are_counted_by_the_merge(
    packed: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    runs = [settings(packed, out, shard=Shard(number, 2), archives=False) for number in (1, 2)]
    shares = [sort(run, predictor).archives for run in runs]
    assert sum(shares) == 3
    assert merge(str(out), PoolSettings(2)).archives == 3
    merged = sort(runs[0], predictor)
    assert merged.archives == shares[0], "known from the merged manifest, too"


def test_a_person_and_a_program_are_told(
    packed: Path, tmp_path: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("classify", packed, "--out", tmp_path / "out", "--model", small_model, "--no-archives")
    ran = inside(capfd, *words, "--quiet")
    assert ran.code == ExitCode.DONE
    which = "(7z, rar or iso; with --no-archives any)"
    assert ran.err == f"dicomsort: 3 archives were not opened {which}: unpack them and run again\n"
    assert inside(capfd, *words, "--json").json["archives"] == 3
    assert rows(tmp_path / "out")[str(packed / "studies.rar")]["reason"] == "archive: not opened"
    for path in packed.glob("studies.[rt]*"):
        path.unlink()
    assert f"1 archive was not opened {which}: unpack it" in inside(capfd, *words).err
    shutil.rmtree(tmp_path / "out")
    (packed / "studies.zip").unlink()
    assert inside(capfd, *words, "--quiet") == Ran(0, "", "")
