"""What annotate writes stands before dciodvfy, and a real Orthanc keeps it and gives it back."""

import io
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from committed import ARCHIVE, committed, expected_rows
from dicom_tools import Orthanc, errors_in, orthanc
from program import command

from dicomsort.audit.terms import Terms
from dicomsort.export.answers import Answer
from dicomsort.export.instances import Correcting, Image, correct
from dicomsort.export.written import Left, Written
from dicomsort.model.anatomy import region_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Expected implicit VR")]

MODELS = ("--model", "router5", "--model", "view", "--model", "bodypart")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies and reports of all of the archive of which anything is at all likely."""
    folder = tmp_path_factory.mktemp("made")
    out = folder / "sorted"
    command("classify", ARCHIVE, "--out", out, "--action", "symlink", "--device", "cpu", *MODELS)
    for kind in ("instances", "sr"):
        words = ("--as", kind, "--out", folder / kind, "--min-confidence", "0.5", "--json")
        ran = command("annotate", out, *words)
        assert ran.json["written"] > 15
        assert set(ran.json["left"]) <= {Left.NO_UIDS, Left.NO_REPORT, Left.SAME_UID}
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.dcm"))


def sources() -> dict[str, Path]:
    """The radiographs of the archive by SOP Instance UID."""
    radiographs = (committed(row["file"]) for row in expected_rows() if row["status"] in ("sorted", "review"))
    found = {}
    for path in radiographs:
        dataset = pydicom.dcmread(path, force=True, specific_tags=["SOPInstanceUID"])
        found[str(dataset.get("SOPInstanceUID"))] = path
    return found


def test_a_copy_has_no_error_that_its_source_has_not(made: Path) -> None:
    originals = sources()
    new: Counter[str] = Counter()
    for path in files(made / "instances"):
        before = pydicom.dcmread(path).OriginalAttributesSequence[-1].ModifiedAttributesSequence[0]
        known = errors_in(originals[before.SOPInstanceUID])
        new.update(line for line in errors_in(path) if line not in known)
    assert new == {}


@pytest.mark.parametrize(
    ("label", "view"), [("chest", "frontal"), ("hand", "lateral"), ("dental", "oblique")]
)
def test_a_copy_has_none_whatever_is_said_of_the_file(label: str, view: str, tmp_path: Path) -> None:
    answer = Answer(region_of(label), 1.0, view, 1.0, models="m@0123456789ab")
    new: Counter[str] = Counter()
    written = 0
    for number, path in enumerate(sources().values()):
        how = Correcting(str(tmp_path / str(number)), Terms.load(), datetime(2026, 1, 2, tzinfo=UTC))
        made = correct(Image(str(path), str(path), None, "", "", answer), how)
        if isinstance(made, Written):
            known, written = errors_in(path), written + 1
            copy = tmp_path / str(number) / made.file
            new.update(f"{path.name}: {line}" for line in errors_in(copy) if line not in known)
    assert new == {}
    assert written > 20


def test_a_report_has_no_error_but_what_it_repeats_of_the_images(made: Path) -> None:
    known = Counter(line for path in sources().values() for line in errors_in(path))
    new = Counter(line for path in files(made / "sr") for line in errors_in(path) if line not in known)
    assert new == {}


@pytest.mark.parametrize("kind", ["instances", "sr"])
def test_orthanc_keeps_what_was_sent_and_gives_it_back_identical(
    kind: str, made: Path, server: Orthanc
) -> None:
    sent = files(made / kind)
    before = server.count()
    for path in sent:
        dataset = pydicom.dcmread(path)
        server.store(path, dataset.file_meta.TransferSyntaxUID)
        fetched = server.fetch(dataset.SOPInstanceUID)
        assert fetched is not None
        back = pydicom.dcmread(io.BytesIO(fetched))
        assert back == dataset
        assert back.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
        assert back.get("PixelData") == dataset.get("PixelData")
    assert server.count() == before + len(sent)


def test_what_is_sent_twice_is_held_once(made: Path, server: Orthanc) -> None:
    path = files(made / "instances")[0]
    syntax = pydicom.dcmread(path).file_meta.TransferSyntaxUID
    server.store(path, syntax)
    before = server.count()
    server.store(path, syntax)
    assert server.count() == before
