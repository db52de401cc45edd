"""What runs tasks on many nodes, always through joblib: loky on this machine, a dask or a ray cluster."""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, TypeVar

from dicomsort.errors import UsageError
from dicomsort.system.escaping import escape

ENGINES = ("loky", "dask", "ray")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Backend:
    """Who runs the tasks of a distributed run.

    backend: one of ENGINES. address: of a scheduler. tasks: how many at a time; None for one on each dask
    worker, on each GPU or else node of a ray cluster, and here one. shard_size: files a task; None to choose.
    device: as on the command line.
    """

    backend: str
    address: str | None = None
    tasks: int | None = None
    shard_size: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.backend not in ENGINES:
            raise UsageError(f"--backend '{self.backend}' is unknown; there are {', '.join(ENGINES)}")
        if self.backend == "loky" and self.address:
            raise UsageError("--address names the scheduler of dask or ray; loky runs on this machine")
        if self.backend == "dask" and not self.address:
            raise UsageError("--backend dask needs the --address of its scheduler, such as tcp://head:8786")

    @contextmanager
    def connected(self) -> Iterator["Cluster"]:
        """Yield what runs tasks. Raises UsageError if the engine is not installed or does not answer."""
        with _CONNECT[self.backend](self) as hands:
            yield hands


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connected engine. nodes: how many tasks it runs at a time. options: of `joblib.parallel_config`."""

    nodes: int
    options: dict[str, Any]

    def do(self, function: Callable[[Item], Any], items: Sequence[Item]) -> None:
        """Call a function with each item, somewhere. Raises what the engine raises if it loses a node."""
        import joblib  # noqa: PLC0415  (only for a run on several nodes)

        with joblib.parallel_config(n_jobs=self.nodes, **self.options):
            parallel = joblib.Parallel(batch_size=1, pre_dispatch=self.nodes)
            parallel(joblib.delayed(function)(item) for item in items)


@contextmanager
def _loky(engine: Backend) -> Iterator[Cluster]:
    yield Cluster(engine.tasks or 1, {"backend": "loky"})


@contextmanager
def _dask(engine: Backend) -> Iterator[Cluster]:
    distributed = _library("distributed", "dask")
    try:
        client = distributed.Client(engine.address, set_as_default=False, timeout=10)
    except (OSError, ValueError, TimeoutError) as error:
        raise _silent(engine) from error
    with client:
        nodes = engine.tasks or len(client.nthreads())
        if not nodes:
            raise UsageError(
                f"the dask scheduler at {escape(engine.address or '')} has no workers: start some"
            )
        yield Cluster(nodes, {"backend": "dask", "client": client})


@contextmanager
def _ray(engine: Backend) -> Iterator[Cluster]:
    with redirect_stdout(sys.stderr):  # ray prints its troubles to the stdout of whoever called it
        yield from _on_ray(engine, _library("ray", "ray"))


def _on_ray(engine: Backend, ray: Any) -> Iterator[Cluster]:
    try:
        ray.init(address=engine.address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        raise _silent(engine) from error
    try:
        importlib.import_module("ray.util.joblib").register_ray()
        gpus = int(ray.cluster_resources().get("GPU", 0)) if engine.device != "cpu" else 0
        nodes = engine.tasks or gpus or sum(node["Alive"] for node in ray.nodes())
        wants = {"num_cpus": 1, "num_gpus": int(gpus >= nodes), "scheduling_strategy": "SPREAD"}
        yield Cluster(nodes, {"backend": "ray", "ray_remote_args": wants})
    finally:
        ray.shutdown()


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"--backend {extra} needs a library that is not installed: pip install {name}"
        ) from error


def _silent(engine: Backend) -> UsageError:
    return UsageError(
        f"no {engine.backend} scheduler answers at '{escape(engine.address or '')}': check --address"
    )


_CONNECT = {"loky": _loky, "dask": _dask, "ray": _ray}
