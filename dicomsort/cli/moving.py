"""What a person is told of files that are moved: that their sources will be removed, then how many were."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dicomsort.cli import console
from dicomsort.manifest.run_file import RunFile
from dicomsort.outcome import Action, Reason
from dicomsort.system.telling import size_told

if TYPE_CHECKING:
    from dicomsort.sorting.plan import PlanResult
    from dicomsort.sorting.removal import Removed


def announce(action: Action | None, dry_run: bool, quiet: bool) -> None:
    """Print that this run removes sources, if it does."""
    if action is Action.MOVE and not (dry_run or quiet):
        console.info(
            "--action move: sources are removed in the end, once their copies are checked and recorded"
        )


def announce_apply(path: str, action: Action | None, quiet: bool) -> None:
    """Print that applying a plan removes sources, if it does. path: of the manifest. Raises UsageError."""
    told = action or RunFile(str(Path(path).resolve().parent)).last_run.get("action")
    announce(Action.MOVE if told == Action.MOVE else None, False, quiet)


def tell(removed: "Removed", planned: bool = False) -> None:
    """Print how many sources are gone, or would be, and how many stay and why."""
    if not removed:
        return
    sources = f"{removed.files} source{'s' * (removed.files != 1)}"
    size = size_told(removed.size)
    line = f"apply would remove {sources}, {size}" if planned else f"removed {sources}, {size}"
    if stayed := removed.stayed.total():
        why = ", ".join(f"{count} {stays}" for stays, count in removed.stayed.most_common())
        stay = "would stay" if planned else "stays" if stayed == 1 else "stay"
        line += f"; {stayed} {stay} where {'it is' if stayed == 1 else 'they are'}: {why}"
    console.info(line)


def hints(action: Action, met: Mapping[Reason, int]) -> dict[Reason, int]:
    """Return what a person is told of at the end: not of folders that a move has emptied."""
    return {
        reason: count
        for reason, count in met.items()
        if action is not Action.MOVE or reason is not Reason.EMPTY_FOLDER
    }


def undone(done: "PlanResult") -> str:
    """Return what undo has done."""
    if not done.back:
        return f"{done.done} removed"
    others = f"{done.done - done.back} removed, " if done.back < done.done else ""
    return f"{others}{done.back} moved back to where they came from"
