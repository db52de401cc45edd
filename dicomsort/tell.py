"""What commands say of their results, in lines and tables."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dicomsort.terminal import say, table

if TYPE_CHECKING:
    from dicomsort.evaluate import Evaluation
    from dicomsort.train import Epoch


def done(done: str, left: Mapping[str, int], quiet: bool) -> None:
    """Tell what a command has done, and what it has left."""
    if not quiet:
        say(done)
    for reason, count in left.items():
        say(f"{count} left: {reason}")


def picture(target: str, remarks: Iterable[str], quiet: bool) -> None:
    """Tell that a picture was written, and what was odd about it."""
    if not quiet:
        say(f"wrote {target}" + "".join(f" ({remark})" for remark in remarks))


def epoch(epoch: "Epoch") -> None:
    """Tell how an epoch of a training went."""
    say(
        f"epoch {epoch.number}: loss {epoch.loss:.4f}, validation macro F1 {epoch.macro_f1:.4f}, "
        f"macro recall {epoch.macro_recall:.4f}, {epoch.seconds:.0f} s"
    )


def failures(failures: Any) -> None:
    """Tell the first files that could not be read."""
    shown = 10
    for sample, failure in failures[:shown]:
        say(f"not read: {sample.name}: {failure.status}: {failure.reason}")
    if len(failures) > shown:
        say(f"... and {len(failures) - shown} more that were not read")


def figures(result: "Evaluation", tag: str, part: str, overlap: dict[str, int]) -> None:
    """Tell the figures of a model, and what they must not be taken for."""
    figures = result.figures

    def cell(figure: Any) -> str:
        if math.isnan(figure.value):
            return "-"
        return f"{100 * figure.value:.1f} ({100 * figure.low:.1f}-{100 * figure.high:.1f})"

    names = ("precision", "recall", "f1")
    rows = []
    for label, counts in zip(figures.labels, figures.confusion, strict=True):
        rows.append([label, *(cell(figures.per_class[label][name]) for name in names), str(sum(counts))])
    rows.append(["macro", *(cell(figures.macro[name]) for name in names), str(figures.images)])
    title = f"{tag} on {part}, in %, with 95 % bootstrap intervals"
    table(title, ["class", "precision", "recall", "F1", "images"], rows, right=(4,))
    matrix = [[label, *map(str, row)] for label, row in zip(figures.labels, figures.confusion, strict=True)]
    table("confusion (rows: truth)", ["", *figures.labels], matrix, right=range(1, len(matrix) + 1))
    say(
        f"accuracy {cell(figures.accuracy)} %; {result.seconds_per_image:.4f} s per image, reading included, "
        f"on {result.device} in {result.precision}"
    )
    for seen, count in overlap.items():
        if count:
            say(f"beware: {count} of these files are in the {seen} part of the model's split")
