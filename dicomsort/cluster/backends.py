"""What runs tasks on many nodes: loky on this machine, a dask or a ray cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

from dicomsort.cluster.hands import Hands
from dicomsort.errors import UsageError

ENGINES = ("loky", "dask", "ray")
WAIT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Backend:
    """Who runs the tasks of a distributed run.

    backend: one of ENGINES. address: of a scheduler. tasks: how many at a time; None for one on each dask
    worker, on each GPU or else node of a ray cluster, and here one. shard_size: files a task; None to choose.
    device: as on the command line. wait: seconds for a first node to come, at the start and after a loss.
    """

    backend: str
    address: str | None = None
    tasks: int | None = None
    shard_size: int | None = None
    device: str = "auto"
    wait: float = WAIT_SECONDS

    def __post_init__(self) -> None:
        if self.backend not in ENGINES:
            raise UsageError(f"--backend '{self.backend}' is unknown; there are {', '.join(ENGINES)}")
        if self.backend == "loky" and self.address:
            raise UsageError("--address names the scheduler of dask or ray; loky runs on this machine")
        if self.backend == "dask" and not self.address:
            raise UsageError("--backend dask needs the --address of its scheduler, such as tcp://head:8786")

    @contextmanager
    def connected(self) -> Iterator[Hands]:
        """Yield what runs tasks. Raises UsageError if the engine is not installed or does not answer."""
        engine = import_module(f"dicomsort.cluster.on_{self.backend}")
        with engine.connected(self) as hands:
            yield hands
