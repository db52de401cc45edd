"""Options of `train`: how the network learns, and where that is kept."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dicomsort.cli.options import AnyPrecision
from dicomsort.cli.shown import DATA, LEARNING, MACHINE, OUTPUT

BundleFolder = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Folder of the new bundle; its name is the model's.",
        rich_help_panel=OUTPUT,
        metavar="FOLDER",
    ),
]
Recipe = Annotated[
    Literal["imaging-router", "unifesp", "registry"] | None,
    typer.Option(help="A paper's settings.", rich_help_panel=LEARNING),
]
Auxiliary = Annotated[
    list[str] | None,
    typer.Option(
        help="A CSV column to learn from that the model is not to answer; may be given again.",
        rich_help_panel=DATA,
        metavar="COLUMN",
    ),
]
Tree = Annotated[
    Path | None,
    typer.Option(
        help="CSV label,parent: what is answered for labels with fewer than 20 training images.",
        rich_help_panel=DATA,
        metavar="FILE",
    ),
]
Turned = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=0.9,
        help="Share of images turned by quarters, which a head 'rotation' learns to tell.",
        show_default="0: no such head",
        rich_help_panel=LEARNING,
        metavar="SHARE",
    ),
]
Further = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=100.0,
        help="Weight of every target but the first.",
        show_default="1",
        rich_help_panel=LEARNING,
        metavar="WEIGHT",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=10**6,
        help="Passes over the training part.",
        show_default="20",
        rich_help_panel=LEARNING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=2, max=65536, help="Images a step.", show_default="32", rich_help_panel=LEARNING),
]
Optimizer = Annotated[
    Literal["adam", "adamw"] | None,
    typer.Option(help="What takes the steps.", show_default="adamw", rich_help_panel=LEARNING),
]
Schedule = Annotated[
    Literal["onecycle", "sgdr", "constant"] | None,
    typer.Option(
        help="Of the learning rate.",
        show_default="onecycle",
        rich_help_panel=LEARNING,
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        min=1e-7,
        max=1.0,
        help="The highest.",
        show_default="1e-4",
        rich_help_panel=LEARNING,
        metavar="RATE",
    ),
]
WeightDecay = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=10.0,
        help="Pull of the weights to zero.",
        show_default="0.02",
        rich_help_panel=LEARNING,
        metavar="RATE",
    ),
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=0.9,
        help="Share of each label that is spread over the others.",
        show_default="0.05",
        rich_help_panel=LEARNING,
        metavar="SHARE",
    ),
]
Ema = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=0.99999,
        help="Decay of averaged weights, 0: none.",
        show_default="0.998",
        rich_help_panel=LEARNING,
        metavar="DECAY",
    ),
]
Balance = Annotated[
    str | None,
    typer.Option(
        help="The CSV column of sources to be seen alike.", rich_help_panel=LEARNING, metavar="COLUMN"
    ),
]
BalancePower = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="0: draw images as they come, 1: all classes alike.",
        show_default="0.5",
        rich_help_panel=LEARNING,
    ),
]
Adjust = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="In which part to take the classes' shares out of the answers.",
        show_default="1",
        rich_help_panel=LEARNING,
    ),
]
Augment = Annotated[
    str | None,
    typer.Option(
        help="none, light, standard, strong, and name=value behind it.",
        show_default="standard",
        rich_help_panel=LEARNING,
        metavar="CHANGES",
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Stop after so many epochs without a better macro F1.",
        show_default="0: never",
        rich_help_panel=LEARNING,
    ),
]
TrainingPrecision = Annotated[
    AnyPrecision | None,
    typer.Option(
        help="Of the network; auto goes by the device.", show_default="auto", rich_help_panel=MACHINE
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Folder for decoded pictures.",
        show_default="cache beside --out",
        rich_help_panel=MACHINE,
        metavar="FOLDER",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on where an interrupted training of the same settings was.",
        rich_help_panel=OUTPUT,
    ),
]
Graph = Annotated[
    bool,
    typer.Option(
        "--graph/--no-graph",
        help="Write graph.onnx, for processors without PyTorch.",
        rich_help_panel=OUTPUT,
    ),
]
