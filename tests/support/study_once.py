"""Sorts whole studies as a program of its own that a test can kill at any row.

    python tests/support/study_once.py IN OUT ACTION SHARE|- [CALL]

The network tells classes by brightness. CALL: the program kills itself (SIGKILL) when the run tells of its
progress for that time, and no row is written before it ends. Files named after a disaster meet it while
their pixels are read, see `sort_once`.
"""

import os
import signal
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import sort_once

from dicomsort.imaging.canvas import Preprocessing
from dicomsort.inputs.named import Shard
from dicomsort.manifest import journal
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head
from dicomsort.model.spec import NetworkSpec
from dicomsort.model.studies import StudyRule
from dicomsort.outcome import Action
from dicomsort.sorting import pipeline
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.summary import SortSummary
from dicomsort.system.pool_settings import PoolSettings

LABELS = ("dark", "gray", "bright")
BUNDLE = Bundle(
    "whole",
    NetworkSpec("none"),
    Preprocessing(size=64),
    Head("label", LABELS),
    weights={},
    study=StudyRule("study"),
)


class Brightness:
    """Answers by the mean of the canvas; keeps what it was shown."""

    engine, name, precision, concurrency, batch_size = "none", "cpu", "float32", 1, 4

    def __init__(self, bundle: Bundle = BUNDLE) -> None:
        self.bundle = bundle
        self.shown: list[np.ndarray[Any, np.dtype[np.uint8]]] = []

    def logits(self, images: Any) -> Any:
        """Return float32 (n, labels)."""
        self.shown.extend(images)
        bright = images.reshape(len(images), -1).mean(axis=1, keepdims=True)
        return np.asarray(-np.abs(bright - np.array([[20, 60, 120]])) / 10, np.float32)


def main() -> int:
    """Sort, and return the exit code."""
    source, out, action, share, *call = sys.argv[1:]
    left = [int(call[0]) if call else -1]

    def watch(_: SortSummary) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    vars(pipeline)["do"] = sort_once.do
    if call:  # how far a slow machine gets within a second is not what is tested
        vars(journal)["_SECONDS"] = 600.0
    settings = pipeline.SortSettings(
        (source,), out, PlacementSettings(Action(action)), batch_size=1, pool=PoolSettings(2)
    )
    shard = None if share == "-" else Shard.parse(share)
    tally = pipeline.sort(replace(settings, shard=shard), Brightness(), watch)
    return int(tally.exit_code)


if __name__ == "__main__":
    sys.exit(main())
