"""What a training writes down as it goes: lines of JSON, curves, and TensorBoard's events."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from matplotlib.figure import Figure

from dicomsort.errors import TargetError
from dicomsort.training.run_folder import LOG
from dicomsort.training.trainer import Epoch

CURVES, BOARD = "curves.png", "tensorboard"


class TrainingLog:
    """Called with every epoch, also with those of an earlier run; writes log.jsonl and curves.png anew.

    say: told of every epoch too. Raises TargetError if the log cannot be written.
    """

    def __init__(self, folder: Path, say: Callable[[Epoch], None] | None) -> None:
        self._folder, self._say = folder, say
        self._epochs: list[Epoch] = []
        self._file: TextIO | None = None
        self._board: Any = None

    def __enter__(self) -> "TrainingLog":
        """Open nothing yet: only the process that leads writes."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        for file in (self._file, self._board):
            if file is not None:
                file.close()

    def __call__(self, epoch: Epoch) -> None:
        """Write an epoch down."""
        try:
            if self._file is None:
                self._file = (self._folder / LOG).open("w", encoding="utf-8")
                self._board = _board(self._folder / BOARD)
            self._epochs.append(epoch)
            self._file.write(json.dumps(asdict(epoch)) + "\n")
            self._file.flush()
            _draw_curves([asdict(each) for each in self._epochs], self._folder / CURVES)
        except OSError as error:
            raise TargetError(f"'{self._folder}' cannot be written: {error.strerror}") from error
        if self._board is not None:
            for name, value in _scalars(epoch).items():
                self._board.add_scalar(name, value, epoch.number)
        if self._say is not None:
            self._say(epoch)


def _scalars(epoch: Epoch) -> dict[str, float]:
    """Return what an epoch measured, by name; its number is the step and no figure."""
    values = asdict(epoch)
    return {name: value for name, value in values.items() if name != "number" and value is not None}


def _board(folder: Path) -> Any:
    """Return a writer for TensorBoard, if it is installed."""
    with suppress(ImportError):
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

        return SummaryWriter(str(folder))
    return None


_PANELS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("loss", {"training": "loss", "validation": "validation_loss"}),
    ("validation", {"accuracy": "accuracy", "macro F1": "f1_macro", "macro recall": "recall_macro"}),
    ("learning rate", {"learning rate": "learning_rate"}),
)
"""Titles of the curves' panels, and in each the names and figures of its lines."""


def _draw_curves(epochs: Sequence[Mapping[str, float | None]], path: Path) -> None:
    """Draw losses, figures on validation, and the learning rate over the epochs as PNG. Raises OSError."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, len(_PANELS))
    for axes, (title, lines) in zip(panels, _PANELS, strict=True):
        for label, name in lines.items():
            there = [epoch for epoch in epochs if epoch[name] is not None]
            points = [[epoch[axis] for epoch in there] for axis in ("number", name)]
            axes.plot(*points, marker="o", markersize=3, label=label)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend()
    panels[2].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    figure.savefig(path, dpi=110, format="png")
