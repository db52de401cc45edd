"""Clocks of a worker pool that the machine's speed does not move: its time passes by what its workers do."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from dicomsort.system.worker import STARTED
from dicomsort.system.worker_pool import _Pool

_HANGS = "hangs"


def hang() -> None:
    """Hang, and say so by the name of this process; for worker processes."""
    Path("/proc/self/comm").write_text(_HANGS)
    time.sleep(600)


def hold() -> None:
    """Let nothing but hangs be over time in this program, nor them with HANGS_LAST in the environment."""
    lasting = "HANGS_LAST" in os.environ
    _Pool._count_time = _no_time_passes if lasting else only_hangs_take_time  # type: ignore[assignment, method-assign]


def _no_time_passes(pool: "_Pool[Any, Any]") -> None:
    """Stand still; in place of `_count_time`."""


def only_hangs_take_time(pool: "_Pool[Any, Any]") -> None:
    """Let the time limit pass once every worker that has something to do hangs; in place of `_count_time`.

    So nothing that is merely slow is taken for something that hangs.
    """
    busy = [worker for worker in pool._workers if worker.tasks]
    if busy and all(_hangs(worker.process) for worker in busy):
        pool._awake += pool._settings.timeout + 1


def each_start_takes_most_of_the_limit(pool: "_Pool[Any, Any]") -> None:
    """Let 0.6 of the time limit pass after each start that the pool has seen; in place of `_count_time`.

    Two in a row are more than one item may take. For a pool of one worker.
    """
    for worker in pool._workers:
        seen = worker.seen[0]
        if seen and seen == worker.gauge[STARTED] and vars(pool).get("charged") != seen:
            vars(pool)["charged"] = seen
            pool._awake += 0.6 * pool._settings.timeout


def _hangs(process: Any) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/comm").read_text().strip() == _HANGS
    return False
