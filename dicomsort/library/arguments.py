"""What callers hand in, as the rooms below want it: one or several, paths as text, numbers in range."""

import multiprocessing
import os
from collections.abc import Iterable, Mapping
from typing import TypeVar

from dicomsort.errors import UsageError

Value = TypeVar("Value")

PathLike = str | os.PathLike[str]
Paths = PathLike | Iterable[PathLike]


def texts(paths: Paths | None) -> tuple[str, ...]:
    """Return one or several paths, or words, as text; none for None."""
    if paths is None:
        return ()
    several = (paths,) if isinstance(paths, str | os.PathLike) else paths
    return tuple(os.fspath(path) for path in several)


def check_between(name: str, value: float | None, least: float, most: float) -> None:
    """Raise UsageError unless a number that was given lies in its range, both ends included."""
    if value is not None and not least <= value <= most:
        raise UsageError(f"{name}={value} must lie between {least:g} and {most:g}")


def check_all(values: Mapping[str, float | None], ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise UsageError unless every number that was given lies in its range."""
    for name in ranges.keys() & values.keys():
        check_between(name, values[name], *ranges[name])


def check_is_no_worker() -> None:
    """Raise UsageError in a worker process that runs the caller's script again while it comes up."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            "worker processes run a script's top level again: put what calls dicomsort under "
            "`if __name__ == '__main__':` (a notebook needs nothing)"
        )
