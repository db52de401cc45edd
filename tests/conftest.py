"""What every test may use: the committed archives, a small bundle, and the command line."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share the processors, before torch looks
for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):  # words are compared
    os.environ.pop(name, None)
for name in ("no_proxy", "NO_PROXY"):  # the servers of tests are here, whatever proxy this machine has
    os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))

import pytest
import torch
import trainings
import written
from committed import ARCHIVE, BROKEN, SMALL_GRAPH, expected_rows
from predictors import ROUTER_LABELS, FixedPredictor
from written import picture

from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle, compact
from dicomsort.model.heads import Head
from dicomsort.system.pool_settings import PoolSettings

LONG = frozenset(Path(__file__).with_name("long.txt").read_text().split())
"""Written by `tools/long_tests.py`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that a quick look leaves out."""
    for item in items:
        if item.nodeid.partition("[")[0] in LONG:
            item.add_marker("long")


@pytest.fixture(scope="session")
def archive() -> Path:
    return ARCHIVE


@pytest.fixture(scope="session")
def broken() -> Path:
    return BROKEN


@pytest.fixture(scope="session")
def expected() -> list[dict[str, str]]:
    return expected_rows()


@pytest.fixture
def pool() -> PoolSettings:
    return PoolSettings(workers=2)


@pytest.fixture(scope="session")
def small_bundle() -> Bundle:
    """A network with random weights: its answers mean nothing, but they are always the same.

    Its graph holds no weights, and is the same for all of them; test_export.py compares it with a new one.
    """
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
        graph=SMALL_GRAPH.read_bytes(),
    )


@pytest.fixture(scope="session")
def small_model(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    small_bundle.save(folder)
    return folder


@pytest.fixture
def predictor(small_bundle: Bundle) -> FixedPredictor:
    return FixedPredictor(small_bundle)


@pytest.fixture(scope="session")
def write_dicom() -> Callable[..., Path]:
    """Write a small DICOM file; keyword arguments are elements of the data set."""
    return written.write_dicom


@pytest.fixture
def inbox(tmp_path: Path, write_dicom: Callable[..., Path]) -> Path:
    folder = tmp_path / "in"
    for number in range(12):
        write_dicom(folder / f"s{number % 3}" / f"{number}.dcm", picture(number))
    write_dicom(folder / "ct.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four pictures, bright and dark in turn, and their table: to be read, not to be changed."""
    folder = tmp_path_factory.mktemp("pictures")
    columns = {
        "patient": [f"p{n // 2}" for n in range(24)], "site": ["x", "x", "y", "y", "z", "z"],
        "level": ["10|200", "10", "200"], "metal": ["0", "0", "1", "", "1"],
    }  # fmt: skip
    return trainings.table(folder, 24, **columns)
