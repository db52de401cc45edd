"""How options are written: their names, what stands for their values, and their words."""

from typing import Any, get_args

from typer.core import TyperOption

_TYPES: dict[type, str] = {int: "N", float: "NUMBER"}


def is_option(param: Any) -> bool:
    """Return whether a parameter is an option, and no argument."""
    return isinstance(param, TyperOption)


def names_of(option: Any) -> list[str]:
    """Return all names of an option, the short ones first."""
    return sorted([*option.opts, *option.secondary_opts], key=lambda name: name.startswith("--"))


def spelled(option: Any) -> str:
    """Return the long name of an option: `--batch-size`."""
    return str(max(option.opts, key=len))


def key_of(option: Any) -> str:
    """Return the name of an option in a settings file: `batch-size`."""
    return spelled(option).lstrip("-")


def metavar(param: Any) -> str:
    """Return what stands for the value of a parameter: `N`, `SECONDS`, `0..1`, or its choices."""
    if param.metavar:
        return str(param.metavar)
    if choices := choices_of(param):
        return "|".join(choices)
    if (param.min, param.max) == (0, 1):
        return "0..1"
    return _TYPES.get(type_of(param), "TEXT")


def type_of(param: Any) -> type:
    """Return of which type one value of a parameter is: bool, int, float, or str for all others."""
    annotation = param.type_descriptor.annotation
    kinds = {annotation, *get_args(annotation)}
    return next((kind for kind in (bool, int, float) if kind in kinds), str)


def choices_of(param: Any) -> tuple[str, ...]:
    """Return the words that a parameter takes; none if it takes any."""
    return tuple(str(getattr(one, "value", one)) for one in param.type_descriptor.choices or ())
