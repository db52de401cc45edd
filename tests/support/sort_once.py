"""Sorts as a program of its own, without loading a network, so that a test can kill it or fill its disk.

    python tests/support/sort_once.py IN OUT [ACTION [SHARE]]

Files named after a disaster meet it while they are read. Prints the tally as JSON; exit codes are the
program's.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import DicomsortError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.inputs.named import Shard
from dicomsort.model.bundle import Bundle, NetworkSpec
from dicomsort.model.heads import Head
from dicomsort.outcome import Action, Failure, ReadImage, SourceFile
from dicomsort.sorting import pipeline
from dicomsort.sorting.place import PlacementSettings
from dicomsort.system.worker_pool import PoolSettings

LABELS = ("abdominal", "adult_chest", "others", "pediatric_chest", "spine")
_read_found = pipeline._read_found


class Predictor:
    """Tells classes by brightness."""

    engine, name, precision, concurrency, batch_size = "none", "cpu", "float32", 1, 8
    bundle = Bundle("fixed", NetworkSpec("none"), Preprocessing(size=64), Head("label", LABELS), weights={})

    def logits(self, images: Any) -> Any:
        """Return float32 (n, labels)."""
        bright = images.reshape(len(images), -1).mean(axis=1, keepdims=True)
        return np.asarray(-np.abs(bright - np.linspace(20, 200, len(LABELS))[None]) / 10, np.float32)


def meet_disaster(
    found: SourceFile, canvases: Sequence[Preprocessing], settings: ReadSettings
) -> ReadImage | Failure:
    """Read a file, but for those that are named after what happens."""
    kind = Path(found.path).name.split(".")[0]
    if kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "abort":
        os.abort()
    elif kind == "hang":
        time.sleep(600)
    elif kind == "hog":
        np.ones(8 << 30, np.uint8)
    return _read_found(found, canvases, settings)


def main() -> int:
    """Sort, and return the exit code."""
    pipeline._read_found = meet_disaster
    action = Action(sys.argv[3]) if len(sys.argv) > 3 else Action.COPY
    shard = Shard.parse(sys.argv[4]) if len(sys.argv) > 4 else None
    pool = PoolSettings(2, timeout=3.0)
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
