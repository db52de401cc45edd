"""The command that looks at the installation and the machine, for the first day and for a bug report."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console, options, progress, settings
from dicomsort.errors import ExitCode
from dicomsort.system.people import user_name

if TYPE_CHECKING:
    from dicomsort.doctor.finding import Finding

_VARIABLES = ("DICOMSORT_", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TMPDIR", "LC_ALL", "LANG")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(doctor)


def doctor(
    out: Annotated[
        str | None,
        typer.Argument(help="A folder to try, such as the --out of a run to come.", metavar="FOLDER"),
    ] = None,
    json: options.Json = False,
) -> None:
    """Try what this installation and this machine can do, and say what to do about the rest.

    Each decoder reads an image, each engine answers a picture, and the file system of FOLDER is tried with
    files that are removed again. Nothing is sent anywhere, and no name of a user is shown. Exit codes: 0 no
    problem (there may be warnings), 3 something does not work.

    For example:
      dicomsort doctor
      dicomsort doctor /sorted --json
    """
    with options.exit_codes(), progress.loading(json):
        from dicomsort.doctor import examine  # noqa: PLC0415

        found: dict[str, list[Finding]] = {}
        for title, look in [
            *examine.parts(out, os.environ.get("PATH")),
            ("settings", lambda: _settings(out)),
        ]:
            progress.loading.doing(f"looking at {title}")
            found[title] = list(look())
            if not json:
                _show(title, found[title])
        states = Counter(str(one.state) for each in found.values() for one in each)
        if json:
            console.print_json({**_counts(states), **{title: _listed(each) for title, each in found.items()}})
        else:
            progress.loading.done()
            _tell(states)
        if states["problem"]:
            raise typer.Exit(ExitCode.SOME_FAILED)


def _show(title: str, found: "list[Finding]") -> None:
    rows = []
    for one in found:
        told = _private(one.told) + (f"\n-> {_private(one.advice)}" if one.advice else "")
        rows.append([one.state.value.upper() if one.state in ("warning", "problem") else one.state.value,
                     one.name, told])  # fmt: skip
    progress.loading.done()
    console.table(title, ["", "", ""], rows, fixed=(0, 1), head=False)


def _listed(found: "list[Finding]") -> list[dict[str, str]]:
    return [
        {
            "name": one.name,
            "state": one.state.value,
            "told": _private(one.told),
            "advice": _private(one.advice),
        }
        for one in found
    ]


def _counts(states: Mapping[str, int]) -> dict[str, int]:
    return {"problems": states["problem"], "warnings": states["warning"]}


def _tell(states: Mapping[str, int]) -> None:
    problems, warnings = states["problem"], states["warning"]
    if not problems and not warnings:
        console.info("all is well: dicomsort classify FOLDER --out sorted")
        return
    told = [f"{count} {what}{'s' * (count != 1)}" for count, what in
            ((problems, "problem"), (warnings, "warning")) if count]  # fmt: skip
    console.info(f"{' and '.join(told)}: what to do stands behind the arrow of each")


def _private(text: str) -> str:
    """Show the home folder as ~, and no login anywhere in a path: this goes into bug reports."""
    home = str(Path.home())
    if len(home) > 1:
        text = re.sub(rf"{re.escape(home)}(?=/|\W|$)", "~", text)
    return re.sub(rf"(?<=/){re.escape(user_name())}(?=/|'|$)", "USER", text)


def _settings(out: str | None) -> "Iterator[Finding]":
    """Tell which files and variables may change what a command does; not what they say."""
    from dicomsort.doctor.finding import note  # noqa: PLC0415

    there = [place.path for place in settings.places_for({"out": out}) if place.exists]
    yield note("files", ", ".join(there) or "none found")
    names = sorted(name for name in os.environ if name.startswith(_VARIABLES))
    yield note("variables", ", ".join(names) or "none set")
