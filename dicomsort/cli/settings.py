"""Settings that were not typed: from variables and from files, for the options of every command."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperOption

from dicomsort.cli import console
from dicomsort.cli.shown import MESSAGES
from dicomsort.cli.spelling import key_of, spelled, type_of
from dicomsort.errors import UsageError, did_you_mean, nearest

FILE, ROOT_USER = "dicomsort.toml", 0
PREFIX = "DICOMSORT"
BESIDE = "beside the output"
_OUTPUT = "OUT"
"""How commands call the argument that is an output folder, or its manifest.csv."""

_MANIFEST = "manifest.csv"
_META, TYPED = "dicomsort.settings", "dicomsort.typed"
_LARGEST = 1 << 20  # bytes: a file of settings has some thousand
_SECRETS = ("token", "password", "secret", "credential", "authorization")
_NOT_SETTINGS = ("help", "config", "install_completion", "show_completion", "version")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a settings file is looked for. why: in words."""

    path: str
    why: str

    @property
    def exists(self) -> bool:
        """Return whether there is a file."""
        return os.path.isfile(self.path)


@dataclass(frozen=True, slots=True)
class Settings:
    """What files say for a command. places: where was looked, the first wins; origins: file by parameter."""

    places: tuple[Place, ...]
    values: Mapping[str, Any]
    origins: Mapping[str, str]


@cache
def own_options() -> tuple[Any, ...]:
    """Return the options that every command has without declaring them."""
    holder = typer.Typer(add_completion=False)
    holder.command()(_own)
    return tuple(typer.main.get_command(holder).params)


