"""The parts of a manifest that many nodes write at once, each its own, below one output folder."""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from dicomsort.errors import TargetError, UsageError
from dicomsort.manifest.history import History, IsThere, held
from dicomsort.manifest.run_file import RUN, RunFacts, RunFile
from dicomsort.manifest.table import MANIFEST
from dicomsort.sorting.inputs import Shard
from dicomsort.system import locks
from dicomsort.system.escaping import escape

PARTS = "manifest.parts"
_SHARD = re.compile(r"shard-([0-9]+)-of-([0-9]+)")


def name_of(share: Shard) -> str:
    """Name the part of a share: `shard-003-of-016`."""
    width = max(3, len(str(share.of)))
    return f"shard-{share.number:0{width}}-of-{share.of:0{width}}"


def share_of(name: str) -> Shard | None:
    """Return the share whose part this is; None for that of a task."""
    found = _SHARD.fullmatch(name)
    return Shard(int(found[1]), int(found[2])) if found else None


def folder_of(out: str, name: str = "") -> str:
    """Return the folder of a part, or of all."""
    return os.path.join(out, PARTS, name) if name else os.path.join(out, PARTS)


def waiting(out: str) -> list[str]:
    """Name the parts that wait to be merged, those that were killed at once included."""
    try:
        with os.scandir(folder_of(out)) as listing:
            return sorted(
                entry.name for entry in listing if entry.is_dir() and not entry.name.startswith(".")
            )
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise TargetError(f"'{escape(folder_of(out))}' cannot be read: {error.strerror}") from error


def check_merged(out: str) -> None:
    """Raise UsageError if parts wait: what goes over all rows must not miss theirs."""
    if waiting(out):
        raise UsageError(
            f"'{escape(out)}' holds parts of a run in shards: finish them, then `dicomsort merge` it"
        )


@contextmanager
def sharing(out: str, share: Shard) -> Iterator[str]:
    """Write one share's part beside the nodes of the others; yields its folder.

    Raises UsageError if somebody has the output alone, or another division waits to be merged; TargetError.
    """
    name = name_of(share)
    try:
        os.makedirs(folder_of(out, name), exist_ok=True)
        lock = locks.take(out, shared=True)
    except OSError as error:
        raise TargetError(f"'{escape(out)}' cannot be written: {error.strerror}") from error
    with lock:
        other = next((one for one in waiting(out) if not _is_beside(one, share)), None)
        if other is not None:
            with suppress(OSError):
                os.rmdir(folder_of(out, name))
            raise UsageError(
                f"'{escape(out)}' holds {other}: run `dicomsort merge` on it before another division"
            )
        yield folder_of(out, name)


def _is_beside(name: str, share: Shard) -> bool:
    other = share_of(name)
    return other is not None and other.of == share.of


def agree(out: str, run: RunFacts) -> None:
    """See to it that all parts are made with the same model and settings: those of whoever came first.

    Raises UsageError with advice if this run's differ.
    """
    agreed = RunFile(out)
    if not agreed.runs:
        _write_once(folder_of(out), run)
        agreed = RunFile(folder_of(out))
    agreed.check(run)


def agreed_on(out: str) -> RunFacts:
    """Return what the parts of an output were made with. Raises UsageError if that is lost."""
    for agreed in (RunFile(out), RunFile(folder_of(out))):
        if agreed.runs:
            return RunFacts(agreed.fixed, agreed.last_run)
    raise UsageError(f"'{escape(folder_of(out))}' has lost its {RUN}; do its shards again")


def _write_once(folder: str, run: RunFacts) -> None:
    """Write a run.json, unless another node was first; nobody sees half of it."""
    if os.path.exists(os.path.join(folder, RUN)):
        return
    scratch = os.path.join(folder, f".{uuid.uuid4().hex}")
    try:
        os.makedirs(scratch)
        RunFile(scratch).add(run)
        mine, shared = os.path.join(scratch, RUN), os.path.join(folder, RUN)
        try:
            os.link(mine, shared)
        except FileExistsError:
            pass
        except OSError:  # no hard links here
            os.replace(mine, shared)
    except OSError as error:
        raise TargetError(f"'{escape(folder)}' cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def earlier(out: str, retry_failed: bool, is_there: IsThere) -> History | None:
    """Return what the merged manifest holds already; None if there is none."""
    path = os.path.join(out, MANIFEST)
    return held(path, retry_failed, is_there) if os.path.exists(path) else None


def take(out: str, name: str, patience: float = 0.0) -> TextIO:
    """Lock a part against whoever may still write it, for at most `patience` seconds. Raises UsageError."""
    until = time.monotonic() + patience
    while True:
        try:
            return locks.take(folder_of(out, name))
        except UsageError:
            if time.monotonic() > until:
                raise UsageError(
                    f"{name} of '{escape(out)}' is still being written: wait for it, or stop that node"
                ) from None
        time.sleep(0.5)


def drop(out: str, name: str) -> None:
    """Remove a part whose rows stand elsewhere, and with the last one the folder of all."""
    shutil.rmtree(folder_of(out, name), ignore_errors=True)
    tidy(out)


def tidy(out: str) -> None:
    """Remove the folder of all parts if there are none."""
    if not waiting(out):
        shutil.rmtree(folder_of(out), ignore_errors=True)
