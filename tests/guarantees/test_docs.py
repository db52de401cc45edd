"""The documentation is true: its commands, options, names, links and numbers are those of the program."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
from commands import commands as all_commands
from committed import ROOT, TESTS

from dicomsort import __version__
from dicomsort.cli.main import app
from dicomsort.errors import ExitCode
from dicomsort.manifest.columns import columns
from dicomsort.outcome import TROUBLE, Reason, Status
from dicomsort.sorting.layout import FIELDS

DOCS = ROOT / "docs"
CLI = DOCS / "reference" / "cli.md"
PAPERS, RUNS = DOCS / "explanation" / "papers.md", "## The recipes, run here"
FOLDERS = ("docs", "models", "benchmarks", "studies", "findings")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
PROGRAM: Any = typer.main.get_command(app)
COMMANDS: dict[str, click.Command] = PROGRAM.commands
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")


def text(page: Path | str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def options_of(command: click.Command) -> set[str]:
    inner = getattr(command, "commands", {}).values()
    own = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    return own.union(*(options_of(each) for each in inner))


def options(name: str) -> set[str]:
    return options_of(COMMANDS[name])


def anchors(page: Path) -> set[str]:
    """Headings as GitHub makes addresses of them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text(page)), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line)) for line in headings]
    return {heading.strip().lower().replace(" ", "-") for heading in plain}


def code_lines(page: Path) -> Iterator[str]:
    """What a reader may paste into a shell: indented by four spaces; lines that go on are joined."""
    joined = FENCE.sub("", text(page)).replace("\\\n", " ")
    return (line.strip() for line in joined.splitlines() if line.startswith("    "))


def shown_commands(page: Path) -> Iterator[list[str]]:
    for line in code_lines(page):
        for part in re.split(r"&&|\|", line):
            words = shlex.split(part, comments=True)
            if "dicomsort" in words[:-1]:
                yield words[words.index("dicomsort") + 1 :]


