"""Moves, applies or undoes as a program of its own, and takes its time, so that a test can kill it anywhere.

    python tests/support/move_once.py IN OUT sort|plan|apply|undo linked|copied [PACE]

copied: as to another file system. PACE: seconds to wait before each call that changes what is on the disk.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sort_once import Predictor

from dicomsort.outcome import Action
from dicomsort.sorting import moving, plan
from dicomsort.sorting.pipeline import SortSettings, sort
from dicomsort.sorting.place import PlacementSettings
from dicomsort.system.pool_settings import PoolSettings

CALLS = ("link", "unlink", "fsync", "replace", "utime")


def slowly(call: Callable[..., Any], pace: float) -> Callable[..., Any]:
    """Return a call that waits before it does anything, and after."""

    def slow(*words: Any, **named: Any) -> Any:
        time.sleep(pace)
        answer = call(*words, **named)
        time.sleep(pace)
        return answer

    return slow


def main() -> None:
    """Do what was asked for."""
    source, out, what, way, *pace = sys.argv[1:]
    if way == "copied":
        vars(moving)["_linked"] = lambda *_: None
    for name in CALLS if pace else ():
        setattr(os, name, slowly(getattr(os, name), float(pace[0])))
    if what == "undo":
        plan.undo(str(Path(out, "manifest.csv")))
    elif what == "apply":
        plan.apply(str(Path(out, "manifest.csv")))
    else:
        placing, pool = PlacementSettings(Action.MOVE), PoolSettings(2)
        settings = SortSettings((source,), out, placing, batch_size=3, pool=pool, dry_run=what == "plan")
        sort(settings, Predictor())


if __name__ == "__main__":
    main()