def _own(
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="FILE", expose_value=False, rich_help_panel=MESSAGES,
            help="Settings to read before all other files; see `dicomsort config`.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Declare them."""


def prepare(command: Any, ctx: Any, args: Sequence[str]) -> None:
    """Put in force what variables and files say; a mistake among the words is left for the parser to tell.

    Raises UsageError for a settings file that cannot be used.
    """
    name_variables(command, ctx)
    try:
        given, _, _ = command.make_parser(ctx).parse_args(args=list(args))
    except typer.TyperException:
        return
    ctx.meta[TYPED] = given
    if given.get("help"):
        return
    found = put_in_force(command, ctx, given)
    if found.places:
        _warn_of_slips(ctx, {name for one in options_of(command) for name in one.envvar or ()})


def put_in_force(command: Any, ctx: Any, given: Mapping[str, Any]) -> Settings:
    """Let a context take what files say. given: what was typed, by parameter. Raises UsageError."""
    found = _settings_of(command, ctx, given)
    ctx.default_map = dict(found.values)
    ctx.meta[_META] = found
    return found


def in_force(ctx: Any) -> Settings:
    """Return what files say in a context."""
    return ctx.meta.get(_META) or Settings((), {}, {})


def options_of(command: Any) -> list[TyperOption]:
    """Return the options of a command that may be set by variables and files."""
    return [one for one in command.params if isinstance(one, TyperOption) and one.name not in _NOT_SETTINGS]


def path_of(ctx: Any) -> tuple[str, ...]:
    """Return the names of the command that a context is for: `model`, `export`."""
    words: list[str] = []
    while ctx.parent is not None:
        words, ctx = [ctx.info_name, *words], ctx.parent
    return tuple(words)


def name_variables(command: Any, ctx: Any) -> None:
    """Give each option its variables: that of the command, those it has declared, that of all commands."""
    words = path_of(ctx)
    for option in options_of(command):
        own, shared = (_variable(*path, key_of(option)) for path in (words, ()))
        declared = declared_variables(option)
        option.envvar = tuple(dict.fromkeys((own, *declared, shared)))


def declared_variables(option: Any) -> tuple[str, ...]:
    """Return the variables that an option has declared itself, such as those of mercure."""
    names = (option.envvar,) if isinstance(option.envvar, str) else tuple(option.envvar or ())
    return tuple(name for name in names if not name.startswith(f"{PREFIX}_"))


def set_by(option: Any) -> str:
    """Return the variable that sets an option; empty if none does."""
    return next((name for name in option.envvar or () if os.environ.get(name)), "")


def variable(name: str) -> str:
    """Return what a variable of the environment holds."""
    return os.environ.get(name, "")


def _variable(*words: str) -> str:
    return "_".join((PREFIX, *words)).replace("-", "_").upper()


def user_file() -> str:
    """Return the path of the user's own settings file (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    base = base if os.path.isabs(base) else os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "dicomsort", FILE)


def typed(ctx: Any) -> Mapping[str, Any]:
    """Return what was typed, by parameter."""
    found: Mapping[str, Any] = ctx.meta.get(TYPED, {})
    return found


def origins_in(message: str) -> str:
    """Return what to add to a message: which of its options were not typed, and what has set them."""
    from typer._click.globals import get_current_context  # noqa: PLC0415

    ctx: Any = get_current_context(silent=True)
    if ctx is None:
        return ""
    named = set(re.findall(r"--[a-z][a-z-]*", message))
    options = [option for option in options_of(ctx.command) if spelled(option) in named]
    told = [f"{spelled(option)} is set by {origin}" for option in options if (origin := _origin(option, ctx))]
    return f" ({', '.join(told)})" if told else ""


def _origin(option: Any, ctx: Any) -> str:
    source = getattr(ctx.get_parameter_source(option.name), "name", "")
    if source == "ENVIRONMENT":
        return f"variable {set_by(option)}"
    return in_force(ctx).origins[option.name] if source == "DEFAULT_MAP" else ""


def _settings_of(command: Any, ctx: Any, given: Mapping[str, Any]) -> Settings:
    """Read the files for a command; where the output is may be said by some of them."""
    words, by_key = path_of(ctx), {key_of(option): option for option in options_of(command)}
    first = _values_in(places_for({**given, "out": None}), words, by_key, ctx)
    places = places_for({**given, "out": _output(command, given, first)})
    found = _values_in(places, words, by_key, ctx)
    values = {name: value for name, (value, _) in found.items()}
    return Settings(places, values, {name: path for name, (_, path) in found.items()})


def places_for(given: Mapping[str, Any]) -> tuple[Place, ...]:
    """Return where settings are looked for, the first winning. given: `config` and `out`, if they are."""
    beside = (Place(_beside(given["out"]), BESIDE),) if given.get("out") else ()
    return (*_explicit(given), *beside, Place(user_file(), "the user's"))


def _explicit(given: Mapping[str, Any]) -> tuple[Place, ...]:
    """Return the file that was named. Raises UsageError if there is none."""
    named, by_variable = given.get("config"), os.environ.get(f"{PREFIX}_CONFIG")
    if not named and not by_variable:
        return ()
    place = Place(named, "--config") if named else Place(by_variable or "", f"variable {PREFIX}_CONFIG")
    if not place.exists:
        raise UsageError(f"there is no settings file '{place.path}'")
    return (place,)


def output_param(command: Any) -> Any:
    """Return the parameter of a command that names its output folder; None if it has none."""
    named = [one for one in command.params if not isinstance(one, TyperOption) and one.metavar == _OUTPUT]
    named += [one for one in command.params if "--out" in one.opts]
    return named[0] if named else None


def _output(command: Any, given: Mapping[str, Any], found: Mapping[str, tuple[Any, str]]) -> str:
    """Return the output folder of a command as it was typed or set; empty if it has none."""
    one = output_param(command)
    if one is None:
        return ""
    value = given.get(one.name) or variable(set_by(one)) or found.get(one.name, ("", ""))[0]
    return str(value or one.default or "")


def _beside(out: str) -> str:
    """Return where the settings file of an output is: in the folder that holds the output."""
    try:
        whole = os.path.abspath(out)
    except OSError:  # the current folder has been removed: the command will tell
        whole = out
    if os.path.basename(whole) == _MANIFEST:
        whole = os.path.dirname(whole)
    return os.path.join(os.path.dirname(whole), FILE)


def _values_in(
    places: Sequence[Place], words: Sequence[str], by_key: Mapping[str, Any], ctx: Any
) -> dict[str, tuple[Any, str]]:
    """Return, by parameter, what files say and which of them; the first file wins."""
    found: dict[str, tuple[Any, str]] = {}
    for place in places:
        if not place.exists or (place.why == BESIDE and _is_strange(place.path)):
            continue
        for key, value in _table(place.path, words, ctx).items():
            option = by_key.get(key)
            if option is None:
                raise UsageError(_no_key(place.path, words, key, by_key))
            found.setdefault(option.name, (_checked(place.path, words, option, value), place.path))
    return found


def _is_strange(path: str) -> bool:
    """Return whether a file that nobody has named belongs to another user, who might mean harm."""
    owners = {os.stat(path).st_uid, os.lstat(path).st_uid}  # of the file, and of a link to it
    strange = not owners <= {ROOT_USER, os.geteuid()}
    if strange:
        console.info(f"warning: '{path}' belongs to another user and is not read: give it by --config")
    return strange


@cache
def _document(path: str, _changed: float) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise UsageError(f"{path}: is too large for a settings file")
        return tomllib.loads(text.decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: is no TOML: {_plain_reason(error)}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is no TOML: it is not UTF-8") from None
    except RecursionError:
        raise UsageError(f"{path}: is no TOML that can be read: it is nested too deep") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _plain_reason(error: Exception) -> str:
    """Return why, and where: `Invalid value (at line 2, column 9)`."""
    return str(error)[:1].lower() + str(error)[1:]


def _table(path: str, words: Sequence[str], ctx: Any) -> dict[str, Any]:
    """Return what a file says for a command. Raises UsageError for a table that no command has."""
    document = _document(path, os.stat(path).st_mtime)
    _check_tables(path, document, getattr(ctx.find_root().command, "commands", document), words)
    table: Any = document
    for word in words:
        table = table.get(word, {})
    inner = getattr(ctx.command, "commands", {})
    return {key: value for key, value in table.items() if key not in inner}


def _check_tables(
    path: str, found: Mapping[str, Any], known: Mapping[str, Any], words: Sequence[str], above: str = ""
) -> None:
    """Raise UsageError unless all that is found are tables of commands; those of a group hold tables, too.

    words: the command that runs; of the others only those are loaded whose tables look like those of groups.
    """
    for name, value in found.items():
        _check_table(path, f"{above}{name}", value, name in known, f"[{above}{next(iter(known), '')}]")
        if name not in known:
            raise UsageError(f"{path}: there is no command '{above}{name}'{did_you_mean(name, known)}")
        if name in words[:1] or any(isinstance(each, dict) for each in value.values()):
            inner = getattr(known[name], "commands", None)
            if inner is not None:
                _check_tables(path, value, inner, words[1:], f"{above}{name}.")


def _check_table(path: str, name: str, value: Any, is_command: bool, like: str) -> None:
    if isinstance(value, dict):
        return
    if is_command:
        raise UsageError(f"{path}: '{name}' must be a table: [{name}]")
    raise UsageError(f"{path}: '{name}' stands outside of a table: put it under one such as {like}")


def _no_key(path: str, words: Sequence[str], key: str, known: Mapping[str, Any]) -> str:
    table = f"{path}: [{'.'.join(words)}]"
    if any(secret in key.lower() for secret in _SECRETS):
        return f"{table} '{key}': no credentials in a file: set {PREFIX}_PACS_TOKEN, or use ~/.netrc"
    guess = did_you_mean(key.replace("_", "-"), known)
    return f"{table} has no setting '{key}'" + (guess or f"; see `dicomsort {' '.join(words)} --help`")


def _checked(path: str, words: Sequence[str], option: Any, value: Any) -> Any:
    """Return a value as the option's own type takes it. Raises UsageError for one of another kind."""
    one, several = type_of(option), bool(option.multiple)
    good = (
        isinstance(value, list) and all(_fits(each, one) for each in value) if several else _fits(value, one)
    )
    if good:
        return value
    wanted = f"a list such as [ {_LIKE[one]} ]" if several else f"{_WORDS[one]} such as {_LIKE[one]}"
    wanted = _WORDS[one] if one is bool else wanted
    raise UsageError(f"{path}: [{'.'.join(words)}] {key_of(option)} must be {wanted}")


_WORDS = {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}
_LIKE = {int: "4", float: "0.5", str: '"text"', bool: "true"}


def _fits(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind and not (isinstance(value, str) and "\0" in value)


def _warn_of_slips(ctx: Any, known: set[str]) -> None:
    """Warn of variables that look like a setting of this command, and are none of any command."""
    start = f"{PREFIX}_"
    plain = {name.removeprefix(start): name for name in known if name.startswith(start)}
    for name in sorted(set(os.environ) - known):
        meant = nearest(name.removeprefix(start), plain) if name.startswith(start) else ""
        if meant and name not in _all_variables(ctx):
            console.info(f"warning: the variable {name} sets nothing: did you mean {plain[meant]}?")


@cache
def _variables_of(group: Any) -> frozenset[str]:
    return frozenset(_walk(group, ()))


def _all_variables(ctx: Any) -> frozenset[str]:
    """Return all variables that set something, in any command."""
    others = {f"{PREFIX}_{name}" for name in ("CONFIG", "PACS_TOKEN", "PACS_USER", "PACS_PASSWORD")}
    return _variables_of(ctx.find_root().command) | others


def _walk(group: Any, words: tuple[str, ...]) -> Iterator[str]:
    for name, command in group.commands.items():
        path = (*words, name)
        if hasattr(command, "commands"):
            yield from _walk(command, path)
        else:
            keys = [key_of(option) for option in options_of(command)]
            yield from (_variable(*each, key) for key in keys for each in (path, ()))
