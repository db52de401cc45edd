"""The command `train` and its options."""

from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dicomsort.cli import console
from dicomsort.cli.adapt import INTERRUPTED, Adapt, adapt_model
from dicomsort.cli.division import (
    Audit,
    ConcatBy,
    Folds,
    HoldOut,
    MergeRare,
    Rare,
    Split,
    SplitColumn,
    checked_division,
)
from dicomsort.cli.learning import (
    Adjust,
    Augment,
    Auxiliary,
    Balance,
    BalancePower,
    BatchSize,
    BundleFolder,
    Cache,
    Ema,
    Epochs,
    Further,
    Graph,
    LabelSmoothing,
    LearningRate,
    Optimizer,
    Patience,
    Recipe,
    Resume,
    Schedule,
    TrainingPrecision,
    Tree,
    Turned,
    WeightDecay,
)
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
from dicomsort.cli.start import (
    Arch,
    CanvasSmooth,
    Dropout,
    Freeze,
    Hidden,
    Interpolate,
    Normalise,
    Pretrained,
    Probe,
    Size,
    Teacher,
    Teaching,
)
from dicomsort.cli.views import ViewColumn
from dicomsort.errors import ExitCode, check_installed

if TYPE_CHECKING:
    from dicomsort.training.recipe import Recipe as TrainingRecipe

_INTERRUPTED = "interrupted; the same command with --resume goes on after the last whole epoch"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(train)


def train(
    data: Data = Path("data"),
    target: Targets = None,
    patient: Patient = None,
    out: BundleFolder = Path("runs/model"),
    recipe: Recipe = None,
    arch: Arch = None,
    size: Size = None,
    hidden: Hidden = None,
    dropout: Dropout = None,
    auxiliary: Auxiliary = None,
    tree: Tree = None,
    smooth: CanvasSmooth = None,
    normalise: Normalise = None,
    pretrained: Pretrained = None,
    adapt: Adapt = None,
    probe: Probe = None,
    interpolate: Interpolate = None,
    turned: Turned = None,
    teacher: Teacher = None,
    teaching: Teaching = None,
    further: Further = None,
    freeze: Freeze = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    optimizer: Optimizer = None,
    schedule: Schedule = None,
    learning_rate: LearningRate = None,
    weight_decay: WeightDecay = None,
    label_smoothing: LabelSmoothing = None,
    ema: Ema = None,
    balance: Balance = None,
    balance_power: BalancePower = None,
    adjust: Adjust = None,
    augment: Augment = None,
    patience: Patience = None,
    precision: TrainingPrecision = None,
    split: Split = None,
    split_column: SplitColumn = None,
    hold_out: HoldOut = None,
    folds: Folds = None,
    rare: Rare = None,
    merge_rare: MergeRare = None,
    audit: Audit = None,
    corrections: Corrections = None,
    concat_by: ConcatBy = None,
    view_column: ViewColumn = None,
    cache: Cache = None,
    resume: Resume = False,
    graph: Graph = True,
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
      dicomsort train sorted --adapt router5 --out runs/here
    """
    from dicomsort.cli import reporter  # noqa: PLC0415
    from dicomsort.system.starting import somewhere  # noqa: PLC0415

    with exit_codes(_INTERRUPTED if adapt is None else INTERRUPTED), ExitStack() as stack:
        from dicomsort.training import run_folder  # noqa: PLC0415
        from dicomsort.training.recipe import NO_WEIGHTS, make_recipe, weights_of  # noqa: PLC0415

        check_installed("training", "torch", "torchvision", "timm", "sklearn", "matplotlib")
        weights_of(pretrained or NO_WEIGHTS)  # before PyTorch is loaded, which takes seconds
        run_folder.check_audit(audit, folds, out)
        store = cache or out.resolve().parent / "cache"
        stack.enter_context(run_folder.prepared(out, resume, store, audit))
        with somewhere():  # PyTorch and its MKL ask where they are
            from dicomsort.training.distributed import ranks  # noqa: PLC0415
        from dicomsort.training.label_tree import read_tree  # noqa: PLC0415
        from dicomsort.training.run import SilentTraining, TrainingRun  # noqa: PLC0415

        division = checked_division(split, split_column, hold_out, folds, rare, merge_rare)
        given = {
                "arch": arch, "size": size, "smooth": smooth, "normalise": normalise,
                "pretrained": pretrained, "freeze": freeze, "epochs": epochs, "batch_size": batch_size,
                "optimizer": optimizer, "schedule": schedule, "learning_rate": learning_rate,
                "weight_decay": weight_decay, "label_smoothing": label_smoothing, "ema": ema,
                "balance": balance_power, "balance_by": balance, "adjust": adjust, "augment": augment,
                "patience": patience, "seed": seed, "precision": precision, "concat_by": concat_by,
                "view_column": view_column,
                "auxiliary": tuple(dict.fromkeys(auxiliary)) if auxiliary else None,
                "probe": probe, "interpolate": interpolate, "turned": turned, "further": further,
                "teacher": None if teacher is None else str(teacher), "teaching": teaching,
                "hidden": tuple(hidden) if hidden else None, "dropout": dropout,
                "tree": None if tree is None else read_tree(tree),
        }  # fmt: skip
        if adapt is not None:
            others: dict[str, Any] = {
                "recipe": recipe, "split": split, "split_column": split_column, "hold_out": hold_out,
                "folds": folds, "rare": rare, "merge_rare": merge_rare, "audit": audit, "resume": resume,
                "no_graph": not graph,
            }  # fmt: skip
            told, unread = adapt_model(
                adapt, data, out, store, targets=tuple(target or ()), patient=patient,
                corrections=corrections, workers=workers, seed=seed, device=device, quiet=quiet, json=json,
                given={**given, **others},
            )  # fmt: skip
            _end(told, unread, json=json)
            return
        settings = make_recipe(recipe, given)
        with ranks(device) as mine:
            loud = mine.is_main and not quiet
            if loud:
                _tell_start(recipe, settings)
            job = TrainingRun(
                data, out, store, settings, mine, tuple(target or ()),
                division, workers, resume, corrections, patient,
                reporter.ConsoleReporter(quiet, tables=not json) if mine.is_main else SilentTraining(), graph,
            )  # fmt: skip
            with run_folder.alone(out) if mine.is_main else nullcontext():
                told, unread = job.cross_validate(audit) if folds is not None else job.train()
        _end(told, unread, json=json and mine.is_main)


def _tell_start(recipe: str | None, settings: "TrainingRecipe") -> None:
    """Say by whose settings is trained, and what it starts from."""
    from dicomsort.training.recipe import HUB, RECIPES  # noqa: PLC0415

    if recipe is not None:
        console.info(f"recipe {recipe}: {RECIPES[recipe][1]}")
    if settings.pretrained == HUB:
        console.info("fetching weights; without a network connection this gives up after a minute")
    elif settings.pretrained is not None:
        start = settings.as_dict()["pretrained"]
        console.info(f"starts from {start}: {settings.arch}, {settings.size} pixels")


def _end(told: Mapping[str, Any], unread: int, *, json: bool) -> None:
    if json:
        console.print_json(told)
    if unread:
        raise typer.Exit(ExitCode.SOME_FAILED)
