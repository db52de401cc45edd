"""The command that shows which settings are in force, and where each comes from."""

import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dicomsort.cli import complaints, console, settings
from dicomsort.cli.command import default_of
from dicomsort.cli.options import Json, exit_codes
from dicomsort.cli.shown import OUTPUT
from dicomsort.cli.spelling import key_of
from dicomsort.errors import UsageError, did_you_mean
from dicomsort.inputs.names import without_secrets


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(config)


def _names(ctx: typer.Context, incomplete: str) -> list[str]:
    return [name for name in ctx.find_root().command.commands if name.startswith(incomplete)]  # type: ignore[attr-defined]


def config(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(help="Such as classify, or model export.", metavar="COMMAND", autocompletion=_names),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", rich_help_panel=OUTPUT,
            help="The output that is meant: for the settings file beside it.",
        ),
    ] = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Show each setting of a command and where it comes from, and where settings files are looked for.

    A setting is what was typed, else a variable such as DICOMSORT_CLASSIFY_WORKERS or DICOMSORT_WORKERS,
    else what a file says (that of --config, dicomsort.toml beside the output, the user's), else the default.
    Exit codes: 0 shown, 2 a settings file cannot be used.

    For example:
      dicomsort config
      dicomsort config classify --out sorted
    """
    with exit_codes():
        given = {"out": out, "config": settings.typed(ctx).get("config")}
        if not command:
            _tell_places(settings.places_for(given), json)
            if out is None and not json:
                console.info("with the one beside an output: dicomsort config --out FOLDER")
            return
        target, inner = _command(ctx, command)
        settings.name_variables(target, inner)
        output = settings.output_param(target)
        found = settings.put_in_force(target, inner, {**given, **({output.name: out} if output else {})})
        _check(target, inner, found)
        rows = [_row(option, found) for option in settings.options_of(target)]
        if json:
            shown = [dict(zip(("setting", "value", "source"), row, strict=True)) for row in rows]
            console.print_json(
                {"command": " ".join(command), "settings": shown, "files": _as_dicts(found.places)}
            )
        else:
            console.table(f"settings of {' '.join(command)}", ["setting", "value", "from"], rows)
            _tell_places(found.places, json)


def _command(ctx: Any, words: list[str]) -> tuple[Any, Any]:
    """Return a command and a context for it. Raises UsageError if there is none of that name."""
    root = ctx.find_root()
    found, inner = root.command, root
    for word in words:
        commands: Mapping[str, Any] = getattr(found, "commands", {})
        if word not in commands:
            raise UsageError(f"there is no command '{' '.join(words)}'{did_you_mean(word, commands)}")
        found = commands[word]
        inner = found.context_class(found, info_name=word, parent=inner)
    if hasattr(found, "commands"):
        raise UsageError(f"name one of the commands of {words[-1]}: {', '.join(found.commands)}")
    return found, inner


def _check(target: Any, inner: Any, found: settings.Settings) -> None:
    """Raise UsageError for a value of a variable or a file that the command would not take."""
    for option in settings.options_of(target):
        if settings.set_by(option) or option.name in found.values:
            try:
                option.handle_parse_result(inner, {}, [])
            except typer.TyperException as error:
                raise UsageError(complaints.line_of(error)) from None


def _row(option: Any, found: settings.Settings) -> list[str]:
    """Return the name of a setting, its value, and where that comes from."""
    if name := settings.set_by(option):
        value, source = settings.variable(name), f"variable {name}"
    elif option.name in found.values:
        value, source = found.values[option.name], found.origins[option.name]
    else:
        value, source = default_of(option) or ("no" if option.is_flag else "-"), "default"
    return [key_of(option), _shown(value), source]


def _shown(value: Any) -> str:
    """Return a value as text: of an address no secrets, of a question to a PACS no patient."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, str) and value.lower().startswith("patient") and "=" in value:
        return f"{value.partition('=')[0]}=..."
    return ("yes" if value else "no") if isinstance(value, bool) else without_secrets(str(value))


def _as_dicts(places: tuple[settings.Place, ...]) -> list[dict[str, Any]]:
    return [{"path": os.path.abspath(one.path), "which": one.why, "exists": one.exists} for one in places]


def _tell_places(places: tuple[settings.Place, ...], json: bool) -> None:
    if json:
        console.print_json({"files": _as_dicts(places)})
        return
    rows = [[place.path, place.why, "yes" if place.exists else "no"] for place in places]
    console.table("settings files, the first wins", ["file", "which", "there"], rows)
