"""The commands that sort and what follows at once: classify, apply, undo."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dicomsort.cli import annotate, console, endings, log_file, metrics, moving, pacs
from dicomsort.cli import label as label_command
from dicomsort.cli import report as report_commands
from dicomsort.cli import studies as study_options
from dicomsort.cli import watch as watching
from dicomsort.cli.completion import models
from dicomsort.cli.formats import ManifestFormat
from dicomsort.cli.options import (
    READ,
    REMOTE,
    RESUMABLE,
    BatchSize,
    Connections,
    Devices,
    Engine,
    Evidence,
    FromList,
    Json,
    LockWait,
    MaxPixels,
    OkWithTrouble,
    OtherVersions,
    Pictures,
    Precision,
    Quiet,
    ReviewBelow,
    SecondaryCapture,
    Share,
    Strict,
    Timeout,
    Verify,
    Workers,
    check_strict,
    ending_of,
    exit_codes,
)
from dicomsort.cli.shown import DECISION, INPUT, MESSAGES, NODES, OUTPUT, READING
from dicomsort.cli.watch import QuietFor, Watch, WatchCommand
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.inputs.store import RemoteSettings
from dicomsort.manifest.names import RUN, manifest_in
from dicomsort.model.defaults import DEFAULT_MODELS
from dicomsort.outcome import Action, Status
from dicomsort.system.pool_settings import pool_settings

if TYPE_CHECKING:
    pass

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="A shipped model's name, or a bundle's folder; further ones answer in columns of their own.",
        show_default=", ".join(DEFAULT_MODELS),
        rich_help_panel=DECISION,
        metavar="MODEL",
        autocompletion=models,
    ),
]
Plan = Annotated[str, typer.Argument(help="An output folder, or its manifest.csv.", metavar="OUT")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=WatchCommand)(classify)
    app.command()(apply)
    app.command()(undo)


def classify(
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the class folders, manifest.csv and run.json.",
            rich_help_panel=OUTPUT,
            metavar="FOLDER",
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, files or archives to sort, or addresses such as s3://bucket/folder.",
            metavar="IN...",
        ),
    ] = None,
    model: Models = None,
    from_list: FromList = None,
    shard: Share = None,
    backend: Annotated[
        Literal["dask", "ray", "loky"] | None,
        typer.Option(help="Sort on many nodes; loky: on this machine.", rich_help_panel=NODES),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of the scheduler of --backend.", rich_help_panel=NODES, metavar="ADDRESS"),
    ] = None,
    tasks: Annotated[
        int | None,
        typer.Option(
            min=1, help="Shards at a time.", show_default="one a node or GPU", rich_help_panel=NODES
        ),
    ] = None,
    shard_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Files a shard of --backend.", show_default="500 to 20000", rich_help_panel=NODES
        ),
    ] = None,
    lock_wait: LockWait = None,
    allow_other_versions: OtherVersions = False,
    wait_for_nodes: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="How long --backend waits for a first node.",
            show_default="600",
            rich_help_panel=NODES,
            metavar="SECONDS",
        ),
    ] = None,
    action: Annotated[
        Action,
        typer.Option(
            help="How a file gets into its folder; none for a manifest alone, move removes the source.",
            rich_help_panel=OUTPUT,
        ),
    ] = Action.COPY,
    relative: Annotated[
        bool, typer.Option("--relative", help="Make symbolic links relative.", rich_help_panel=OUTPUT)
    ] = False,
    layout: Annotated[
        str,
        typer.Option(help="Where a file goes: a path of fields.", metavar="TEMPLATE", rich_help_panel=OUTPUT),
    ] = "{label}/{relpath}",
    verify: Verify = False,
    keep_duplicates: Annotated[
        bool,
        typer.Option("--keep-duplicates", help="Place an image each time it comes.", rich_help_panel=OUTPUT),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Refuse to go on: the output must be new or empty.", rich_help_panel=OUTPUT
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", "-n", help="Write the manifest only; place nothing.", rich_help_panel=OUTPUT
        ),
    ] = False,
    review_below: ReviewBelow = None,
    evidence: Evidence = "header",
    studies: study_options.Studies = None,
    study_column: study_options.StudyColumn = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Enter linked folders too.", rich_help_panel=INPUT)
    ] = False,
    no_archives: Annotated[
        bool,
        typer.Option(
            "--no-archives",
            help="Do not look into ZIP, tar, gz, bz2, xz and zst files.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    query: pacs.Query = None,
    write_back: label_command.WriteBack = None,
    connections: Connections = REMOTE.connections,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Do failures of an earlier run again.", rich_help_panel=READING),
    ] = False,
    include_secondary_capture: SecondaryCapture = False,
    pictures: Pictures = False,
    max_pixels: MaxPixels = READ.max_pixels,
    pixel_digest: Annotated[
        bool,
        typer.Option(
            "--pixel-digest",
            help="Tell a digest of each radiograph's pixels, by which duplicates are told without reading.",
            rich_help_panel=READING,
        ),
    ] = False,
    workers: Workers = None,
    batch_size: BatchSize = None,
    device: Devices = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    timeout: Timeout = 60.0,
    watch: Watch = None,
    quiet_for: QuietFor = None,
    manifest_format: ManifestFormat = None,
    strict: Strict = False,
    ok_with_trouble: OkWithTrouble = False,
    json: Json = False,
    log: log_file.LogFile = None,
    metrics_file: metrics.Metrics = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Write report.html into the output too; see `dicomsort report`.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Tell the model, the device and the settings.", rich_help_panel=MESSAGES
        ),
    ] = False,
) -> None:
    """Sort DICOM files into a folder per class, with a manifest row for every file.

    The same command again does only what is missing. Exit codes: 0 all done, or a --watch was stopped by
    SIGTERM, 3 some files of this run could not be read (with --strict: of any run; 0 with --ok-with-trouble),
    4 no file found, 5 output not writable or full, 6 model unusable, 130 interrupted.

    For example:
      dicomsort classify /archive --out sorted
      dicomsort classify /archive --out sorted --dry-run
      dicomsort classify /archive --out sorted --action symlink --report
      dicomsort classify s3://bucket/xrays -o sorted --model router5 --model view
      dicomsort classify /inbox --out sorted --watch 60
    """
    from dicomsort.cli import progress  # noqa: PLC0415
    from dicomsort.sorting.place import PlacementSettings  # noqa: PLC0415
    from dicomsort.system.starting import warm_up  # noqa: PLC0415

    with (
        exit_codes(RESUMABLE),
        progress.loading(quiet or json),
        metrics.writing(metrics_file, inputs, out) as take,
    ):
        if not (Path(out) / RUN).exists():  # else there may be nothing to do
            warm_up()
        from dicomsort.cli import classify  # noqa: PLC0415
        from dicomsort.manifest.parquet import is_wanted  # noqa: PLC0415
        from dicomsort.sorting.pipeline import SortSettings  # noqa: PLC0415

        check_strict(strict, ok_with_trouble)
        cluster = classify.cluster_of(backend, address, tasks, shard_size, device, wait_for_nodes)
        settings = SortSettings(
            roots=classify.roots_of(inputs, from_list), out=out, from_list=from_list,
            shard=classify.shard_of(shard, restart, cluster, out),
            lock_wait=classify.lock_wait_of(lock_wait, bool(shard or cluster)),
            any_versions=allow_other_versions,
            placing=PlacementSettings(action, verify, relative),
            layout=layout, restart=restart, keep_duplicates=keep_duplicates, dry_run=dry_run,
            batch_size=batch_size, review_below=review_below, follow_links=follow_links,
            retry_failed=retry_failed,
            read=ReadSettings(max_pixels, include_secondary_capture, pictures, pixel_digest),
            pool=pool_settings(workers, timeout), evidence=evidence, archives=not no_archives,
            parquet=is_wanted(manifest_format), studies=study_options.table_of(studies, study_column),
            remote=RemoteSettings(
                connections, query=pacs.query_of(query, inputs), authorization=pacs.authorization()
            ),
        )  # fmt: skip
        log_file.begin(log, inputs, out)
        moving.announce(action, dry_run, quiet or json)
        report_commands.check(report, shard)
        label_command.check(write_back, inputs, shard)
        how = classify.How(model, device, precision, engine, workers, quiet, verbose, take)
        timing = watching.timing_of(
            watch, quiet_for, shard=shard, backend=backend, from_list=from_list, report=report
        )
        if timing is not None:
            raise typer.Exit(watching.watch(settings, how, timing, json, verbose))
        tag, tally = classify.run(settings, how, cluster)
        take(tally)
        tally.strict, tally.lenient = strict, ok_with_trouble
        if json:
            console.print_json({**tally.as_dict(), "model": tag, "out": console.plain(out)})
        elif not quiet:
            endings.report_summary(tally, out, settings.shard)
        if verbose:
            endings.report_spent(tally)
        endings.report_news(tally, action, quiet)
        endings.log_end(tally)
        if report:
            report_commands.write(out, settings.pool, quiet or json)
        raise typer.Exit(
            ending_of(ok_with_trouble, tally.exit_code, label_command.after(write_back, out, quiet or json))
        )


def apply(
    manifest: Plan,
    action: Annotated[
        Action | None,
        typer.Option(
            help="How a file gets into its folder.", show_default="the dry run's", rich_help_panel=OUTPUT
        ),
    ] = None,
    verify: Verify = False,
    quiet: Quiet = False,
) -> None:
    """Do exactly what a dry run has planned: place the files of the rows that are `planned`.

    Exit codes: 0 all placed, 3 some could not be, 5 output not writable or too small.

    For example:
      dicomsort apply sorted
      dicomsort apply sorted --action symlink
    """
    from dicomsort.cli import progress  # noqa: PLC0415

    with exit_codes(RESUMABLE):
        from dicomsort.manifest.history import rows_with  # noqa: PLC0415
        from dicomsort.sorting import plan  # noqa: PLC0415

        path = manifest_in(manifest)
        moving.announce_apply(path, action, quiet)
        with progress.counting("placing", rows_with(path, "status", (Status.PLANNED,)), quiet) as count:
            done = plan.apply(path, action, verify, count)
        console.report_done(f"{done.done} placed", done.left, quiet)
        if not quiet:
            moving.tell(done.removed)
            endings.after_apply(manifest)
        raise typer.Exit(done.exit_code)


def undo(manifest: Plan, verify: Verify = False, quiet: Quiet = False) -> None:
    """Remove what a run has placed, as far as it still is what was placed; its rows become a plan again.

    What was moved goes back to where it came from.

    Of a folder of `dicomsort annotate`: remove what that has written.
    Exit codes: 0 all removed, 3 some have changed and stay.

    For example:
      dicomsort undo sorted
    """
    from dicomsort.cli import progress  # noqa: PLC0415

    with exit_codes(RESUMABLE):
        from dicomsort.manifest.history import rows_with  # noqa: PLC0415
        from dicomsort.sorting import plan  # noqa: PLC0415

        if annotate.is_annotated(manifest):
            annotate.undo(manifest, verify, quiet)
        path = manifest_in(manifest)
        with progress.counting("removing", rows_with(path, "action", Action), quiet) as count:
            done = plan.undo(path, verify, count)
        console.report_done(moving.undone(done), done.left, quiet)
        if done.done and not quiet:
            endings.after_undo(manifest)
        raise typer.Exit(done.exit_code)
