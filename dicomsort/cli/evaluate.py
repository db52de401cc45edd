"""The commands that measure a model: `eval` and `calibrate`."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomsort.cli import console, options, tell
from dicomsort.errors import ExitCode, UsageError
from dicomsort.system.worker_pool import pool_settings

if TYPE_CHECKING:
    from dicomsort.data.dataset import Data, Sample
    from dicomsort.evaluation.calibrate import HeadCalibration
    from dicomsort.evaluation.evaluate import Comparison, EvalSettings, Evaluation, ModelPredictions
    from dicomsort.evaluation.report import Results, Table
    from dicomsort.model.bundle import Bundle

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", help="A shipped model's name, or a bundle's folder; several are compared with the first.",
        show_default="router5",
    ),
]  # fmt: skip
Part = Annotated[str, typer.Option(help="train, validation, test or all, by the (first) model's split.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("eval")(evaluate)
    app.command("calibrate")(calibrate)


def evaluate(
    data: options.Data = Path("data"),
    target: options.Targets = None,
    patient: options.Patient = None,
    model: Models = None,
    part: Part = "test",
    by: Annotated[
        list[str] | None,
        typer.Option(help="A column, or header field, whose values have figures of their own."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Column of what is resampled as one; none: single images.", show_default="patient, "
                     "where there is such a column"),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Resamples for the 95 % intervals.")
    ] = 10_000,
    seed: options.Seed = 0,
    baseline: Annotated[
        bool | None,
        typer.Option("--baseline/--no-baseline", help="Compare with the most common class and a regression.",
                     show_default="with several models"),
    ] = None,
    corrections: options.Corrections = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html, metrics.json, predictions.csv and plots.")
    ] = None,
    batch_size: options.BatchSize = None,
    device: options.Devices = "auto",
    precision: options.Precision = "auto",
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Measure a model, or compare several, on labelled images.

    Exit codes: 0 all measured, 3 some files could not be read, 5 output not writable, 6 model unusable.
    """
    with options.exit_codes():
        from dicomsort.data import caveats  # noqa: PLC0415
        from dicomsort.data.table import NONE, PATIENT  # noqa: PLC0415
        from dicomsort.evaluation import evaluate as evaluation  # noqa: PLC0415
        from dicomsort.evaluation import report  # noqa: PLC0415
        from dicomsort.system.worker_pool import warm_up  # noqa: PLC0415

        if out is not None:
            if data.resolve().parent == out.resolve() and data.suffix == ".csv":
                raise UsageError(f"--out '{out}' is where the data lie; choose another folder")
            options.make_folder(out)
        warm_up()
        bundles = [_bundle(name) for name in model or ["router5"]]
        targets = tuple(dict.fromkeys(target or ()))
        settings = evaluation.EvalSettings(
            bootstrap,
            seed,
            _cluster(data, cluster, patient),
            tuple(by or ()),
            batch_size,
            pool_settings(workers),
            corrections,
            _patient(data, cluster, patient),
        )
        everything, samples = _samples(data, targets, bundles, part, settings)
        tell.lines(everything.remarks)
        alone = settings.cluster in (None, PATIENT) and not everything.has_patients
        if alone:
            settings = replace(settings, cluster=None)
        answered = _answered(bundles, samples, settings, (device, precision), quiet)
        found = evaluation.judge(_with_unread(answered, everything, part), targets, settings)
        wanted = len(bundles) > 1 if baseline is None else baseline
        standings, remarks = _standings(found, everything, settings, wanted, quiet)
        if alone and bootstrap and NONE not in (cluster, patient):
            remarks = (*remarks, caveats.RESAMPLED)
        remarks = (*remarks, *caveats.lines_of(one for each in answered for one in each.remarked))
        results = report.Results(found, standings, _overlaps(bundles, samples), part, settings, remarks)
        if out is not None:
            report.write(results, out)
        if json:
            console.print_json(report.as_json(results))
        elif not quiet:
            _tell(results, out)
        _tell_trouble(results, quiet or json)


