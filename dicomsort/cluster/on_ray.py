"""Tasks on the nodes of a ray cluster, as its own remote tasks."""

import glob
import importlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, NoReturn

from dicomsort.cluster.backends import Backend
from dicomsort.cluster.hands import ClusterLostError, Ended, Run, library
from dicomsort.cluster.task import Summary, Task
from dicomsort.errors import UsageError
from dicomsort.system.escaping import escape

_ANSWER_SECONDS, _INIT_SECONDS = 3.0, 12.0
_LOOK_SECONDS = 1.0
_RETRIES = 3
_MOST_SILENT = 10


@contextmanager
def connected(engine: Backend) -> Iterator["Ray"]:
    """Yield the nodes of a ray cluster, or without an address of one that is started here.

    Raises UsageError within 15 seconds if nothing answers, or this machine is no node of the cluster.
    """
    with redirect_stdout(sys.stderr):  # ray prints its troubles to the stdout of whoever called it
        ray = library("ray", "ray")
        address = engine.address or os.environ.get("RAY_ADDRESS", "local")  # ray itself takes that, too
        if address not in ("auto", "local"):
            _check_answers(address)
        _begin(ray, address)
        try:
            yield Ray(ray, engine.tasks, engine.device)
        finally:
            ray.shutdown()


def _host_and_port(address: str) -> tuple[str, int]:
    if address.startswith("ray://"):
        raise UsageError("--address of ray is HOST:PORT, as `ray start` takes it; ray:// does not work here")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise _silent(address)
    return host.strip("[]"), int(port)


def _check_answers(address: str) -> None:
    """Raise UsageError unless something listens there; ray itself would try for minutes."""
    try:
        socket.create_connection(_host_and_port(address), _ANSWER_SECONDS).close()
    except OSError as error:
        raise _silent(address) from error


def _silent(address: str) -> UsageError:
    return UsageError(f"no ray cluster answers at '{escape(address)}': check --address, or RAY_ADDRESS")


def _is_maybe_node() -> bool:
    """Return whether a node's program of ray, a raylet, may run on this machine."""
    names = glob.glob("/proc/[0-9]*/comm")
    return not names or any(map(_is_raylet, names))


def _is_raylet(path: str) -> bool:
    with suppress(OSError), open(path, "rb") as file:
        return file.read() == b"raylet\n"
    return False


def _begin(ray: Any, address: str) -> None:
    """Connect; on a machine that is no node of the cluster, ray waits for it to become one."""
    if address == "local":
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        return
    trouble: list[BaseException] = []

    def begin() -> None:
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except BaseException as error:  # noqa: BLE001  (ray ends programs by SystemExit too)
            trouble.append(error)

    thread = threading.Thread(target=begin, name="connect", daemon=True)
    if _is_maybe_node():
        thread.start()
        thread.join(_INIT_SECONDS)
        if trouble:
            raise _silent(address) from trouble[0]
        if not thread.is_alive():
            return
    raise UsageError(
        f"this machine is no node of the ray cluster at '{escape(address)}', or lacks its token: run "
        f"`ray start --address {escape(address)}` on it first, and set RAY_AUTH_MODE=token if ray has tokens"
    )


class Ray:
    """The nodes of a cluster. Ray finds a task another node itself if one dies with it, three times."""

    def __init__(self, ray: Any, tasks: int | None, device: str) -> None:
        self._ray, self._tasks, self._uses_gpus = ray, tasks, device != "cpu"
        self._do = ray.remote(num_cpus=1, max_retries=_RETRIES, max_calls=0)(_do)  # 0: a process stays
        self._open: dict[Any, tuple[Task, str]] = {}
        self._looked, self._known = -_LOOK_SECONDS, dict[str, float]()
        address = ray.get_runtime_context().gcs_address
        self._head, self._silent = _host_and_port(address), 0
        self.who = f"the ray cluster at {escape(address)}"

    def nodes(self) -> int:
        """Return how many nodes with a processor to give are alive."""
        return len(self._alive())

    def room(self) -> int:
        """Return how many tasks may be out: one a GPU or, without any, a node; one if none is there yet.

        None while the head does not answer: what asks it then waits for a minute, and ray ends this program.
        """
        most = self._tasks or self._gpus() or max(1, len(self._alive()))
        return 0 if self._silent else most

    def _gpus(self) -> int:
        return int(sum(self._alive().values())) if self._uses_gpus else 0

    def _alive(self) -> dict[str, float]:
        """Return the GPUs of each living node that has a processor, by the node's id."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._check()
            if not self._silent:
                self._known = self._counted()
            self._looked = time.monotonic()
        return self._known

    def _counted(self) -> dict[str, float]:
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        has = {node["NodeID"]: node["Resources"] for node in nodes}
        return {node: of.get("GPU", 0) for node, of in has.items() if of.get("CPU", 0) >= 1}

    def _check(self) -> None:
        """Raise ClusterLostError once the head does not answer: ray would end this program, later."""
        try:
            socket.create_connection(self._head, _ANSWER_SECONDS).close()
            self._silent = 0
        except OSError as error:
            self._silent += 1
            if self._silent >= _MOST_SILENT:
                self._lost(error)

    def hand_out(self, run: Run, task: Task) -> None:
        """Let ray do a task: on a node that has none, where each has one, else wherever it wants."""
        gpus, tasks = self._gpus(), self.room()
        node = "" if self._tasks or gpus else self._free_node()
        where: Any = "SPREAD"
        if node:
            affinity = importlib.import_module("ray.util.scheduling_strategies")
            where = affinity.NodeAffinitySchedulingStrategy(node, soft=True)
        ask = self._do.options(num_gpus=int(0 < tasks <= gpus), scheduling_strategy=where, name=task.name)
        self._open[ask.remote(run, task)] = (task, node)

    def _free_node(self) -> str:
        busy = {node for _, node in self._open.values()}
        return next((node for node in self._alive() if node not in busy), "")

    def ended(self, seconds: float) -> list[Ended]:
        """Return the tasks that have ended since; waits so long at most for the first."""
        self._alive()
        if not self._open:
            time.sleep(seconds)
            return []
        self._ray.wait(list(self._open), timeout=seconds)
        done, _ = self._ray.wait(list(self._open), num_returns=len(self._open), timeout=0)
        return [self._one(reference) for reference in done]

    def _one(self, reference: Any) -> Ended:
        task, _ = self._open.pop(reference)
        try:
            return Ended(task, self._ray.get(reference))
        except Exception as error:  # noqa: BLE001  (whatever ray raises when it loses a node)
            self._check()
            return Ended(task, None, type(error).__name__)

    def _lost(self, error: Exception) -> NoReturn:
        raise ClusterLostError(
            f"{self.who} is gone: what was done is kept; start one, and the same command goes on"
        ) from error


def _do(run: Run, task: Task) -> Summary:
    """Do a task on a node, beside others that were given other GPUs."""
    ray = importlib.import_module("ray")
    return run(task, ",".join(map(str, ray.get_gpu_ids())), is_limited=True)
