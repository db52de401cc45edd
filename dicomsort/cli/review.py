"""The command in which a person decides: review."""

import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console
from dicomsort.cli.options import By, FurtherLabels, Output, Quiet, Seed, Timeout, Workers, exit_codes
from dicomsort.cli.shown import DECISION, PAGE, TABLE
from dicomsort.errors import ExitCode, ModelError, UsageError
from dicomsort.system.people import user_name
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.starting import warm_up
from dicomsort.system.telling import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from dicomsort.system.pool_settings import PoolSettings


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(review)


def review(
    out: Output,
    by: By = None,
    label: FurtherLabels = None,
    sample: Annotated[
        int,
        typer.Option(
            min=0,
            help="Spot check: draw so many of the sorted files, to measure how many are right.",
            rich_help_panel=DECISION,
        ),
    ] = 0,
    seed: Seed = 0,
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            help="Of the page on 127.0.0.1.",
            show_default="a free one",
            rich_help_panel=PAGE,
            metavar="PORT",
        ),
    ] = 0,
    no_browser: Annotated[
        bool,
        typer.Option(
            "--no-browser", help="Open no browser; the address is printed, as always.", rich_help_panel=PAGE
        ),
    ] = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", help="Keep no thumbnails in OUT/.dicomsort, only in memory.", rich_help_panel=PAGE
        ),
    ] = False,
    export: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.csv",
            help="Open no page: write what was decided, as a table for train.",
            rich_help_panel=TABLE,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="With --export: the table trained on; its images come as corrections of it.",
            rich_help_panel=TABLE,
            metavar="FILE",
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="With --data: the column that holds its labels.", rich_help_panel=TABLE, metavar="COLUMN"
        ),
    ] = "label",
    workers: Workers = None,
    timeout: Timeout = 60.0,
    quiet: Quiet = False,
) -> None:
    """Look at what was sorted on a page in the browser, and decide: each file moves to the class you give it.

    The page is on this machine alone; Ctrl-C ends it. Exit codes: 0 ended, all decisions written;
    2 OUT is no output folder or the port is taken, 3 some files could not be exported, 5 output not writable
    or full.

    For example:
      dicomsort review sorted
      dicomsort review sorted --sample 200
      dicomsort review sorted --export decided.csv
    """
    with exit_codes():
        pool = pool_settings(workers, timeout)
        if export is not None:
            if sample:
                raise UsageError("--sample does not go with --export, which opens no page")
            _export(out, export, pool, None if data is None else (data, target), quiet)
            return
        if data is not None:
            raise UsageError("--data goes with --export")
        warm_up()
        from dicomsort.review.opening import opened  # noqa: PLC0415
        from dicomsort.review.picture_cache import ThumbnailFolder  # noqa: PLC0415
        from dicomsort.review.serve import ServeSettings, serve  # noqa: PLC0415
        from dicomsort.review.thumbnails import FOLDER, Pictures  # noqa: PLC0415

        with opened(out, by or user_name(), tuple(label or ())) as desk:
            if sample:
                desk.draw(sample, seed)
            if desk.read_only:
                console.info(desk.read_only)
            keeps = not no_cache and not desk.read_only
            folder = ThumbnailFolder(str(Path(out, FOLDER))) if keeps else None
            pictures = Pictures(desk.reading, pool, folder)
            try:
                decided = serve(desk, pictures, ServeSettings(port, not no_browser), _tell_address)
            finally:
                pictures.close()
            checked, left = desk.spot_check(), desk.counts()["undecided"]
        console.report_lines(desk.notices())
        if not quiet:
            _report(decided, checked, (left, out))


def _export(out: str, target: str, pool: "PoolSettings", table: tuple[Path, str] | None, quiet: bool) -> None:
    """Write the tables for training, and say what is in them and what is not."""
    from dicomsort.review.export import Trained, export  # noqa: PLC0415

    done = export(out, target, pool, None if table is None else Trained(*table))
    if not quiet:
        console.info(f"wrote {target}: {counted(done.images, 'image')} with a class that a person decided")
        if table is not None:
            console.info(
                f"{counted(done.known, 'image is', 'images are')} in {table[0]} already; of these, "
                f"{counted(done.corrected, 'label differs', 'labels differ')}, as the table of corrections "
                "beside it tells (train --corrections)"
            )
        elif done.seen:
            console.info(
                f"{counted(done.seen, 'image is', 'images are')} in the model's own split (column seen_in): "
                "name the table that it was trained on with --data to get them as corrections"
            )
        console.info(f"to go on: {_training(out, target, table)}")
    for path, why in done.left:
        console.info(f"left out: {path}: {why}")
    if done.left:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _training(out: str, target: str, table: tuple[Path, str] | None) -> str:
    """Return the command that learns from an export, from the weights that are there if we know them."""
    from dicomsort.manifest.run_file import RunFile  # noqa: PLC0415
    from dicomsort.model import bundle as bundles  # noqa: PLC0415

    words = ["dicomsort", "train", *((target, "--target", "label") if table is None else ())]
    if table is not None:
        beside = Path(target).with_suffix("")
        words += [str(table[0]), "--target", table[1], "--corrections", f"{beside}-corrections.csv"]
    name = str(RunFile(out).fixed.get("model", "")).partition("@")[0]
    with suppress(ModelError):
        bundle = bundles.load(bundles.locate(name), with_graph=False)
        words += ["--arch", bundle.network.timm, "--size", str(bundle.preprocessing.size)]
        words += ["--pretrained", name]
    return shlex.join([*words, "--out", "runs/mine"])


def _tell_address(address: str) -> None:
    console.info(f"the page is at {address} (works once; Ctrl-C ends it)")


def _report(decided: int, checked: "Mapping[str, Any] | None", left: tuple[int, str]) -> None:
    """Say what was done. left: how many files still wait for a person, and the output."""
    made = "1 decision made; it is" if decided == 1 else f"{decided} decisions made; all are"
    to_do = f"; {left[0]} to do: dicomsort review {shlex.quote(left[1])}" if left[0] else ""
    console.info(f"{made} written{to_do}")
    if checked is None:
        return
    console.info(f"spot check: {checked['answered']} of {console.files(checked['drawn'])} answered")
    if checked["answered"]:
        console.info(
            f"precision {checked['precision']:.3f} ({checked['low']:.3f} to {checked['high']:.3f} with "
            f"{checked['confidence']:.0%} confidence), of all {checked['of']} sorted files"
        )
