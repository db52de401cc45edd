"""The commands that measure a model: `eval` and `calibrate`."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console, figures, options, progress, reporter
from dicomsort.cli.completion import models
from dicomsort.cli.shown import DECISION, OUTPUT
from dicomsort.errors import ExitCode, UsageError, check_installed
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.starting import warm_up

if TYPE_CHECKING:
    from dicomsort.evaluation.calibrate import HeadCalibration
    from dicomsort.model.bundle import Bundle


Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="A shipped model's name, or a bundle's folder; several are compared with the first.",
        show_default="router5",
        rich_help_panel=DECISION,
        metavar="MODEL",
        autocompletion=models,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("eval")(evaluate)
    app.command("calibrate")(calibrate)


def evaluate(
    data: options.Data = Path("data"),
    target: options.Targets = None,
    patient: options.Patient = None,
    model: Models = None,
    part: options.Part = "test",
    by: figures.By = None,
    at: figures.At = None,
    cluster: figures.Cluster = None,
    bootstrap: figures.Bootstrap = 10_000,
    seed: options.Seed = 0,
    evidence: options.Evidence = "header",
    baseline: figures.Baseline = None,
    names: figures.Map = None,
    corrections: options.Corrections = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for report.html, metrics.json, predictions.csv and plots.",
            rich_help_panel=OUTPUT,
            metavar="FOLDER",
        ),
    ] = None,
    cache: figures.CacheFolder = None,
    batch_size: options.BatchSize = None,
    device: options.Devices = "auto",
    precision: options.Precision = "auto",
    engine: options.Engine = "auto",
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure a model, or compare several, on labelled images.

    Exit codes: 0 all measured, 3 some files could not be read, 5 output not writable, 6 model unusable.

    For example:
      dicomsort eval labels.csv --target group --out figures
      dicomsort eval labels.csv --target group --model router5 --model runs/mine
      dicomsort eval labels.csv --target ill --model runs/ill --at sensitivity=0.95
    """
    with options.exit_codes(), progress.loading(quiet or json):
        if out is not None:
            check_installed("--out (report.html and the plots)", "matplotlib", "sklearn")
        warm_up()
        from dicomsort.data.dataset import places_of  # noqa: PLC0415
        from dicomsort.evaluation import mapping, operating  # noqa: PLC0415
        from dicomsort.evaluation.predictions import EvalSettings  # noqa: PLC0415
        from dicomsort.evaluation.run import evaluate_models  # noqa: PLC0415
        from dicomsort.model import bundle as bundles  # noqa: PLC0415

        if out is not None:
            if out.resolve() in places_of(data):
                raise UsageError(f"--out '{out}' is where the data lie; choose another folder")
            options.make_folder(out)
        models = [bundles.load(bundles.locate(name)) for name in model or ["router5"]]
        settings = EvalSettings(
            bootstrap=bootstrap, seed=seed, cluster=cluster, by=tuple(by or ()), batch_size=batch_size,
            pool=pool_settings(workers), corrections=corrections, patient=patient, part=part,
            baseline=baseline, device=device, precision=precision, engine=engine, evidence=evidence,
            at=tuple(map(operating.goal_of, at or ())), mapping=mapping.names_of(names or ()), cache=cache,
        )  # fmt: skip
        targets = tuple(dict.fromkeys(target or ()))
        results = evaluate_models(data, models, targets, settings, reporter.ConsoleReporter(quiet))
        if out is not None:
            progress.loading.doing("drawing the figures")
            results.save(out)
        progress.loading.done()
        if json or quiet:
            figures.tell_warnings(results)
        else:
            figures.tell(results, out)
        if json:
            console.print_json(results.as_dict())
        figures.tell_unread(results)


