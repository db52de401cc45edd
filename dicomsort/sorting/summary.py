"""What a run found, how it ended, and where the time went."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dicomsort.errors import ExitCode
from dicomsort.outcome import TROUBLE, Status


@dataclass(slots=True)
class SortSummary:
    """What was found and how it ended. The statuses of files done before are counted in `statuses` too.

    total: files, once all are counted. missing_bytes: how much more space the copies will probably need than
    there is. archives: files that hold others, and were not opened. shards, shards_done: where a run is
    divided among nodes. spent: processor seconds by stage, and by the clock `network`, of all its lanes, and
    `wait`, without a file that had been read. by_hand: files that somebody had moved within the output, which
    is taken for a decision. taken_back: decisions of persons that could not be carried out.
    """

    found: int = 0
    already_done: int = 0
    statuses: Counter[Status] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    total: int | None = None
    missing_bytes: int = 0
    archives: int = 0
    by_hand: int = 0
    taken_back: int = 0
    shards: int = 0
    shards_done: int = 0
    seconds: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """Files that have a row."""
        return self.statuses.total()

    @property
    def exit_code(self) -> ExitCode:
        """DONE, or SOME_FAILED if any file found ended in trouble, now or before."""
        return ExitCode.SOME_FAILED if any(self.statuses[status] for status in TROUBLE) else ExitCode.DONE

    def move(self, before: Status, after: Status) -> None:
        """Note that a file that was counted has another status now."""
        if before is not after and self.statuses[before]:
            self.statuses[before] -= 1
            self.statuses[after] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the tally as JSON values."""
        return {
            "found": self.found,
            "already_done": self.already_done,
            "statuses": {status.value: self.statuses[status] for status in Status},
            "labels": dict(sorted(self.labels.items())),
            "archives": self.archives,
            "moved_by_hand": self.by_hand,
            "decisions_taken_back": self.taken_back,
            "seconds": round(self.seconds, 3),
            "spent": self.spent,
            "exit_code": int(self.exit_code),
        }


Watch = Callable[[SortSummary], None]
