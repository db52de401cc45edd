"""A run that is noted while it goes on: in run.json, in the log of its part, and for those who look on."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from dicomsort import __version__
from dicomsort.errors import DicomsortError, ExitCode, internal
from dicomsort.manifest import counting
from dicomsort.manifest.names import MANIFEST, OWN_FOLDER, PART_LOG, shard_folder
from dicomsort.manifest.run_file import RunFacts, RunFile
from dicomsort.sorting import shards
from dicomsort.sorting.at_work import size_of
from dicomsort.sorting.part_log import (
    DONE,
    END,
    FAILED,
    INTERRUPTED,
    MODEL,
    START,
    host,
    line,
    now,
    without_paths,
)
from dicomsort.sorting.summary import SortSummary
from dicomsort.system.atomic import replacing
from dicomsort.system.batch_jobs import job_id

if TYPE_CHECKING:
    from dicomsort.sorting.pipeline import SortSettings

COMPARING = "comparing"
"""What a driver does while nodes read the files whose UID repeats."""

_EVERY = 5.0


@contextmanager
def noting(settings: "SortSettings", run_file: RunFile, rows: int, tally: SortSummary) -> Iterator["Noted"]:
    """Note in run.json, and of a part in its log, that a run begins here, and when the block ends how.

    rows: how many there were before. Trouble with the log itself ends nothing.
    """
    noted, started = Noted(settings, run_file, rows), time.monotonic()
    noted.log(START, **noted.who, version=__version__)
    try:
        yield noted
    except BaseException as error:
        with suppress(DicomsortError):  # what ends the run is told, not that its end cannot be written
            noted.end(_how(error), tally, time.monotonic() - started)
        raise
    noted.end({"how": DONE, "exit_code": int(tally.exit_code)}, tally, time.monotonic() - started)


class Noted:
    """A run that is noted. who: does it, where, since when, and how many rows there were then."""

    def __init__(self, settings: "SortSettings", run_file: RunFile, rows: int) -> None:
        self._out, name = os.path.abspath(settings.out), settings.task
        name = shards.name_of(settings.shard) if settings.shard else name
        self._name, self._folder = name, shard_folder(self._out, name) if name else ""
        self._total, self._told = -1, -_EVERY
        self._run_file = run_file
        self.who = {"host": host(), "job": job_id(), "pid": os.getpid(), "rows": rows}

    def begin(self, run: RunFacts) -> None:
        """Note that there is something to do, and by which engine it is done."""
        self._run_file.begun_by({"time": now(), **self.who})
        engine = {name: run.fixed.get(name, "") for name in ("model", "engine", "precision")}
        self.log(MODEL, **engine, **{name: run.facts.get(name, "") for name in ("device", "workers")})

    def end(self, how: Mapping[str, Any], tally: SortSummary, seconds: float) -> None:
        """Note how it ended. Raises TargetError."""
        with suppress(OSError):
            os.unlink(total_of(self._out))
            os.rmdir(os.path.dirname(total_of(self._out)))
        self._run_file.end(host(), tally.ended - tally.already_done, round(seconds, 3))
        if self._folder:
            manifest = os.path.join(self._folder, MANIFEST)
            statuses, size = counting.count(manifest), size_of(manifest)
            counts = {status.value: count for status, count in sorted(statuses.items())}
            self.log(
                END, **how, seconds=round(seconds, 1), rows=statuses.total(), **counts, manifest_bytes=size
            )

    def total(self, files: int | None) -> None:
        """Note how many files there are, once that is known, for those who look on from outside."""
        if self._folder or files is None or files == self._total:
            return
        if (now_ := time.monotonic()) - self._told > _EVERY:
            self._total, self._told = files, now_
            _write_json(total_of(self._out), {"files": files})

    def log(self, word: str, **facts: Any) -> None:
        """Write a line into the log of the part, if it is one."""
        if self._folder:
            with suppress(OSError), open(os.path.join(self._folder, PART_LOG), "a", encoding="utf-8") as file:
                file.write(line(word, part=self._name, **facts))


def total_of(out: str) -> str:
    """Return where a run that has an output for itself notes how many files there are."""
    return os.path.join(out, OWN_FOLDER, "total.json")


def plan_of(out: str) -> str:
    """Return where a driver notes how many files and tasks there are."""
    return os.path.join(shard_folder(out), "plan.json")


def note_plan(out: str, files: int, tasks: int, doing: str = "") -> None:
    """Note, as a driver, what is to be done, for those who look on from outside. doing: empty for sorting."""
    who = {"time": now(), "host": host(), "job": job_id(), "pid": os.getpid()}
    _write_json(plan_of(out), {**who, "files": files, "tasks": tasks, "doing": doing})


def _write_json(path: str, told: Mapping[str, Any]) -> None:
    """Replace a file that nobody depends on."""
    with suppress(OSError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with replacing(path) as file:
            file.write(json.dumps(told) + "\n")


def _how(error: BaseException) -> dict[str, Any]:
    if isinstance(error, DicomsortError):
        return {"how": FAILED, "exit_code": int(error.exit_code), "error": without_paths(str(error))}
    if isinstance(error, Exception):
        return {"how": FAILED, "exit_code": int(ExitCode.INTERNAL), "error": internal(error)}
    return {"how": INTERRUPTED, "exit_code": int(ExitCode.INTERRUPTED)}
