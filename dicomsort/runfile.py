"""run.json: what an output folder is filled with, and by which runs."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dicomsort.errors import TargetError, UsageError
from dicomsort.names import escape

RUN = "run.json"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is. fixed: what must not differ between the runs into one folder; facts: the rest."""

    fixed: dict[str, Any]
    facts: dict[str, Any]


class RunFile:
    """The run.json of an output folder."""

    def __init__(self, folder: str) -> None:
        """Read it, if there is one. Raises UsageError if it is damaged."""
        self._folder = folder
        self._path = os.path.join(folder, RUN)
        self.fixed: dict[str, Any] = {}
        self.runs: list[dict[str, Any]] = []
        self._settled = False
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
                return
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError):
            pass
        raise UsageError(f"'{escape(self._path)}' is damaged; use another --out, or restore the file")

    def add(self, run: RunFacts) -> None:
        """Compare a new run with what is there, and write it down.

        A folder is never filled by two models, with two ways to read or decide, from two sets of roots, or
        with a plan after the deed. Raises UsageError with advice.
        """
        for name, value in run.fixed.items() if self.runs else ():
            if (was := self.fixed.get(name)) != value:
                same = f"--precision {was}" if name == "precision" and was else "the same settings"
                raise UsageError(
                    f"'{escape(self._folder)}' was filled with another {name} ({was}, now {value}); "
                    f"use another --out, or {same}"
                )
        if run.facts["dry_run"] and any(not earlier.get("dry_run") for earlier in self.runs):
            raise UsageError(
                f"'{escape(self._folder)}' holds sorted files; give a dry run an --out of its own"
            )
        self.fixed = self.fixed or run.fixed
        self.begin(run.facts)

    def begin(self, facts: dict[str, Any]) -> None:
        """Write down that a run begins; the latest stands last."""
        self.runs = [*(run for run in self.runs if run != facts), facts]
        self._write()

    @property
    def last_run(self) -> dict[str, Any]:
        """The settings of the latest run, as far as they need not be fixed."""
        return self.runs[-1] if self.runs else {}

    @property
    def settled(self) -> bool:
        """Whether duplicates have been judged since the last row was written."""
        return self._settled

    @settled.setter
    def settled(self, settled: bool) -> None:
        if settled != self._settled:
            self._settled = settled
            self._write()

    def _write(self) -> None:
        held = {"fixed": self.fixed, "settled": self._settled, "runs": self.runs}
        temporary = f"{self._path}.part"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(json.dumps(held, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise TargetError(f"'{escape(self._path)}' cannot be written: {error.strerror}") from error
