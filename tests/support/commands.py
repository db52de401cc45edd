"""Every command of the program, as it is declared."""

from collections.abc import Iterator
from typing import Any

import typer.main

from dicomsort.cli.main import app


def program() -> Any:
    """Return the group of all commands."""
    return typer.main.get_command(app)


def commands() -> dict[str, Any]:
    """Return the commands that do something themselves, by their names: `model export`."""
    return dict(_within(program(), ()))


def _within(group: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        path = (*words, name)
        yield from _within(command, path) if hasattr(command, "commands") else [(" ".join(path), command)]
