"""The command in which a person decides: review."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console
from dicomsort.cli.options import Quiet, Seed, Timeout, Workers, exit_codes
from dicomsort.errors import UsageError
from dicomsort.system.worker_pool import pool_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(review)


def review(
    out: Annotated[str, typer.Argument(help="The --out of classify.", metavar="OUT")],
    by: Annotated[
        str | None, typer.Option(help="Who decides; stands beside each decision.", show_default="the login")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="A class besides those of the model; may be given again.")
    ] = None,
    sample: Annotated[
        int,
        typer.Option(
            min=0, help="Spot check: draw so many of the sorted files, to measure how many are right."
        ),
    ] = 0,
    seed: Seed = 0,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the page on 127.0.0.1.", show_default="a free one")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Open no browser; the address is printed, as always.")
    ] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Keep no thumbnails in OUT/.dicomsort, only in memory.")
    ] = False,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    quiet: Quiet = False,
) -> None:
    """Look at what was sorted on a page in the browser, and decide: each file moves to the class you give it.

    The page is on this machine alone; Ctrl-C ends it. Exit codes: 0 ended, all decisions written;
    2 OUT is no output folder or the port is taken, 5 output not writable or full.
    """
    with exit_codes():
        from dicomsort.review import desk as desks  # noqa: PLC0415
        from dicomsort.review.picture_cache import ThumbnailFolder  # noqa: PLC0415
        from dicomsort.review.serve import ServeSettings, serve  # noqa: PLC0415
        from dicomsort.review.thumbnails import FOLDER, Pictures  # noqa: PLC0415

        with desks.opened(out, by or _login(), tuple(label or ())) as desk:
            if sample:
                desk.draw(sample, seed)
            if desk.read_only:
                console.info(desk.read_only)
            keeps = not no_cache and not desk.read_only
            folder = ThumbnailFolder(str(Path(out, FOLDER))) if keeps else None
            pictures = Pictures(desk.reading, pool_settings(workers, timeout), folder)
            try:
                decided = serve(desk, pictures, ServeSettings(port, not no_browser), _tell_address)
            finally:
                pictures.close()
            checked = desk.spot_check()
        console.report_lines(desk.notices())
        if not quiet:
            _report(decided, checked)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name
        raise UsageError("the login of this user has no name: say who decides with --by NAME") from None


def _tell_address(address: str) -> None:
    console.info(f"the page is at {address} (works once; Ctrl-C ends it)")


def _report(decided: int, checked: "Mapping[str, Any] | None") -> None:
    console.info(f"{decided} decisions made; all are written")
    if checked is None:
        return
    console.info(f"spot check: {checked['answered']} of {checked['drawn']} files looked at")
    if checked["answered"]:
        console.info(
            f"precision {checked['precision']:.3f} ({checked['low']:.3f} to {checked['high']:.3f} with "
            f"{checked['confidence']:.0%} confidence), of all {checked['of']} sorted files"
        )
