"""What a person is told of a sorting run at its end, and of merged shards."""

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dicomsort.cli import console, moving
from dicomsort.outcome import Action, Reason, Status
from dicomsort.system.telling import counted

if TYPE_CHECKING:
    from dicomsort.inputs.named import Shard
    from dicomsort.sorting.merge import MergeResult
    from dicomsort.sorting.summary import Radiographs, SortSummary, Trouble


_MOST = 8
_PLACES = {
    "sorted": "sorted",
    "review": "review",
    "planned": "planned for its class",
    "planned_review": "planned for review",
}
"""The places of `summary.PLACES` in a person's words."""


def taken_back(count: int) -> str:
    """Return what is said of earlier decisions that could not be carried out."""
    return f"decisions on {console.files(count)} could not be carried out: decide on them again"


def report_summary(tally: "SortSummary", out: str, shard: "Shard | None" = None) -> None:
    """Print what a run did and where it is. shard: which one this was, if it was one."""
    if tally.already_done and tally.already_done == tally.found:
        console.info(f"nothing new: {_all_done(tally.found)} already")
    else:
        _new_files(tally)
        _radiographs(tally.radiographs)
    if tally.by_hand:
        console.info(
            f"{console.files(tally.by_hand)} had been moved by hand within the output: taken for decisions"
        )
    for folder, count in tally.astray.items():
        one = (
            "stays there, and its source, where it still is, was"
            if count == 1
            else "stay there, and their sources, where they still are, were"
        )
        console.info(
            f"{console.files(count)} had been moved to '{folder}', which is no class: {one} placed again"
        )
    if tally.honored:
        console.info(f"honored what people had decided on {console.files(tally.honored)}")
    if tally.taken_back:
        console.info(taken_back(tally.taken_back))
    moving.tell(tally.removed, bool(tally.statuses[Status.PLANNED]))
    if shard is None:
        console.info(f"{tally.seconds:.1f} s; every file has its row in {out}/manifest.csv")
        _go_on(tally.statuses, out)
    else:
        console.info(f"{tally.seconds:.1f} s; shard {shard} is done; once all are: dicomsort merge {out}")


def _all_done(count: int) -> str:
    return "1 file is done" if count == 1 else f"all {count} files are done"


def _new_files(tally: "SortSummary") -> None:
    """Print how the files of this run ended, and how many others there are."""
    rows = [[status.value, str(count)] for status in Status if (count := tally.new[status])]
    rows += [["done before", str(tally.already_done)]] if tally.already_done else []
    rows.append(["found", str(tally.found)])
    title = "new files by status" if tally.already_done else "files by status"
    console.table(title, ["status", "files"], rows, right=(1,))


def report_news(tally: "SortSummary", action: Action, quiet: bool) -> None:
    """Print what was not read and what is in trouble; with `quiet` nothing that an earlier run has told."""
    report_hints(moving.hints(action, tally.new_hints if quiet else tally.hints))
    older = 0 if quiet and not tally.exit_code else tally.older_troubles
    report_troubles(tally.troubles, tally.new_troubles, older)


def report_troubles(troubles: "Sequence[Trouble]", new: int, older: int) -> None:
    """Print the first files of this run that ended in trouble, and how many remain of earlier runs."""
    for trouble in troubles:
        console.info(f"{trouble.status}: {trouble.path}: {trouble.reason}")
    if new > len(troubles):
        console.info(f"... and {new - len(troubles)} more in trouble, see the manifest")
    if older:
        remain = "1 older trouble remains" if older == 1 else f"{older} older troubles remain"
        console.info(f"{remain}: --retry-failed tries again")


def log_end(tally: "SortSummary") -> None:
    """Write into the log, if there is one, what a run found and how it ended."""
    new = ", ".join(f"{status} {count}" for status, count in (+tally.new).items()) or "nothing"
    console.log(
        f"ended with exit code {int(tally.exit_code)} after {tally.seconds:.1f} s: {tally.found} found, "
        f"{tally.already_done} done before, {tally.older_troubles} older troubles; new: {new}"
    )


