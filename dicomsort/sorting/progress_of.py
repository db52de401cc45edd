"""How far an output is, and what is to be done next: told from outside, without a lock or writing."""

import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from dicomsort.errors import DicomsortError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest.counting import CountedRows, together
from dicomsort.manifest.names import MANIFEST, PARTS_LOG, shard_folder
from dicomsort.manifest.run_file import RunFile
from dicomsort.outcome import TROUBLE, Status
from dicomsort.sorting import health, next_step, noting, one_walk, part_log, shards
from dicomsort.sorting.at_work import Worker, owner_of, read_json, time_of
from dicomsort.sorting.parts_seen import DONE_PART, RUNNING, Part, SeenPart
from dicomsort.system.escaping import escape

WAITING, INTERRUPTED, TO_BE_MERGED, DONE = "waiting for shards", "interrupted", "to be merged", "done"
STATES = (RUNNING, WAITING, INTERRUPTED, TO_BE_MERGED, DONE)
SORTING, MERGING, WATCHING = "sorting", "merging", "watching"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an output is.

    state: one of STATES; doing: `sorting`, `comparing`, `merging` or `watching`, while it runs. files: that
    have their row; total: that there are, if it is known. rate: files a second since those began who are at
    work; seconds_left: None if that cannot be told. worker: who has the whole output. parts: those that are
    not done, the most telling first; parts_known, parts_done: how many there are, the missing ones included.
    missing: shards still to be done, as `3/16`, the ones at work left out. next: what to do, a line each.
    """

    out: str
    state: str
    doing: str = ""
    statuses: Counter[Status] = field(default_factory=Counter)
    total: int | None = None
    rate: float = 0.0
    worker: Worker | None = None
    parts: tuple[Part, ...] = ()
    parts_known: int = 0
    parts_done: int = 0
    missing: tuple[str, ...] = ()
    hosts: dict[str, dict[str, float]] = field(default_factory=dict)
    next: tuple[str, ...] = ()

    @property
    def files(self) -> int:
        """How many files have their row."""
        return self.statuses.total()

    @property
    def troubles(self) -> int:
        """How many of them are in trouble."""
        return sum(self.statuses[status] for status in TROUBLE)

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at this rate; None if that cannot be told."""
        if self.state != RUNNING or self.total is None or not self.rate:
            return None
        return max(0, self.total - self.files) / self.rate

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        left, worker = self.seconds_left, self.worker
        return {
            "state": self.state, "doing": self.doing, "files": self.files, "total": self.total,
            "statuses": {status.value: self.statuses[status] for status in Status},
            "troubles": self.troubles, "files_per_second": round(self.rate, 2),
            "seconds_left": None if left is None else round(left, 1),
            "host": worker.host if worker else "", "job": worker.job if worker else "",
            "parts": self.parts_known, "parts_done": self.parts_done,
            "unfinished": [part.as_dict() for part in self.parts],
            "missing": list(self.missing), "hosts": self.hosts, "next": list(self.next),
        }  # fmt: skip


class NoOutputError(UsageError):
    """There is no output, or no run has begun there yet."""


def status(out: str) -> Progress:
    """Return how far an output is. Raises UsageError if there is none, or its run.json is damaged."""
    return Looks(out).look()


