"""A process of the pool as the pool sees it: what it was sent, how far it is, and what is left if it dies."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.worker import ENDED, STARTED, OneOf

Item = TypeVar("Item")

_START_SECONDS = 120.0
_AHEAD_SECONDS = 0.05
_FEWEST_AHEAD = 3


class Lost(Enum):
    """What is left of an item whose worker did not come back."""

    CRASH = "crash"
    TIMEOUT = "timeout"


class ManyResults(Protocol):
    """An item that has many results, such as an archive read from front to back.

    A worker that has one is sent nothing else until it is done, for that may take long.
    """

    def after(self, given: int, lost: Lost | None) -> "ManyResults | None":
        """Return what is left to do after so many more results came and the process died.

        lost: what the next of its results has to be in place of reading it again; None to try that again.
        Returns None if that was to be so already: then the item as a whole is lost.
        """


@dataclass(slots=True, eq=False)
class Task(Generic[Item]):
    """An item, how many deaths it has seen from near by, and whether it is to be run alone for that.

    given: how many of its many results have come.
    """

    item: Item
    deaths: int = 0
    suspect: bool = False
    given: int = 0

    @property
    def alone(self) -> bool:
        """Whether its worker is to have nothing else."""
        return self.suspect or self.is_many

    @property
    def is_many(self) -> bool:
        """Whether the item has many results."""
        return hasattr(self.item, "after")

    def go_on(self, lost: Lost | None) -> bool:
        """Leave out the results that have come; return whether there is anything left to do."""
        many: Any = self.item
        left = many.after(self.given, lost)
        if left is not None:
            self.item, self.given = left, 0
        return left is not None


@dataclass(slots=True, eq=False)
class Worker(Generic[Item]):
    """A process, the pipe to it, and the tasks it was sent whose results have not come.

    gauge: see `worker`. done: results that have come. pace: seconds an item, of late. seen: when the item
    that is being worked on was started, by the gauge, and when the pool first saw that, by its own clock.
    """

    process: Any
    pipe: Any
    gauge: Any
    born: float = field(default_factory=time.monotonic)
    ready: bool = False
    done: int = 0
    pace: float = _AHEAD_SECONDS
    tasks: deque[Task[Item]] = field(default_factory=deque)
    overdue: Task[Item] | None = None
    overdue_at: int = 0
    seen: tuple[float, float] = (0.0, 0.0)

    def may_stay(self, settings: PoolSettings) -> bool:
        """Return whether the process can go on with another function: it has nothing to do, and is young."""
        return self.ready and not self.tasks and not self.overdue and self.done < settings.recycle_after

    def room(self, settings: PoolSettings) -> int:
        """Return how many more tasks to send; none until half of the last ones are done, for few messages."""
        if not self.ready or self.is_alone():
            return 0
        some = max(_FEWEST_AHEAD, int(_AHEAD_SECONDS / max(self.pace, 1e-6)))
        most = min(some, settings.ahead, settings.recycle_after - self.done)
        return most - len(self.tasks) if 2 * len(self.tasks) <= most else 0

    def is_alone(self) -> bool:
        """Return whether the process has an item that takes it for itself."""
        return bool(self.tasks) and self.tasks[-1].alone

    def serves_suspects(self) -> bool:
        """Return whether the process is fresh, or runs a suspect and will give way to a fresh one."""
        return self.done == 0 and (not self.tasks or self.tasks[0].suspect)

    def is_late(self) -> bool:
        """Return whether the process has not even come up, a long time after its start."""
        return not self.ready and time.monotonic() - self.born > _START_SECONDS and not self.pipe.poll()

    def over_time(self, settings: PoolSettings, awake: float) -> Task[Item] | None:
        """Return the task that takes longer than it may, by the pool's own clock `awake`."""
        ended, started = self.gauge[ENDED], self.gauge[STARTED]
        if started != self.seen[0]:
            self.seen = started, awake
        if not self.ready or started == 0 or awake - self.seen[1] <= settings.timeout:
            return None
        if self.pipe.poll() or self.gauge[ENDED] != ended:  # it has just ended
            return None
        return self.tasks[int(ended) - self.done]

    def touched(self) -> list[Task[Item]]:
        """Return the tasks that the process has begun and not answered; it died at the last of them."""
        ended, is_busy = int(self.gauge[ENDED]) - self.done, self.gauge[STARTED] > 0
        return list(islice(self.tasks, ended + is_busy))

    def take(self, seconds: float, results: Sequence[Any]) -> list[tuple[Item, Any]]:
        """Match results with their items."""
        self.pace = (self.pace + seconds / len(results)) / 2
        return [self._matched(result) for result in results]

    def _matched(self, result: Any) -> tuple[Item, Any]:
        if isinstance(result, OneOf):
            self.tasks[0].given += 1
            return self.tasks[0].item, result.result
        self.done += 1
        return self.tasks.popleft().item, result

    def end(self) -> None:
        """End the process, whatever it does."""
        self.pipe.close()
        self.process.kill()
        self.process.join()
        self.process.close()
