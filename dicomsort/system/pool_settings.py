"""How many processes read files, and what each may take."""

from dataclasses import dataclass

from dicomsort.system.threads import processors


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many processes, and what each may take.

    timeout: seconds for one item, from the moment a worker starts it. ahead: how many items a worker may hold
    at most, so that it never waits for the main process; slow ones, of which 50 ms hold fewer, are sent three
    at a time. recycle_after: items after which a worker is
    replaced, so that a leaking codec cannot grow without end. memory_bytes: limit of a worker's address
    space, where the system has one (RLIMIT_AS).
    """

    workers: int = 2
    timeout: float = 60.0
    ahead: int = 64
    recycle_after: int = 5000
    memory_bytes: int | None = 6 << 30


def pool_settings(workers: int | None = None, timeout: float = 60.0) -> PoolSettings:
    """Return how many processes read; by default one for each processor that this one may use."""
    return PoolSettings(workers=workers or processors(), timeout=timeout)