class Looks:
    """An output that is looked at every now and then; of manifests only what is new is read."""

    def __init__(self, out: str) -> None:
        self._out = os.path.abspath(out)
        self._rows = CountedRows(os.path.join(self._out, MANIFEST))
        self._parts: dict[str, SeenPart] = {}

    def look(self) -> Progress:
        """Return how far it is now. Raises UsageError if there is no output, or its run.json is damaged."""
        names = shards.begun(self._out)
        run = RunFile(self._out)
        self._check(run, names)
        is_exact = not run.settled
        if is_exact and not self._rows.exact:
            self._rows = CountedRows(os.path.join(self._out, MANIFEST), exact=True)
        self._rows.look()
        merged = bool(self._rows.counts) and is_exact
        self._parts = {name: self._parts.get(name) or SeenPart(self._out, name) for name in names}
        parts = [seen.look(counting_all=merged) for seen in self._parts.values()]
        return self._told(run, parts, self._statuses(parts, pooled=merged))

    def _check(self, run: RunFile, names: list[str]) -> None:
        begun = (os.path.join(self._out, MANIFEST), shard_folder(self._out))
        there = run.runs or names or any(map(os.path.exists, begun))
        if not there and owner_of(self._out) is None:
            raise NoOutputError(
                f"there is no output in '{escape(self._out)}': name the --out folder of a run that has begun"
            )

    def _statuses(self, parts: list[Part], *, pooled: bool) -> Counter[Status]:
        """Count all files. pooled: whether rows of the parts may stand in the manifest already."""
        if pooled:
            return together([self._rows, *(seen.rows for seen in self._parts.values())])
        return sum((part.statuses for part in parts), Counter(self._rows.counts))

    def _told(self, run: RunFile, parts: list[Part], statuses: Counter[Status]) -> Progress:
        plan = Worker.of(read_json(noting.plan_of(self._out)))
        worker, doing = self._worker(run, parts, plan)
        missing = _missing(run, parts)
        state = RUNNING if doing else self._rest(run, parts, missing, statuses)
        known = {part.shard or part.name for part in parts} | {f"{n}/{of}" for n, of in _divided(run, parts)}
        merged = {f"{n}/{of}" for of, numbers in run.shards.items() for n in numbers}
        done = sum(part.state == DONE_PART for part in parts) + len(merged - {part.shard for part in parts})
        unfinished = sorted((part for part in parts if part.state != DONE_PART), key=_by_need)
        told = Progress(
            self._out, state, doing, statuses, self._total(run, parts, plan, statuses, doing), 0.0, worker,
            tuple(unfinished), max(len(known), plan.tasks if plan and parts else 0), done, missing, run.hosts,
        )  # fmt: skip
        return _with(told, run, _rate(told, plan, parts))

    def _worker(self, run: RunFile, parts: list[Part], plan: Worker | None) -> tuple[Worker | None, str]:
        """Return who has the whole output, if somebody has, and what goes on; empty if nothing does."""
        begun = Worker.of(run.begun)
        owner = owner_of(self._out)
        if begun is not None and (owner is not None or begun.is_alive(self._rows.time)) and not parts:
            return begun, SORTING
        if owner is not None:
            return owner, MERGING if parts or self._has_merged(run) else SORTING
        if plan is not None and plan.is_alive(time_of(os.path.join(shard_folder(self._out), "driver"))):
            return plan, plan.doing or SORTING
        driver = owner_of(shard_folder(self._out))
        if driver is not None or any(part.state == RUNNING for part in parts):
            return driver, SORTING
        with suppress(DicomsortError):
            seen = health.read(self._out)
            if seen.state != health.STOPPED and seen.age < max(300.0, 10 * seen.every):
                return Worker(part_log.host(), pid=seen.pid), WATCHING
        return None, ""

    def _has_merged(self, run: RunFile) -> bool:
        return not run.begun and os.path.exists(os.path.join(self._out, PARTS_LOG))

    def _rest(
        self, run: RunFile, parts: list[Part], missing: tuple[str, ...], statuses: Counter[Status]
    ) -> str:
        """Return the state of an output where nobody is at work."""
        if parts and all(part.state == DONE_PART for part in parts) and not missing:
            return TO_BE_MERGED
        if missing:
            return WAITING
        if parts or run.begun or not run.runs:
            return INTERRUPTED
        if run.told is not None and run.told < statuses.total():
            return TO_BE_MERGED if self._has_merged(run) else INTERRUPTED
        return DONE

    def _total(
        self, run: RunFile, parts: list[Part], plan: Worker | None, statuses: Counter[Status], doing: str
    ) -> int | None:
        """Return how many files there are, as far as anybody knows."""
        found = read_json(noting.total_of(self._out)).get("files") if run.begun else None
        if isinstance(found, int):
            return max(found, statuses.total())
        if plan is not None and plan.total is not None and parts:
            merged = self._rows.counts.total()
            twice = merged + sum(part.statuses.total() for part in parts) - statuses.total()
            return max(merged + plan.total - twice, statuses.total())
        if parts and (listed := one_walk.latest(self._out)) is not None:
            listed.close()
            return max(listed.about.files, statuses.total())
        return None if doing or parts or run.shards or run.begun else statuses.total()


def _is_missing(part: Part) -> bool:
    """Return whether a part is a shard that somebody has to start again."""
    return bool(part.shard) and part.state not in (DONE_PART, RUNNING)


def _divided(run: RunFile, parts: list[Part]) -> set[tuple[int, int]]:
    """Return all shards of the divisions that are not merged yet, or not whole."""
    of = {Shard.parse(part.shard).of for part in parts if part.shard} | {int(of) for of in run.shards}
    return {(number, each) for each in of for number in range(1, each + 1)}


def _missing(run: RunFile, parts: list[Part]) -> tuple[str, ...]:
    """Return which shards are still to be started, or started again."""
    begun = {part.shard for part in parts if part.shard and not _is_missing(part)}
    merged = {f"{number}/{of}" for of, numbers in run.shards.items() for number in numbers}
    names = (f"{number}/{of}" for number, of in sorted(_divided(run, parts), key=lambda one: one[::-1]))
    return tuple(name for name in names if name not in begun | merged)


_NEED = ("failed", "lost", "interrupted", "running", "not begun")


def _by_need(part: Part) -> tuple[int, float, str]:
    return _NEED.index(part.state), -(part.age or 0.0), part.name


def _rate(told: Progress, plan: Worker | None, parts: list[Part]) -> float:
    """Return how many files a second have got their row since those began who are at work."""
    if told.doing != SORTING:
        return 0.0
    if told.worker is None:
        return sum(part.rate for part in parts)
    is_plan = plan is not None and told.worker == plan
    new = sum(part.rows for part in parts) if is_plan else told.files - told.worker.rows
    return max(0, new) / max(time.time() - told.worker.since, 1.0)


def _with(told: Progress, run: RunFile, rate: float) -> Progress:
    return replace(told, rate=rate, next=next_step.of(told, run))
