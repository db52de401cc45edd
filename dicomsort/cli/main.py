"""Words to settings, results to words, exit codes."""

import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from dicomsort import __version__
from dicomsort.cli import (
    annotate,
    audit,
    console,
    correct,
    doctor,
    endings,
    evaluate,
    inspect,
    log_file,
    mercure,
    moving,
    pacs,
    progress,
    registry,
    review,
    send,
    train,
)
from dicomsort.cli import label as label_command
from dicomsort.cli import model as model_commands
from dicomsort.cli import models as list_models
from dicomsort.cli import report as report_commands
from dicomsort.cli import watch as watching
from dicomsort.cli.options import (
    READ,
    REMOTE,
    BatchSize,
    Connections,
    Devices,
    Engine,
    Evidence,
    FromList,
    Json,
    MaxPixels,
    Output,
    Pictures,
    Precision,
    Quiet,
    SecondaryCapture,
    Strict,
    Timeout,
    Verify,
    Workers,
    exit_codes,
)
from dicomsort.cli.watch import QuietFor, Watch, WatchCommand
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import ExitCode
from dicomsort.inputs.store import RemoteSettings
from dicomsort.manifest.names import RUN, manifest_in
from dicomsort.model.defaults import DEFAULT_MODELS
from dicomsort.outcome import Action, Status
from dicomsort.sorting.place import PlacementSettings
from dicomsort.system.worker_pool import pool_settings, warm_up

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ReviewBelow = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, help="Confidence under which a file goes to review.", show_default="the model's"
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="A shipped model's name, or a bundle's folder; further ones answer in columns of their own.",
        show_default=", ".join(DEFAULT_MODELS),
    ),
]
Plan = Annotated[str, typer.Argument(help="An output folder, or its manifest.csv.", metavar="OUT")]


