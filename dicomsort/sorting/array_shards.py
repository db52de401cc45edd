"""Which shard a task of a batch system's array does: its number decides, also when it is submitted again."""

import json
import os
import re
from dataclasses import asdict, dataclass
from typing import Self

from dicomsort.errors import TargetError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest.names import shard_folder
from dicomsort.sorting import shards
from dicomsort.system.atomic import replacing
from dicomsort.system.batch_jobs import ArrayTask, Environment, array_task
from dicomsort.system.escaping import escape

_AUTO = re.compile(r"auto/([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class _Steps:
    """How the tasks of an array with a step are numbered: every `step`, with a remainder of `rest`."""

    of: int
    step: int = 1
    rest: int = 0

    @classmethod
    def read(cls, out: str) -> Self | None:
        """Return what the first shard has written down; None if there is no such array."""
        try:
            with open(_record(out), encoding="utf-8") as file:
                told = json.load(file)
            return cls(int(told["of"]), max(1, int(told["step"])), int(told["rest"]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"'{escape(_record(out))}' is damaged: give --shard I/N") from error

    def write(self, out: str) -> None:
        """Write it down. Raises TargetError."""
        try:
            os.makedirs(shard_folder(out), exist_ok=True)
            with replacing(_record(out), shared=True) as file:
                json.dump(asdict(self), file)
        except OSError as error:
            raise TargetError(f"'{escape(out)}' cannot be written: {error.strerror}") from error


def _record(out: str) -> str:
    return os.path.join(shard_folder(out), shards.ARRAY)


def parse(text: str, out: str, environment: Environment | None = None) -> Shard:
    """Read `3/16`, or `auto/16` in a task of an array of jobs.

    Task k does shard k, and task 0 the last one: so arrays from 1 and from 0 are right, and so is a part of
    either that is submitted again. Of an array with a step, which is known where the whole of it is submitted
    (Slurm, Grid Engine), the numbers are divided by the step; that is written down for its parts.
    environment: None for that of this process. Raises UsageError if it is no shard, or the task can be none;
    TargetError.
    """
    found = _AUTO.fullmatch(text)
    if found is None or not int(found[1]):
        return Shard.parse(text)
    task = array_task(environment)
    if task is None:
        raise UsageError(
            f"--shard {text}: this is no task of an array (of Slurm, Grid Engine, LSF or PBS, or of an "
            f"indexed job of Kubernetes); give --shard I/{found[1]}"
        )
    return _shard_of(task, int(found[1]), os.path.abspath(out))


def _shard_of(task: ArrayTask, of: int, out: str) -> Shard:
    steps = _steps_of(task, of, out)
    advice = f"number the tasks 1-{of} or 0-{of - 1}, or give --shard I/{of}"
    if task.index % steps.step != steps.rest:
        raise UsageError(
            f"task {task.index} of {task.system} is none of the array that began these {of} shards, which "
            f"went by {steps.step}: submit tasks of that again, or give --shard I/{of}"
        )
    if (span := task.span(steps.step)) is not None and span > of:
        raise UsageError(
            f"the tasks of {task.system} go from {task.first} to {task.last}, over more than {of} shards: "
            f"{advice}"
        )
    number = task.index // steps.step
    if number > of:
        raise UsageError(f"task {task.index} of {task.system} is none of {of} shards: {advice}")
    return Shard(number or of, of)


def _steps_of(task: ArrayTask, of: int, out: str) -> _Steps:
    """Return how the array is numbered that this task belongs to, or that it repeats a part of.

    Of a whole array it is written down, if there was another numbering or there are steps.
    """
    before = _Steps.read(out)
    if task.count != of:
        return before if before is not None and before.of == of else _Steps(of)
    told = _Steps(of, task.step, task.index % task.step)
    if told != before and (before is not None or told.step > 1):
        told.write(out)
    return told
