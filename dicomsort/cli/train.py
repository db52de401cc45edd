"""The command `train` and its options."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from dicomsort.cli import console
from dicomsort.cli.options import (
    AnyPrecision,
    AnySmooth,
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
from dicomsort.cli.shown import DATA, LEARNING, MACHINE, NETWORK, OUTPUT, SPLIT, START
from dicomsort.errors import ExitCode, check_installed


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(train)


def train(
    data: Data = Path("data"),
    target: Targets = None,
    patient: Patient = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the new bundle; its name is the model's.",
            rich_help_panel=OUTPUT,
            metavar="FOLDER",
        ),
    ] = Path("runs/model"),
    recipe: Annotated[
        Literal["imaging-router", "unifesp", "registry"] | None,
        typer.Option(help="A paper's settings.", rich_help_panel=LEARNING),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Network: mobilenet_v1, resnet18, ... or a timm name.",
            show_default="mobilenet_v1",
            rich_help_panel=NETWORK,
            metavar="NAME",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=32,
            max=1024,
            help="Side of the square canvas in pixels.",
            show_default="224",
            rich_help_panel=NETWORK,
            metavar="PIXELS",
        ),
    ] = None,
    auxiliary: Annotated[
        list[str] | None,
        typer.Option(
            help="A CSV column to learn from that the model is not to answer; may be given again.",
            rich_help_panel=DATA,
            metavar="COLUMN",
        ),
    ] = None,
    tree: Annotated[
        Path | None,
        typer.Option(
            help="CSV label,parent: what is answered for labels with fewer than 20 training images.",
            rich_help_panel=DATA,
            metavar="FILE",
        ),
    ] = None,
    smooth: Annotated[
        AnySmooth | None,
        typer.Option(help="Filter of the canvas.", show_default="none", rich_help_panel=NETWORK),
    ] = None,
    normalise: Annotated[
        Literal["network", "data", "unit"] | None,
        typer.Option(
            help="Grays as the network, the data or 0..1 want.",
            show_default="network",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: safetensors file, model (name or folder), hub (fetched) or none.",
            show_default="none",
            rich_help_panel=START,
            metavar="WEIGHTS",
        ),
    ] = None,
    probe: Annotated[
        bool | None,
        typer.Option(
            "--probe/--no-probe",
            help="Fit the last layer to the start's features first (LP-FT).",
            show_default="no-probe",
            rich_help_panel=START,
        ),
    ] = None,
    interpolate: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Weight of what was trained in the mean with the start (WiSE-FT).",
            show_default="1",
            rich_help_panel=START,
        ),
    ] = None,
    turned: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.9,
            help="Share of images turned by quarters, which a head 'rotation' learns to tell.",
            show_default="0: no such head",
            rich_help_panel=LEARNING,
            metavar="SHARE",
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Scores of the first target to learn from, too (distillation): CSV file,score_LABEL.",
            rich_help_panel=START,
            metavar="FILE",
        ),
    ] = None,
    teaching: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Weight of the teacher against the labels.",
            show_default="0.5",
            rich_help_panel=START,
        ),
    ] = None,
    further: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=100.0,
            help="Weight of every target but the first.",
            show_default="1",
            rich_help_panel=LEARNING,
            metavar="WEIGHT",
        ),
    ] = None,
    freeze: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=99,
            help="So many first stages keep their weights.",
            show_default="0",
            rich_help_panel=START,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10**6,
            help="Passes over the training part.",
            show_default="20",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=2, max=65536, help="Images a step.", show_default="32", rich_help_panel=LEARNING),
    ] = None,
    optimizer: Annotated[
        Literal["adam", "adamw"] | None,
        typer.Option(help="What takes the steps.", show_default="adamw", rich_help_panel=LEARNING),
    ] = None,
    schedule: Annotated[
        Literal["onecycle", "sgdr", "constant"] | None,
        typer.Option(
            help="Of the learning rate.",
            show_default="onecycle",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            min=1e-7,
            max=1.0,
            help="The highest.",
            show_default="1e-4",
            rich_help_panel=LEARNING,
            metavar="RATE",
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=10.0,
            help="Pull of the weights to zero.",
            show_default="0.02",
            rich_help_panel=LEARNING,
            metavar="RATE",
        ),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.9,
            help="Share of each label that is spread over the others.",
            show_default="0.05",
            rich_help_panel=LEARNING,
            metavar="SHARE",
        ),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.99999,
            help="Decay of averaged weights, 0: none.",
            show_default="0.998",
            rich_help_panel=LEARNING,
            metavar="DECAY",
        ),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(
            help="The CSV column of sources to be seen alike.", rich_help_panel=LEARNING, metavar="COLUMN"
        ),
    ] = None,
    balance_power: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="0: draw images as they come, 1: all classes alike.",
            show_default="0.5",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    adjust: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="In which part to take the classes' shares out of the answers.",
            show_default="1",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="none, light, standard, strong, and name=value behind it.",
            show_default="standard",
            rich_help_panel=LEARNING,
            metavar="CHANGES",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Stop after so many epochs without a better macro F1.",
            show_default="0: never",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    precision: Annotated[
        AnyPrecision | None,
        typer.Option(
            help="Of the network; auto goes by the device.", show_default="auto", rich_help_panel=MACHINE
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            help="A split to use instead of a new one: CSV sha256,part.",
            rich_help_panel=SPLIT,
            metavar="FILE",
        ),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(
            help="The CSV column that says train, validation or test.",
            rich_help_panel=SPLIT,
            metavar="COLUMN",
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            help="These files are the test part; may be given again.",
            metavar="COLUMN=VALUE",
            rich_help_panel=SPLIT,
        ),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help="Cross-validate: a number of folds, a CSV column, or a file VALUE,fold of one.",
            rich_help_panel=SPLIT,
            metavar="HOW",
        ),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            help="With --folds: list doubtful labels here (CSV, and a PNG beside it).",
            rich_help_panel=SPLIT,
            metavar="FILE",
        ),
    ] = None,
    corrections: Corrections = None,
    concat_by: Annotated[
        str | None,
        typer.Option(
            help="The CSV column of studies whose images go side by side on one canvas.",
            rich_help_panel=DATA,
            metavar="COLUMN",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for decoded pictures.",
            show_default="cache beside --out",
            rich_help_panel=MACHINE,
            metavar="FOLDER",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on where an interrupted training of the same settings was.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    graph: Annotated[
        bool,
        typer.Option(
            "--graph/--no-graph",
            help="Write graph.onnx, for processors without PyTorch.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
    seed: Seed = 0,
    device: Device = "auto",
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on labelled images and write it as a bundle.

    For example:
      dicomsort train labels.csv --target group --out runs/mine
      dicomsort train folders --out runs/mine --pretrained router5 --epochs 10
      dicomsort train labels.csv --target group --out runs/mine --resume
    """
    from dicomsort.cli import reporter  # noqa: PLC0415
    from dicomsort.system.worker_pool import somewhere  # noqa: PLC0415

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
                reporter.ConsoleReporter(quiet, tables=not json) if mine.is_main else SilentTraining(), graph,
            )  # fmt: skip
            with run_folder.alone(out) if mine.is_main else nullcontext():
                told, unread = job.cross_validate(audit) if folds is not None else job.train()
        if json and mine.is_main:
            console.print_json(told)
        if unread:
            raise typer.Exit(ExitCode.SOME_FAILED)
