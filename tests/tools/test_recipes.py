"""The recipes for a container and for conda say what the package says, and do what their page promises."""

import re

import pytest
from committed import ROOT

from dicomsort import __version__

CONTAINER = (ROOT / "Containerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
CONDA = (ROOT / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8")
ON_CONDA_FORGE = {"isal": "python-isal"}


def instructions(name: str) -> list[str]:
    joined = CONTAINER.replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(f"{name} ")]


def light() -> dict[str, str]:
    text = (ROOT / "requirements" / "classify.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)>=([\d.]+)", text, re.MULTILINE))


def test_the_container_rests_on_a_public_image_and_nothing_else() -> None:
    assert instructions("ARG") == ["BASE=docker.io/library/python:3.12-slim"]
    assert {line.split()[0] for line in instructions("FROM")} == {"${BASE}"}
    assert not re.search(r"https?://|curl|wget|--extra-index|--find-links|ADD ", CONTAINER)


def test_the_container_does_not_run_as_root_and_has_the_light_installation() -> None:
    last = CONTAINER.rsplit("\nFROM ", 1)[1]
    assert re.search(r"^USER (\d+):\d+$", last, re.MULTILINE)
    assert not re.search(r"^USER (0|root)", last, re.MULTILINE)
    installed = " ".join(instructions("RUN"))
    assert "-r requirements/classify.txt" in installed
    assert "--no-deps ." in installed
    assert 'ENTRYPOINT ["dicomsort"]' in last


def test_what_is_copied_into_the_container_is_there_and_is_not_ignored() -> None:
    assert IGNORED[1] == "*"
    copied = {word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]}
    let_in = {line[1:] for line in IGNORED if line.startswith("!")}
    assert {path.partition("/")[0] for path in copied} == let_in
    assert all((ROOT / path).exists() for path in copied)


@pytest.mark.parametrize("needed", ["pyproject.toml", "README.md", "LICENSE", "models", "dicomsort"])
def test_all_that_a_wheel_is_made_of_gets_into_the_container(needed: str) -> None:
    assert f"!{needed}" in IGNORED


def test_the_conda_recipe_asks_for_what_the_light_installation_asks_for() -> None:
    run = CONDA.split("  run:\n")[1].split("\ntests:")[0]
    asked = dict(re.findall(r"^    - ([\w.-]+) >=([\d.]+)", run, re.MULTILINE))
    assert asked.pop("python") == "3.11"
    assert asked == {ON_CONDA_FORGE.get(name, name): least for name, least in light().items()}


def test_the_conda_recipe_has_the_version_and_the_command_of_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version: "{__version__}"' in CONDA
    assert "name: xray-dicomsort" in CONDA
    assert "dicomsort = dicomsort.__main__:main" in CONDA
    assert 'dicomsort = "dicomsort.__main__:main"' in project


def test_the_list_of_what_is_in_it_is_made_by_the_command_of_the_page() -> None:
    page = (ROOT / "docs" / "how-to" / "container.md").read_text(encoding="utf-8")
    assert re.search(
        r"^    tools/bin/cyclonedx-py environment \.venv/bin/python .*--validate", page, re.MULTILINE
    )
