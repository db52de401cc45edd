"""The program as a group of commands, each loaded only when it is named."""

import errno
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, NoReturn

import typer
from typer.core import TyperGroup

from dicomsort.cli import complaints, console
from dicomsort.cli.command import Commands
from dicomsort.errors import DicomsortError, ExitCode, UsageError, did_you_mean, internal
from dicomsort.system import streams


@dataclass(frozen=True, slots=True)
class Entry:
    """A command in the list. module: of `dicomsort.cli`, which registers it; short: what the list says."""

    module: str
    heading: str
    short: str


class LazyCommands(MutableMapping[str, Any]):
    """Commands by their names; the module of one is imported when it is asked for."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._load(self.entries[name].module)
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def _load(self, module: str) -> None:
        """Import a module and take the commands that it registers."""
        registry = Commands(cls=Group, rich_markup_mode=None, add_completion=False)
        registry.callback()(_nothing)
        import_module(f"dicomsort.cli.{module}").register(registry)
        for name, command in typer.main.get_group(registry).commands.items():
            self._loaded.setdefault(name, command)


def _nothing() -> None:
    """Hold commands."""


class Group(TyperGroup):
    """A group of commands: its help is plain, and a slip gets one line."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        rows = [one.get_help_record(ctx) for one in self.get_params(ctx)]
        with formatter.section("Options"):
            formatter.write_dl([row for row in rows if row is not None])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is named. Raises UsageError, with what may have been meant."""
        if not ctx.resilient_parsing and args[0] not in self.commands and not args[0].startswith("-"):
            guess = did_you_mean(args[0], self.commands)
            raise UsageError(
                f"there is no command '{args[0]}'{guess or f'; see `{ctx.command_path} --help`'}"
            )
        return super().resolve_command(ctx, args)


class Program(Group):
    """The program itself. entries: its commands, in the order of the list."""

    entries: ClassVar[Mapping[str, Entry]]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands(self.entries)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let flags that were not given be off instead of unknown, or typer loads pydantic to say so."""
        for one in self.get_params(ctx):
            one.default = False if one.default is None else one.default
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the list of commands under their headings, without loading any."""
        widest = max(map(len, self.entries))
        for heading in dict.fromkeys(entry.heading for entry in self.entries.values()):
            chosen = {name: entry.short for name, entry in self.entries.items() if entry.heading == heading}
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), short) for name, short in chosen.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete the names of commands without loading any."""
        from typer._click.shell_completion import CompletionItem  # noqa: PLC0415

        chosen = {name: entry for name, entry in self.entries.items() if name.startswith(incomplete)}
        items = [CompletionItem(name, help=entry.short) for name, entry in chosen.items()]
        return [*items, *super(TyperGroup, self).shell_complete(ctx, incomplete)]

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run a command line; what is wrong with it ends in one line and exit code 2."""
        standalone = extra.pop("standalone_mode", True)
        try:
            code = super().main(args, prog_name, standalone_mode=False, **extra)
        except typer.TyperException as error:
            if not standalone:
                raise
            _end(error)
        except DicomsortError as error:
            console.info(str(error))
            sys.exit(error.exit_code)
        except OSError:  # of standard output: `main` ends with it
            raise
        except SystemExit as error:  # typer's own: of a completion, or for a closed pipe
            if isinstance(error.__context__, OSError):
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
            raise
        except Exception as error:  # noqa: BLE001  (as in a command: tell the place only)
            console.info(internal(error))
            sys.exit(ExitCode.INTERNAL)
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _end(error: typer.TyperException) -> NoReturn:
    if type(error).__name__ == "NoArgsIsHelpError":
        streams.end_announcement()
        print(error.format_message(), file=sys.stderr)  # noqa: T201
    else:
        console.info(complaints.line_of(error))
    sys.exit(ExitCode.USAGE)
