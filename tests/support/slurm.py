"""A real Slurm of several nodes on this machine, in a folder of its own; its programs may be killed."""

import getpass
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import needed
import ports

NODES = ("n1", "n2", "n3", "n4")
CONTROLLER = "slurmctld"
_MUNGE = "munged"
_SECONDS, _REVOKED_SECONDS = 60.0, 2.5
_OVER = {"COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT", "BOOT_FAIL", "OUT_OF_MEMORY", "DEADLINE"}

_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/%n
SlurmctldTimeout=5
SlurmdTimeout=10
MessageTimeout=8
BatchStartTimeout=5
KillWait=3
MinJobAge=600
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0,requeue_setup_env_fail
SlurmdParameters=config_overrides
PrologFlags=NoHold
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def program(name: str) -> str:
    """Return where a program of Slurm is; skips, or in CI fails, without it."""
    return needed.program(name, "slurm-wlm, munge")


class Slurm:
    """A controller and nodes with names of their own.

    cores: how many each node says that it has. free: ports, of the controller and of each node.
    """

    def __init__(self, folder: Path, cores: int, free: Sequence[int]) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._waiting = dict[str, float]()
        for name in ("state", "spool", "log"):
            (folder / name).mkdir()
        self._write(cores, free)

    def _write(self, cores: int, free: Sequence[int]) -> None:
        host, (port, *of_nodes) = socket.gethostname().partition(".")[0], free
        known = {"host": host, "user": getpass.getuser(), "folder": self.folder, "port": port}
        lines = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores} "
            "RealMemory=256000\n"
            for name, port in zip(NODES, of_nodes, strict=True)
        ]
        (self.folder / "slurm.conf").write_text(_CONFIGURATION.format(**known) + "".join(lines))
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)

    @property
    def environment(self) -> dict[str, str]:
        """What a user of this Slurm has: the settings, and the programs of this Python."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        return {**kept, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def start(self, name: str) -> None:
        """Start the controller, munged or a node."""
        munge = [
            "munged", "--foreground", f"--key-file={self.folder}/munge.key", "--num-threads=2",
            f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munged.pid",
            f"--log-file={self.folder}/log/munged", f"--seed-file={self.folder}/munge.seed",
        ]  # fmt: skip
        words = {_MUNGE: munge, CONTROLLER: ["slurmctld", "-D"]}.get(name, ["slurmd", "-D", "-N", name])
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [program(words[0]), *words[1:]],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
                start_new_session=True,
            )  # fmt: skip

    def kill(self, name: str) -> None:
        """End the controller or a node's slurmd as a power cut would; what it has started lives on."""
        process = self._running.pop(name)
        process.kill()
        process.wait(30)

    def ask(self, *words: str | Path) -> str:
        """Return what a command says, such as squeue; it is asked again while no controller answers."""
        until = time.monotonic() + _SECONDS
        while (done := self._run(*words)).returncode:
            assert time.monotonic() < until, (words, done.stderr)
            time.sleep(0.2)
        return done.stdout.strip()

    def _run(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [program(str(words[0])), *map(str, words[1:])],
            capture_output=True, text=True, check=False, timeout=_SECONDS,
            env=self.environment, cwd=self.folder,
        )  # fmt: skip

    def submit(self, *words: str | Path) -> str:
        """Submit a job, or an array; returns its number."""
        return self.ask("sbatch", "--parsable", f"--output={self.folder}/log/job-%A_%a", *words)

    def states(self, job: str) -> dict[str, str]:
        """Return the states of the tasks of an array by their numbers; of another job, by its own."""
        said = self.ask("squeue", "--noheader", "--array", "--states=all", "--format=%i %T")
        found = [line.replace("_", " ").split() for line in said.splitlines()]
        return {words[-2]: words[-1] for words in found if words[0] == job}

    def ended(self, job: str, seconds: float = 300) -> dict[str, str]:
        """Wait until a job is over, and return the states of its tasks."""
        until = time.monotonic() + seconds
        while not set((states := self.states(job)).values()) <= _OVER:
            assert time.monotonic() < until, (states, self.ask("squeue", "--format=%i %T %r"), self.said(job))
            self.hurry(job)
            time.sleep(0.2)
        return states

    def hurry(self, job: str) -> None:
        """Let requeued tasks start soon: they wait for two minutes, or are held after a failed start.

        Not at once: a node refuses a task whose credential was revoked in the same second, and it is FAILED.
        """
        said = self.ask("squeue", "--noheader", "--array", "--states=pending", "--format=%i %r")
        waiting, now = dict(line.split(maxsplit=1) for line in said.splitlines()), time.monotonic()
        self._waiting = {task: self._waiting.get(task, now) for task in waiting}
        for task, why in waiting.items():
            if task.partition("_")[0] != job or now - self._waiting[task] < _REVOKED_SECONDS:
                continue
            if why == "BeginTime":
                self._run("scontrol", "update", f"JobId={task}", "StartTime=now")
            elif "held" in why.casefold():
                self._run("scontrol", "release", task)

    def said(self, job: str) -> str:
        """Return what the tasks of a job have written."""
        return "".join(path.read_text() for path in sorted((self.folder / "log").glob(f"job-{job}_*")))

    def processes(self) -> list[int]:
        """Return what runs for this Slurm: daemons, their helpers, and the programs of jobs."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._owns(pid)]

    def _owns(self, pid: int) -> bool:
        """Whether a process has the settings in its environment, or files of this folder open."""
        with suppress(OSError):
            if f"SLURM_CONF={self.folder}/".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                return True
            links = [os.readlink(f"/proc/{pid}/{name}") for name in ("cwd", "exe")]
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
            return any(link.startswith(f"{self.folder}/") for link in links)
        return False

    def end(self) -> None:
        """End all of it, jobs first, and wait until nothing is left."""
        for name in (CONTROLLER, *NODES, _MUNGE):
            with suppress(KeyError):
                self.kill(name)
        until = time.monotonic() + _SECONDS
        while left := [pid for pid in self.processes() if pid != os.getpid()]:
            assert time.monotonic() < until, left
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)


@contextmanager
def slurm(cores: int = 16) -> Iterator[Slurm]:
    """Yield a Slurm whose nodes are idle."""
    program("slurmd"), program("munged")
    with ExitStack() as stack:
        free = stack.enter_context(ports.reserved(1 + len(NODES)))
        name = tempfile.TemporaryDirectory(prefix="slurm-")  # short, for sockets have short names
        folder = Path(stack.enter_context(name))
        folder.chmod(0o755)  # munged wants its socket where all may come
        running = Slurm(folder, cores, free)
        try:
            for one in (_MUNGE, CONTROLLER, *NODES):
                running.start(one)
            until = time.monotonic() + _SECONDS
            while running.ask("sinfo", "--noheader", "--format=%t %D") != f"idle {len(NODES)}":
                assert time.monotonic() < until, running.ask("sinfo", "--long", "--Node")
                time.sleep(0.2)
            yield running
        finally:
            running.end()
