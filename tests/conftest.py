"""What every test may use: the committed archives, a small bundle, and the command line."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share the processors, before torch looks

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicomsort.cli.main import app
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle, compact
from dicomsort.model.heads import Head
from dicomsort.sorting.pipeline import SortSettings
from dicomsort.system.escaping import unescape
from dicomsort.system.worker_pool import PoolSettings

TESTS = Path(__file__).resolve().parent
ROUTER_LABELS = ("abdominal", "adult_chest", "others", "pediatric_chest", "spine")


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value


def command(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Ran:
    """Run the installed program as a user would."""
    words = [sys.executable, "-m", "dicomsort", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=env, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


def inside(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> Ran:
    """Run a command in this process; it need not load torch again."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        app([str(word) for word in arguments], prog_name="dicomsort")
    said = capfd.readouterr()
    return Ran(int(ended.value.code or 0), said.out, said.err)


@pytest.fixture(scope="session")
def archive() -> Path:
    return TESTS / "archive"


@pytest.fixture(scope="session")
def broken() -> Path:
    return TESTS / "broken"


@pytest.fixture(scope="session")
def expected() -> list[dict[str, str]]:
    with (TESTS / "expected.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def pool() -> PoolSettings:
    return PoolSettings(workers=2, timeout=30.0)


@pytest.fixture(scope="session")
def small_bundle() -> Bundle:
    """A network with random weights: its answers mean nothing, but they are always the same."""
    torch.manual_seed(0)
    spec = networks.spec_for("mobilenet_v1")
    network = networks.Network(spec, len(ROUTER_LABELS))
    return Bundle(
        name="small",
        network=spec,
        preprocessing=Preprocessing(size=64),
        head=Head("label", ROUTER_LABELS),
        weights=compact(networks.weights_of(network)),
        split={"0" * 16: "train"},
    )


@pytest.fixture(scope="session")
def small_model(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    small_bundle.save(folder)
    return folder


class FixedPredictor:
    """Stands for a network where the road is tested, not the answer: it looks at the brightness."""

    name, precision, concurrency, batch_size = "cpu", "float32", 2, 8

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def logits(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        bright = images.reshape(len(images), -1).mean(axis=1, keepdims=True)
        centres = np.linspace(20, 200, len(self.bundle.head.labels))[None]
        return np.asarray(-np.abs(bright - centres) / 10, np.float32)


@pytest.fixture
def predictor(small_bundle: Bundle) -> FixedPredictor:
    return FixedPredictor(small_bundle)


@pytest.fixture(scope="session")
def write_dicom() -> Callable[..., Path]:
    """Write a small DICOM file; keyword arguments are elements of the data set."""
    return _write_dicom


def _write_dicom(path: Path, pixels: Any = None, syntax: str | None = None, **elements: Any) -> Path:
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
        "SOPInstanceUID": f"2.25.{abs(hash(path.name)) % 10**12}",
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


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder by its relative name, but for the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".dicomsort.lock"
    }


def picture(seed: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    generator = np.random.default_rng(seed)
    return (generator.random((40, 30)) ** generator.uniform(0.2, 4) * 4000).astype(np.uint16)


@pytest.fixture
def inbox(tmp_path: Path, write_dicom: Callable[..., Path]) -> Path:
    folder = tmp_path / "in"
    for number in range(12):
        write_dicom(folder / f"s{number % 3}" / f"{number}.dcm", picture(number))
    write_dicom(folder / "ct.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT")
    (folder / "notes.txt").write_text("no picture")
    return folder


def settings(inbox: Path, out: Path, **changes: Any) -> SortSettings:
    return replace(SortSettings((str(inbox),), str(out), batch_size=5, pool=PoolSettings(2, 20)), **changes)


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    by_path = {row["path"]: row for row in table}
    assert len(by_path) == len(table), "one row a file"
    return by_path


def check_places(inbox: Path, out: Path) -> None:
    """Every row's destination is its source, and nothing else lies in the output."""
    placed = set()
    for path, row in rows(out).items():
        if row["destination"]:
            target = out / unescape(row["destination"])
            assert target.read_bytes() == Path(unescape(path)).read_bytes()
            folder = "review" if row["status"] == "review" else row["label"]
            assert unescape(row["destination"]) == f"{folder}/{Path(unescape(path)).relative_to(inbox)}"
            placed.add(target.relative_to(out).as_posix())
    assert set(tree(out)) - {"manifest.csv", "run.json"} == placed
