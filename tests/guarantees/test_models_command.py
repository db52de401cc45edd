"""`dicomsort models` lists what there is to choose from, and where its words come from."""

import re
import shutil
from pathlib import Path

import pytest
from committed import ROOT
from program import inside
from rich.console import Console

from dicomsort.cli import console
from dicomsort.errors import ExitCode
from dicomsort.model import bundle as bundles
from dicomsort.model.defaults import DEFAULT_MODELS

Capture = pytest.CaptureFixture[str]
SHIPPED = {path.parent.name for path in ROOT.glob("models/*/config.json")}


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    made = console.console

    def narrowed(results: bool = False) -> Console:
        screen = made(results)
        screen.width = 80
        return screen

    monkeypatch.setattr(console, "console", narrowed)


@pytest.mark.usefixtures("narrow")
def test_the_list_names_every_shipped_model_and_fits_eighty_columns(capfd: Capture) -> None:
    ran = inside(capfd, "models")
    assert ran.code == 0
    named = re.findall(r"^ (\w+)( \*)? +\w+:", ran.out, re.MULTILINE)
    assert {name for name, _ in named} == SHIPPED
    assert [name for name, star in named if star] == list(DEFAULT_MODELS)
    assert "macro recall 0.955 (0.919 to 0.980)" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_one_model_is_told_in_detail_within_eighty_columns(name: str, capfd: Capture) -> None:
    ran, bundle = inside(capfd, "models", name), bundles.load(ROOT / "models" / name)
    assert max(map(len, ran.out.splitlines())) <= 80
    assert bundle.tag in ran.out
    assert f"review below {bundle.head.review_below:.4f}" in " ".join(ran.out.split())
    if bundle.head.kind == "multilabel":
        assert all(
            re.search(rf"^ {label} .*\d\.\d\d\d", ran.out, re.MULTILINE) for label in bundle.head.labels
        )


def test_json_holds_labels_thresholds_and_figures_with_intervals(capfd: Capture) -> None:
    found = {one["name"]: one for one in inside(capfd, "models", "--json").json["models"]}
    assert set(found) == SHIPPED
    router = found["router5"]
    assert router["figures"]["macro recall"] == {"value": 0.955, "low": 0.919, "high": 0.98}
    assert router["heads"][0]["labels"] == ["abdominal", "adult_chest", "others", "pediatric_chest", "spine"]
    assert (router["heads"][0]["review_below"], router["reject_above"]) == (0.982, 6.2274)
    assert (router["canvas"]["size"], router["default"], router["shipped"]) == (160, True, True)
    assert router["bytes"] > 7_000_000
    assert len(found["bodypart"]["heads"][0]["thresholds"]) == 24


def test_a_model_of_ones_own_is_told_by_its_folder(tmp_path: Path, small_model: Path, capfd: Capture) -> None:
    own = shutil.copytree(small_model, tmp_path / "mine")
    ran = inside(capfd, "models", own)
    assert ran.code == 0
    assert "dicomsort eval" in ran.out or "validation accuracy" in ran.out
    both = inside(capfd, "models", "router5", own, "--json").json["models"]
    assert [one["shipped"] for one in both] == [True, False]
    assert both[1]["figures"] == {"images": None, "resampled": ""}


def test_a_model_that_is_not_there_is_an_error_that_names_those_that_are(capfd: Capture) -> None:
    ran = inside(capfd, "models", "nothing")
    assert (ran.code, ran.out) == (ExitCode.MODEL, "")
    assert all(name in ran.err for name in SHIPPED)
