"""What is to be done next with an output: as a person would type it, as far as run.json knows."""

import os
import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.manifest.names import shard_folder
from dicomsort.manifest.run_file import RunFile
from dicomsort.model.defaults import DEFAULT_MODELS
from dicomsort.sorting.layout import DEFAULT as DEFAULT_LAYOUT
from dicomsort.system.telling import counted

if TYPE_CHECKING:
    from dicomsort.sorting.progress_of import Progress

_FLAGS = {
    "relative": "--relative", "verify": "--verify", "dry_run": "--dry-run", "follow_links": "--follow-links",
    "keep_duplicates": "--keep-duplicates", "include_secondary_capture": "--include-secondary-capture",
    "pictures": "--pictures", "pixel_digest": "--pixel-digest",
}  # fmt: skip
_USUAL = {
    "action": "copy", "layout": DEFAULT_LAYOUT, "evidence": "header", "max_pixels": ReadSettings().max_pixels,
}  # fmt: skip


def of(told: "Progress", run: RunFile) -> tuple[str, ...]:
    """Return what to do, a line each; none while somebody is at work, unless shards are missing."""
    out = shlex.quote(told.out)
    if told.missing:
        return _missing(told.missing, run, told.out)
    if told.state == "to be merged":
        return (f"dicomsort merge {out}",)
    if told.state == "interrupted":
        command = command_of(run, told.out)
        how = " --backend ... as before" if any(not part.shard for part in told.parts) else ""
        return ((command or f"the same `dicomsort classify ... --out {out}` again") + how,)
    return ()


def _missing(missing: Sequence[str], run: RunFile, out: str) -> tuple[str, ...]:
    """Return how shards are started that are still to be done: the command of one, and all numbers."""
    first, *others = missing
    agreed = RunFile(shard_folder(out))
    command = command_of(agreed if agreed.runs else run, out) or "dicomsort classify ..."
    lines = [f"{command} --shard {first}"]
    if others:
        numbers = ranges(int(name.partition("/")[0]) for name in missing)
        lines.append(f"and so on, {counted(len(missing), 'shard')} in all: {numbers}")
    return (*lines, f"then: dicomsort merge {shlex.quote(out)}")


def ranges(numbers: Iterable[int]) -> str:
    """Return whole numbers as batch systems write them: `3,7,9-16`."""
    stretches = groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])
    ends = ([number for _, number in stretch] for _, stretch in stretches)
    return ",".join(str(one[0]) if len(one) == 1 else f"{one[0]}-{one[-1]}" for one in ends)


def command_of(run: RunFile, out: str) -> str:
    """Return the command that made an output, without what concerns the machine; empty if that is lost."""
    if not run.runs:
        return ""
    facts: dict[str, Any] = {**run.last_run, **run.fixed}
    listed = facts.get("from_list")
    inputs = facts.get("roots", [])
    words = ["dicomsort", "classify", *([] if listed and inputs == [os.sep] else inputs), "--out", out]
    words += ["--from-list", str(listed)] if listed else []
    words += _models(str(facts.get("model", "")))
    for name, usual in _USUAL.items():
        if facts.get(name, usual) != usual:
            words += [f"--{name.replace('_', '-')}", str(facts[name])]
    words += [flag for name, flag in _FLAGS.items() if facts.get(name) is True]
    words += ["--no-archives"] if facts.get("archives") is False else []
    return shlex.join(words)


def _models(tag: str) -> list[str]:
    names = [each.partition("@")[0] for each in tag.split("+") if each]
    return [] if names == list(DEFAULT_MODELS) else [word for name in names for word in ("--model", name)]
