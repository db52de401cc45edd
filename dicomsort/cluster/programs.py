"""Node programs, seen from who starts them: each does task after task, and is kept for the next one."""

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection
from typing import IO

from dicomsort.cluster.task import Driver, Summary, Task, forget_summary, stopped, summary_of
from dicomsort.errors import ExitCode
from dicomsort.sorting import part_log
from dicomsort.system.escaping import escape
from dicomsort.system.starting import working_folder_is_gone

IDLE_SECONDS = 300.0
"""How long a node program waits for its next task before it ends."""

_KEPT_SECONDS = IDLE_SECONDS - 60
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 60.0
_ONE_THREAD = [(f"{name}_NUM_THREADS", "1") for name in ("OMP", "MKL", "OPENBLAS")]
_ENDS_WITH = (ExitCode.INTERNAL, ExitCode.INTERRUPTED)
"""After these a program is not kept: what went wrong might stay in it."""


def run(task: Task, where: str = "", is_limited: bool = False) -> Summary:
    """Do a task on this node, in a program beside this one; never raises.

    Beside it, because engines run tasks in threads and in processes that may have no children, and so that a
    network that dies takes nothing with it. The program stays for the next task of the same job, and of the
    same place if there is a name for it; it ends with this process, and as by Ctrl-C once the driver is gone.
    is_limited: whether the engine has told what runs in its own workers to use one thread, as dask's nanny
    and ray do by variables. The program may use all processors that it is allowed to.
    """
    try:
        return _run(task, where, is_limited)
    except Exception as error:  # noqa: BLE001  (its message may quote a header)
        return Summary(task.name, error=f"{type(error).__name__} on a node", exit_code=int(ExitCode.INTERNAL))


def _run(task: Task, where: str, is_limited: bool) -> Summary:
    driver = Driver.of(task)
    if (before := summary_of(task)) is not None and before.is_done:
        return before
    if not driver.is_there():
        return _unseen(task)
    try:
        os.makedirs(task.folder, exist_ok=True)
        forget_summary(task)
    except OSError as error:
        why = f"'{escape(task.folder)}' cannot be written: {error.strerror}"
        return Summary(task.name, error=why, exit_code=int(ExitCode.TARGET), host=part_log.host())
    with _program(_kind_of(task, where), is_limited) as program:
        return program.do(task, driver)


def _unseen(task: Task) -> Summary:
    """Return how a task ended that sees no driver: who is told of it lives, unless it was killed."""
    why = f"it does not see this run in '{escape(task.out)}': that must be one folder on all nodes"
    return Summary(task.name, error=why, exit_code=int(ExitCode.INTERNAL), host=part_log.host())


def _kind_of(task: Task, where: str) -> str:
    return hashlib.sha256(task.job + where.encode()).hexdigest()


class _Program:
    """A node program that runs, and the pipes to it. used: when it last had a task."""

    def __init__(self, kind: str, is_limited: bool) -> None:
        self.kind, self.used, self.is_good = kind, time.monotonic(), True
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dicomsort.cluster.node"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd=os.sep if working_folder_is_gone() else None,
            env=_unlimited() if is_limited else None,
        )

    @property
    def is_fresh(self) -> bool:
        """Whether it is there still, and will be for long enough to be given a task."""
        return self._process.poll() is None and time.monotonic() - self.used < _KEPT_SECONDS

    def do(self, task: Task, driver: Driver) -> Summary:
        """Have a task done; if the driver goes meanwhile, end the program."""
        self.is_good = False
        with suppress(BrokenPipeError):
            send(self._stdin, task)
        while not connection.wait([self._stdout.fileno()], _POLL_SECONDS):
            if not driver.is_there():
                self.end()
                return summary_of(task) or stopped(task)
        answer = self._stdout.readline()
        if not answer.endswith(b"\n"):
            self.end()
            return summary_of(task) or self._died(task)
        summary = Summary(**json.loads(answer))
        self.is_good, self.used = summary.exit_code not in _ENDS_WITH, time.monotonic()
        return summary

    def _died(self, task: Task) -> Summary:
        why = f"a node's program {_how(self._process.returncode)}"
        if where := part_log.crash_in(task.folder):
            why = f"{why}: {where}"
        part_log.note_failed(task.folder, task.name, why, int(ExitCode.INTERNAL))
        return Summary(task.name, error=why, exit_code=int(ExitCode.INTERNAL), host=part_log.host())

    def end(self) -> None:
        """Tell the program to end; returns once it has."""
        with suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101
        return self._process.stdout


def _unlimited() -> dict[str, str]:
    """Return the environment of this process without what limits its libraries to one thread each."""
    return {name: value for name, value in os.environ.items() if (name, value) not in _ONE_THREAD}


def _how(code: int) -> str:
    """Say how a program ended."""
    if code >= 0:
        return f"ended with {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}, maybe for want of memory" if name == "SIGKILL" else f"crashed with {name}"


def send(pipe: IO[bytes], task: Task) -> None:
    """Write a task to a node program: the number of bytes in eight, and a pickle. Raises OSError."""
    message = pickle.dumps(task)
    pipe.write(len(message).to_bytes(8, "big") + message)
    pipe.flush()


_idle: list[_Program] = []
_lock = threading.Lock()


@contextmanager
def _program(kind: str, is_limited: bool) -> Iterator[_Program]:
    """Yield an idle program of a kind, or a new one; those of other kinds, which have had their time, end."""
    with _lock:
        found = [_idle.pop()] if _idle and _idle[-1].kind == kind and _idle[-1].is_fresh else []
        others = [one for one in _idle if one.kind != kind or not one.is_fresh]
        _idle[:] = [one for one in _idle if one not in others]
    for other in others:
        other.end()
    program = found[0] if found else _Program(kind, is_limited)
    try:
        yield program
    finally:
        if program.is_good:
            with _lock:
                _idle.append(program)
        else:
            program.end()
