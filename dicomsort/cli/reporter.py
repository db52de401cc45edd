"""The progress of a training or an evaluation on the console."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dicomsort.cli import console
from dicomsort.cli.progress import counting, loading
from dicomsort.system.reporting import Count

if TYPE_CHECKING:
    from dicomsort.data.dataset import Unread
    from dicomsort.data.division import Division
    from dicomsort.training.cross_validation import Summary
    from dicomsort.training.trainer import Epoch


_SHOWN = (
    "accuracy", "subset_accuracy", "precision_macro", "recall_macro", "f1_macro", "kappa", "auc_macro",
    "auc_positive", "log_loss", "ece",
)  # fmt: skip


def _report_epoch(epoch: "Epoch", fold: str = "") -> None:
    """Report an epoch of a training."""
    figures = {
        "loss": epoch.validation_loss,
        "accuracy": epoch.accuracy,
        "macro F1": epoch.f1_macro,
        "macro recall": epoch.recall_macro,
    }
    told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if value is not None)
    console.info(
        f"{fold}epoch {epoch.number}: loss {epoch.loss:.4f}, validation {told}, {epoch.seconds:.0f} s"
    )


def _report_folds(summary: "Summary") -> None:
    """Report the figures of a cross-validation: of each fold, mean, spread, and of all answers."""
    for head, figures in summary.figures.items():
        shown = [name for name in _SHOWN if name in figures]
        rows = [
            [fold, *(_number(figures[name].values[at]) for name in shown)]
            for at, fold in enumerate(summary.folds)
        ]
        rows.append(["mean", *(_number(figures[name].mean) for name in shown)])
        rows.append(["deviation", *(_number(figures[name].deviation) for name in shown)])
        pooled = summary.pooled[head]["overall"]
        for which, name in (("all answers", "value"), ("95 % from", "low"), ("to", "high")):
            rows.append([which, *(_number(pooled[figure][name]) for figure in shown)])
        console.table(f"{head}: figures by fold", ["fold", *shown], rows, right=range(1, len(shown) + 1))


def _report_division(found: "Division") -> None:
    """Report how many images each part has: of all, and of each class."""
    for head, labels in found.labels.items():
        rows = [
            [label, *(str(number) for number in (sum(counts.values()), *counts.values()))]
            for label, counts in (("all", found.images), *labels.items())
        ]
        columns = [head, "images", *found.images]
        console.table(f"split of {head}", columns, rows, right=range(1, len(columns)))


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


class ConsoleReporter:
    """Reports the progress of a training on the console; a quiet one only what a person must see.

    tables: whether standard output takes them; it may be for JSON alone.
    """

    def __init__(self, quiet: bool, tables: bool = True) -> None:
        self._quiet, self._tables = quiet, tables

    def info(self, line: str) -> None:
        """Print a line, unless quiet."""
        if not self._quiet:
            console.info(line)

    def warn(self, line: str) -> None:
        """Print a line."""
        console.info(line)

    @contextmanager
    def counting(self, what: str, total: int | None) -> Iterator[Count]:
        """Show the counting of `total` steps while the block runs, then that something is made of them."""
        with counting(what, total, self._quiet) as count:
            yield count
        loading.doing("working it out")

    def unread(self, found: "Sequence[Unread]") -> None:
        """Report the first files that could not be read."""
        console.report_failures(found)

    def division(self, found: "Division") -> None:
        """Report what a split gives to each part."""
        if self._tables and not self._quiet:
            _report_division(found)

    def epoch(self, epoch: "Epoch") -> None:
        """Report an epoch."""
        if not self._quiet:
            _report_epoch(epoch)

    def fold_epoch(self, fold: str, epoch: "Epoch") -> None:
        """Report an epoch of one fold."""
        if not self._quiet:
            _report_epoch(epoch, f"{fold}, ")

    def folds(self, summary: "Summary") -> None:
        """Report the figures of a cross-validation."""
        if self._tables and not self._quiet:
            _report_folds(summary)
