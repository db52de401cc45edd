"""Words to settings, results to words, exit codes."""

import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dicomsort import __version__, tell, terminal
from dicomsort.errors import DicomsortError, ExitCode, TargetError, UsageError
from dicomsort.place import Action, Placing
from dicomsort.radiograph import ReadSettings

if TYPE_CHECKING:
    from dicomsort.bundle import Bundle
    from dicomsort.classifier import Classifier
    from dicomsort.fleet import Fleet

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_READ = ReadSettings()

Workers = Annotated[
    int | None, typer.Option(min=1, help="Reading processes.", show_default="number of processors")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:n or mps.")]
Devices = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:n, cuda:0,cuda:1, cuda:all or mps.")
]
Precision = Annotated[
    str, typer.Option(help="Of the network: auto, float32, bfloat16 or float16; auto goes by the device.")
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, max=4096, help="Images a batch.", show_default="what suits the device")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table; errors only.")]
Model = Annotated[str, typer.Option(help="A shipped model's name, or a bundle's folder.")]
ReviewBelow = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, help="Confidence under which a file goes to review.", show_default="the model's"
    ),
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Samples per frame beyond which a file is unsupported.")]
SecondaryCapture = Annotated[
    bool,
    typer.Option(
        "--include-secondary-capture",
        help="Read captures (and objects of no SOP class) of modality OT or none.",
    ),
]
Verify = Annotated[bool, typer.Option("--verify", help="Read what was placed again and compare checksums.")]
Plan = Annotated[str, typer.Argument(help="The manifest.csv of an output folder.", metavar="MANIFEST")]
Timeout = Annotated[float, typer.Option(min=0.1, max=86400, help="Seconds that reading one file may take.")]
Data = Annotated[
    Path, typer.Argument(help="CSV with a 'file' column, or a folder with one sub-folder per class.")
]
Target = Annotated[str | None, typer.Option(help="The CSV column that holds the labels.")]
Split = Annotated[Path | None, typer.Option(help="A split to use instead of a new one: CSV sha256,part.")]


