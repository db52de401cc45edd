"""run.json: what an output folder is filled with, and by which runs."""

import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dicomsort.errors import TargetError, UsageError
from dicomsort.manifest.names import RUN
from dicomsort.model import anatomy
from dicomsort.model.anatomy import Region
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import escape

_BEFORE = {
    "engine": "torch",
    "evidence": "pixels",
    "archives": True,
    "pictures": False,
    "pixel_digest": False,
}
"""What folders of earlier versions were filled with, which did not write it down."""
_FLAGS = ("keep_duplicates", "include_secondary_capture", "pictures", "archives", "pixel_digest")
_VALUES = ("review_below", "layout", "max_pixels")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is. fixed: what must not differ between the runs into one folder; facts: the rest.

    roots: what it sorts, and what earlier runs have sorted: names in front of relative paths by escaped path.
    """

    fixed: dict[str, Any]
    facts: dict[str, Any]
    roots: dict[str, str] = field(default_factory=dict)


class RunFile:
    """The run.json of an output folder.

    shards: of a division into n shards, by n as text, which have been merged; empty if none or all have.
    took: what the runs that came to their end took, all together; see `add_time`. roots: see `RunFacts`; None
    for the names of an earlier version, which follow from the paths. hosts: by machine, how many `runs` got
    rows there, `files` and `seconds`, runs that were interrupted included. begun: who is at work since when,
    see `begin`; empty once that run has ended, but not if it was killed.
    """

    def __init__(self, folder: str) -> None:
        """Read it, if there is one. Raises UsageError if it is damaged."""
        self._folder = folder
        self._path = os.path.join(folder, RUN)
        self.fixed: dict[str, Any] = {}
        self.runs: list[dict[str, Any]] = []
        self._settled = False
        self._decisions, self._digest = 0, ""
        self.shards: dict[str, list[int]] = {}
        self.took: dict[str, Any] = {}
        self.hosts: dict[str, dict[str, float]] = {}
        self.begun: dict[str, Any] = {}
        self._parquet: list[int] | None = None
        self.roots: dict[str, str] | None = {}
        self._told: int | None = None
        self._is_held = False
        self._read()

    def _read(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
            fixed, runs = found["fixed"], found["runs"]
            if (
                isinstance(fixed, dict)
                and isinstance(runs, list)
                and all(isinstance(run, dict) for run in runs)
            ):
                self.fixed, self.runs, self._settled = fixed, runs, found.get("settled") is True
                self.shards, self.took = dict(found.get("shares", {})), dict(found.get("took", {}))
                self.hosts, self.begun = dict(found.get("hosts", {})), dict(found.get("begun", {}))
                self._decisions = int(found.get("decisions", 0))
                self._digest = str(found.get("decisions_sha256", ""))
                self._parquet = list(found["parquet"]) if "parquet" in found else None
                self.roots = _roots_of(found)
                self._told = int(found["told"]) if "told" in found else None
                return
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValueError, TypeError, KeyError):
            pass
        raise self._is_damaged()

    def _is_damaged(self) -> UsageError:
        return UsageError(f"'{escape(self._path)}' is damaged; use another --out, or restore the file")

    def add(self, run: RunFacts) -> None:
        """Compare a new run with what is there, and write it down. Raises as `check` does."""
        self.check(run)
        self.fixed = self.fixed or run.fixed
        self._told = self._told if self.runs else 0
        self.roots = {**(self.roots or {}), **run.roots}
        self.begin(run.facts)

    def check(self, run: RunFacts) -> None:
        """Compare a new run with what is there.

        A folder is never filled by two models, with two ways to read or decide, or with a plan after the
        deed. Raises UsageError with advice.
        """
        for name, value in run.fixed.items() if self.runs else ():
            if (was := self.fixed.get(name, _BEFORE.get(name))) != value:
                raise UsageError(f"'{escape(self._folder)}' was {_difference(name, was, value)}")
        if run.facts["dry_run"] and any(not earlier.get("dry_run") for earlier in self.runs):
            raise UsageError(
                f"'{escape(self._folder)}' holds sorted files; give a dry run an --out of its own"
            )

    def begin(self, facts: dict[str, Any]) -> None:
        """Write down that a run begins; the latest stands last.

        Who does it is no part of what it is: see `begun_by`.
        """
        self.runs = [*(run for run in self.runs if run != facts), facts]
        self._write()

    def join(self, other: "RunFile") -> None:
        """Write down the runs of another one, that of a shard, and its roots."""
        self.roots = {**(self.roots or {}), **(other.roots or {})} if other.roots else self.roots
        for run in other.runs:
            if run not in self.runs:
                self.begin(run)

    def add_time(self, took: Mapping[str, Any]) -> None:
        """Write down what a run, or several, took: files that got their row, seconds, spent, runs.

        seconds: by the clock, of shards that of each. spent: see `summary.SortSummary`.
        """
        if not took.get("files"):
            return
        spent, more = dict(self.took.get("spent", {})), took.get("spent", {})
        sums = {name: self.took.get(name, 0) + took.get(name, 0) for name in ("files", "seconds", "runs")}
        sums["seconds"] = round(sums["seconds"], 3)
        self.took = {**sums, "spent": spent | {key: round(spent.get(key, 0) + more[key], 3) for key in more}}
        self._write()

    def begun_by(self, who: Mapping[str, Any]) -> None:
        """Write down who is at work from now on: host, job, pid, time, and how many rows there were."""
        self.begun = dict(who)
        self._write()

    def end(self, host: str, files: int, seconds: float) -> None:
        """Write down that whoever was at work no longer is, and how many files got their row meanwhile."""
        if files:
            self._add_hosts({host: {"runs": 1, "files": files, "seconds": seconds}})
        if files or self.begun:
            self.begun = {}
            self._write()

    def join_hosts(self, other: "RunFile") -> None:
        """Write down on which machines the runs of another one, that of a shard, were."""
        if other.hosts:
            self._add_hosts(other.hosts)
            self._write()

    def _add_hosts(self, hosts: Mapping[str, Mapping[str, float]]) -> None:
        for host, more in hosts.items():
            was = self.hosts.get(host, {})
            self.hosts[host] = {
                name: round(was.get(name, 0) + more.get(name, 0), 3) for name in ("runs", "files", "seconds")
            }

    @property
    def last_run(self) -> dict[str, Any]:
        """The settings of the latest run, as far as they need not be fixed."""
        return self.runs[-1] if self.runs else {}

    @property
    def anatomy(self) -> dict[str, dict[str, Region]]:
        """What the labels of the run's models mean, by the columns of their answers; see `model.anatomy`.

        Empty for an output of an earlier version. Raises UsageError if it is damaged.
        """
        try:
            return anatomy.from_json(self.last_run.get("anatomy", {}))
        except (ValueError, TypeError, AttributeError) as error:
            raise self._is_damaged() from error

    @property
    def settled(self) -> bool:
        """Whether a run has come to its end since the last row was written, duplicates judged.

        Of a shard: whether all its files have their row; duplicates are judged when shards are merged.
        """
        return self._settled

    @settled.setter
    def settled(self, settled: bool) -> None:
        if settled != self._settled:
            self._settled = settled
            self._write()

    @property
    def parquet(self) -> list[int] | None:
        """Size and time (ns) of the manifest.csv that is there as Parquet; None if none is wanted.

        Empty before the first is written.
        """
        return self._parquet

    @parquet.setter
    def parquet(self, stamp: list[int] | None) -> None:
        if stamp != self._parquet:
            self._parquet = stamp
            self._write()

    @property
    def told(self) -> int | None:
        """How many rows, from the first on, runs have told of at their end; None: all count as told.

        What stands behind them is of a run that was killed.
        """
        return self._told

    @told.setter
    def told(self, rows: int) -> None:
        if rows != self._told:
            self._told = rows
            self._write()

    @property
    def decisions(self) -> int:
        """How many bytes of decisions.csv have been carried out."""
        return self._decisions

    @decisions.setter
    def decisions(self, size: int) -> None:
        if size != self._decisions:
            self._decisions, self._digest = size, ""
            self._write()

    def note_decisions(self, size: int, digest: str) -> None:
        """Note that all of a decisions.csv of so many bytes and with this checksum has been carried out."""
        if (size, digest) != (self._decisions, self._digest):
            self._decisions, self._digest = size, digest
            self._write()

    def has_noted(self, size: int, digest: str) -> bool:
        """Return whether this very decisions.csv has been carried out."""
        return size == self._decisions and self._digest in ("", digest)

    def merged(self, shards: Iterable[tuple[int, int]], forget: bool = True) -> list[str]:
        """Note shards (number, of) that have been merged; return those still to be done, as `3/16`.

        forget: once a division into shards is whole, all are forgotten, and the next one begins anew.
        """
        done = {int(of): set(numbers) for of, numbers in self.shards.items()}
        for number, of in shards:
            done.setdefault(of, set()).add(number)
        if forget and any(len(numbers) == of for of, numbers in done.items()):
            done = {}
        self.shards = {str(of): sorted(numbers) for of, numbers in done.items()}
        self._write()
        return [f"{left}/{of}" for of in done for left in range(1, of + 1) if left not in done[of]]

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Write what changes in a block when it ends, however that is, and not before."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            self._write()

    def _write(self) -> None:
        if self._is_held:
            return
        held = {"fixed": self.fixed, "settled": self._settled, "runs": self.runs}
        held |= {"roots": self.roots} if self.roots else {}
        held |= {"shares": self.shards} if self.shards else {}
        held |= {"took": self.took} if self.took else {}
        held |= {"hosts": self.hosts} if self.hosts else {}
        held |= {"begun": self.begun} if self.begun else {}
        held |= {"decisions": self._decisions} if self._decisions else {}
        held |= {"decisions_sha256": self._digest} if self._digest else {}
        held |= {"told": self._told} if self._told is not None else {}
        held |= {"parquet": self._parquet} if self._parquet is not None else {}
        try:
            with replacing(self._path) as file:
                file.write(json.dumps(held, indent=2) + "\n")
        except OSError as error:
            raise TargetError(f"'{escape(self._path)}' cannot be written: {error.strerror}") from error


def _difference(name: str, was: Any, now: Any) -> str:
    """Say with what an output was filled, what is another now, and what to do about it."""
    option = f"--{name.replace('_', '-')}"
    if name in _FLAGS and isinstance(was, bool):
        made, again = ("with", "give it again") if was else ("without", "leave it out")
        return f"made {made} {option}; use another --out, or {again}"
    if name in _VALUES and was is not None:
        value = shlex.quote(str(was))
        return f"made with {option} {value}, not {now}; use another --out, or {option} {value}"
    told = name in ("engine", "precision", "evidence") and isinstance(was, str)
    same = f"{option} {was}" if told else "the same --model" if name == "model" else "the same settings"
    return f"filled with another {name} ({was}, now {now}); use another --out, or {same}"


def _roots_of(found: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the roots of a run.json; None for those of an earlier version. Raises TypeError for damage."""
    roots = found.get("roots", None if "roots" in found["fixed"] else {})
    if isinstance(roots, dict) and all(isinstance(name, str) for name in roots.values()):
        return roots
    if roots is None:
        return None
    raise TypeError("roots are no roots")
