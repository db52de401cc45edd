"""The parts of a manifest that are being written, as they can be seen from outside."""

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from dicomsort.manifest.counting import CountedRows, together
from dicomsort.manifest.names import MANIFEST, PART_LOG, shard_folder
from dicomsort.manifest.run_file import RunFile
from dicomsort.outcome import Status
from dicomsort.sorting import part_log, shards
from dicomsort.sorting.at_work import Worker, owner_of, size_of, time_of
from dicomsort.sorting.part_log import DONE, END, FAILED, INTERRUPTED, START, Line

RUNNING, LOST, NOT_BEGUN = "running", "lost", "not begun"
DONE_PART = DONE


@dataclass(frozen=True, slots=True)
class Part:
    """A part. name: of its folder; shard: as `3/16`, empty for that of a driver's task.

    state: `running`, `done`, `failed`, `interrupted`, `lost` (it stopped without a word, or has lost
    rows) or `not begun`. host, job: where it was last worked on. rows: that it has; rate: of them, a second,
    while it runs. age: seconds since the last row. error: in one line, if it failed.
    """

    name: str
    shard: str = ""
    state: str = NOT_BEGUN
    host: str = ""
    job: str = ""
    rows: int = 0
    rate: float = 0.0
    age: float | None = None
    error: str = ""
    exit_code: int | None = None
    statuses: Counter[Status] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "name": self.name, "shard": self.shard, "state": self.state, "host": self.host, "job": self.job,
            "rows": self.rows, "files_per_second": round(self.rate, 2),
            "seconds_since_last_row": None if self.age is None else round(self.age, 1),
            "error": self.error, "exit_code": self.exit_code,
        }  # fmt: skip


class SeenPart:
    """A part that is looked at every now and then; only what is new is read."""

    def __init__(self, out: str, name: str) -> None:
        self._folder, self._name = shard_folder(out, name), name
        shard = shards.shard_of(name)
        self._shard = f"{shard.number}/{shard.of}" if shard else ""
        self._logged: float | None = None
        self._lines: list[Line] = []
        self._part: Part | None = None
        self.rows = CountedRows(os.path.join(self._folder, MANIFEST), exact=True)

    def look(self, *, counting_all: bool) -> Part:
        """Return how the part is. counting_all: whether its rows are read though its log counts them."""
        logged = time_of(os.path.join(self._folder, PART_LOG))
        is_new = logged is None or logged != self._logged
        if is_new:
            self._logged, self._lines = logged, part_log.read(self._folder)
        last = next((line for line in reversed(self._lines) if line.word in (START, END)), None)
        if last is not None and last.word == END and last.facts.get("how") == DONE:
            if is_new or self._part is None:
                self._part = self._ended(last)
            if counting_all:
                self.rows.look()
            return self._part
        self._part = self._unfinished(last)
        return self._part

    def _started(self) -> Worker | None:
        line = next((line for line in reversed(self._lines) if line.word == START), None)
        return None if line is None else Worker.of({**line.facts, "time": line.time})

    def _ended(self, line: Line) -> Part:
        worker, facts = self._started(), line.facts
        statuses = Counter(
            {one: int(facts[one.value]) for one in Status if facts.get(one.value, "").isdigit()}
        )
        if statuses and self._has_lost_rows(_number(facts.get("manifest_bytes")) or 0):
            return Part(self._name, self._shard, LOST)
        return Part(
            self._name, self._shard, DONE, worker.host if worker else "", worker.job if worker else "",
            statuses.total(), exit_code=_number(facts.get("exit_code")), statuses=statuses,
        )  # fmt: skip

    def _has_lost_rows(self, size: int) -> bool:
        path = os.path.join(self._folder, MANIFEST)
        return not shards.has_rows(path) or size_of(path) < size

    def _unfinished(self, last: Line | None) -> Part:
        self.rows.look()
        statuses, worker, now = together([self.rows]), self._started(), time.time()
        ended = last if last is not None and last.word == END else None
        state = self._state(worker, ended)
        host, job = (worker.host, worker.job) if worker else ("", "")
        seconds = now - worker.since if worker else 0.0
        rate = (
            max(0, statuses.total() - worker.rows) / max(seconds, 1.0) if worker and state == RUNNING else 0.0
        )
        age = None if self.rows.time is None or not statuses else max(0.0, now - self.rows.time)
        facts = ended.facts if ended else {}
        return Part(
            self._name, self._shard, state, host, job, statuses.total(), rate, age,
            facts.get("error", ""), _number(facts.get("exit_code")), statuses,
        )  # fmt: skip

    def _state(self, worker: Worker | None, ended: Line | None) -> str:
        if owner_of(self._folder) is not None:
            return RUNNING
        if ended is not None:
            return FAILED if ended.facts.get("how") == FAILED else INTERRUPTED
        if worker is not None:
            return RUNNING if worker.is_alive(self.rows.time, self._logged) else LOST
        if not self.rows.counts:
            return NOT_BEGUN
        return DONE if RunFile(self._folder).settled else LOST  # of an earlier version


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
