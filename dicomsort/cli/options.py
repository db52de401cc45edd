"""What the commands share: their options and their endings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from dicomsort.cli import console, settings
from dicomsort.cli.completion import check_device, devices, models
from dicomsort.cli.shown import DATA, DECISION, INPUT, MACHINE, MESSAGES, NODES, OUTPUT, READING
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import (
    DicomsortError,
    ExitCode,
    TargetError,
    UsageError,
    internal,
    names_missing_libraries,
)
from dicomsort.inputs.store import RemoteSettings
from dicomsort.manifest.names import output_of
from dicomsort.system import notices

READ = ReadSettings()
REMOTE = RemoteSettings()
RESUMABLE = "interrupted; the same command goes on where this one stopped"
_NOWHERE = "the current folder has been removed: change to another one, or give absolute paths"

AnyPrecision = Literal["auto", "float32", "bfloat16", "float16"]
AnyEngine = Literal["auto", "openvino", "torch"]
AnyEvidence = Literal["header", "pixels"]
AnyPart = Literal["train", "validation", "test", "all"]
AnySmooth = Literal["none", "gaussian", "median"]
"""The words that options take; the rooms below check them, too, and a test compares."""

Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        help="Reading processes.",
        show_default="number of processors",
        rich_help_panel=MACHINE,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda, cuda:n or mps.",
        rich_help_panel=MACHINE,
        metavar="DEVICE",
        autocompletion=devices,
        callback=check_device,
    ),
]
Devices = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto, cpu, cuda, cuda:n, cuda:0,cuda:1, cuda:all or mps.",
        rich_help_panel=MACHINE,
        metavar="DEVICES",
        autocompletion=devices,
        callback=check_device,
    ),
]
Precision = Annotated[
    AnyPrecision,
    typer.Option(
        help="Of the network; auto goes by the device.",
        rich_help_panel=MACHINE,
    ),
]
Engine = Annotated[
    AnyEngine,
    typer.Option(
        help="What runs the network; auto goes by the device.",
        rich_help_panel=MACHINE,
    ),
]
Evidence = Annotated[
    AnyEvidence,
    typer.Option(
        help="What labels rest on: header (pixels, and the header's age and apparatus) or pixels.",
        rich_help_panel=DECISION,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1, max=4096, help="Images a batch.", show_default="what suits the device", rich_help_panel=MACHINE
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout.", rich_help_panel=MESSAGES)
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress and no table; errors only.", rich_help_panel=MESSAGES),
]
Model = Annotated[
    str,
    typer.Option(
        help="A shipped model's name, or a bundle's folder.",
        rich_help_panel=DECISION,
        metavar="MODEL",
        autocompletion=models,
    ),
]
MaxPixels = Annotated[
    int,
    typer.Option(
        min=1, help="Samples per frame beyond which a file is unsupported.", rich_help_panel=READING
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="End with 3 also for files in trouble since earlier runs.", rich_help_panel=MESSAGES
    ),
]
ReviewBelow = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Confidence under which a file goes to review.",
        show_default="the model's",
        rich_help_panel=DECISION,
    ),
]
OkWithTrouble = Annotated[
    bool,
    typer.Option(
        "--ok-with-trouble",
        help="End with 0 where files in trouble alone would make it 3, for batch systems.",
        rich_help_panel=MESSAGES,
    ),
]
Share = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Sort shard I of N only; auto/N: that of this array task. `dicomsort merge` joins them.",
        rich_help_panel=NODES,
    ),
]
OtherVersions = Annotated[
    bool,
    typer.Option(
        "--allow-other-versions",
        help="Let nodes with other versions share a run; what differs is told.",
        rich_help_panel=NODES,
    ),
]
LockWait = Annotated[
    float | None,
    typer.Option(
        "--lock-wait",
        min=0.0,
        max=86400.0,
        metavar="SECONDS",
        help="How long to wait while another run has the output.",
        show_default="120 where shards or nodes share it, else 0",
        rich_help_panel=NODES,
    ),
]
SecondaryCapture = Annotated[
    bool,
    typer.Option(
        "--include-secondary-capture",
        help="Read captures (and objects of no SOP class) of modality OT or none.",
        rich_help_panel=READING,
    ),
]
Pictures = Annotated[
    bool,
    typer.Option(
        "--pictures",
        help="Read PNG, JPEG, WebP, TIFF and BMP files as radiographs too.",
        rich_help_panel=READING,
    ),
]
Connections = Annotated[
    int,
    typer.Option(
        min=1,
        max=1000,
        help="Requests at a time to an object store, a web server or a PACS.",
        rich_help_panel=INPUT,
    ),
]
Output = Annotated[
    str,
    typer.Argument(
        help="An output folder, or its manifest.csv.", metavar="OUT", parser=output_of, show_default=False
    ),
]
By = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Who decides, for the manifest.",
        show_default="the user's login",
        rich_help_panel=DECISION,
    ),
]
FurtherLabels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="NAME", help="A class besides those of the model.", rich_help_panel=DECISION
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify", help="Read what was placed again and compare checksums.", rich_help_panel=OUTPUT
    ),
]
FromList = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Sort what is listed there: paths by line or NUL, or a CSV with a 'path' column; - for stdin.",
        rich_help_panel=INPUT,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        min=0.1,
        max=86400,
        help="Time that reading one file may take.",
        rich_help_panel=READING,
        metavar="SECONDS",
    ),
]
Data = Annotated[
    Path,
    typer.Argument(
        help="CSV with a 'file' column, a folder with one sub-folder per class, or an output folder that "
        "was reviewed.",
        metavar="DATA",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(help="The CSV column that holds the labels.", rich_help_panel=DATA, metavar="COLUMN"),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="The CSV column that holds the labels; several make several heads.",
        rich_help_panel=DATA,
        metavar="COLUMN",
    ),
]
Patient = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="The CSV column that tells patients apart; none: every file stands alone.",
        show_default="patient",
        rich_help_panel=DATA,
    ),
]
Part = Annotated[
    AnyPart,
    typer.Option(help="Of the data, by the (first) model's split.", rich_help_panel=DATA),
]
Corrections = Annotated[
    Path | None,
    typer.Option(
        help="Labels to put right: CSV sha256,column,was,becomes,reason, or a reviewed output folder.",
        rich_help_panel=DATA,
        metavar="PATH",
    ),
]
Size = Annotated[
    int,
    typer.Option(
        min=32,
        max=1024,
        help="Side of the square canvas in pixels.",
        rich_help_panel=READING,
        metavar="PIXELS",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        min=0, max=2**32 - 10**5, help="Of everything that is drawn by lot.", rich_help_panel=MACHINE
    ),
]
Smooth = Annotated[AnySmooth, typer.Option(help="Filter of the canvas.", rich_help_panel=READING)]


@contextmanager
def exit_codes(interrupted: str = "interrupted") -> Iterator[None]:
    """Turn what ends a command into one line and its exit code."""
    from dicomsort.system.starting import working_folder_is_gone  # noqa: PLC0415

    try:
        with notices.heard(console.info), names_missing_libraries():
            yield
    except DicomsortError as error:
        console.info(f"{error}{settings.origins_in(str(error))}")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        console.info(interrupted)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except (typer.Exit, typer.Abort):
        raise
    except FileNotFoundError as error:
        gone = working_folder_is_gone()
        console.info(_NOWHERE if gone else internal(error))
        raise typer.Exit(ExitCode.USAGE if gone else ExitCode.INTERNAL) from None
    except Exception as error:  # noqa: BLE001  (its message may quote a header: tell the place only)
        console.info(internal(error))
        raise typer.Exit(ExitCode.INTERNAL) from None
    finally:
        console.close_log()


def check_strict(strict: bool, ok_with_trouble: bool) -> None:
    """Raise UsageError if trouble is to count for more and for nothing."""
    if strict and ok_with_trouble:
        raise UsageError("--strict and --ok-with-trouble contradict each other: give one of them")


def ending_of(ok_with_trouble: bool, *codes: int) -> int:
    """Return the first exit code that tells of something; with `ok_with_trouble`, files in trouble do not."""
    fine = (ExitCode.DONE, ExitCode.SOME_FAILED) if ok_with_trouble else (ExitCode.DONE,)
    return next((code for code in codes if code not in fine), ExitCode.DONE)


def make_folder(out: Path) -> None:
    """Make a folder for results. Raises TargetError if that fails."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"--out '{out}' cannot be written: {error.strerror}") from error


def check_folders(folder: Path, model: str, out: Path | None, what: str = "calibrated") -> None:
    """Raise UsageError unless a changed bundle may go into its folder, or into that of a copy."""
    from dicomsort.evaluation import calibrate as calibration  # noqa: PLC0415
    from dicomsort.model.bundle import shipped_models  # noqa: PLC0415

    if out is not None:
        calibration.check_target(out)
    elif folder.resolve().parent == shipped_models().resolve():
        raise UsageError(f"'{model}' is a shipped model and stays as it is; --out FOLDER makes a {what} copy")
