"""What a run is to sort, and whether it may, before anything is done."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from dicomsort.errors import TargetError, UsageError
from dicomsort.inputs import names, walk
from dicomsort.inputs.named import Archive, Files, check_list
from dicomsort.inputs.remotes import Remotes
from dicomsort.inputs.store import RemoteSettings
from dicomsort.manifest.decisions import Decisions
from dicomsort.manifest.names import DECISIONS, OWN, RUN, SHARDS
from dicomsort.manifest.run_file import RunFile
from dicomsort.model.evidence import check_source
from dicomsort.sorting import removal, roots
from dicomsort.sorting.layout import Layout
from dicomsort.system.escaping import escape
from dicomsort.system.telling import counted

if TYPE_CHECKING:
    from dicomsort.sorting.pipeline import SortSettings


def archive_of(settings: "SortSettings") -> Archive:
    """Return the files that a run is to sort. Raises as `check` does."""
    given, out = check(settings), os.path.abspath(settings.out)
    remotes = Remotes(given, _remote(settings, given))
    remotes.open()
    if settings.from_list is None:
        remotes.begin()
    return Archive(given, out, settings.follow_links, settings.from_list, settings.shard, remotes)


def _remote(settings: "SortSettings", given: Sequence[walk.Root]) -> RemoteSettings:
    """Return how stores are asked; what a PACS says of an instance may save fetching it."""
    if not any(names.is_pacs(root.path) for root in given):
        return settings.remote
    from dicomsort.dicom.queried import exclusion  # noqa: PLC0415  (loads pydicom)

    excludes = partial(exclusion, secondary_capture=settings.read.secondary_capture)
    return replace(settings.remote, excludes=excludes)


def unshared(settings: "SortSettings", files: Files, whole: bool) -> Files:
    """Return what to look at: of whole studies a share is known only once the headers are."""
    if not whole or settings.shard is None or not isinstance(files, Archive):
        return files
    return replace(files, shard=None)


def check(settings: "SortSettings") -> list[walk.Root]:
    """Return the roots. Raises UsageError or TargetError, before anything is done, for impossible folders."""
    if not all(settings.roots) or not settings.out:
        raise UsageError("an empty name was given for a folder")
    out = os.path.realpath(settings.out)
    if os.path.exists(out) and not os.path.isdir(out):
        raise TargetError(f"--out '{escape(settings.out)}' is a file; choose a folder")
    given = walk.roots_of(settings.roots, roots.known(RunFile(out)))
    for root in (root for root in given if not names.is_remote(root.path)):
        real = os.path.realpath(root.path)
        if not os.path.lexists(root.path):
            raise UsageError(f"there is no '{escape(root.path)}'")
        if real == out or walk.lies_under(real, out):
            raise UsageError(
                f"'{escape(root.path)}' is, or lies in, --out '{escape(settings.out)}'; choose another"
            )
    if settings.from_list is not None:
        check_list(settings.from_list)
    removal.check(settings.placing.action, settings.follow_links)
    Layout(settings.layout)
    check_source(settings.evidence)
    _check_output(settings, given, out)
    return given


def _check_output(settings: "SortSettings", given: Sequence[walk.Root], out: str) -> None:
    held = set(os.listdir(out)) if os.path.isdir(out) else set()
    if settings.restart and held:
        _refuse_to_restart(settings.out)
    inside = any(walk.lies_under(out, os.path.realpath(root.path)) for root in given)
    if inside and settings.from_list is None and {RUN, SHARDS}.isdisjoint(held) and not held <= set(OWN):
        raise UsageError(  # they would be passed over
            f"--out '{escape(settings.out)}' lies in what is sorted and holds other files: "
            "choose a new or empty folder"
        )


def _refuse_to_restart(out: str) -> None:
    if decided := len(Decisions(os.path.realpath(out))):
        raise UsageError(
            f"--restart: '{escape(out)}' holds {counted(decided, 'decision')} of persons; choose another "
            f"--out, and copy {DECISIONS} into it to keep them"
        )
    raise UsageError(f"--restart: '{escape(out)}' is not empty; choose another, or empty it")
