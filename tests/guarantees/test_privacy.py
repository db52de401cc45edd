"""A canary in every text, date and private element, whole files and damaged ones: no output sings of it."""

import random
import re
from pathlib import Path

import pydicom
import pytest
from committed import committed
from program import command, inside
from pydicom._dicom_dict import DicomDictionary

CANARY, DATE = "Canary^Bird", "19331122"
TEXT_VRS = ("PN", "LO", "SH", "LT")
SOURCES = [
    "archive/2019/ABD/a0001.dcm",
    "archive/2019/Ortho/w2.dcm",
    "archive/2020/PAED/S001/IM000001",
    "archive/2020/PAED/S002/IM000003",
    "archive/2020/XA/run1",
    "archive/DICOM/IM000003",
    "archive/ACRNEMA/0001",
    "archive/WG04/RG2_JPLY",
    "broken/nested_20.dcm",
    "broken/constant.dcm",
]
MUTANTS = 25
READ_AS_MEANT = {
    **dict.fromkeys(("RescaleSlope", "WindowCenter", "PixelSpacing", "PixelPaddingValue"), "LO"),
    **dict.fromkeys(("NumberOfFrames", "PhotometricInterpretation", "PresentationLUTShape"), "LO"),
    **dict.fromkeys(("PixelAspectRatio", "PixelIntensityRelationshipSign"), "PN"),
}
FILES = len(SOURCES) * (MUTANTS + 1) + len(READ_AS_MEANT)


