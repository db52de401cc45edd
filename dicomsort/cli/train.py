"""The command `train` and its options."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from dicomsort.cli import console, reporter
from dicomsort.cli.options import (
    Corrections,
    Data,
    Device,
    Json,
    Patient,
    Quiet,
    Seed,
    Targets,
    Workers,
    exit_codes,
)
from dicomsort.errors import ExitCode, check_installed
from dicomsort.system.worker_pool import somewhere


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(train)


def train(
    data: Data = Path("data"),
    target: Targets = None,
    patient: Patient = None,
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; its name is the model's.")] = Path(
        "runs/model"
    ),
    recipe: Annotated[
        str | None, typer.Option(help="A paper's settings: imaging-router, unifesp or registry.")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Network: mobilenet_v1, resnet18, ... or a timm name.", show_default="mobilenet_v1"
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=32, max=1024, help="Side of the square canvas in pixels.", show_default="224"),
    ] = None,
    auxiliary: Annotated[
        list[str] | None,
        typer.Option(help="A CSV column to learn from that the model is not to answer; may be given again."),
    ] = None,
    tree: Annotated[
        Path | None,
        typer.Option(
            help="CSV label,parent: what is answered for labels with fewer than 20 training images."
        ),
    ] = None,
    smooth: Annotated[
        str | None, typer.Option(help="Filter of the canvas: none, gaussian, median.", show_default="none")
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(
            help="Greys as the network, the data or 0..1 want: network, data, unit.", show_default="network"
        ),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: safetensors file, model (name or folder), hub (fetched) or none.",
            show_default="none",
        ),
    ] = None,
    probe: Annotated[
        bool | None,
        typer.Option(
            "--probe/--no-probe",
            help="Fit the last layer to the start's features first (LP-FT).",
            show_default="no-probe",
        ),
    ] = None,
    interpolate: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Weight of what was trained in the mean with the start (WiSE-FT).",
            show_default="1",
        ),
    ] = None,
    turned: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.9,
            help="Share of images turned by quarters, which a head 'rotation' learns to tell.",
            show_default="0: no such head",
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Scores of the first target to learn from, too (distillation): CSV file,score_LABEL."
        ),
    ] = None,
    teaching: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Weight of the teacher against the labels.", show_default="0.5"),
    ] = None,
    further: Annotated[
        float | None,
        typer.Option(min=0.0, max=100.0, help="Weight of every target but the first.", show_default="1"),
    ] = None,
    freeze: Annotated[
        int | None,
        typer.Option(min=0, max=99, help="So many first stages keep their weights.", show_default="0"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, max=10**6, help="Passes over the training part.", show_default="20")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, max=65536, help="Images a step.", show_default="32")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam or adamw.", show_default="adamw")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="Of the learning rate: onecycle, sgdr or constant.", show_default="onecycle"),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-7, max=1.0, help="The highest.", show_default="1e-4")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0.0, max=10.0, show_default="0.02")] = None,
    label_smoothing: Annotated[float | None, typer.Option(min=0.0, max=0.9, show_default="0.05")] = None,
    ema: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.99999, help="Decay of averaged weights, 0: none.", show_default="0.998"),
    ] = None,
    balance: Annotated[str | None, typer.Option(help="The CSV column of sources to be seen alike.")] = None,
    balance_power: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="0: draw images as they come, 1: all classes alike.", show_default="0.5"
        ),
    ] = None,
    adjust: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="In which part to take the classes' shares out of the answers.",
            show_default="1",
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="none, light, standard, strong, and name=value behind it.", show_default="standard"
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=0, help="Stop after so many epochs without a better macro F1.", show_default="0: never"
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32, bfloat16 or float16.", show_default="auto")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="A split to use instead of a new one: CSV sha256,part.")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option(help="The CSV column that says train, validation or test.")
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            help="COLUMN=VALUE: these files are the test part; may be given again.", metavar="COLUMN=VALUE"
        ),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(help="Cross-validate: a number of folds, a CSV column, or a file VALUE,fold of one."),
    ] = None,
    audit: Annotated[
        Path | None, typer.Option(help="With --folds: list doubtful labels here (CSV, and a PNG beside it).")
    ] = None,
    corrections: Corrections = None,
    concat_by: Annotated[
        str | None, typer.Option(help="The CSV column of studies whose images go side by side on one canvas.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for decoded pictures.", show_default="cache beside --out")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted training of the same settings was.")
    ] = False,
    graph: Annotated[
        bool,
        typer.Option("--graph/--no-graph", help="Write graph.onnx, for processors without PyTorch."),
    ] = True,
    seed: Seed = 0,
    device: Device = "auto",
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on labelled images and write it as a bundle."""
    with exit_codes("interrupted; the same command with --resume goes on after the last whole epoch"):
        from dicomsort.training import run_folder  # noqa: PLC0415
        from dicomsort.training.recipe import HUB, NO_WEIGHTS, RECIPES, make_recipe, weights_of  # noqa: PLC0415

        check_installed("training", "torch", "torchvision", "timm", "sklearn", "matplotlib")
        weights_of(pretrained or NO_WEIGHTS)  # before PyTorch is loaded, which takes seconds
        run_folder.check_audit(audit, folds, out)
        store = cache or out.resolve().parent / "cache"
        run_folder.prepare(out, resume, store)
        with somewhere():  # PyTorch and its MKL ask where they are
            from dicomsort.training.distributed import ranks  # noqa: PLC0415
        from dicomsort.training.label_tree import read_tree  # noqa: PLC0415
        from dicomsort.training.run import SilentTraining, SplitOptions, TrainingRun  # noqa: PLC0415

        division = SplitOptions(split, split_column, tuple(hold_out or ()), folds)
        division.check()
        settings = make_recipe(
            recipe,
            {
                "arch": arch, "size": size, "smooth": smooth, "normalise": normalise,
                "pretrained": pretrained, "freeze": freeze, "epochs": epochs, "batch_size": batch_size,
                "optimizer": optimizer, "schedule": schedule, "learning_rate": learning_rate,
                "weight_decay": weight_decay, "label_smoothing": label_smoothing, "ema": ema,
                "balance": balance_power, "balance_by": balance, "adjust": adjust, "augment": augment,
                "patience": patience, "seed": seed, "precision": precision, "concat_by": concat_by,
                "auxiliary": tuple(dict.fromkeys(auxiliary)) if auxiliary else None,
                "probe": probe, "interpolate": interpolate, "turned": turned, "further": further,
                "teacher": None if teacher is None else str(teacher), "teaching": teaching,
                "tree": None if tree is None else read_tree(tree),
            },
        )  # fmt: skip
        with ranks(device) as mine:
            loud = mine.is_main and not quiet
            if recipe is not None and loud:
                console.info(f"recipe {recipe}: {RECIPES[recipe][1]}")
            if settings.pretrained == HUB and loud:
                console.info("fetching weights; without a network connection this gives up after a minute")
            job = TrainingRun(
                data, out, store, settings, mine, tuple(target or ()),
                division, workers, resume, corrections, patient,
                reporter.ConsoleReporter(quiet) if mine.is_main else SilentTraining(), graph,
            )  # fmt: skip
            with run_folder.alone(out) if mine.is_main else nullcontext():
                told, unread = job.cross_validate(audit) if folds is not None else job.train()
        if json and mine.is_main:
            console.print_json(told)
        if unread:
            raise typer.Exit(ExitCode.SOME_FAILED)
