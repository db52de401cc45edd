"""Real clusters for tests: programs of their own over TCP, which may be killed at any moment."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ports
from outputs import rows, tree

from dicomsort.manifest.names import PARTS_LOG, SHARDS

Program = subprocess.Popen[str]
Words = tuple[str | Path, ...]


def start(*arguments: str | Path) -> Program:
    """Start a module as a program, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def kill(program: Program) -> None:
    """Kill a program and what it has started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)


def wait_for(happened: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what a function returns once that is something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := happened():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def begun(out: Path) -> list[Path]:
    """Return the manifests of the tasks that have begun and are not merged."""
    return list((out / SHARDS).glob("task-*/manifest.csv"))


def done(out: Path) -> list[Path]:
    """Return the summaries of the tasks that have ended and are not merged."""
    return list((out / SHARDS).glob("task-*/summary.json"))


def read_to_compare(out: Path) -> list[int]:
    """Return how many files nodes have read to compare them, of each share that has ended."""
    lines = (out / PARTS_LOG).read_text().splitlines()
    return [int(line.split()[-2].removeprefix("read=")) for line in lines if " read=" in line]


def check_equal(out: Path, single: Path) -> None:
    """The manifest row for row, order aside, and every placed file."""
    assert rows(out) == rows(single)
    assert {name: data for name, data in tree(out).items() if name not in ("manifest.csv", "run.json")} == {
        name: data for name, data in tree(single).items() if name not in ("manifest.csv", "run.json")
    }
    assert not (out / SHARDS).exists()


def processes(word: str) -> list[int]:
    """Return the processes with a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if word.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def number_in(path: Path) -> int:
    """Return the number that another process writes into a file as a line; 0 as long as it has not."""
    text = path.read_text() if path.exists() else ""
    return int(text) if text.endswith("\n") else 0


def parent(process: int) -> int:
    """Return who has started a process."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def told(process: int, name: str) -> str | None:
    """Return a variable of the environment with which a process was started."""
    for pair in Path(f"/proc/{process}/environ").read_text().split("\0"):
        if pair.startswith(f"{name}="):
            return pair.partition("=")[2]
    return None


@dataclass
class Dask:
    """A scheduler and workers, each a process of its own, over TCP."""

    folder: Path
    port: int
    address: str = ""
    scheduler: Program | None = None
    workers: list[Program] = field(default_factory=list)

    def begin(self) -> None:
        """Start a scheduler; a second one at the port of the first."""
        found = self.folder / "scheduler.json"
        found.unlink(missing_ok=True)
        words = ("--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--scheduler-file", found)
        self.scheduler = start("distributed.cli.dask_scheduler", *words)
        wait_for(lambda: found.exists() and found.read_text())
        self.address = json.loads(found.read_text())["address"]

    def join(self, nanny: str = "--no-nanny") -> Program:
        """Start a worker, with a nanny or without one."""
        local = self.folder / f"worker{len(self.workers)}"
        words = ("--nthreads", "1", "--no-dashboard", nanny, "--local-directory", local)
        self.workers.append(start("distributed.cli.dask_worker", self.address, *words))
        return self.workers[-1]

    def end(self) -> None:
        """Kill all."""
        for program in (self.scheduler, *self.workers):
            if program is not None:
                kill(program)
                program.communicate()


@contextmanager
def dask(folder: Path, workers: int) -> Iterator[Dask]:
    """Yield a dask cluster."""
    with ports.reserved() as (port,):
        cluster = Dask(folder, port)
        try:
            cluster.begin()
            for _ in range(workers):
                cluster.join()
            yield cluster
        finally:
            cluster.end()


class Ray:
    """A head and nodes, of one program that is told what happens to them."""

    def __init__(self) -> None:
        """Start a head."""
        self._program = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("ray_nodes.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.address = self._answer("address").split()[1]

    def _answer(self, word: str) -> str:
        assert self._program.stdout is not None
        return next(line for line in self._program.stdout if line.startswith(word))

    def let(self, happen: str) -> None:
        """Let something happen: see `ray_nodes`."""
        assert self._program.stdin is not None
        self._program.stdin.write(f"{happen}\n")
        self._program.stdin.flush()
        self._answer("did")

    def end(self) -> None:
        """End all nodes."""
        self._program.communicate()


@contextmanager
def ray() -> Iterator[Ray]:
    """Yield a ray cluster of a head alone."""
    cluster = Ray()
    try:
        yield cluster
    finally:
        cluster.end()
