"""The command that rebuilds the models says what the cards say, and makes every model that is shipped."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import rebuild_models
import typer.main
from committed import ROOT

from dicomsort.cli.main import app

TOOL = ROOT / "tools" / "rebuild_models.py"
MODELS = ROOT / "models"


def told_by_the_page() -> list[list[str]]:
    """Return the words of the commands below the heading "Training" of the page of all models."""
    page = (MODELS / "README.md").read_text(encoding="utf-8")
    training = page.split("## Training")[1].split("\n## ")[0].replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^    (.*--out .*)$", training, re.MULTILINE)]


def test_the_models_are_rebuilt_by_the_commands_of_their_page(tmp_path: Path) -> None:
    words = [sys.executable, str(TOOL), str(tmp_path), "--weights", str(tmp_path), "--dry-run"]
    printed = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    plain = printed.replace(f"{sys.executable} -m ", "").replace(sys.executable, "python")
    plain = plain.replace(f"{tmp_path}/", "").replace(f"{ROOT}/", "")
    assert [shlex.split(line) for line in plain.splitlines()] == told_by_the_page()
    assert len(told_by_the_page()) == 2
    assert not list(tmp_path.iterdir())


def test_the_training_takes_every_option_that_it_is_given() -> None:
    training, _ = rebuild_models.commands(Path("data"), Path("weights"), Path("runs"))
    train = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    known = {option for one in train.params for option in (*one.opts, *one.secondary_opts)}
    assert {word for word in training if word.startswith("--")} <= known


def test_every_head_is_trained_and_goes_to_one_model() -> None:
    given = [head for heads in rebuild_models.DIVIDED.values() for head in heads]
    assert sorted(given) == sorted([*rebuild_models.TARGETS, "rotation"])
    assert "--turned" in rebuild_models.RECIPE


@pytest.mark.parametrize("card", sorted(MODELS.glob("*/README.md")), ids=lambda card: card.parent.name)
def test_every_model_that_has_a_card_is_rebuilt(card: Path) -> None:
    assert card.parent.name in rebuild_models.DIVIDED
    assert "[how all five were trained](../README.md#training)" in card.read_text(encoding="utf-8")
