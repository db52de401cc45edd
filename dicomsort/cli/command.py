"""A command as this program has it: its help in groups, its settings from files and variables."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from dicomsort.cli import settings
from dicomsort.cli.shown import DATA, DECISION, INBOX, INPUT, MACHINE, MESSAGES, NODES, OUTPUT, READING
from dicomsort.cli.spelling import is_option, metavar, names_of, spelled

_ORDER = (INPUT, DATA, OUTPUT, DECISION, READING, "", MACHINE, NODES, INBOX, MESSAGES)
"""Of the groups of options; the empty one stands for those that only one command has."""

_EXAMPLES = "\n\nFor example:\n"
_WIDEST = 24
"""Of the column of names in a help page."""


class Command(TyperCommand):
    """A command of the program."""

    def __init__(self, name: str | None, **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self.help, _, examples = (self.help or "").partition(_EXAMPLES)
        self.examples: tuple[str, ...] = tuple(line.strip() for line in examples.splitlines() if line.strip())
        self.params = [*self.params, *settings.own_options()]
        self.hidden_opposites = _give_opposites(self.params)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Look for settings first, so that they stand in for what was not given."""
        if ctx.resilient_parsing:
            return self._parse_for_completion(ctx, args)
        settings.prepare(self, ctx, args)
        return super().parse_args(ctx, args)

    def _parse_for_completion(self, ctx: Any, args: list[str]) -> list[str]:
        """Take words as they are: a shell waits, and typer would load pydantic to check them."""
        parser = self.make_parser(ctx)
        given, ctx.args, _ = parser.parse_args(args=args)
        for one in self.get_params(ctx):
            ctx.params[one.name], source = one.consume_value(ctx, given)
            ctx.set_parameter_source(one.name, source)
        ctx._opt_prefixes.update(parser._opt_prefixes)
        return list(ctx.args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return what the line of usage holds: options that must be given, and arguments."""
        must = [f"{spelled(one)} {metavar(one)}" for one in self.params if is_option(one) and one.required]
        arguments = _arguments(self)
        return [
            "[OPTIONS]",
            *must,
            *(metavar(one) if one.required else f"[{metavar(one)}]" for one in arguments),
        ]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, and the options by their groups."""
        groups = {"Arguments": [(metavar(one), one.help or "") for one in _arguments(self)]}
        for panel, options in self.groups(ctx):
            groups[panel] = [(self.names_in_help(one), self.told_of(one)) for one in options]
        widest = min(_WIDEST, max(len(name) for rows in groups.values() for name, _ in rows))
        for heading, rows in groups.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl([(name.ljust(widest), text) for name, text in rows], col_max=widest)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the examples as they are."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"  {line}\n")

    def groups(self, ctx: Any) -> list[tuple[str, list[TyperOption]]]:
        """Return the options by the heading that they stand under, in the order of the help."""
        found: dict[str, list[TyperOption]] = {}
        for one in self.get_params(ctx):
            if isinstance(one, TyperOption) and not one.hidden:
                found.setdefault(one.rich_help_panel or MESSAGES, []).append(one)
        return sorted(found.items(), key=lambda item: _ORDER.index(item[0] if item[0] in _ORDER else ""))

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete the options, but for the opposites of flags, which would double the list."""
        found = super().shell_complete(ctx, incomplete)
        return [item for item in found if item.value not in self.hidden_opposites]

    def names_in_help(self, option: TyperOption) -> str:
        """Return the names of an option, and what stands for its value: `-o, --out FOLDER`."""
        names = [name for name in names_of(option) if name not in self.hidden_opposites]
        return " ".join([", ".join(names), *([] if option.is_flag else [metavar(option)])])

    def told_of(self, option: TyperOption) -> str:
        """Return what is said of an option: its help, its default, its range."""
        extra = "; ".join(_extras(option))
        return " ".join([*([option.help] if option.help else []), *([f"[{extra}]"] if extra else [])])


class Commands(typer.Typer):
    """Where a module registers its commands: each becomes a `Command` unless it says otherwise."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Return a decorator that registers a function as a command."""
        return super().command(name, **{"cls": Command, "rich_help_panel": None, **settings})


def _arguments(command: TyperCommand) -> list[Any]:
    return [one for one in command.params if not is_option(one)]


def _give_opposites(params: Sequence[Any]) -> frozenset[str]:
    """Let each flag be taken back by its opposite, in case a settings file sets it; returns their names."""
    taken = {name for one in params for name in (*one.opts, *one.secondary_opts)}
    given = set()
    for one in params:
        if is_option(one) and one.is_bool_flag and one.expose_value and not one.secondary_opts:
            name = spelled(one)
            opposite = f"--{name.removeprefix('--no-')}" if name.startswith("--no-") else f"--no-{name[2:]}"
            if opposite not in taken:
                one.secondary_opts = [opposite]
                given.add(opposite)
    return frozenset(given)


def _extras(option: TyperOption) -> Iterator[str]:
    if option.required:
        yield "required"
    elif default := default_of(option):
        yield f"default: {default}"
    if metavar(option) != "0..1" and option.max is not None:
        yield (
            f"{_shown(option.min)} to {_shown(option.max)}" if option.min is not None else f"to {option.max}"
        )
    elif option.min is not None and option.min > 1:
        yield f"at least {_shown(option.min)}"
    yield from (f"variable: {name}" for name in settings.declared_variables(option))


def default_of(option: TyperOption) -> str:
    """Return the default of an option in words; empty if there is none to speak of."""
    return option.show_default if isinstance(option.show_default, str) else _shown(option.default)


def _shown(value: Any) -> str:
    """Return a default or a limit as a person writes it; empty for none."""
    if value is None or value is False or value == [] or callable(value):
        return ""
    if value is True:
        return "yes"
    return f"{value:.10g}" if isinstance(value, float) else str(getattr(value, "value", value))
