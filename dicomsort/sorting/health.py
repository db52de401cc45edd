"""health.json: how a run that watches an inbox is, for a monitor that cannot ask it."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from dicomsort import __version__
from dicomsort.errors import UsageError
from dicomsort.manifest.names import HEALTH
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import escape

WATCHING, SORTING, STOPPED = "watching", "sorting", "stopped"


@dataclass(frozen=True, slots=True)
class Health:
    """How a run is. time, started, error_time: UTC, ISO 8601, to the second.

    time: when this was written. state: `watching`, `sorting` or `stopped`. every: seconds between two looks.
    passes, files, failures: since the start; failures are rows that make a run end with 3. waiting: files
    that were not quiet yet at the last look. error: why looks come to nothing, in one line, since
    error_time; empty once one has succeeded.
    """

    state: str = WATCHING
    time: str = ""
    started: str = ""
    pid: int = 0
    version: str = __version__
    every: float = 0.0
    passes: int = 0
    files: int = 0
    failures: int = 0
    waiting: int = 0
    error: str = ""
    error_time: str = ""

    @property
    def age(self) -> float:
        """Seconds since it was written."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.time)).total_seconds()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def now() -> str:
    """Return the time as it stands in the file."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(out: str, health: Health) -> None:
    """Replace the file in an output folder, whole; if it cannot be written, it grows old and so tells."""
    with suppress(OSError), replacing(os.path.join(out, HEALTH)) as file:
        file.write(json.dumps(health.as_dict(), indent=2) + "\n")


def read(out: str) -> Health:
    """Return what stands in an output folder. Raises UsageError if there is nothing, or it is damaged."""
    path = os.path.join(out, HEALTH)
    try:
        with open(path, encoding="utf-8") as file:
            held = json.load(file)
        plain: dict[str, Any] = Health().as_dict()
        health = Health(**{name: type(value)(held[name]) for name, value in plain.items()})
        datetime.fromisoformat(health.time)
    except FileNotFoundError as error:
        raise UsageError(f"there is no '{escape(path)}': name the --out of a run with --watch") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"'{escape(path)}' cannot be read, or is damaged") from error
    return health