def main() -> NoReturn:
    """Run the command line; the entry point of `dicomsort`. SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(prog_name="dicomsort")
    except KeyboardInterrupt:
        terminal.say("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(ExitCode.DONE)


@contextmanager
def _endings(interrupted: str = "interrupted") -> Iterator[None]:
    """Turn what ends a command into one line and its exit code."""
    try:
        yield
    except DicomsortError as error:
        terminal.say(str(error))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        terminal.say(interrupted)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:  # noqa: BLE001  (its message may quote a header: tell the place only)
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
        terminal.say(f"internal error, please report it: {where} (version {__version__})")
        raise typer.Exit(ExitCode.INTERNAL) from None


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dicomsort {__version__}")  # noqa: T201
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


@app.command()
def classify(
    inputs: Annotated[list[str], typer.Argument(help="Folders or files to sort.", metavar="IN...")],
    out: Annotated[str, typer.Option(help="Folder for the class folders, manifest.csv and run.json.")],
    model: Model = "router5",
    action: Annotated[Action, typer.Option(help="How a file gets into its folder.")] = Action.COPY,
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
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Enter linked folders too.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do failures of an earlier run again.")
    ] = False,
    include_secondary_capture: SecondaryCapture = False,
    max_pixels: MaxPixels = _READ.max_pixels,
    workers: Workers = None,
    batch_size: BatchSize = None,
    device: Devices = "auto",
    precision: Precision = "auto",
    timeout: Timeout = 60.0,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell the model, the device and the settings.")
    ] = False,
) -> None:
    """Sort DICOM files into a folder per class, with a manifest row for every file.

    The same command again does only what is missing. Exit codes: 0 all done, 3 some files could not be read,
    4 no file found, 5 output not writable or full, 6 model unusable, 130 interrupted.
    """
    with _endings("interrupted; the same command goes on where this one stopped"):
        from dicomsort import bundle as bundles  # noqa: PLC0415
        from dicomsort import pipeline  # noqa: PLC0415
        from dicomsort.workers import warm_up  # noqa: PLC0415

        settings = pipeline.SortSettings(
            roots=tuple(inputs), out=out, placing=Placing(action, verify, relative), layout=layout,
            restart=restart, keep_duplicates=keep_duplicates, dry_run=dry_run, batch_size=batch_size,
            review_below=review_below, follow_links=follow_links, retry_failed=retry_failed,
            read=ReadSettings(max_pixels, include_secondary_capture), pool=_pool(workers, timeout),
        )  # fmt: skip
        pipeline.check(settings)
        warm_up()
        bundle = bundles.load(bundles.locate(model))
        with _predictor(bundle, device, precision) as predictor:
            if verbose:
                terminal.say(
                    f"model {bundle.tag} on {predictor.name} in {predictor.precision}, batches of "
                    f"{batch_size or predictor.batch_size}, {settings.pool.workers} workers"
                )
            with terminal.sorting(quiet) as watch:
                tally = pipeline.sort(settings, predictor, watch)
        if json:
            terminal.print_json({**tally.as_dict(), "model": bundle.tag, "out": terminal.plain(out)})
        elif not quiet:
            terminal.summary(tally, out)
        if verbose:
            terminal.spent(tally)
        raise typer.Exit(tally.exit_code)


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
    with _endings("interrupted; the same command goes on where this one stopped"):
        from dicomsort import ledger  # noqa: PLC0415

        with terminal.counting("placing", None, quiet) as count:
            done = ledger.apply(manifest, action, verify, count)
        tell.done(f"{done.done} placed", done.left, quiet)
        raise typer.Exit(done.exit_code)


@app.command()
def undo(manifest: Plan, verify: Verify = False, quiet: Quiet = False) -> None:
    """Remove what a run has placed, as far as it still is what was placed; its rows become a plan again.

    Exit codes: 0 all removed, 3 some have changed and stay.
    """
    with _endings("interrupted; the same command goes on where this one stopped"):
        from dicomsort import ledger  # noqa: PLC0415

        with terminal.counting("removing", None, quiet) as count:
            done = ledger.undo(manifest, verify, count)
        tell.done(f"{done.done} removed", done.left, quiet)
        raise typer.Exit(done.exit_code)


@app.command()
def render(
    files: Annotated[list[str], typer.Argument(help="DICOM files.", metavar="FILE...")],
    out: Annotated[str, typer.Option(help="Folder for the PNG files; nothing there is replaced.")],
    model: Model = "router5",
    size: Annotated[
        int | None,
        typer.Option(min=32, max=1024, help="Side of the canvas in pixels.", show_default="the model's"),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="All pixels of the frame instead of the network's canvas.")
    ] = False,
    include_secondary_capture: SecondaryCapture = False,
    max_pixels: MaxPixels = _READ.max_pixels,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    quiet: Quiet = False,
) -> None:
    """Write what the network sees of each file as PNG.

    Exit codes: 0 all written, 3 some files could not be read or written, 5 output not writable or full.
    """
    with _endings():
        from dicomsort import pictures  # noqa: PLC0415
        from dicomsort.outcome import Reason  # noqa: PLC0415

        _check_files(files, out)
        _make_folder(Path(out))
        settings = pictures.PictureSettings(
            preprocessing=None if full else _canvas(model, size),
            read=ReadSettings(max_pixels, include_secondary_capture),
            pool=_pool(workers, timeout),
        )
        failed = 0
        with terminal.counting("rendering", len(files), quiet) as count:
            for wanted, result in pictures.write_all(files, out, settings):
                count()
                if isinstance(result, pictures.Written):
                    tell.picture(wanted.target, result.remarks, quiet)
                    continue
                if result.reason is Reason.TARGET_DONE:
                    raise TargetError(
                        f"'{out}' is full or cannot be written: free some space, or use another"
                    )
                failed += 1
                terminal.say(f"not written: {wanted.path}: {result.status}: {result.reason}")
        if failed:
            raise typer.Exit(ExitCode.SOME_FAILED)


@app.command()
def train(
    data: Data = Path("data"),
    target: Target = None,
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; its name is the model's.")] = Path(
        "runs/model"
    ),
    arch: Annotated[
        str, typer.Option(help="Network: mobilenet_v1, resnet18, ... or a timm name.")
    ] = "mobilenet_v1",
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of the square canvas in pixels.")] = 224,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training part.")] = 20,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 32,
    learning_rate: Annotated[
        float, typer.Option(min=1e-7, max=1.0, help="Peak of the one-cycle schedule.")
    ] = 5e-4,
    pretrained: Annotated[
        Path | None, typer.Option(help="ImageNet weights to start from (safetensors).")
    ] = None,
    balance: Annotated[str | None, typer.Option(help="The CSV column of sources to be seen alike.")] = None,
    split: Split = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 10**5, help="Of the split, the start and the order.")
    ] = 0,
    device: Device = "auto",
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on labelled images and write it as a bundle."""
    with _endings():
        _prepare_folder(out)
        from dicomsort import dataset  # noqa: PLC0415
        from dicomsort import train as training  # noqa: PLC0415

        recipe = training.Recipe(
            arch=arch, size=size, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
            balance_by=balance, seed=seed, pretrained=pretrained, device=device, pool=_pool(workers),
        )  # fmt: skip
        samples = dataset.load(data, target, balance)
        given = dataset.load_split(split) if split else None
        with terminal.counting("reading", len(samples), quiet) as count:
            prepared = training.prepare(samples, given, recipe, count)
        tell.failures(prepared.failures)
        bundle = training.train(out.resolve().name, prepared, recipe, None if quiet else tell.epoch)
        bundle.save(out)
        _write_card(out, bundle.training, bundle.metrics)
        if json:
            terminal.print_json(
                {"bundle": str(out), "model": bundle.tag, **bundle.training, **bundle.metrics}
            )
        elif not quiet:
            terminal.say(f"wrote {out} ({bundle.tag}); measure it: dicomsort eval {data} --model {out}")


