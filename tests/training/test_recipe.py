"""Recipes: what papers say, what is given beside them, and how grays are normalized."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trainings import RECIPE, place, prepared_from

from dicomsort.errors import UsageError
from dicomsort.model.bundle import WEIGHTS, Bundle, shipped_models
from dicomsort.model.networks import ALIASES
from dicomsort.training import train
from dicomsort.training.augment import Augmentation
from dicomsort.training.recipe import RECIPES, make_recipe

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "recipes.md"


def test_recipes_of_papers_and_what_is_given_beside_them() -> None:
    recipe = make_recipe("imaging-router", {"epochs": 3, "size": None})
    assert (recipe.size, recipe.epochs, recipe.schedule) == (512, 3, "sgdr")
    assert make_recipe("unifesp", {}).normalise == "unit"
    assert Augmentation.parse(make_recipe("unifesp", {}).augment).brightness > 0
    assert make_recipe("registry", {}).normalise == "data"
    assert make_recipe(None, {}).learning_rate == 1e-4
    for name in RECIPES:
        make_recipe(name, {})
    for given, message in (({"optimizer": "sgd"}, "--optimizer 'sgd' is unknown"),
                           ({"ema": 1.0}, "--ema must lie")):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            make_recipe(None, given)
    with pytest.raises(UsageError, match="--recipe 'vindr' is unknown"):
        make_recipe("vindr", {})


def rows_of(recipe: str) -> dict[str, str]:
    """Return what the page of recipes says of each setting under `here`."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {recipe}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {name: row[2] for row in rows for name in re.findall(r"`(\w+)`", row[0])}


@pytest.mark.parametrize("name", RECIPES)
def test_the_page_of_recipes_names_every_setting_and_its_value(name: str) -> None:
    settings, rows = RECIPES[name][0], rows_of(name)
    assert set(rows) == set(settings)
    for setting, value in settings.items():
        shown = rows[setting].replace("`", "").replace("1e-4", "0.0001")
        wanted = f"{value:g}" if isinstance(value, float) else str(value)
        assert re.match(rf"{re.escape(wanted)}(;|:|$)", shown), (setting, rows[setting])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_chooses_its_papers_network_until_another_is_given(name: str) -> None:
    others = re.findall(r"`(\w+)`", rows_of(name)["arch"])
    assert others[0] == make_recipe(name, {}).arch
    assert {*re.findall(r"--arch (\w+)", rows_of(name)["arch"]), *others} <= set(ALIASES)
    assert make_recipe(name, {"arch": "resnet18"}).arch == "resnet18"


def test_weights_to_start_from_are_a_file_or_a_model(tmp_path: Path, small_bundle: Bundle) -> None:
    """A training records the model's name, for all bundles call their weights alike."""
    shipped = make_recipe(None, {"pretrained": "router5"})
    assert shipped.pretrained == str(shipped_models() / "router5" / WEIGHTS)
    assert shipped.as_dict()["pretrained"] == "router5"
    small_bundle.save(tmp_path / "mine")
    mine = str(tmp_path / "mine" / WEIGHTS)
    assert make_recipe(None, {"pretrained": str(tmp_path / "mine")}).pretrained == mine
    assert make_recipe(None, {"pretrained": mine}).pretrained == mine
    assert make_recipe(None, {"pretrained": "hub"}).pretrained == "hub"
    assert make_recipe(None, {"pretrained": "none"}).pretrained is None
    with pytest.raises(UsageError, match=r"there is no file 'x\.safetensors'"):
        make_recipe(None, {"pretrained": "x.safetensors"})
    with pytest.raises(UsageError, match=r"no shipped model of that name: did you mean router5\?"):
        make_recipe(None, {"pretrained": "router"})
    with pytest.raises(UsageError, match="there is no model in folder"):
        make_recipe(None, {"pretrained": str(tmp_path)})


def test_a_model_to_start_from_brings_its_network_and_size() -> None:
    """What is given, or set by a paper, counts more; weights of another network are refused by its name."""
    mine = make_recipe(None, {"pretrained": "router5"})
    assert (mine.arch, mine.size) == ("efficientnet_lite0", 160)
    assert make_recipe(None, {"pretrained": "router5", "size": 96}).size == 96
    assert make_recipe(None, {"pretrained": "router5", "arch": "tf_efficientnet_lite0"}).size == 160
    with pytest.raises(
        UsageError, match="has the network efficientnet_lite0, not resnet18: give --arch efficient"
    ):
        make_recipe(None, {"pretrained": "router5", "arch": "resnet18"})
    with pytest.raises(UsageError, match="not mobilenet_v1"):
        make_recipe("imaging-router", {"pretrained": "router5"})
    assert (make_recipe(None, {}).arch, make_recipe(None, {}).size) == ("mobilenet_v1", 224)


@pytest.mark.parametrize(("normalise", "mean", "std"), [("unit", 0.0, 1.0), ("data", None, None)])
def test_grays_are_normalised_as_asked(
    normalise: str, mean: float | None, std: float | None, pictures: Path, tmp_path: Path
) -> None:
    prepared = prepared_from(pictures, tmp_path / "cache")
    bundle = train.train("m", prepared, replace(RECIPE, normalise=normalise, epochs=1), place(tmp_path / "m"))
    if mean is None:
        pixels = torch.cat(list(prepared.train.batches())).numpy() / 255
        mean, std = pixels.mean(), pixels.std()
    assert (bundle.network.mean, bundle.network.std) == pytest.approx((mean, std), abs=1e-4)
