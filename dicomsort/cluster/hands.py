"""The door to an engine: tasks are handed out one by one, and come back ended or lost."""

import importlib
import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dicomsort.cluster.task import Summary, Task
from dicomsort.errors import InternalError, UsageError

Run = Callable[..., Summary]
"""What a node does with a task, and maybe a name of where: see `programs.run`; never raises."""


class ClusterLostError(InternalError):
    """The scheduler of a cluster is gone, or all of its nodes are. The same command goes on."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A task that was handed out and came back. summary: None if who did it was lost; why: in a word."""

    task: Task
    summary: Summary | None
    why: str = ""


class Hands(Protocol):
    """A connected engine. Every method raises ClusterLostError once the engine is gone."""

    @property
    def who(self) -> str:
        """What the engine is, for messages: `the dask scheduler at tcp://head:8786`."""

    def nodes(self) -> int:
        """Return how many nodes are there now; 0 if nobody is."""

    def room(self) -> int:
        """Return how many tasks may be out now, those that are included.

        That may be more than there are nodes: what waits is what makes an elastic cluster grow.
        """

    def hand_out(self, run: Run, task: Task) -> None:
        """Let some node do a task."""

    def ended(self, seconds: float) -> list[Ended]:
        """Return the tasks that have ended since; waits so long at most for the first."""


def library(name: str, extra: str) -> Any:
    """Import what an engine needs. Raises UsageError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"--backend {extra} needs a library that is not installed: pip install {name}"
        ) from error


def drain(ended: "queue.SimpleQueue[Any]", seconds: float) -> list[Any]:
    """Take what is in a queue; waits so long at most for the first."""
    found = []
    try:
        found.append(ended.get(timeout=seconds))
        while True:
            found.append(ended.get_nowait())
    except queue.Empty:
        return found
