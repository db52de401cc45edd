"""How far a distributed run is, read by the driver from the shards that are being written."""

import csv
import os
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from dicomsort.cluster.job import Job
from dicomsort.cluster.task import Task, driver_of, touch
from dicomsort.manifest.names import MANIFEST
from dicomsort.outcome import Status
from dicomsort.sorting.summary import SortSummary, Watch

_SECONDS = 1.0


class Progress:
    """Keeps the driver's file fresh, and counts what is done, in a thread of its own.

    Only the shards that are handed out just now are looked at, so that their number costs nothing.
    """

    def __init__(
        self, job: Job, number: int, now_out: Mapping[str, Task], tally: SortSummary, watch: Watch | None
    ) -> None:
        """Prepare to look. number: of all shards. now_out: those that are handed out, by name."""
        self._driver = driver_of(job.out)
        self._run = job.run
        self._out, self._live = now_out, dict[str, _Shard]()
        self._tally, self._watch, self._shards = tally, watch, number
        self._lock = threading.Lock()
        self._counted, self._done = Counter[Status](), 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        """Start to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()

    def count(self, name: str, statuses: Counter[Status]) -> None:
        """Count a shard that is done."""
        with self._lock:
            self._live.pop(name, None)
            self._counted += statuses
            self._done += 1

    def _work(self) -> None:
        while not self._stop.wait(_SECONDS):
            if os.path.exists(self._driver):
                with suppress(OSError):
                    touch(self._driver, self._run)
                if self._watch is not None:
                    self._watch(self._look())

    def _look(self) -> SortSummary:
        with self._lock:
            now_out = dict(self._out)
            self._live = {name: self._live.get(name) or _Shard(task) for name, task in now_out.items()}
            live: Counter[Status] = Counter()
            for shard in self._live.values():
                live += shard.statuses()
            return replace(
                self._tally,
                statuses=self._tally.statuses + self._counted + live,
                total=self._tally.found,
                shards=self._tally.shards + self._shards,
                shards_done=self._tally.shards_done + self._done,
            )


class _Shard:
    """The rows that a task has written so far."""

    def __init__(self, task: Task) -> None:
        self._path = os.path.join(task.folder, MANIFEST)
        self._read = 0
        self._statuses: Counter[Status] = Counter()

    def statuses(self) -> Counter[Status]:
        """Count the rows by status, those read before included."""
        with suppress(OSError), open(self._path, "rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._count(line.decode("utf-8", "replace"))
                self._read += len(line)
        return self._statuses

    def _count(self, line: str) -> None:
        cells = next(csv.reader([line]), [])
        with suppress(ValueError, IndexError):  # the line of names is none
            self._statuses[Status(cells[1])] += 1
