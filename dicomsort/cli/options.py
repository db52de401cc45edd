"""What the commands share: their options and their endings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console
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
from dicomsort.system.worker_pool import working_folder_is_gone

if TYPE_CHECKING:
    pass

READ = ReadSettings()
REMOTE = RemoteSettings()
_NOWHERE = "the current folder has been removed: change to another one, or give absolute paths"

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
Engine = Annotated[
    str, typer.Option(help="What runs the network: auto, openvino or torch; auto goes by the device.")
]
Evidence = Annotated[
    str,
    typer.Option(help="What labels rest on: header (pixels, and the header's age and apparatus) or pixels."),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, max=4096, help="Images a batch.", show_default="what suits the device")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="End with 3 also for files in trouble since earlier runs.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table; errors only.")]
Model = Annotated[str, typer.Option(help="A shipped model's name, or a bundle's folder.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Samples per frame beyond which a file is unsupported.")]
SecondaryCapture = Annotated[
    bool,
    typer.Option(
        "--include-secondary-capture",
        help="Read captures (and objects of no SOP class) of modality OT or none.",
    ),
]
Pictures = Annotated[
    bool, typer.Option("--pictures", help="Read PNG, JPEG, WebP, TIFF and BMP files as radiographs too.")
]
Connections = Annotated[
    int, typer.Option(min=1, max=1000, help="Requests at a time to an object store, a web server or a PACS.")
]
Output = Annotated[
    str,
    typer.Argument(
        help="An output folder, or its manifest.csv.", metavar="OUT", parser=output_of, show_default=False
    ),
]
By = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who decides, for the manifest.", show_default="the user's login"),
]
FurtherLabels = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME", help="A class besides those of the model.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Read what was placed again and compare checksums.")]
FromList = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Sort what is listed there: paths by line or NUL, or a CSV with a 'path' column; - for stdin.",
    ),
]
Timeout = Annotated[float, typer.Option(min=0.1, max=86400, help="Seconds that reading one file may take.")]
Data = Annotated[
    Path,
    typer.Argument(
        help="CSV with a 'file' column, or a folder with one sub-folder per class.", metavar="DATA"
    ),
]
Target = Annotated[str | None, typer.Option(help="The CSV column that holds the labels.")]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", help="The CSV column that holds the labels; several make several heads."),
]
Patient = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="The CSV column that tells patients apart; none: every file stands alone.",
        show_default="patient",
    ),
]
Part = Annotated[str, typer.Option(help="train, validation, test or all, by the (first) model's split.")]
Corrections = Annotated[
    Path | None, typer.Option(help="Labels to put right: CSV sha256,column,was,becomes,reason.")
]
Size = Annotated[int, typer.Option(min=32, max=1024, help="Side of the square canvas in pixels.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 10**5, help="Of everything that is drawn by lot.")]
Smooth = Annotated[str, typer.Option(help="Filter of the canvas: none, gaussian or median.")]


@contextmanager
def exit_codes(interrupted: str = "interrupted") -> Iterator[None]:
    """Turn what ends a command into one line and its exit code."""
    try:
        with names_missing_libraries():
            yield
    except DicomsortError as error:
        console.info(str(error))
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