def test_the_page_of_the_command_line_is_what_help_prints() -> None:
    environment = {**os.environ, "COLUMNS": "60", "FORCE_COLOR": "1"}
    words = [sys.executable, str(ROOT / "tools" / "cli_reference.py")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    assert done.stdout == text(CLI), "run: python tools/cli_reference.py > docs/reference/cli.md"
    assert re.findall(r"^## dicomsort (\w+)$", done.stdout, re.MULTILINE) == list(COMMANDS)
    assert "## dicomsort model export\n" in done.stdout


def test_the_readme_is_short() -> None:
    assert len(text("README.md").encode()) <= 8192


def test_the_readme_holds_the_two_commands_that_ci_runs_and_no_other() -> None:
    assert re.findall(r"^    (python3 -m venv .*)$", text("README.md"), re.MULTILINE) == [
        f"python3 -m venv .venv && .venv/bin/pip {rest}"
        for rest in (
            "install . && .venv/bin/dicomsort classify tests/archive --out sorted",
            "install '.[test]' && .venv/bin/pytest",
        )
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(FENCE.sub("", text(page))) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        paths = [link.partition("#")[0] for link in LINK.findall(text(page)) if "://" not in link]
        waiting += [(page.parent / path).resolve() for path in paths if path]
    assert not set(DOCS.rglob("*.md")) - reached - {DOCS / "README.md"}


@pytest.mark.parametrize("page", [*DOCS.rglob("*.md"), ROOT / "README.md"], ids=lambda page: page.name)
def test_the_commands_shown_exist_with_their_options(page: Path) -> None:
    for name, *words in shown_commands(page):
        if name.startswith("-"):
            assert name in {"--help"}.union(*(one.opts for one in PROGRAM.params))
            continue
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        command = COMMANDS.get(name)
        assert command is not None, name
        inner = getattr(command, "commands", {})
        assert not inner or words[0] in inner, words
        assert given <= {*options_of(inner[words[0]] if inner else command), "--help"}, (name, given)


def test_commands_are_shown() -> None:
    shown = {words[0] for page in DOCS.rglob("*.md") for words in shown_commands(page)}
    assert shown >= set(COMMANDS)


def test_every_option_is_explained_beside_the_generated_page() -> None:
    written = "".join(text(page) for page in DOCS.rglob("*.md") if page != CLI)
    opposites = {option for command in all_commands().values() for option in command.hidden_opposites}
    known = {option for name in COMMANDS for option in options(name) if option.startswith("--")} - opposites
    assert not [option for option in sorted(known) if f"`{option}" not in written]


def cells(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    section = text(page).split(f"{heading}\n", 1)[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_every_column_of_the_manifest_is_explained() -> None:
    named = {name for row in cells("docs/reference/manifest.md", "# Manifest")
             for name in re.findall(r"`(\w+)`", row[0])}  # fmt: skip
    assert named == set(columns((), rejects=True, rotates=True, studies=True, digests=True))


def test_every_status_is_explained_with_whether_it_is_trouble() -> None:
    rows = cells("docs/reference/statuses-and-exit-codes.md", "## Statuses")
    assert {row[0]: row[2] for row in rows} == {f"`{one}`": "yes" if one in TROUBLE else "" for one in Status}


def test_every_exit_code_is_explained() -> None:
    rows = cells("docs/reference/statuses-and-exit-codes.md", "## Exit codes")
    assert [row[0] for row in rows] == [str(int(code)) for code in ExitCode]


def test_every_ending_that_is_promised_is_tested() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    rows = cells("docs/explanation/guarantees.md", "## How it ends")
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row[2])
        assert names, row
        assert all(f"def {name}(" in sources for name in names), row
    assert len(rows) >= 37


def test_every_reason_of_the_manifest_is_listed_and_no_other() -> None:
    page = text("docs/reference/statuses-and-exit-codes.md").split("\n## Reasons")[1]
    listed = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(reason.value for reason in Reason if reason)


def test_every_field_of_a_layout_is_listed_and_no_other() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", text("docs/reference/layout-templates.md"), re.MULTILINE)
    assert listed == list(FIELDS)


def layers() -> dict[str, set[str]]:
    """The import rule as the test of the architecture enforces it."""
    source = (Path(__file__).parent / "test_architecture.py").read_text(encoding="utf-8")
    values = {node.targets[0].id: node.value for node in ast.parse(source).body
              if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}  # fmt: skip
    return {room: set(below.split()) for room, below in ast.literal_eval(values["LAYERS"]).items()}


def test_the_architecture_names_the_rooms_and_the_import_rule_as_they_are() -> None:
    page, rule = text("docs/explanation/architecture.md"), layers()
    rooms = page.split("\n## The rooms")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", rooms, re.MULTILINE) == list(rule)
    rows = page.split("\n## The import rule")[1].split("\n## ")[0]
    told = {room: set(re.findall(r"`(\w+)`", below))
            for room, below in re.findall(r"^\| `(\w+)` \|(.*)\|$", rows, re.MULTILINE)}  # fmt: skip
    assert told == rule


def named_paths(page: Path) -> set[Path]:
    """The files and folders that a page names: `tools/x.py`, or `room/module` of the package."""
    names = re.findall(r"`([\w.-]+(?:/[\w.-]+)*/[\w.-]*)`", FENCE.sub("", text(page)))
    modules = [name for name in names if name.split("/")[0] in layers() and name != "review/"]  # in an output
    package = {ROOT / "dicomsort" / f"{name}.py" for name in modules}
    folders = {"dicomsort", "tests", "models", "benchmarks", "tools", "studies", "docs", "examples"}
    return package | {ROOT / name for name in names if name.split("/")[0] in folders}


@pytest.mark.parametrize("name", ["architecture", "reading-dicom", "sort", "CONTRIBUTING"])
def test_every_file_that_a_page_names_is_there(name: str) -> None:
    (page,) = (page for page in PAGES if page.stem == name)
    named = named_paths(page)
    assert named
    assert not [path for path in sorted(named) if not path.exists()]


def test_every_finding_has_its_line() -> None:
    scripts = {path.name for path in (ROOT / "findings").glob("*.sh")}
    assert set(re.findall(r"^\| \[([\w.-]+)\]\(\1\) \|", text("findings/README.md"), re.MULTILINE)) == scripts


def test_the_shipped_models_are_those_of_the_tables() -> None:
    shipped = {path.parent.name for path in ROOT.glob("models/*/config.json")}
    for page in ("README.md", "docs/explanation/models-and-limits.md"):
        table = text(page).split("| model | answers |")[1].split("\n\n")[0]
        assert set(re.findall(r"^\| \[?`(\w+)`", table, re.MULTILINE)) == shipped


def test_the_citation_and_the_changelog_know_the_version() -> None:
    assert f"\nversion: {__version__}\n" in text("CITATION.cff")
    assert re.search(r"^## \[Unreleased\]$", text("CHANGELOG.md"), re.MULTILINE)


def test_the_light_installation_names_what_the_package_needs_but_for_the_heavy_ones() -> None:
    """Each with the lower bound of the package, an upper one, and for the same versions of Python."""
    lines = re.findall(r"^([\w.-]+)>=([\d.]+),<\d+(;.*)?$", text("requirements/classify.txt"), re.MULTILINE)
    light = {name: bound + python for name, bound, python in lines}
    assert len(light) == len(re.findall(r"^[^#\s]", text("requirements/classify.txt"), re.MULTILINE))
    project = tomllib.loads(text("pyproject.toml"))["project"]
    whole = dict(line.split(">=") for line in project["dependencies"])
    heavy = {"matplotlib", "onnxscript", "scikit-learn", "timm", "torch", "torchvision"}
    assert light == {name: version for name, version in whole.items() if name not in heavy}


def first_command(page: str) -> int:
    """Where the first command of a page stands that a reader may paste."""
    return text(page).index("\n    ")


@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md"])
def test_the_other_tool_of_that_name_is_told_of_before_the_first_command(page: str) -> None:
    beginning = text(page)[: first_command(page)]
    assert "`pip install dicomsort`" in beginning
    assert "another tool" in beginning
    assert not re.search(r"^    .*pip install '?dicomsort", text(page), re.MULTILINE)


def test_the_readme_leads_to_the_page_for_the_first_day_before_the_first_command() -> None:
    assert "(docs/getting-started.md)" in text("README.md")[: first_command("README.md")]


def test_the_first_page_has_the_figures_of_the_card_and_fits_one_page() -> None:
    page, card = text("docs/getting-started.md"), " ".join(text("models/router5/README.md").split())
    table = cells("docs/getting-started.md", "## When to trust a confidence")
    for row in table:
        assert all(figure in card for figure in row[1:]), row
    assert len(page.encode()) <= 8192


def test_the_first_page_names_the_folders_and_columns_as_they_are() -> None:
    page = text("docs/getting-started.md")
    rows = cells("docs/getting-started.md", "([all of them](reference/manifest.md)):")
    named = {name for row in rows for name in re.findall(r"`([\w.]+)`", row[0])}
    assert named <= {*columns((), rejects=True, rotates=True), "view.label"}
    assert {"status", "reason", "label", "confidence", "destination"} <= named
    router = json.loads(text("models/router5/config.json"))["heads"][0]
    assert all(f"`{label}/`" in page for label in router["labels"])
    assert f"({router['review_below']:.3f} for `router5`" in page


def rows_of_papers() -> list[tuple[str, str]]:
    """Command and test of each row of the page of papers."""
    rows = [
        line.strip().strip("|").split(" | ") for line in text(PAPERS).splitlines() if line.startswith("| ")
    ]
    return [(row[1].strip(" `"), row[3].strip(" `")) for row in rows if len(row) == 4 and "::" in row[3]]


def test_what_papers_can_do_is_a_command_and_has_a_test() -> None:
    rows = rows_of_papers()
    assert len(rows) == sum(line.startswith("| ") for line in text(PAPERS).split(RUNS)[0].splitlines()) - 3
    for command, where in rows:
        program, name, *words = shlex.split(command)
        assert program == "dicomsort"
        COMMANDS[name].make_context(name, words)
        file, _, test = where.partition("::")
        assert re.search(rf"^def {test}\(", text(TESTS / file), re.MULTILINE), where
