"""Files read in worker processes; whoever asks for that loads nothing of what reads them."""

import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from dicomsort.outcome import Failure, Reason, Status
from dicomsort.system import worker_pool
from dicomsort.system.inbox import RingingItems
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.pool_worker import Lost

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOST = {
    Lost.CRASH: Failure(Status.CRASH, Reason.WORKER_DIED),
    Lost.TIMEOUT: Failure(Status.TIMEOUT, Reason.TOO_SLOW),
}


def read_all(
    read: Callable[[Item], Result | Failure],
    items: Iterable[Item] | RingingItems[Item],
    settings: PoolSettings,
    stop: threading.Event | None = None,
) -> Generator[tuple[Item, Result | Failure], None, None]:
    """Read many files in worker processes, in the order of completion; a lost worker is a Failure too.

    read: picklable; what to do with an item. See `worker_pool.run`.
    """
    for item, result in worker_pool.run(read, items, settings, stop):
        yield item, _LOST[result] if isinstance(result, Lost) else result
