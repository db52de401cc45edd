"""What a training writes down as it goes: lines of JSON, curves, and TensorBoard's events."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from dicomsort.errors import TargetError
from dicomsort.training import curves
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
            curves.draw([asdict(each) for each in self._epochs], self._folder / CURVES)
        except OSError as error:
            raise TargetError(f"'{self._folder}' cannot be written: {error.strerror}") from error
        if self._board is not None:
            for name, value in asdict(epoch).items():
                self._board.add_scalar(name, value, epoch.number)
        if self._say is not None:
            self._say(epoch)


def _board(folder: Path) -> Any:
    """Return a writer for TensorBoard, if it is installed."""
    with suppress(ImportError):
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

        return SummaryWriter(str(folder))
    return None
