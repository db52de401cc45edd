"""What the audit before has found, so that one every night tells only what is new."""

import os

from dicomsort.audit.figures import Limits
from dicomsort.errors import UsageError
from dicomsort.manifest.history import cells
from dicomsort.manifest.names import AUDIT

_COLUMNS = ("path", "verdict", "confidence")


def found_before(folder: str, limits: Limits) -> frozenset[int]:
    """Return hashes of the paths, as the audit before wrote them, whose verdict reached the limits then.

    None if there was no audit, or its table cannot be read.
    """
    try:
        rows = cells(os.path.join(folder, AUDIT), *_COLUMNS)
        return frozenset(
            hash(path) for path, verdict, sure in rows if limits.reaches(verdict, float(sure or 0))
        )
    except (OSError, ValueError, UsageError):
        return frozenset()
