"""Write manual pages into a folder: dicomsort(1) and one for each command, from what `--help` says.

    python tools/man_pages.py share/man/man1 && man -l share/man/man1/dicomsort-classify.1

For packagers, and for `~/.local/share/man/man1`. The pages are the same on every machine.
"""

import argparse
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from dicomsort import __version__
from dicomsort.cli.main import COMMANDS, app
from dicomsort.cli.settings import FILE, PREFIX
from dicomsort.cli.spelling import metavar

ROOT = Path(__file__).parents[1]


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name of each page and its text in roff."""
    group: Any = typer.main.get_command(app)
    with group.context_class(group, info_name="dicomsort") as ctx:
        yield "dicomsort.1", _program(group, ctx)
        for words, command, inner in _commands(group, ctx, ()):
            yield f"{'-'.join(('dicomsort', *words))}.1", _command(words, command, inner)


def _commands(group: Any, ctx: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield the names, the command and a context of every command that does something itself."""
    for name, command in group.commands.items():
        inner = command.context_class(command, info_name=name, parent=ctx, help_option_names=["-h", "--help"])
        if hasattr(command, "commands"):
            yield from _commands(command, inner, (*words, name))
        else:
            yield (*words, name), command, inner


def _program(group: Any, ctx: Any) -> str:
    lines = [_head("dicomsort"), _section("NAME"), "dicomsort \\- sort DICOM archives by body part"]
    lines += [_section("SYNOPSIS"), ".B dicomsort", "COMMAND [OPTIONS] [ARGS]...", _section("DESCRIPTION")]
    lines += [*_paragraphs(group.help)]
    for heading in dict.fromkeys(entry.heading for entry in COMMANDS.values()):
        lines.append(_section(heading.upper()))
        chosen = {name: entry.short for name, entry in COMMANDS.items() if entry.heading == heading}
        lines += [line for name, short in chosen.items() for line in _item(name, short)]
    lines.append(_section("OPTIONS"))
    records = (one.get_help_record(ctx) for one in group.get_params(ctx))
    lines += [line for record in records if record for line in _item(*record)]
    lines += [*_environment(), *_files(), _section("SEE ALSO")]
    pages = [
        f".BR {_plain('-'.join(('dicomsort', *words)))} (1)" for words, _, _ in _commands(group, ctx, ())
    ]
    lines += [f"{page}," for page in pages[:-1]] + pages[-1:]
    return "\n".join(lines) + "\n"


def _command(words: tuple[str, ...], command: Any, ctx: Any) -> str:
    name = "-".join(("dicomsort", *words))
    summary = COMMANDS[words[0]].short if len(words) == 1 else command.get_short_help_str()
    lines = [_head(name), _section("NAME"), f"{_plain(name)} \\- {_plain(_lower(summary))}"]
    lines += [_section("SYNOPSIS"), f".B dicomsort {' '.join(words)}"]
    lines += [_plain(" ".join(command.collect_usage_pieces(ctx))), _section("DESCRIPTION")]
    lines += _paragraphs(command.help)
    arguments = [
        (metavar(one), one.help or "") for one in command.params if one.param_type_name == "argument"
    ]
    if arguments:
        lines += [_section("ARGUMENTS"), *(line for item in arguments for line in _item(*item))]
    lines.append(_section("OPTIONS"))
    for heading, options in command.groups(ctx):
        lines.append(f'.SS "{_plain(heading)}"')
        lines += [line for one in options for line in _item(command.names_in_help(one), command.told_of(one))]
    if command.examples:
        lines += [_section("EXAMPLES"), ".nf", *map(_plain, command.examples), ".fi"]
    lines += [*_environment(words), *_files(), _section("SEE ALSO"), ".BR dicomsort (1)"]
    return "\n".join(lines) + "\n"


def _environment(words: tuple[str, ...] = ("COMMAND",)) -> list[str]:
    names = f"{'_'.join((PREFIX, *words)).upper()}_OPTION, {PREFIX}_OPTION"
    told = "Stand in for an option that was not typed: OPTION is its name in capitals, such as BATCH_SIZE."
    return [_section("ENVIRONMENT"), *_item(names, told), *_item(f"{PREFIX}_CONFIG", "As --config.")]


def _files() -> list[str]:
    user = _item(f"~/.config/dicomsort/{FILE}", "Settings of the user.")
    return [_section("FILES"), *_item(FILE, "Settings, in the folder that holds the output."), *user]


def _head(name: str) -> str:
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.search(r"^## \[[0-9.]+\] - ([\d-]+)$", changes, re.MULTILINE)
    date = released[1] if released else ""
    return f'.TH "{_plain(name.upper())}" "1" "{date}" "dicomsort {__version__}" "dicomsort"\n.nh\n.ad l'


def _section(title: str) -> str:
    return f'.SH "{_plain(title)}"'


def _item(term: str, text: str) -> list[str]:
    return [".TP", f"\\fB{_plain(term)}\\fR", _plain(text) or "\\&"]


def _paragraphs(text: str | None) -> list[str]:
    parts = inspect.cleandoc(text or "").split("\n\n")
    lines = [line for part in parts for line in (".PP", *_plain(part).splitlines())]
    return lines[1:]


def _plain(text: str) -> str:
    """Escape what roff would take for its own: backslashes, hyphens, and dots or quotes that begin a line."""
    escaped = (
        text.strip().replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    )
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in escaped.splitlines())


def _lower(sentence: str) -> str:
    text = sentence.strip().removesuffix(".")
    return text[:1].lower() + text[1:]


def main() -> None:
    """Write the pages into the folder that was given."""
    parser = argparse.ArgumentParser(description="Write the manual pages.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)


if __name__ == "__main__":
    main()