def main() -> NoReturn:
    """Run the command line; the entry point of `dicomsort`. SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(prog_name="dicomsort")
    except KeyboardInterrupt:
        console.info("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except OSError as error:  # of --help and --version: a command's own ends in a line already
        console.info(str(console.no_stdout(error)))
        sys.exit(ExitCode.TARGET)
    sys.exit(ExitCode.DONE)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dicomsort {__version__}", flush=True)  # noqa: T201
        raise typer.Exit(ExitCode.DONE)


@app.callback()
def _dicomsort(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show version.")
    ] = False,
) -> None:
    """Sort DICOM archives: each X-ray into a folder per body-part class, one manifest row for every file.

    Not a medical device.
    """


@app.command(cls=WatchCommand)
def classify(
    out: Annotated[str, typer.Option(help="Folder for the class folders, manifest.csv and run.json.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, files or archives to sort, or addresses such as s3://bucket/folder.",
            metavar="IN...",
        ),
    ] = None,
    model: Models = None,
    from_list: FromList = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Sort shard I of N only; `dicomsort merge` joins the shards."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Sort on many nodes: dask, ray, or loky for this machine.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Of the scheduler of --backend.")] = None,
    tasks: Annotated[
        int | None, typer.Option(min=1, help="Shards at a time.", show_default="one a node or GPU")
    ] = None,
    shard_size: Annotated[
        int | None, typer.Option(min=1, help="Files a shard of --backend.", show_default="500 to 20000")
    ] = None,
    action: Annotated[
        Action,
        typer.Option(
            help="How a file gets into its folder; none for a manifest alone, move removes the source."
        ),
    ] = Action.COPY,
    relative: Annotated[bool, typer.Option("--relative", help="Make symbolic links relative.")] = False,
    layout: Annotated[
        str, typer.Option(help="Where a file goes: a path of fields.", metavar="TEMPLATE")
    ] = "{label}/{relpath}",
    verify: Verify = False,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Place an image each time it comes.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Refuse to go on: the output must be new or empty.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the manifest only; place nothing.")
    ] = False,
    review_below: ReviewBelow = None,
    evidence: Evidence = "header",
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Enter linked folders too.")] = False,
    no_archives: Annotated[
        bool, typer.Option("--no-archives", help="Do not look into ZIP, tar, gz, bz2, xz and zst files.")
    ] = False,
    query: pacs.Query = None,
    write_back: label_command.WriteBack = None,
    connections: Connections = REMOTE.connections,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do failures of an earlier run again.")
    ] = False,
    include_secondary_capture: SecondaryCapture = False,
    pictures: Pictures = False,
    max_pixels: MaxPixels = READ.max_pixels,
    workers: Workers = None,
    batch_size: BatchSize = None,
    device: Devices = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    timeout: Timeout = 60.0,
    watch: Watch = None,
    quiet_for: QuietFor = None,
    strict: Strict = False,
    json: Json = False,
    log: log_file.LogFile = None,
    report: Annotated[
        bool, typer.Option("--report", help="Write report.html into the output too; see `dicomsort report`.")
    ] = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell the model, the device and the settings.")
    ] = False,
) -> None:
    """Sort DICOM files into a folder per class, with a manifest row for every file.

    The same command again does only what is missing. Exit codes: 0 all done, or a --watch was stopped by
    SIGTERM, 3 some files of this run could not be read (with --strict: of any run), 4 no file found, 5 output
    not writable or full, 6 model unusable, 130 interrupted.
    """
    resumable = "interrupted; the same command goes on where this one stopped"
    with exit_codes(resumable), progress.loading(quiet or json):
        if not (Path(out) / RUN).exists():  # else there may be nothing to do
            warm_up()
        from dicomsort.cli import classify  # noqa: PLC0415
        from dicomsort.sorting.pipeline import SortSettings  # noqa: PLC0415

        cluster = classify.cluster_of(backend, address, tasks, shard_size, device)
        settings = SortSettings(
            roots=classify.roots_of(inputs, from_list), out=out, from_list=from_list,
            shard=classify.shard_of(shard, restart, cluster),
            placing=PlacementSettings(action, verify, relative),
            layout=layout, restart=restart, keep_duplicates=keep_duplicates, dry_run=dry_run,
            batch_size=batch_size, review_below=review_below, follow_links=follow_links,
            retry_failed=retry_failed, read=ReadSettings(max_pixels, include_secondary_capture, pictures),
            pool=pool_settings(workers, timeout), evidence=evidence, archives=not no_archives,
            remote=RemoteSettings(
                connections, query=pacs.query_of(query, inputs), authorization=pacs.authorization()
            ),
        )  # fmt: skip
        log_file.begin(log, inputs, out)
        moving.announce(action, dry_run, quiet or json)
        report_commands.check(report, shard)
        label_command.check(write_back, inputs, shard)
        how = classify.How(model, device, precision, engine, workers, quiet, verbose)
        timing = watching.timing_of(
            watch, quiet_for, shard=shard, backend=backend, from_list=from_list, report=report
        )
        if timing is not None:
            raise typer.Exit(watching.watch(settings, how, timing, json, verbose))
        tag, tally = classify.run(settings, how, cluster)
        tally.strict = strict
        if json:
            console.print_json({**tally.as_dict(), "model": tag, "out": console.plain(out)})
        elif not quiet:
            endings.report_summary(tally, out, shard)
        if verbose:
            endings.report_spent(tally)
        endings.report_hints(tally.hints)
        endings.report_troubles(tally.troubles, tally.new_troubles, tally.older_troubles)
        endings.log_end(tally)
        if report:
            report_commands.write(out, settings.pool, quiet or json)
        marked = label_command.after(write_back, out, quiet or json)
        raise typer.Exit(tally.exit_code or marked)


@app.command()
def apply(
    manifest: Plan,
    action: Annotated[
        Action | None, typer.Option(help="How a file gets into its folder.", show_default="the dry run's")
    ] = None,
    verify: Verify = False,
    quiet: Quiet = False,
) -> None:
    """Do exactly what a dry run has planned: place the files of the rows that are `planned`.

    Exit codes: 0 all placed, 3 some could not be, 5 output not writable or too small.
    """
    with exit_codes("interrupted; the same command goes on where this one stopped"):
        from dicomsort.manifest.history import rows_with  # noqa: PLC0415
        from dicomsort.sorting import plan  # noqa: PLC0415

        path = manifest_in(manifest)
        moving.announce_apply(path, action, quiet)
        with progress.counting("placing", rows_with(path, "status", (Status.PLANNED,)), quiet) as count:
            done = plan.apply(path, action, verify, count)
        console.report_done(f"{done.done} placed", done.left, quiet)
        if not quiet:
            moving.tell(done.removed)
        raise typer.Exit(done.exit_code)


@app.command()
def merge(
    out: Output,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    strict: Strict = False,
    log: log_file.LogFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Join the shards of an output folder into one manifest.csv; of an image that came twice the first stays.

    It may be run again. Exit codes: 0 all there, 3 a shard is missing or some files that were joined could
    not be read (with --strict: any files), 5 output not writable or full.
    """
    with exit_codes("interrupted; the same command goes on where this one stopped"):
        log_file.begin(log)
        from dicomsort.sorting import shards  # noqa: PLC0415
        from dicomsort.sorting.merge import merge as merge_shards  # noqa: PLC0415

        with progress.counting("joining", len(shards.waiting(out)), quiet) as count:
            merged = merge_shards(out, pool_settings(workers, timeout), count)
        merged.strict = strict
        if json:
            console.print_json({**merged.as_dict(), "out": console.plain(out)})
        endings.report_merged(merged, out, quiet or json)
        endings.report_hints(merged.hints)
        endings.report_troubles(merged.troubles, merged.new_troubles, merged.older_troubles)
        raise typer.Exit(merged.exit_code)


@app.command()
def undo(manifest: Plan, verify: Verify = False, quiet: Quiet = False) -> None:
    """Remove what a run has placed, as far as it still is what was placed; its rows become a plan again.

    What was moved goes back to where it came from.

    Of a folder of `dicomsort annotate`: remove what that has written.
    Exit codes: 0 all removed, 3 some have changed and stay.
    """
    with exit_codes("interrupted; the same command goes on where this one stopped"):
        from dicomsort.manifest.history import rows_with  # noqa: PLC0415
        from dicomsort.sorting import plan  # noqa: PLC0415

        if annotate.is_annotated(manifest):
            annotate.undo(manifest, verify, quiet)
        path = manifest_in(manifest)
        with progress.counting("removing", rows_with(path, "action", Action), quiet) as count:
            done = plan.undo(path, verify, count)
        console.report_done(moving.undone(done), done.left, quiet)
        raise typer.Exit(done.exit_code)


_COMMANDS = (
    *(watching, mercure, correct, review, report_commands, audit, annotate, registry, send),
    label_command,
    *(train, evaluate, inspect, list_models, model_commands, doctor),
)
for _commands in _COMMANDS:
    _commands.register(app)
