"""What is told of a model is what stands in its card, and nothing that was measured on other weights."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from committed import ROOT

from dicomsort.model import bundle as bundles
from dicomsort.model.card import Card, Figure, read_card

MODELS = ROOT / "models"
MAIN = {
    "router5": {"macro recall": (0.955, 0.919, 0.980), "macro F1": (0.954, 0.920, 0.977)},
    "view": {"accuracy": (0.949, 0.928, 0.967), "macro recall": (0.708, 0.616, 0.814)},
    "bodypart": {"micro F1": (0.913, 0.890, 0.934), "macro F1": (0.700, 0.650, 0.735)},
    "hardware": {"ROC AUC": (0.993, 0.983, 0.999)},
    "fracture": {"ROC AUC": (0.913, 0.833, 0.974)},
}
"""As README.md has them."""


def card_of(folder: Path) -> Card:
    return read_card(folder, bundles.load(folder, with_graph=False))


@pytest.mark.parametrize("name", MAIN)
def test_the_figures_of_a_shipped_model_are_those_of_the_readme(name: str) -> None:
    card, readme = card_of(MODELS / name), (ROOT / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if line.startswith(f"| [`{name}`]"))
    for figure, numbers in MAIN[name].items():
        assert card.figures[figure] == Figure(*numbers)
        assert str(card.figures[figure]) in row
    assert row.rstrip("| ").endswith(str(card.images))
    assert card.of.endswith(" patients")


def test_a_card_tells_what_a_model_is_for_and_what_it_is_not() -> None:
    card = card_of(MODELS / "fracture")
    assert card.purpose.startswith("Says whether a projection radiograph of a limb")
    assert "Never for diagnosis" in card.caution
    assert "**" not in card.purpose + card.caution
    assert card.licenses == {"CC BY 4.0 (as stated by the data source)": 439}
    assert sum(card_of(MODELS / "router5").licenses.values()) == 4306


def test_how_much_is_sure_and_right_is_told_with_intervals() -> None:
    card = card_of(MODELS / "router5")
    assert (card.coverage, card.precision) == (Figure(0.907, 0.884, 0.928), Figure(0.997, 0.993, 1.0))
    assert card_of(MODELS / "hardware").precision == Figure(1.0)


def test_figures_of_other_weights_are_not_told(tmp_path: Path) -> None:
    folder = shutil.copytree(MODELS / "router5", tmp_path / "router5")
    bundle = bundles.load(folder)
    changed = replace(bundle, head=replace(bundle.head, review_below=0.5))
    card = read_card(folder, changed)
    assert (dict(card.figures), card.coverage, card.is_other) == ({}, None, True)
    assert card.purpose


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"# nothing\n\n<!-- BEGIN figures -->"])
def test_a_model_without_a_card_that_can_be_read_has_none(
    content: bytes | None, tmp_path: Path, small_model: Path
) -> None:
    folder = shutil.copytree(small_model, tmp_path / "own")
    if content is not None:
        (folder / "README.md").write_bytes(content)
    card = card_of(folder)
    assert (dict(card.figures), card.is_other) == ({}, False)