def calibrate(
    model: Annotated[
        str,
        typer.Argument(
            help="A bundle's folder; it is changed, but for --out.", metavar="MODEL", autocompletion=models
        ),
    ],
    data: options.Data,
    target: options.Targets = None,
    patient: options.Patient = None,
    part: options.Part = "validation",
    corrections: options.Corrections = None,
    target_precision: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1.0,
            help="Share of right answers among those that nobody reviews.",
            rich_help_panel=DECISION,
            metavar="SHARE",
        ),
    ] = 0.99,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of a calibrated copy; the model then stays as it is.",
            rich_help_panel=OUTPUT,
            metavar="FOLDER",
        ),
    ] = None,
    batch_size: options.BatchSize = None,
    device: options.Devices = "auto",
    precision: options.Precision = "auto",
    engine: options.Engine = "auto",
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Fit a model's confidence to labelled images that it was not trained on, and its threshold for review.

    Exit codes: 0 all done, 3 some files could not be read, 5 model or output not writable, 6 model unusable.

    For example:
      dicomsort calibrate runs/mine labels.csv --target group --out runs/sure
    """
    with options.exit_codes(), progress.loading(quiet or json):
        warm_up()
        from dicomsort.data import caveats, dataset  # noqa: PLC0415
        from dicomsort.evaluation import calibrate as calibration  # noqa: PLC0415
        from dicomsort.evaluation import run  # noqa: PLC0415
        from dicomsort.evaluation.predictions import EvalSettings  # noqa: PLC0415
        from dicomsort.model import bundle as bundles  # noqa: PLC0415
        from dicomsort.model import load  # noqa: PLC0415

        folder = bundles.locate(model)
        options.check_folders(folder, model, out)
        bundle = bundles.load(folder)
        settings = calibration.CalibrationSettings(target_precision, batch_size, pool_settings(workers))
        targets = dataset.asked(data, tuple(dict.fromkeys(target or ())))
        asked = EvalSettings(corrections=corrections, patient=patient, part=part)
        loaded, samples = run.load_part(data, targets, [bundle], asked)
        console.report_lines(loaded.remarks)
        with (
            load.predictor_for(bundle, device, precision, engine) as predictor,
            progress.counting("reading", len(samples), quiet) as count,
        ):
            logits = calibration.logits_of(predictor, samples, settings, count)
        console.report_lines(caveats.lines_of(logits.remarked))
        changed, heads = calibration.calibrate(bundle, targets, logits, settings)
        changed = _stored(changed, folder, out)
        overlap = run.overlaps([bundle], samples)[0]
        if json:
            report = {"model": changed.tag, "part": part, "heads": [asdict(head) for head in heads]}
            console.print_json({**report, "overlap_with_training": overlap["train"]})
        elif not quiet:
            _tell_calibration(heads, changed.tag, out or folder)
        if overlap["train"]:
            console.info(f"warning: {overlap['train']} of these files are in the train part of the split")
        failures = [*logits.failures, *run.unread_in(loaded, part)]
        console.report_failures(failures)
        if failures:
            raise typer.Exit(ExitCode.SOME_FAILED)


def _stored(changed: "Bundle", folder: Path, out: Path | None) -> "Bundle":
    """Write a calibrated bundle where it came from, or as one of another name."""
    from dicomsort.evaluation import calibrate as calibration  # noqa: PLC0415

    if out is None:
        calibration.store(changed, folder)
        return changed
    copy = replace(changed, name=out.resolve().name)
    copy.save(out)
    return copy


def _tell_calibration(heads: Sequence["HeadCalibration"], tag: str, folder: Path) -> None:
    from dicomsort.evaluation import guarantee  # noqa: PLC0415

    rows = [
        [
            head.head,
            str(head.images),
            f"{head.temperature_before:.3f} -> {head.temperature:.3f}",
            f"{head.ece_before:.4f} -> {head.ece:.4f}",
            f"{head.log_loss_before:.4f} -> {head.log_loss:.4f}",
            f"{head.review_below:.4f}",
            "-" if head.precision is None else f"{100 * head.precision:.2f} %",
            f"{100 * head.guarantee.target:g} %" if head.guarantee.guaranteed else "no",
            f"{100 * (1 - head.coverage):.1f} %",
        ]
        for head in heads
    ]
    columns = [
        "head",
        "images",
        "temperature",
        "calibration error",
        "log loss",
        "review below",
        "right above",
    ]
    columns += ["guaranteed", "to review"]
    console.table(f"calibration of {tag}", columns, rows, right=range(1, len(columns)))
    for head in heads:
        if not head.reached:
            console.info(
                f"'{head.head}': no confidence makes enough answers right, its threshold is left as it was"
            )
        for line in guarantee.said(head.head, head.guarantee):
            console.info(line)
        if head.thresholds:
            console.info(
                f"thresholds of '{head.head}': {', '.join(f'{each:.3f}' for each in head.thresholds)}"
            )
    console.info(f"wrote {folder} ({tag})")
