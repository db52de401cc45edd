"""What commands say of their results, in lines and tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from dicomsort.cli.console import counting, say, table
from dicomsort.system.reporting import Count

if TYPE_CHECKING:
    from dicomsort.data.dataset import Unread
    from dicomsort.sorting.merge import MergeResult
    from dicomsort.training.cross_validation import Summary
    from dicomsort.training.trainer import Epoch

_MOST = 8


def done(done: str, left: Mapping[str, int], quiet: bool) -> None:
    """Tell what a command has done, and what it has left."""
    if not quiet:
        say(done)
    for reason, count in left.items():
        say(f"{count} left: {reason}")


def merged(merged: "MergeResult", out: str, quiet: bool) -> None:
    """Tell what a merged manifest holds, and which shards are still to be done."""
    if merged.missing:
        some = ", ".join(merged.missing[:_MOST]) + ", ..." * (len(merged.missing) > _MOST)
        say(f"{len(merged.missing)} shards are still to be done: --shard {some}; then merge again")
    if not quiet:
        rows = [[status, str(count)] for status, count in sorted(merged.statuses.items())]
        table("files by status", ["status", "files"], rows, right=(1,))
        labels = [[label, str(count)] for label, count in sorted(merged.labels.items())]
        table("radiographs in the output by label", ["label", "files"], labels, right=(1,))
        say(f"{merged.parts} parts joined; {merged.rows} files have their row in {out}/manifest.csv")


def archives(count: int) -> None:
    """Tell that there may be studies which nobody has looked at."""
    if count:
        were, them = (
            ("archives (zip, tar, gz ...) were", "them")
            if count > 1
            else ("archive (zip, tar, gz ...) was", "it")
        )
        say(f"{count} {were} not opened: unpack {them} and run again")


def picture(target: str, remarks: Iterable[str], quiet: bool) -> None:
    """Tell that a picture was written, and what was odd about it."""
    if not quiet:
        say(f"wrote {target}" + "".join(f" ({remark})" for remark in remarks))


def _epoch(epoch: "Epoch", fold: str = "") -> None:
    """Tell how an epoch of a training went."""
    say(
        f"{fold}epoch {epoch.number}: loss {epoch.loss:.4f}, validation macro F1 {epoch.f1_macro:.4f}, "
        f"macro recall {epoch.recall_macro:.4f}, {epoch.seconds:.0f} s"
    )


_SHOWN = (
    "accuracy", "subset_accuracy", "precision_macro", "recall_macro", "f1_macro", "kappa", "auc_macro",
    "log_loss", "ece",
)  # fmt: skip


def _folds(summary: "Summary") -> None:
    """Tell the figures of a cross-validation: of each fold, their mean, their spread, and of all answers."""
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
        table(f"{head}: figures by fold", ["fold", *shown], rows, right=range(1, len(shown) + 1))


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def lines(lines: Iterable[str]) -> None:
    """Tell what a person must know, however quiet a command is to be."""
    for line in lines:
        say(line)


def failures(failures: Any) -> None:
    """Tell the first files that could not be read."""
    shown = 10
    for sample, failure in failures[:shown]:
        say(f"not read: {sample.name}: {failure.status}: {failure.reason}")
    if len(failures) > shown:
        say(f"... and {len(failures) - shown} more that were not read")


class ConsoleReporter:
    """Says on the console how a training goes; a quiet one only what a person must see."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def info(self, line: str) -> None:
        """Say a line, unless it is to be quiet."""
        if not self._quiet:
            say(line)

    def warn(self, line: str) -> None:
        """Say a line."""
        say(line)

    def counting(self, what: str, total: int | None) -> AbstractContextManager[Count]:
        """Show the counting of `total` steps while the block runs."""
        return counting(what, total, self._quiet)

    def unread(self, found: "Sequence[Unread]") -> None:
        """Tell the first files that could not be read."""
        failures(found)

    def epoch(self, epoch: "Epoch") -> None:
        """Tell how an epoch went."""
        if not self._quiet:
            _epoch(epoch)

    def fold_epoch(self, fold: str, epoch: "Epoch") -> None:
        """Tell how an epoch of one fold went."""
        if not self._quiet:
            _epoch(epoch, f"{fold}, ")

    def folds(self, summary: "Summary") -> None:
        """Tell the figures of a cross-validation."""
        if not self._quiet:
            _folds(summary)
