"""The folder that a training writes into: nothing else is replaced, and one training at a time uses it."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dicomsort import __version__
from dicomsort.data.cache import forget_empty
from dicomsort.data.dataset import Unread
from dicomsort.errors import TargetError, UsageError
from dicomsort.evaluation import guarantee
from dicomsort.model.bundle import CONFIG, Bundle, check_name
from dicomsort.system import locks
from dicomsort.system.escaping import cell, escape
from dicomsort.training import label_tree

CHECKPOINT, LOG, UNREAD = "checkpoint.pt", "log.jsonl", "unreadable.csv"
CARD, FOLD_ANSWERS = "README.md", "predictions.csv"
AUDIT_COLUMNS = (
    "file", "target", "given", "suggested", "confidence_given", "confidence_suggested", "margin",
)  # fmt: skip


def prepare(out: Path, resume: bool, cache: Path) -> None:
    """Make the folder of a new bundle now, not after hours of training.

    Raises UsageError for a folder with anything but the files of a training to resume, a name that no
    model can have, or a cache of pictures inside the model; TargetError if it cannot be made.
    """
    try:
        check_name(out.resolve().name)
        out.mkdir(parents=True, exist_ok=True)
        held = {path.name for path in out.iterdir()} - {UNREAD, locks.LOCK}
        begun = any(any(out.glob(f"{below}{name}")) for below in ("", "*/") for name in (CHECKPOINT, LOG))
    except ValueError as error:
        raise UsageError(f"--out: {error}") from error
    except OSError as error:
        raise TargetError(f"--out '{out}' cannot be written: {error.strerror}") from error
    if held and not resume:
        raise UsageError(
            f"--out '{out}' is not an empty folder; choose another, empty it, or --resume what it holds"
        )
    if held and not begun:
        raise UsageError(f"--resume: '{out}' holds other things than a training; choose another --out")
    if cache.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"--cache '{cache}' would put the pictures into the model; choose another folder")


@contextmanager
def prepared(out: Path, resume: bool, cache: Path, audit: Path | None = None) -> Iterator[None]:
    """Prepare a folder as `prepare` does, and that of a list of doubtful labels, if there is to be one.

    What is refused or fails leaves nothing behind that it made but is empty: folders, a cache without
    pictures. Raises what `prepare` raises.
    """
    places = [out, cache, *([] if audit is None else [audit.parent])]
    made = [path for place in places for path in (place, *place.parents) if not path.exists()]
    fresh = out in made or _is_empty(out)
    try:
        prepare(out, resume, cache)
        _make_room(audit)
        yield
    except BaseException:
        if cache in made:
            forget_empty(cache)
        inside = list(out.iterdir()) if fresh and out.is_dir() else []
        for path in (*inside, *made):
            with suppress(OSError):  # what is no folder, or not empty, stays
                path.rmdir()
        raise


def _is_empty(folder: Path) -> bool:
    with suppress(OSError):
        return not any(folder.iterdir())
    return False


def _make_room(audit: Path | None) -> None:
    try:
        if audit is not None:
            audit.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"--audit '{audit}' cannot be written: {error.strerror}") from error


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep a second training out of a folder.

    Raises UsageError if another one has it, TargetError if it cannot be written.
    """
    try:
        file = locks.take(str(out), doing="training")
    except OSError as error:
        raise TargetError(f"--out '{out}' cannot be written: {error.strerror}") from error
    with file:
        try:
            yield
        finally:
            locks.remove(str(out))


def check_audit(audit: Path | None, folds: str | None, out: Path) -> None:
    """Raise UsageError unless a list of doubtful labels can be written at the end, over nothing else."""
    if audit is None:
        return
    if folds is None:
        raise UsageError("--audit needs predictions out of fold: give --folds too, such as --folds 5")
    taken = audit.resolve() == (out / FOLD_ANSWERS).resolve() or any(
        path.exists() for path in (audit, audit.with_suffix(".png"))
    )
    if audit.suffix != ".csv" or (taken and not _is_an_audit(audit)):
        raise UsageError(f"--audit '{audit}': give a new file that ends in .csv; a picture goes beside it")


def _is_an_audit(path: Path) -> bool:
    with suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8") as file:
        return file.readline().strip() == ",".join(AUDIT_COLUMNS)
    return False


def holds_another_model(out: Path) -> bool:
    """Return whether there is a finished model in a folder."""
    return (out / CONFIG).exists() and not (out / CHECKPOINT).exists()


def write_unread(found: Sequence[Unread], out: Path) -> None:
    """Write unreadable.csv. Raises TargetError if that fails."""
    try:
        with (out / UNREAD).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", "status", "reason"])
            for sample, failure in found:
                writer.writerow([cell(escape(sample.name)), failure.status.value, failure.reason.value])
    except OSError as error:
        raise TargetError(f"'{out / UNREAD}' cannot be written: {error.strerror}") from error


def write_card(out: Path, bundle: Bundle) -> None:
    """Write the beginning of a model card. Raises TargetError if that fails."""
    facts = json.dumps({"training": bundle.training, "metrics": bundle.metrics}, indent=2)
    lines = (*label_tree.lines_of(bundle.heads), *guarantee.lines_of(bundle.metrics))
    promises = "".join(f"\n* {line}" for line in lines)
    text = (
        f"# {out.resolve().name}\n\nTrained by dicomsort {__version__}. Not a medical device.\n{promises}\n"
    )
    try:
        (out / CARD).write_text(f"{text}\n```json\n{facts}\n```\n", encoding="utf-8")
    except OSError as error:
        raise TargetError(f"'{out / CARD}' cannot be written: {error.strerror}") from error