def calibrate(
    model: Annotated[
        str, typer.Argument(help="A bundle's folder; it is changed, but for --out.", metavar="MODEL")
    ],
    data: options.Data,
    target: options.Targets = None,
    patient: options.Patient = None,
    part: Part = "validation",
    corrections: options.Corrections = None,
    target_precision: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of right answers among those that nobody reviews.")
    ] = 0.995,
    out: Annotated[
        Path | None, typer.Option(help="Folder of a calibrated copy; the model then stays as it is.")
    ] = None,
    batch_size: options.BatchSize = None,
    device: options.Devices = "auto",
    precision: options.Precision = "auto",
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Fit a model's confidence to labelled images that it was not trained on, and its threshold for review.

    Exit codes: 0 all done, 3 some files could not be read, 5 model or output not writable, 6 model unusable.
    """
    with options.exit_codes():
        from dicomsort.data import caveats  # noqa: PLC0415
        from dicomsort.evaluation import calibrate as calibration  # noqa: PLC0415
        from dicomsort.evaluation.evaluate import EvalSettings  # noqa: PLC0415
        from dicomsort.model import bundle as bundles  # noqa: PLC0415
        from dicomsort.model import load  # noqa: PLC0415

        folder = bundles.locate(model)
        _check_folders(folder, model, out)
        bundle = bundles.load(folder)
        settings = calibration.CalibrationSettings(target_precision, batch_size, pool_settings(workers))
        targets = tuple(dict.fromkeys(target or ()))
        asked = EvalSettings(corrections=corrections, patient=patient)
        everything, samples = _samples(data, targets, [bundle], part, asked)
        tell.lines(everything.remarks)
        with (
            load.predictor_for(bundle, device, precision) as predictor,
            console.counting("reading", len(samples), quiet) as count,
        ):
            logits = calibration.logits_of(predictor, samples, settings, count)
        tell.lines(caveats.lines_of(logits.remarked))
        changed, heads = calibration.calibrate(bundle, targets, logits, settings)
        changed = _stored(changed, folder, out)
        overlap = _overlaps([bundle], samples)[0]
        if json:
            report = {"model": changed.tag, "part": part, "heads": [asdict(head) for head in heads]}
            console.print_json({**report, "overlap_with_training": overlap["train"]})
        elif not quiet:
            _tell_calibration(heads, changed.tag, out or folder)
        if overlap["train"]:
            console.say(f"beware: {overlap['train']} of these files are in the train part of the split")
        failures = [*logits.failures, *_unread(everything, part)]
        tell.failures(failures)
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


def _check_folders(folder: Path, model: str, out: Path | None) -> None:
    from dicomsort.evaluation import calibrate as calibration  # noqa: PLC0415
    from dicomsort.model.bundle import shipped_models  # noqa: PLC0415

    if out is not None:
        calibration.check_target(out)
    elif folder.resolve().parent == shipped_models().resolve():
        raise UsageError(
            f"'{model}' is a shipped model and stays as it is; --out FOLDER makes a calibrated copy"
        )


def _bundle(name: str) -> "Bundle":
    from dicomsort.model import bundle as bundles  # noqa: PLC0415

    return bundles.load(bundles.locate(name))


def _cluster(data: Path, cluster: str | None, patient: str | None) -> str | None:
    """Name the column of what is resampled: as asked, else `patient`, whatever column tells them apart."""
    from dicomsort.data.table import NONE, PATIENT, columns_of, named  # noqa: PLC0415

    if cluster == PATIENT and patient == NONE:
        raise UsageError(f"--cluster {PATIENT} and --patient {NONE} exclude each other")
    if cluster is None:
        columns = columns_of(data)
        known = PATIENT in columns if patient is None else named(patient, columns) is not None
        return PATIENT if known and patient != NONE else None
    return None if cluster == NONE else cluster


def _patient(data: Path, cluster: str | None, patient: str | None) -> str | None:
    """Name the column of patients; who says what is resampled need not say also which they are."""
    from dicomsort.data.table import NONE, PATIENT, columns_of  # noqa: PLC0415

    if patient is not None or cluster in (None, PATIENT) or not data.is_file():
        return patient
    return PATIENT if PATIENT in columns_of(data) else NONE


def _samples(
    data: Path, targets: tuple[str, ...], bundles: Sequence["Bundle"], part: str, settings: "EvalSettings"
) -> "tuple[Data, Sequence[Sample]]":
    """Load a data set, and select a part of it by the first model's split. Raises UsageError if unfit."""
    from dicomsort.data import corrections, dataset  # noqa: PLC0415
    from dicomsort.data.table import columns_of  # noqa: PLC0415
    from dicomsort.evaluation import evaluate as evaluation  # noqa: PLC0415

    if part not in (*dataset.PARTS, "all"):
        raise UsageError(f"--part '{part}' is unknown: use {', '.join(dataset.PARTS)} or all")
    facts: tuple[str, ...] = ()
    if data.exists():
        facts = evaluation.facts_needed(columns_of(data), settings.cluster, settings.by, settings.patient)
    concat = {bundle.concat_by for bundle in bundles}
    if len(concat) > 1:
        raise UsageError(
            "some of the models look at whole studies, others at single images; measure them apart"
        )
    columns = dataset.Columns(targets, concat=concat.pop(), facts=facts, patient=settings.patient)
    everything, _ = corrections.load(data, columns, settings.corrections)
    if data.is_dir() and targets:
        raise UsageError(f"'{data}' is a folder of classes; --target names a column of a CSV")
    samples = dataset.in_part(everything.samples, bundles[0].split, part)
    if not samples:
        raise UsageError(f"no file of '{data}' is in the {part} part of the model's split; see --part")
    for bundle in bundles:
        evaluation.check(bundle.heads, targets, samples)
    return everything, samples


def _answered(
    bundles: Sequence["Bundle"],
    samples: Sequence["Sample"],
    settings: "EvalSettings",
    device: tuple[str, str],
    quiet: bool,
) -> list["ModelPredictions"]:
    from dicomsort.evaluation import evaluate as evaluation  # noqa: PLC0415
    from dicomsort.model import load  # noqa: PLC0415

    answered = []
    with console.counting("evaluating", len(bundles) * len(samples), quiet) as count:
        for bundle in bundles:
            with load.predictor_for(bundle, *device) as predictor:
                answered.append(evaluation.answer(predictor, samples, settings, count))
    return answered


