"""Options of `train`: the network, and the weights that it starts from."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dicomsort.cli.options import AnySmooth
from dicomsort.cli.shown import NETWORK, START

Arch = Annotated[
    str | None,
    typer.Option(
        help="Network: mobilenet_v1, resnet18, ... or a timm name.",
        show_default="mobilenet_v1",
        rich_help_panel=NETWORK,
        metavar="NAME",
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        min=32,
        max=1024,
        help="Side of the square canvas in pixels.",
        show_default="224",
        rich_help_panel=NETWORK,
        metavar="PIXELS",
    ),
]
CanvasSmooth = Annotated[
    AnySmooth | None,
    typer.Option(help="Filter of the canvas.", show_default="none", rich_help_panel=NETWORK),
]
Normalise = Annotated[
    Literal["network", "data", "unit"] | None,
    typer.Option(
        help="Grays as the network, the data or 0..1 want.",
        show_default="network",
        rich_help_panel=NETWORK,
    ),
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        help="Weights to start from: safetensors file, model (name or folder), hub (fetched) or none.",
        show_default="none",
        rich_help_panel=START,
        metavar="WEIGHTS",
    ),
]
Probe = Annotated[
    bool | None,
    typer.Option(
        "--probe/--no-probe",
        help="Fit the last layer to the start's features first (LP-FT).",
        show_default="no-probe",
        rich_help_panel=START,
    ),
]
Interpolate = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Weight of what was trained in the mean with the start (WiSE-FT).",
        show_default="1",
        rich_help_panel=START,
    ),
]
Teacher = Annotated[
    Path | None,
    typer.Option(
        help="Scores of the first target to learn from, too (distillation): CSV file,score_LABEL.",
        rich_help_panel=START,
        metavar="FILE",
    ),
]
Teaching = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Weight of the teacher against the labels.",
        show_default="0.5",
        rich_help_panel=START,
    ),
]
Freeze = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=99,
        help="So many first stages keep their weights.",
        show_default="0",
        rich_help_panel=START,
    ),
]
Hidden = Annotated[
    list[int] | None,
    typer.Option(
        min=1,
        max=65536,
        help="A layer of so many units, with ReLU, before the scores; may be given again.",
        show_default="none",
        rich_help_panel=NETWORK,
        metavar="UNITS",
    ),
]
Dropout = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=0.9,
        help="Share of what the layers on top are given that training leaves out.",
        show_default="0",
        rich_help_panel=NETWORK,
        metavar="SHARE",
    ),
]
