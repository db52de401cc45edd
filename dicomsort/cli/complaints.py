"""What is wrong with a command line, in one line that says what to do."""

import re
from collections.abc import Sequence
from typing import Any

import typer

from dicomsort.cli import settings
from dicomsort.cli.spelling import choices_of, key_of, metavar, spelled
from dicomsort.errors import did_you_mean, nearest

_WHOLE, _NUMBER = "valid integer", "valid number"
_LIMIT = re.compile(r"Input should be (greater|less) than or equal to (\S+)")


def line_of(error: typer.TyperException) -> str:
    """Return the line. The kinds of errors are told apart by their names: their classes are typer's own."""
    ctx, kind = getattr(error, "ctx", None), type(error).__name__
    if kind == "MissingParameter":
        return _missing(error, ctx)
    if kind == "NoSuchOption":
        return _no_option(error, ctx)
    param = getattr(error, "param", None)
    if param is not None:
        return _bad_value(error, param, ctx)
    return f"{_plainly(error.format_message())}{_see(ctx)}"


def _see(ctx: Any) -> str:
    return "" if ctx is None else f"; see `{ctx.command_path} --help`"


def _plainly(message: str) -> str:
    """Return a message of typer in the manner of this program's."""
    text = message.strip().removesuffix(".")
    text = re.sub(r"^Got unexpected extra argument\(s\) \((.*)\)$", r"too many arguments: \1", text)
    text = re.sub(r"^Option '(\S+)' does not take a value$", r"\1 takes no value", text)
    text = re.sub(r"^Option '(\S+)' requires an argument$", r"\1 needs a value", text)
    return text[:1].lower() + text[1:]


def _missing(error: Any, ctx: Any) -> str:
    param, name = error.param, " ".join(settings.path_of(ctx))
    if param.param_type_name == "argument":
        return f"{name} needs {param.metavar}: {_first(param.help)}{_see(ctx)}"
    return f"{name} needs {spelled(param)} {metavar(param)}: {_first(param.help)}{_see(ctx)}"


def _first(text: str | None) -> str:
    """Return the first sentence of a help text, as part of another."""
    sentence = (text or "").split(". ")[0].removesuffix(".")
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() else sentence


def _no_option(error: Any, ctx: Any) -> str:
    typed = error.option_name
    known = [name for one in ctx.command.get_params(ctx) for name in one.opts if name.startswith("--")]
    return f"there is no option {typed}{did_you_mean(typed, known) or _see(ctx)}"


def _bad_value(error: Any, param: Any, ctx: Any) -> str:
    """Say which value is wrong, where it stands, and what may stand there instead."""
    where, value = _place(param, ctx)
    choices = choices_of(param)
    shown = "" if value is None else f" '{value}'"
    if choices and value is not None and value not in choices:
        guess = nearest(str(value), choices)
        return f"{where}{shown} is unknown: use {', '.join(choices)}" + f"; did you mean {guess}?" * bool(
            guess
        )
    return f"{where}{shown} {_what(error.message)}"


def _what(message: str) -> str:
    if _WHOLE in message:
        return "is no whole number"
    if _NUMBER in message:
        return "is no number"
    if limit := _LIMIT.search(message):
        return f"must be at {'least' if limit[1] == 'greater' else 'most'} {limit[2]}"
    if "boolean" in message:
        return "must be yes or no"
    return message.removeprefix("Value error, ").removesuffix(".")


def _place(param: Any, ctx: Any) -> tuple[str, Any]:
    """Return where a value stands (an option, a variable, a file) and the first bad one if it is known."""
    source = getattr(ctx and ctx.get_parameter_source(param.name), "name", "COMMANDLINE")
    if source == "ENVIRONMENT":
        name = settings.set_by(param)
        return f"variable {name}:", _bad(param, settings.variable(name).split())
    if source == "DEFAULT_MAP":
        found = settings.in_force(ctx)
        where = f"{found.origins[param.name]}: [{'.'.join(settings.path_of(ctx))}] {key_of(param)}"
        return where, _bad(param, found.values[param.name])
    typed = settings.typed(ctx).get(param.name) if ctx else None
    return spelled(param), _bad(param, typed)


def _bad(param: Any, value: Any) -> Any:
    """Return the value that is none of the choices, of several."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return value
    choices = choices_of(param)
    return next((one for one in value if not choices or one not in choices), None)
