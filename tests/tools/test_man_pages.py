"""The manual pages say what `--help` says, in roff that the programs of others read without a warning."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import man_pages
import pytest
from commands import commands
from committed import ROOT
from terminal import found

from dicomsort.cli.spelling import is_option, names_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man") / "man1"
    tool = ROOT / "tools" / "man_pages.py"
    subprocess.run([sys.executable, tool, folder], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return folder


def test_there_is_a_page_for_the_program_and_for_each_command(folder: Path) -> None:
    names = {f"dicomsort-{name.replace(' ', '-')}.1" for name in commands()}
    assert {page.name for page in folder.iterdir()} == {"dicomsort.1", *names}
    assert dict(man_pages.pages()) == {page.name: page.read_text() for page in folder.iterdir()}


def test_mandoc_finds_nothing_to_warn_of(folder: Path) -> None:
    words = [found("mandoc"), "-T", "lint", "-W", "warning", *map(str, sorted(folder.iterdir()))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_groff_finds_nothing_to_warn_of(folder: Path) -> None:
    words = [found("groff"), "-man", "-ww", "-z", "-K", "utf8", *map(str, sorted(folder.iterdir()))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["classify", "train", "model export"])
def test_a_reader_sees_every_option_and_example(name: str, folder: Path) -> None:
    page = folder / f"dicomsort-{name.replace(' ', '-')}.1"
    words = [found("man"), "-l", "--warnings", str(page)]
    environment = {"MANWIDTH": "80", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    command: Any = commands()[name]
    options = [one for one in command.params if is_option(one)]
    shown = {word for one in options for word in names_of(one) if word not in command.hidden_opposites}
    assert not [word for word in shown if not re.search(rf"(?<![\w-]){word}(?![\w-])", done.stdout)]
    assert all(line in done.stdout for line in command.examples)
