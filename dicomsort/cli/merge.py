"""The command that joins what many machines have sorted: merge."""

from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console, endings, log_file
from dicomsort.cli.formats import ManifestFormat
from dicomsort.cli.options import (
    RESUMABLE,
    Json,
    LockWait,
    OkWithTrouble,
    Output,
    Quiet,
    Strict,
    Timeout,
    Workers,
    check_strict,
    exit_codes,
)
from dicomsort.cli.shown import NODES
from dicomsort.system.telling import counted

if TYPE_CHECKING:
    from dicomsort.system.pool_settings import PoolSettings

CompareShard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Join nothing yet: compare the images of share I of N that came twice; auto/N as in classify.",
        rich_help_panel=NODES,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(merge)


def merge(
    out: Output,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    manifest_format: ManifestFormat = None,
    shard: CompareShard = None,
    strict: Strict = False,
    ok_with_trouble: OkWithTrouble = False,
    lock_wait: LockWait = None,
    log: log_file.LogFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Join the shards of an output folder into one manifest.csv; of an image that came twice the first stays.

    It may be run again. With --shard nothing is joined yet: many nodes compare images at once beforehand.

    Exit codes: 0 all there, 3 some files that were joined could not be read (with --strict: any files; 0 with
    --ok-with-trouble), 4 no file, 5 output not writable or full, 7 a shard is missing.

    For example:
      dicomsort merge sorted
    """
    from dicomsort.cli import progress  # noqa: PLC0415
    from dicomsort.system.pool_settings import pool_settings  # noqa: PLC0415

    with exit_codes(RESUMABLE):
        check_strict(strict, ok_with_trouble)
        log_file.begin(log, out=out)
        from dicomsort.cli import classify  # noqa: PLC0415
        from dicomsort.manifest.parquet import is_wanted  # noqa: PLC0415
        from dicomsort.sorting import shards  # noqa: PLC0415
        from dicomsort.sorting.merge import merge as merge_shards  # noqa: PLC0415

        if shard is not None:
            wait = classify.lock_wait_of(lock_wait, is_divided=True)
            _compare_share(out, shard, pool_settings(workers, timeout), wait, json=json, quiet=quiet)
            return
        wanted = is_wanted(manifest_format)
        wait = classify.lock_wait_of(lock_wait, bool(shards.begun(out)))
        with progress.counting("joining", len(shards.waiting(out)), quiet) as count:
            merged = merge_shards(out, pool_settings(workers, timeout), count, with_parquet=wanted, wait=wait)
        merged.strict, merged.lenient = strict, ok_with_trouble
        if json:
            console.print_json({**merged.as_dict(), "out": console.plain(out)})
        endings.report_merged(merged, out, quiet or json)
        endings.report_hints(merged.hints)
        endings.report_troubles(merged.troubles, merged.new_troubles, merged.older_troubles)
        raise typer.Exit(merged.exit_code)


def _compare_share(
    out: str, shard: str, pool: "PoolSettings", wait: float, *, json: bool, quiet: bool
) -> None:
    from dicomsort.cli import progress  # noqa: PLC0415
    from dicomsort.sorting import array_shards, pixel_shares  # noqa: PLC0415

    share = array_shards.parse(shard, out)
    with progress.counting("comparing", None, quiet) as count:
        done = pixel_shares.compare(out, share, pool, count, wait)
    if json:
        console.print_json({"out": console.plain(out), "shard": str(share), **done.as_dict()})
    elif not quiet:
        read = counted(done.read, "file")
        console.info(f"share {share} is compared, {read} read; once all are: dicomsort merge {out}")