@app.command("eval")
def evaluate(
    data: Data = Path("data"),
    target: Target = None,
    model: Model = "router5",
    part: Annotated[
        str, typer.Option(help="train, validation, test or all, by the bundle's split.")
    ] = "test",
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for the 95 % intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json and predictions.csv.")] = None,
    batch_size: BatchSize = None,
    device: Devices = "auto",
    precision: Precision = "auto",
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model on labelled images."""
    with _endings():
        from dicomsort import bundle as bundles  # noqa: PLC0415
        from dicomsort import dataset  # noqa: PLC0415
        from dicomsort import evaluate as evaluation  # noqa: PLC0415

        if part not in (*dataset.PARTS, "all"):
            raise UsageError(f"--part '{part}' is unknown: use {', '.join(dataset.PARTS)} or all")
        bundle = bundles.load(bundles.locate(model))
        everything = dataset.load(data, target)
        samples = dataset.in_part(everything, bundle.split, part)
        if not samples:
            raise UsageError(f"no file of '{data}' is in the {part} part of the model's split; see --part")
        overlap = {seen: len(dataset.listed(samples, bundle.split, seen)) for seen in ("train", "validation")}
        settings = evaluation.EvalSettings(bootstrap, seed, batch_size, _pool(workers))
        with (
            _predictor(bundle, device, precision) as predictor,
            terminal.counting("evaluating", len(samples), quiet) as count,
        ):
            result = evaluation.evaluate(predictor, samples, settings, count)
        report = evaluation.report(result, bundle.tag, part, overlap, settings)
        if out is not None:
            evaluation.write(result, report, bundle.head.labels, out)
        if json:
            terminal.print_json(report)
        elif not quiet:
            tell.figures(result, bundle.tag, part, overlap)
        tell.failures(result.failures)
        if result.failures:
            raise typer.Exit(ExitCode.SOME_FAILED)


def _pool(workers: int | None, timeout: float = 60.0) -> Any:
    import os  # noqa: PLC0415

    from dicomsort.workers import PoolSettings  # noqa: PLC0415

    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return PoolSettings(workers=workers or ours or 1, timeout=timeout)


@contextmanager
def _predictor(bundle: "Bundle", device: str, precision: str) -> Iterator["Classifier | Fleet"]:
    """Make the network ready on its device, or on several, and try it. Raises UsageError or ModelError."""
    from dicomsort.classifier import Classifier  # noqa: PLC0415
    from dicomsort.devices import choose_devices  # noqa: PLC0415
    from dicomsort.fleet import Fleet  # noqa: PLC0415
    from dicomsort.heap import keep_freed_memory  # noqa: PLC0415

    keep_freed_memory()
    devices = choose_devices(device)
    if len(devices) > 1:
        with Fleet(bundle, devices, precision) as fleet:
            yield fleet
    else:
        yield Classifier(bundle, str(devices[0]), precision)


def _check_files(files: list[str], out: str) -> None:
    if not out or not all(files):
        raise UsageError("an empty name was given")
    for file in files:
        if Path(file).is_dir():
            raise UsageError(f"'{file}' is a folder; name the files in it")
        if not Path(file).exists():
            raise UsageError(f"there is no '{file}'")


def _canvas(model: str, size: int | None) -> Any:
    from dataclasses import replace  # noqa: PLC0415

    from dicomsort import bundle as bundles  # noqa: PLC0415

    preprocessing = bundles.load(bundles.locate(model)).preprocessing
    return preprocessing if size is None else replace(preprocessing, size=size)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"--out '{out}' cannot be written: {error.strerror}") from error


def _prepare_folder(out: Path) -> None:
    """Make the folder of a new bundle now, not after hours of training."""
    from dicomsort.bundle import check_name  # noqa: PLC0415

    try:
        check_name(out.resolve().name)
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UsageError(f"--out '{out}' is not an empty folder; choose another or empty it")
    except ValueError as error:
        raise UsageError(f"--out: {error}") from error
    except OSError as error:
        raise TargetError(f"--out '{out}' cannot be written: {error.strerror}") from error


def _write_card(out: Path, training: dict[str, Any], metrics: dict[str, Any]) -> None:
    import json  # noqa: PLC0415

    facts = json.dumps({"training": training, "metrics": metrics}, indent=2)
    text = f"# {out.resolve().name}\n\nTrained by dicomsort {__version__}. Not a medical device.\n"
    (out / "README.md").write_text(f"{text}\n```json\n{facts}\n```\n", encoding="utf-8")