def _unread(everything: "Data", part: str) -> Sequence[Any]:
    """Return the files that could not even be hashed; nobody knows their part, so they count for `test`."""
    return everything.unread if part in ("test", "all") else ()


def _with_unread(
    answered: Sequence["ModelPredictions"], everything: "Data", part: str
) -> list["ModelPredictions"]:
    more = tuple(_unread(everything, part))
    return [replace(each, failures=(*each.failures, *more)) for each in answered]


def _standings(
    found: Sequence["Evaluation"], everything: "Data", settings: "EvalSettings", baseline: bool, quiet: bool
) -> "tuple[dict[str, tuple[Comparison, ...]], tuple[str, ...]]":
    """Compare several models, and baselines if they are wanted; nothing for one model alone."""
    from dicomsort.evaluation import evaluate as evaluation  # noqa: PLC0415
    from dicomsort.evaluation import report  # noqa: PLC0415

    extra, remarks = _baselines(found[0], everything, settings, quiet) if baseline else ([], ())
    if len(found) == 1 and not extra:
        return {}, remarks
    names, standings = report.names_of(found), {}
    for index, first in enumerate(found[0].measured):
        contenders = {name: one.measured[index].answers for name, one in zip(names, found, strict=True)}
        contenders |= extra[index] if extra else {}
        standings[first.question.target] = evaluation.stand(contenders, first.figures, settings)
    return standings, remarks


def _baselines(
    first: "Evaluation", everything: "Data", settings: "EvalSettings", quiet: bool
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    from dicomsort.data import dataset  # noqa: PLC0415
    from dicomsort.evaluation import baselines as base  # noqa: PLC0415

    trained = dataset.listed(everything.samples, first.answered.bundle.split, dataset.TRAIN)
    needed = {id(one.sample): one.sample for one in first.answered.predictions} if trained else {}
    needed |= {id(sample): sample for sample in trained}
    with console.counting("reading for the baseline", len(needed), quiet) as count:
        pixels = base.read_pixels(list(needed.values()), settings, count)
    made = [base.baselines(measured, trained, pixels) for measured in first.measured]
    return [one.answers for one in made], tuple(remark for one in made for remark in one.remarks)


def _overlaps(bundles: Sequence["Bundle"], samples: Sequence["Sample"]) -> tuple[dict[str, int], ...]:
    """Count for each model the samples that it has seen."""
    from dicomsort.data import dataset  # noqa: PLC0415

    seen = (dataset.TRAIN, dataset.VALIDATION)
    return tuple({part: len(dataset.listed(samples, one.split, part)) for part in seen} for one in bundles)


def _tell(results: "Results", out: Path | None) -> None:
    from dicomsort.evaluation import report  # noqa: PLC0415

    for name, one in zip(report.names_of(results.evaluations), results.evaluations, strict=True):
        console.say(f"{name} on {results.part}, with 95 % bootstrap intervals")
        for measured in one.measured:
            for table in report.tables_of(measured):
                _show(table)
    for target, standings in results.standings.items():
        _show(report.comparison_table(target, standings))
    if out is not None:
        console.say(
            f"wrote {out / 'report.html'}, with metrics.json, predictions.csv and the plots beside it"
        )


def _show(table: "Table") -> None:
    shown = table.narrow()
    console.table(shown.title, shown.columns, shown.rows, right=range(1, len(shown.columns)))


def _tell_trouble(results: "Results", briefly: bool) -> None:
    """Tell what the figures must not be taken for, and what could not be read: that ends with code 3."""
    from dicomsort.evaluation import report  # noqa: PLC0415

    for line in report.lines_of(results):
        if not briefly or line.startswith("beware"):
            console.say(line)
    failures = {sample.name: (sample, failure) for one in results.evaluations
                for sample, failure in one.answered.failures}  # fmt: skip
    tell.failures(list(failures.values()))
    if failures:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _tell_calibration(heads: Sequence["HeadCalibration"], tag: str, folder: Path) -> None:
    rows = [
        [
            head.head,
            str(head.images),
            f"{head.temperature_before:.3f} -> {head.temperature:.3f}",
            f"{head.ece_before:.4f} -> {head.ece:.4f}",
            f"{head.log_loss_before:.4f} -> {head.log_loss:.4f}",
            f"{head.review_below:.4f}",
            "-" if head.precision is None else f"{100 * head.precision:.2f} %",
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
    console.table(f"calibration of {tag}", [*columns, "to review"], rows, right=range(1, 8))
    for head in heads:
        if not head.reached:
            console.say(
                f"'{head.head}': no confidence makes enough answers right, its threshold is left as it was"
            )
        if head.thresholds:
            console.say(
                f"thresholds of '{head.head}': {', '.join(f'{each:.3f}' for each in head.thresholds)}"
            )
    console.say(f"wrote {folder} ({tag})")
