"""What a batch system tells a job of itself, by the environment: its id, and which task of an array it is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ArrayTask:
    """A task of an array of jobs. system: whose. index: its own number, as the batch system counts.

    first, last, step, count: of the array that was submitted last, which may be a part of an earlier one;
    None where the batch system does not tell.
    """

    system: str
    index: int
    first: int | None = None
    last: int | None = None
    step: int = 1
    count: int | None = None

    def span(self, step: int) -> int | None:
        """Return how many steps it is from the first task to the last, both counted; None if nobody tells."""
        if self.first is None or self.last is None:
            return None
        return (self.last - self.first) // step + 1


@dataclass(frozen=True, slots=True)
class _System:
    """The variables of one batch system. index: those that may hold a task's number; job: those for an id.

    absent: the number where there is no array. is_whole: whether the id holds the task's number already.
    is_known_by_task: whether a job counts as one of this system by its task's number alone.
    """

    name: str
    index: tuple[str, ...]
    job: tuple[str, ...]
    first: str = ""
    last: str = ""
    step: str = ""
    count: str = ""
    absent: str = ""
    is_whole: bool = False
    is_known_by_task: bool = False


_SYSTEMS = (
    _System(
        "Slurm", ("SLURM_ARRAY_TASK_ID",), ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID"),
        "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP",
        "SLURM_ARRAY_TASK_COUNT",
    ),
    _System("LSF", ("LSB_JOBINDEX",), ("LSB_JOBID",), absent="0"),
    _System("PBS", ("PBS_ARRAY_INDEX", "PBS_ARRAYID"), ("PBS_JOBID",), is_whole=True),
    _System(
        "Grid Engine", ("SGE_TASK_ID",), ("JOB_ID",),
        "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE", absent="undefined", is_known_by_task=True,
    ),
    _System("Kubernetes", ("JOB_COMPLETION_INDEX",), ("HOSTNAME",), is_whole=True, is_known_by_task=True),
)  # fmt: skip
"""Sources: the manual pages of sbatch(1), bsub(1), qsub(1) of PBS and of Grid Engine, and the Kubernetes
documentation of indexed jobs. Outside of arrays SGE_TASK_ID is `undefined`, LSB_JOBINDEX 0."""


def array_task(environment: Environment | None = None) -> ArrayTask | None:
    """Return which task of an array this process belongs to; None if it belongs to none.

    environment: None for that of this process.
    """
    told = os.environ if environment is None else environment
    for system in _SYSTEMS:
        for name in system.index:
            text = told.get(name, "")
            if text != system.absent and (index := _number(text)) is not None:
                return _task_of(system, index, told)
    return None


def _task_of(system: _System, index: int, told: Environment) -> ArrayTask:
    first, last = _number(told.get(system.first, "")), _number(told.get(system.last, ""))
    step = _number(told.get(system.step, "")) or 1
    task = ArrayTask(system.name, index, first, last, step)
    return replace(task, count=_number(told.get(system.count, "")) if system.count else task.span(step))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def job_id(environment: Environment | None = None) -> str:
    """Return the id of this job, with the task of an array: `Slurm 1234_7`; empty outside of batch systems.

    environment: None for that of this process. A job of Kubernetes is known by its JOB_COMPLETION_INDEX, that
    of Grid Engine by its SGE_TASK_ID: their other variables have names that anybody may have set.
    """
    told = os.environ if environment is None else environment
    task = array_task(told)
    for system in _SYSTEMS:
        if system.is_known_by_task and not told.get(system.index[0]):
            continue
        if job := next((told[name] for name in system.job if told.get(name)), ""):
            is_mine = task is not None and task.system == system.name and not system.is_whole
            return f"{system.name} {job}_{task.index}" if task and is_mine else f"{system.name} {job}"
    return ""
