"""A manifest that a test writes to by itself."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dicomsort.manifest.run_file import RunFacts
from dicomsort.manifest.table import Manifest

ANSWERS = ("score_hand", "score_spine")
FIXED: dict[str, Any] = {"model": "m@1", "review_below": 0.5}


def manifest(folder: Path, dry_run: bool = False, **fixed: Any) -> AbstractContextManager[Manifest]:
    return Manifest.open(str(folder), ANSWERS, "m@1", RunFacts({**FIXED, **fixed}, {"dry_run": dry_run}))
