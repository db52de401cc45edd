"""The shards of a manifest that many nodes write at once, each its own, below one output folder."""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from dicomsort.errors import TargetError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest.history import History, IsThere, held
from dicomsort.manifest.names import MANIFEST, RUN, SHARDS
from dicomsort.manifest.run_file import RunFacts, RunFile
from dicomsort.system import locks
from dicomsort.system.escaping import escape

PIXELS = "pixels-"
"""How the names of files begin that hold digests of pixels, next to the shards' folders."""

_SHARD = re.compile(r"shard-([0-9]+)-of-([0-9]+)")


def name_of(shard: Shard) -> str:
    """Return the name of a shard's folder: `shard-003-of-016`."""
    width = max(3, len(str(shard.of)))
    return f"shard-{shard.number:0{width}}-of-{shard.of:0{width}}"


def shard_of(name: str) -> Shard | None:
    """Return the shard whose folder has this name; None for that of a task of a cluster."""
    found = _SHARD.fullmatch(name)
    return Shard(int(found[1]), int(found[2])) if found else None


def folder_of(out: str, name: str = "") -> str:
    """Return the folder of one shard, or of all."""
    return os.path.join(out, SHARDS, name) if name else os.path.join(out, SHARDS)


def waiting(out: str) -> list[str]:
    """Name the shards that wait to be merged, those that were killed at once included."""
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
    """Raise UsageError if shards wait: what goes over all rows must not miss theirs."""
    if waiting(out):
        raise UsageError(
            f"'{escape(out)}' holds shards that are not merged yet: finish them, then `dicomsort merge` it"
        )


@contextmanager
def sharing(out: str, shard: Shard) -> Iterator[str]:
    """Lock the output for one shard, together with the nodes of the others; yields the shard's folder.

    Raises UsageError if another run has the output for itself, or another division waits to be merged;
    TargetError if it cannot be written.
    """
    name = name_of(shard)
    try:
        os.makedirs(folder_of(out, name), exist_ok=True)
        lock = locks.take(out, shared=True)
    except OSError as error:
        raise TargetError(f"'{escape(out)}' cannot be written: {error.strerror}") from error
    with lock:
        other = next((one for one in waiting(out) if not _is_of_same_division(one, shard)), None)
        if other is not None:
            with suppress(OSError):
                os.rmdir(folder_of(out, name))
            raise UsageError(
                f"'{escape(out)}' holds {other}: run `dicomsort merge` on it before another division"
            )
        yield folder_of(out, name)


def _is_of_same_division(name: str, shard: Shard) -> bool:
    other = shard_of(name)
    return other is not None and other.of == shard.of


def agree(out: str, run: RunFacts) -> None:
    """Ensure that all shards are made with the same model and settings: those of the node that came first.

    Raises UsageError with advice if this run's differ.
    """
    RunFile(out).check(run)
    _write_once(folder_of(out), run)
    agreed = RunFile(folder_of(out))
    agreed.check(run)
    was = agreed.last_run.get("roots", agreed.fixed.get("roots", ()))  # an earlier version held them there
    if sorted(was) != sorted(run.facts["roots"]):
        raise UsageError(
            f"the shards of '{escape(out)}' do not sort the same folders: give each of them the same ones"
        )


def agreed_on(out: str) -> RunFacts:
    """Return what the shards of an output were made with. Raises UsageError if that is lost."""
    for agreed in (RunFile(out), RunFile(folder_of(out))):
        if agreed.runs:
            return RunFacts(agreed.fixed, agreed.last_run, agreed.roots or {})
    raise UsageError(f"'{escape(folder_of(out))}' has lost its {RUN}; do its shards again")


def _write_once(folder: str, run: RunFacts) -> None:
    """Write a run.json, unless another node was first; it appears whole or not at all."""
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
    """Lock a shard that may still be being written; waits at most `patience` seconds. Raises UsageError."""
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
    """Remove a shard whose rows are in the merged manifest, and with the last one the folder of all."""
    shutil.rmtree(folder_of(out, name), ignore_errors=True)
    tidy(out)


def tidy(out: str) -> None:
    """Remove the folder of all shards if there are none, nor digests of pixels (see `pixel_shares`)."""
    with suppress(FileNotFoundError):
        if not waiting(out) and not any(name.startswith(PIXELS) for name in os.listdir(folder_of(out))):
            shutil.rmtree(folder_of(out), ignore_errors=True)