def _radiographs(found: "Radiographs") -> None:
    """Print a row for each label, and a column for each place where some are."""
    places = [place for place in _PLACES if any(counts[place] for counts in found.values())]
    rows = [
        [label, *(str(counts[place]) for place in places), str(counts.total())]
        for label, counts in sorted(found.items())
    ]
    if rows:
        columns = ["label", *(_PLACES[place] for place in places), "files"]
        console.table("radiographs in the output by label", columns, rows, right=range(1, len(columns)))


def _go_on(statuses: Mapping[Status, int], out: str) -> None:
    """Print with which commands a person goes on from an output."""
    folder = shlex.quote(out)
    if statuses[Status.PLANNED]:
        console.info(f"to go on: dicomsort report {folder}")
        console.info(f"and if that is right: dicomsort apply {folder}")
    elif statuses[Status.REVIEW]:
        console.info(f"to go on: dicomsort review {folder}")
    if not statuses[Status.PLANNED]:
        console.info(f"all at a glance: dicomsort report {folder}")


def after_apply(out: str) -> None:
    """Print how a person goes on from a plan that was carried out."""
    console.info(f"all at a glance: dicomsort report {shlex.quote(out)}")


def after_undo(out: str) -> None:
    """Print how what was undone is done again."""
    console.info(f"it is a plan again: dicomsort apply {shlex.quote(out)} places it")


def report_spent(tally: "SortSummary") -> None:
    """Print where the time went."""
    spent = dict(tally.spent)
    waited, network = spent.pop("wait", 0.0), spent.pop("network", 0.0)
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in spent.items())
    console.info(
        f"processor seconds: {stages}; network {network:.1f} s in its lanes; "
        f"waited {waited:.1f} of {tally.seconds:.1f} s for files to be read"
    )


def report_merged(merged: "MergeResult", out: str, quiet: bool) -> None:
    """Report what a merged manifest holds, and which shards are still to be done."""
    if merged.missing:
        some = ", ".join(merged.missing[:_MOST]) + ", ..." * (len(merged.missing) > _MOST)
        left = counted(len(merged.missing), "shard is", "shards are")
        console.info(f"{left} still to be done: --shard {some}; then merge again")
    if merged.taken_back:
        console.info(taken_back(merged.taken_back))
    if not quiet:
        rows = [[status, str(count)] for status, count in sorted(merged.statuses.items())]
        console.table("files by status", ["status", "files"], rows, right=(1,))
        _radiographs(merged.radiographs)
        moving.tell(merged.removed, bool(merged.statuses[Status.PLANNED]))
        have = counted(merged.rows, "file has its row", "files have their rows")
        console.info(f"{counted(merged.shards, 'shard')} joined; {have} in {out}/manifest.csv")
        if not merged.missing:
            _go_on(merged.statuses, out)


_HINTS = {
    Reason.ARCHIVE: (
        "archive was not opened (7z, rar or iso; with --no-archives any): unpack it and run again",
        "archives were not opened (7z, rar or iso; with --no-archives any): unpack them and run again",
    ),
    Reason.NESTED: (
        "archive lies in one that lies in another, and was not opened: unpack the outer one and run again",
        "archives lie in one that lies in another, and were not opened: unpack the outer ones and run again",
    ),
    Reason.PICTURE: (
        "picture is not DICOM: --pictures, with another --out, sorts it too",
        "pictures are not DICOM: --pictures, with another --out, sorts them too",
    ),
    Reason.VIDEO: (
        "video was not read: save the frames that matter as pictures, and see --pictures",
        "videos were not read: save the frames that matter as pictures, and see --pictures",
    ),
    Reason.EMPTY_FOLDER: (
        "folder is empty: see whether something is still to come there, or is not mounted",
        "folders are empty: see whether something is still to come there, or is not mounted",
    ),
}
"""What is said of one, and of several."""


def report_hints(hints: Mapping[Reason, int]) -> None:
    """Report what may hold radiographs and was not read, and what to do about it."""
    for reason, (one, several) in _HINTS.items():
        if count := hints.get(reason, 0):
            console.info(f"{count} {one if count == 1 else several}")
