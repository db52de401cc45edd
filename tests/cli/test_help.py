"""What `--help` prints: in groups, in plain words, 80 columns wide, and quickly."""

import re
import resource
import shlex
import subprocess
import sys
from typing import Any, get_args

import pytest
from commands import commands, program
from typer.testing import CliRunner

from dicomsort.cli import options
from dicomsort.cli.main import COMMANDS, app
from dicomsort.cli.shown import MESSAGES
from dicomsort.cli.spelling import choices_of, is_option
from dicomsort.cluster.backends import ENGINES as BACKENDS
from dicomsort.data.dataset import PARTS
from dicomsort.imaging.canvas import SMOOTHING
from dicomsort.model.engines.devices import PRECISIONS
from dicomsort.model.engines.selection import ENGINES
from dicomsort.model.evidence import SOURCES
from dicomsort.training.recipe import NORMALISING, OPTIMIZERS, RECIPES, SCHEDULES

ALL = commands()
ABOUT_MESSAGES = {
    *("config", "json", "quiet", "verbose", "log", "metrics_file", "strict", "ok_with_trouble", "watch")
}
LOADS_NOTHING = {"rich", "pydantic", "numpy", "multiprocessing", "torch", "pydicom"}


def help_of(*words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="dicomsort", terminal_width=80)
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("name", ["", "model", *ALL])
def test_help_fits_80_columns_in_plain_words(name: str) -> None:
    lines = help_of(*name.split()).splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines[1:] if re.search(r"<|>=|TEXT|NUMBER|\.\.\.$", line)]
    assert "{" not in lines[0]


@pytest.mark.parametrize("name", ALL)
def test_every_option_says_what_it_is_for_and_belongs_to_a_group(name: str) -> None:
    options = [one for one in ALL[name].params if is_option(one)]
    assert not [one.opts for one in options if not one.help]
    ungrouped = {one.name for one in options if one.rich_help_panel in (None, MESSAGES)}
    assert ungrouped <= ABOUT_MESSAGES


@pytest.mark.parametrize("name", ALL)
def test_help_ends_with_examples_that_the_program_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ALL[name].examples
    for line in ALL[name].examples:
        words = shlex.split(line)
        assert words[0] == "dicomsort"
        assert f"  {line}\n" in help_of(*name.split())
        given = words[1 + len(name.split()) :]
        assert " ".join(words[1 : 1 + len(name.split())]) == name
        parsed, _, _ = ALL[name].make_parser(context(name)).parse_args(args=given)
        assert parsed


def context(name: str) -> Any:
    parent = program().context_class(program(), info_name="dicomsort")
    return ALL[name].context_class(ALL[name], info_name=name, parent=parent)


@pytest.mark.parametrize("name", ALL)
def test_o_is_out_and_n_is_dry_run_wherever_these_are(name: str) -> None:
    names = {one for option in ALL[name].params for one in option.opts}
    assert ("--out" in names) == ("-o" in names)
    assert ("--dry-run" in names) == ("-n" in names)


def test_the_list_of_commands_is_what_there_is_and_loads_none_of_them() -> None:
    group = program()
    assert list(group.commands) == list(COMMANDS)
    for name, entry in COMMANDS.items():
        assert group.commands[name].name == name
        assert len(entry.short) <= 60
        assert entry.short.endswith(".")
    code = "import sys; sys.argv = ['dicomsort', '--help']\nfrom dicomsort.cli.main import main\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}try: main()\nexcept SystemExit: print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {f"dicomsort.cli.{entry.module}" for entry in COMMANDS.values()}


@pytest.mark.parametrize("words", ["--help", "--version", "classify --help", "train --help"])
def test_help_loads_nothing_that_it_does_not_need(words: str) -> None:
    code = f"import sys; sys.argv = ['dicomsort', *{words.split()}]\nfrom dicomsort.cli.main import main\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}try: main()\nexcept SystemExit: print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert not loaded & LOADS_NOTHING


def seconds_of(*words: str) -> float:
    """The least processor time of a few runs: what it takes, without what others take."""
    least = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return least


def test_help_costs_little_more_than_typer_itself() -> None:
    """0.25 s are promised for the machine at hand; this holds on slower ones, too."""
    typer_alone = seconds_of("-c", "import typer, typer.core, typer.completion")
    assert seconds_of("-m", "dicomsort", "--help") < 2.5 * typer_alone


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (options.AnyPrecision, ("auto", *PRECISIONS)),
        (options.AnyEngine, ("auto", *ENGINES)),
        (options.AnyEvidence, SOURCES),
        (options.AnyPart, (*PARTS, "all")),
        (options.AnySmooth, SMOOTHING),
    ],
)
def test_the_words_of_an_option_are_those_of_the_room_that_takes_them(words: Any, known: Any) -> None:
    assert get_args(words) == tuple(known)


@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("train recipe", RECIPES),
        ("train optimizer", OPTIMIZERS),
        ("train schedule", SCHEDULES),
        ("train normalise", NORMALISING),
        ("classify backend", BACKENDS),
    ],
)
def test_the_words_of_a_commands_own_option_are_those_of_the_room(option: str, known: Any) -> None:
    name, _, parameter = option.partition(" ")
    (found,) = [one for one in ALL[name].params if one.name == parameter]
    assert set(choices_of(found)) == set(known)