def sing(path: Path) -> bytes:
    """Put the canary into every PN, LO, SH, LT and DA element of the data dictionary, and private ones."""
    dataset = pydicom.dcmread(path, force=True)
    for tag, (vr, multiplicity, *_) in DicomDictionary.items():
        group = tag >> 16
        if 0x0008 <= group < 0x7FE0 and vr in (*TEXT_VRS, "DA") and multiplicity.startswith("1"):
            dataset.add_new(tag, vr, DATE if vr == "DA" else CANARY)
    for group in (0x0009, 0x0019, 0x0029):
        block = dataset.private_block(group, CANARY, create=True)
        for offset, vr in enumerate((*TEXT_VRS, "UT", "UN")):
            block.add_new(offset, vr, CANARY.encode() if vr == "UN" else CANARY)
    target = pydicom.filebase.DicomBytesIO()
    has_meta = "TransferSyntaxUID" in dataset.file_meta
    encoding = {} if has_meta else {"implicit_vr": True, "little_endian": True}
    pydicom.dcmwrite(target, dataset, enforce_file_format=False, **encoding)
    return bytes(target.getvalue())


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """Flip bits in the header, move the tags of texts to ones that are read, or cut the file off."""
    data = bytearray(whole)
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(132, len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        moved = rng.choice((CANARY, DATE)).encode()
        at = rng.choice([at for at in range(132, len(data)) if data.startswith(moved, at)])
        wanted = rng.choice(
            (0x00180015, 0x00080060, 0x00080018, 0x0020000D, 0x00185101, 0x00280004, 0x00080016)
        )
        data[at - 8 : at - 4] = (wanted >> 16).to_bytes(2, "little") + (wanted & 0xFFFF).to_bytes(2, "little")
        data[at - 4 : at - 2] = rng.choice((b"CS", b"UI", b"PN", b"LO", b"UN"))
    elif kind == 2:
        del data[rng.randrange(200, len(data)) :]
    else:
        at = rng.randrange(132, len(data) - 4)
        data[at : at + 2] = rng.randrange(1 << 16).to_bytes(2, "little")
    return bytes(data)


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("birds")
    rng = random.Random(0)
    for number, name in enumerate(SOURCES):
        whole = sing(committed(name))
        assert whole.count(CANARY.encode()) > 500
        (folder / f"{number}.dcm").write_bytes(whole)
        for mutant in range(MUTANTS):
            (folder / f"{number}_{mutant}.dcm").write_bytes(damaged(whole, rng))
    for number, (keyword, vr) in enumerate(READ_AS_MEANT.items()):
        (folder / f"meant_{number}.dcm").write_bytes(singing_element(keyword, vr))
    return folder


def singing_element(keyword: str, vr: str) -> bytes:
    """Put the canary where a number or a term is looked for, of a VR that lets it stand there."""
    dataset = pydicom.dcmread(committed(SOURCES[0]))
    dataset[keyword] = pydicom.DataElement(keyword, vr, CANARY)
    target = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(target, dataset, enforce_file_format=False)
    return bytes(target.getvalue())


def assert_silent(*texts: str) -> None:
    for text in texts:
        assert "canary" not in text.lower()
        assert DATE not in text


def test_classify_is_silent(birds: Path, tmp_path: Path, small_model: Path) -> None:
    out = tmp_path / "out"
    ran = command("classify", birds, "--out", out, "--model", small_model, "-v", "--json")
    assert ran.json["found"] == FILES
    assert ran.json["statuses"]["sorted"] + ran.json["statuses"]["review"] > len(SOURCES)
    assert ran.json["statuses"]["decode_error"] > len(SOURCES)
    assert ran.json["statuses"]["crash"] == ran.json["statuses"]["timeout"] == 0
    assert_silent(ran.out, ran.err, *((out / name).read_text() for name in ("manifest.csv", "run.json")))
    told = command("report", out, "--json", "--pictures", "2")
    page = (out / "report.html").read_text()
    assert told.json["files"] == FILES
    assert "<img" in page
    assert_silent(told.out, told.err, re.sub(r'src="data:image/jpeg;base64,[A-Za-z0-9+/=]*"', "", page))


def test_audit_is_silent(birds: Path, tmp_path: Path, small_model: Path) -> None:
    out, names = tmp_path / "out", ("audit.csv", "studies.csv", "audit.html")
    command("classify", birds, "--out", out, "--model", small_model, "--dry-run", "--quiet")
    for words in (["--json", "--descriptions"], ["--severity", "low", "--fail-on", "contradicts"]):
        told = command("audit", out, *words)
        assert told.code in (0, 3)
        texts = [(out / name).read_text() for name in names]
        assert "\n" in texts[0]
        pages = [re.sub(r'src="data:image/jpeg;base64,[A-Za-z0-9+/=]*"', "", text) for text in texts]
        assert_silent(told.out, told.err, *pages)


def test_annotate_is_silent_but_in_the_dicom_files_that_it_writes(
    tmp_path: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(SOURCES):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.dcm").write_bytes(sing(committed(name)))
    out, folder = tmp_path / "out", tmp_path / "copies"
    inside(capfd, "classify", tmp_path / "in", "--out", out, "--model", small_model, "--action", "symlink")
    for kind in ("instances", "sr"):
        words = ("--as", kind, "--out", folder, "--min-confidence", "0", "--workers", "1", "--json")
        ran = inside(capfd, "annotate", out, *words)
        assert ran.json["written"] > 3
        assert_silent(ran.out, ran.err, (folder / "annotations.csv").read_text())
    assert_silent(*(path.name for path in folder.rglob("*")))
    gone = inside(capfd, "undo", folder)
    assert gone.code == 0
    assert_silent(gone.out, gone.err)


def test_render_is_silent(
    birds: Path, tmp_path: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    ran = inside(capfd, "render", *sorted(birds.iterdir()), "--out", out, "--model", small_model)
    assert ran.code == 3
    assert_silent(ran.out, ran.err, *(path.name for path in out.iterdir()))
    assert not [path for path in out.iterdir() if CANARY.encode() in path.read_bytes()]


def test_eval_is_silent(
    birds: Path, tmp_path: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table, out = tmp_path / "labels.csv", tmp_path / "figures"
    labels = ["spine", "others"] * len(SOURCES)
    lines = [f"{path},{label}" for path, label in zip(sorted(birds.iterdir()), labels, strict=False)]
    table.write_text("\n".join(["file,group", *lines]) + "\n")
    words = ["--target", "group", "--part", "all", "--bootstrap", "10"]
    ran = inside(capfd, "eval", table, "--model", small_model, "--out", out, *words)
    assert ran.code in (0, 3), ran.err
    texts = [path.read_text("latin-1") for path in out.iterdir()]
    assert_silent(ran.out, ran.err, *texts)
