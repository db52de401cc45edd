"""The folders and addresses that fill an output: by which names their files are kept apart."""

from collections.abc import Sequence

from dicomsort.inputs import walk
from dicomsort.manifest.run_file import RunFile
from dicomsort.system.escaping import escape, unescape


def known(run_file: RunFile) -> list[walk.Root]:
    """Return the roots of all runs that have filled an output."""
    if run_file.roots is None:  # of a version whose roots had to stay the same
        return walk.roots_of([unescape(root) for root in run_file.fixed.get("roots", [])])
    return [walk.Root(unescape(path), unescape(name)) for path, name in run_file.roots.items()]


def grown(run_file: RunFile, given: Sequence[str]) -> list[walk.Root]:
    """Return the roots of all runs, that of the paths that are given now included."""
    before = known(run_file)
    now = walk.roots_of(given, before)
    return [*before, *(root for root in now if root not in before)]


def as_json(roots: Sequence[walk.Root]) -> dict[str, str]:
    """Return roots as run.json holds them; see `RunFacts`."""
    return {escape(root.path): escape(root.name) for root in roots}


def may_meet(roots: Sequence[walk.Root]) -> bool:
    """Return whether files of two roots could have one relative path: one of several roots has no name."""
    return len(roots) > 1 and any(not root.name for root in roots)
