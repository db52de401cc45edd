"""Words to settings, results to words, exit codes."""

import signal
import sys
from typing import Annotated, NoReturn

import typer

from dicomsort import __version__
from dicomsort.cli import console
from dicomsort.cli.program import Entry, Program
from dicomsort.errors import ExitCode

_SORT, _LOOK, _ON = "Sort", "Look and decide", "Hand on"
_TRAIN, _PROGRAM = "Train and measure", "The program"

COMMANDS = {
    "classify": Entry("sort", _SORT, "Sort DICOM files into a folder per class."),
    "apply": Entry("sort", _SORT, "Place the files that a dry run has planned."),
    "undo": Entry("sort", _SORT, "Take back what a run has placed."),
    "merge": Entry("merge", _SORT, "Join the shards of an output into one manifest."),
    "status": Entry("status", _SORT, "Tell how far an output is, and what is next."),
    "health": Entry("watch", _SORT, "Tell whether a run with --watch is well."),
    "review": Entry("review", _LOOK, "Look at what was sorted, and decide."),
    "correct": Entry("correct", _LOOK, "Decide on files as a table says."),
    "report": Entry("report", _LOOK, "Write a page of figures and pictures."),
    "render": Entry("report", _LOOK, "Write what the network sees as PNG."),
    "audit": Entry("audit", _LOOK, "Hold tags against what the pixels say."),
    "annotate": Entry("annotate", _ON, "Write body part and view into DICOM."),
    "registry": Entry("registry", _ON, "Write a table of patients, without names."),
    "export": Entry("export", _ON, "Make a data set, by patients."),
    "send": Entry("send", _ON, "Send files to a PACS."),
    "label": Entry("label", _ON, "Put labels into an Orthanc."),
    "mercure": Entry("mercure", _ON, "Be a processing module of mercure."),
    "train": Entry("train", _TRAIN, "Train a model on labeled images."),
    "eval": Entry("evaluate", _TRAIN, "Measure models on labeled images."),
    "calibrate": Entry("evaluate", _TRAIN, "Fit a model's confidence and threshold."),
    "preview": Entry("inspect", _TRAIN, "Show what training makes of images."),
    "stats": Entry("inspect", _TRAIN, "Count what a data set holds."),
    "models": Entry("models", _TRAIN, "List the models to choose from."),
    "model": Entry("model", _TRAIN, "Add to a model: graph, evidence, anatomy."),
    "doctor": Entry("doctor", _PROGRAM, "Try what works here; for a bug report."),
    "config": Entry("configuration", _PROGRAM, "Show the settings in force, and where from."),
}
"""Every command: the module of this room that registers it, its heading and its words in the list.

The module is loaded only once its command is named, so that `dicomsort --help` stays quick.
"""


class _Dicomsort(Program):
    """The program with its commands."""

    entries = COMMANDS


app = typer.Typer(
    cls=_Dicomsort,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> NoReturn:
    """Run the command line; the entry point of `dicomsort`. SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(prog_name="dicomsort")
    except KeyboardInterrupt:
        console.info("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except OSError as error:  # of --help and --version: a command's own ends in a line already
        console.info(str(console.no_stdout(error)))
        sys.exit(ExitCode.TARGET)
    sys.exit(ExitCode.DONE)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dicomsort {__version__}", flush=True)  # noqa: T201
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
