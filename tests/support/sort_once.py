"""Sorts as a program of its own, without loading a network, so that a test can kill it or fill its disk.

    python tests/support/sort_once.py IN OUT [ACTION [SHARE]]

Files named after a disaster meet it while they are read. What hangs is over time at once, and nothing else
ever is; with HANGS_LAST in the environment nothing is. With HOLDS_AT_ROW it waits for ever at that row.
Prints the tally as JSON; exit codes are the program's.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

import held_program
import held_time
import numpy as np

from dicomsort.errors import DicomsortError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.inputs.named import Shard
from dicomsort.inputs.work import Work
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head
from dicomsort.model.spec import NetworkSpec
from dicomsort.outcome import Action, Failure, Part, ReadImage, SourceFile
from dicomsort.sorting import pipeline, reading
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.reading import HowToRead
from dicomsort.system.pool_settings import PoolSettings

LABELS = ("abdominal", "adult_chest", "others", "pediatric_chest", "spine")
_as_it_is = reading._reading


class Predictor:
    """Tells classes by brightness."""

    engine, name, precision, concurrency, batch_size = "none", "cpu", "float32", 1, 8
    bundle = Bundle("fixed", NetworkSpec("none"), Preprocessing(size=64), Head("label", LABELS), weights={})

    def logits(self, images: Any) -> Any:
        """Return float32 (n, labels)."""
        bright = images.reshape(len(images), -1).mean(axis=1, keepdims=True)
        return np.asarray(-np.abs(bright - np.linspace(20, 200, len(LABELS))[None]) / 10, np.float32)


def do(work: Work, how: HowToRead) -> Any:
    """Do a piece of work, but for files that are named after what happens."""
    reading._reading = meet_disaster
    return reading.do(work, how)


def meet_disaster(found: SourceFile, how: HowToRead, held: Part | BinaryIO | None) -> ReadImage | Failure:
    """Read a file, or let happen what it is named after."""
    kind = Path(found.path).name.split(".")[0]
    if kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "abort":
        os.abort()
    elif kind == "hang":
        held_time.hang()
    elif kind == "hog":
        np.ones(8 << 30, np.uint8)
    return _as_it_is(found, how, held)


def main() -> int:
    """Sort, and return the exit code."""
    vars(pipeline)["do"] = do
    held_time.hold()
    if row := os.environ.get("HOLDS_AT_ROW"):
        held_program.hold(int(row))
    action = Action(sys.argv[3]) if len(sys.argv) > 3 else Action.COPY
    shard = Shard.parse(sys.argv[4]) if len(sys.argv) > 4 else None
    pool = PoolSettings(2)
    settings = pipeline.SortSettings(
        (sys.argv[1],), sys.argv[2], PlacementSettings(action), batch_size=3, pool=pool, shard=shard
    )
    try:
        tally = pipeline.sort(settings, Predictor())
    except DicomsortError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return 130
    print(json.dumps(tally.as_dict()))
    return int(tally.exit_code)


if __name__ == "__main__":
    sys.exit(main())
