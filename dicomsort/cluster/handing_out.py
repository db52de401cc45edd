"""Tasks handed out one at a time to whoever is there; those that fail or are lost, again."""

import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from dicomsort.cluster.hands import ClusterLostError, Ended, Hands, Run
from dicomsort.cluster.task import Summary, Task, told_of
from dicomsort.errors import (
    DicomsortError,
    ExitCode,
    InternalError,
    ModelError,
    TargetError,
    UsageError,
)
from dicomsort.manifest.names import PARTS_LOG

Note = Callable[[str], None]

PAUSES = (1.0, 5.0, 25.0)
"""Seconds before a shard that has failed is handed out again; after so many failures and one, never."""

_MOST_LOSSES = 20
_MOST_GIVEN_UP = 8
_TURN_SECONDS = 1.0
_TELL_SECONDS = 60.0
_FATAL: dict[int, type[DicomsortError]] = {
    ExitCode.TARGET: TargetError,
    ExitCode.MODEL: ModelError,
    ExitCode.USAGE: UsageError,
}


class HandingOut:
    """Who has which task. number: of all tasks. out: those that are handed out, by name; others may look."""

    def __init__(
        self,
        tasks: Sequence[Task],
        hands: Hands,
        run: Run,
        patience: float,
        note: Note = lambda _: None,
        what: str = "shards",
    ) -> None:
        """Prepare to hand out tasks.

        patience: seconds to wait for a node when there is none. what: the tasks are, for messages.
        """
        self._hands, self._run, self._note, self._what = hands, run, note, what
        self.number, self._ready = len(tasks), deque(tasks)
        self._later: list[tuple[float, str, Task]] = []
        self.out: dict[str, Task] = {}
        self._failures, self._losses = Counter[str](), Counter[str]()
        self._given_up: list[str] = []
        self._nobody = _Nobody(hands, patience, note)

    def summaries(self) -> Iterator[Summary]:
        """Yield how each task has ended, as soon as it has.

        Raises at once what would meet every task and, when the others are done, InternalError for those that
        could not be done; ClusterLostError if the engine is gone.
        """
        while self._ready or self._later or self.out:
            self._wake()
            self._nobody.check()
            while self._ready and len(self.out) < self._hands.room():
                self._hand_out(self._ready.popleft())
            yield from self._sifted(self._hands.ended(self._turn()))
            if len(self._given_up) >= _MOST_GIVEN_UP:
                break
        if self._given_up:
            raise InternalError(
                f"{len(self._given_up)} of {self.number} {self._what} could not be done, "
                f"the last one {self._given_up[-1]}: "
                f"see {PARTS_LOG} in the output; the same command tries them again"
            )

    def _hand_out(self, task: Task) -> None:
        self.out[task.name] = task
        self._hands.hand_out(self._run, task)

    def _wake(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            self._ready.append(heapq.heappop(self._later)[2])

    def _turn(self) -> float:
        due = self._later[0][0] - time.monotonic() if self._later else _TURN_SECONDS
        return min(max(due, 0.01), _TURN_SECONDS)

    def _sifted(self, ended: Iterable[Ended]) -> Iterator[Summary]:
        """Yield what is done, and have the rest done again."""
        again: list[tuple[str, float]] = []
        for one in ended:
            del self.out[one.task.name]
            if one.summary is not None and one.summary.is_done:
                yield one.summary
                continue
            if one.summary is not None and one.summary.exit_code in _FATAL:
                raise _FATAL[one.summary.exit_code](told_of(one.summary, one.summary.error))
            why, pause = self._judged(one)
            if pause is None:
                self._given_up.append(why)
            else:
                heapq.heappush(self._later, (time.monotonic() + pause, one.task.name, one.task))
                again.append((why, pause))
        self._tell(again)

    def _judged(self, one: Ended) -> tuple[str, float | None]:
        """Say why a task is not done, and in how many seconds it is done again; None for never.

        A task that was stopped was so with its node: the driver stops none.
        """
        name, summary = one.task.name, one.summary
        if summary is None or summary.exit_code == ExitCode.INTERRUPTED:
            self._losses[name] += 1
            why = f"lost with a node ({one.why or 'it was stopped'})"
            return why, PAUSES[0] if self._losses[name] < _MOST_LOSSES else None
        self._failures[name] += 1
        failed = self._failures[name]
        why = told_of(summary, f"failed ({summary.error})")
        return why, PAUSES[failed - 1] if failed <= len(PAUSES) else None

    def _tell(self, again: list[tuple[str, float]]) -> None:
        for (why, pause), some in groupby(sorted(again)):
            number = len(list(some))
            was, be = ("were ", "are") if number > 1 else ("was ", "is")
            how = why if why.startswith("failed") else was + why
            self._note(f"{number} of {self.number} {self._what} {how} and {be} done again in {pause:.0f} s")


class _Nobody:
    """Watches for the time in which there is no node."""

    def __init__(self, hands: Hands, patience: float, note: Note) -> None:
        self._hands, self._patience, self._note = hands, patience, note
        self._since: float | None = None
        self._told = 0.0
        self._had_one = False

    def check(self) -> None:
        """Tell once a minute that nobody is there; raise an error once that has lasted too long."""
        if self._hands.nodes():
            self._since, self._had_one = None, True
            return
        now = time.monotonic()
        if self._since is None:
            self._since, self._told = now, now - _TELL_SECONDS
        waited = now - self._since
        if waited >= self._patience:
            raise self._trouble()
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            self._note(
                f"{self._hands.who} has no workers: waiting for one, "
                f"{self._patience - waited:.0f} s more at most"
            )

    def _trouble(self) -> DicomsortError:
        if self._had_one:
            return ClusterLostError(
                f"{self._hands.who} has lost all its workers, and none came in {self._patience:.0f} s "
                "(--wait-for-nodes): what was done is kept; start some, and the same command goes on"
            )
        return UsageError(
            f"{self._hands.who} has no workers, and none came in {self._patience:.0f} s "
            "(--wait-for-nodes): start some"
        )
