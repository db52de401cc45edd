"""The shards of a manifest that many nodes write at once, each its own, below one output folder."""

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from dicomsort.errors import TargetError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest.history import History, IsThere, held
from dicomsort.manifest.names import MANIFEST, PIXELS, RUN, shard_folder
from dicomsort.manifest.run_file import RunFacts, RunFile
from dicomsort.sorting import versions
from dicomsort.system import locks, notices
from dicomsort.system.escaping import escape

ARRAY = "array.json"
"""How the tasks of an array are numbered that began the shards: see `array_shards`."""

Keep = Callable[[str, str], None]

_SHARD = re.compile(r"shard-([0-9]+)-of-([0-9]+)")


def name_of(shard: Shard) -> str:
    """Return the name of a shard's folder: `shard-003-of-016`."""
    width = max(3, len(str(shard.of)))
    return f"shard-{shard.number:0{width}}-of-{shard.of:0{width}}"


def shard_of(name: str) -> Shard | None:
    """Return the shard whose folder has this name; None for that of a task of a cluster."""
    found = _SHARD.fullmatch(name)
    return Shard(int(found[1]), int(found[2])) if found else None


def begun(out: str) -> list[str]:
    """Name the shards that have a folder, those that were killed before their first row included."""
    try:
        with os.scandir(shard_folder(out)) as listing:
            return sorted(
                entry.name for entry in listing if entry.is_dir() and not entry.name.startswith(".")
            )
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise TargetError(f"'{escape(shard_folder(out))}' cannot be read: {error.strerror}") from error


def waiting(out: str) -> list[str]:
    """Name the shards that wait to be merged; one without a row is missing, unless there is none to write."""
    return [name for name in begun(out) if not _is_empty(shard_folder(out, name))]


def _is_empty(folder: str) -> bool:
    """Return whether a shard has no row and is not done: it did not come to its end, or has lost its rows."""
    if has_rows(os.path.join(folder, MANIFEST)):
        return False
    run_file = RunFile(folder)
    return not run_file.settled or bool(run_file.took)


def has_rows(path: str) -> bool:
    """Return whether a manifest has more than the names of its columns; True if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return bool(file.readline() and file.read(1))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def check_merged(out: str) -> None:
    """Raise UsageError if shards wait: what goes over all rows must not miss theirs."""
    if waiting(out):
        raise UsageError(
            f"'{escape(out)}' holds shards that are not merged yet: finish them, then `dicomsort merge` it"
        )


def forget_empty(out: str, wait: float = 0.0, keep: Keep = lambda _out, _name: None) -> None:
    """Remove what shards have left that were killed before their first row.

    wait: how many seconds to wait for one that is at work. keep: is given each before it goes, for its log.
    Raises UsageError if one still is at work then.
    """
    if not os.path.isdir(shard_folder(out)):
        return
    try:
        with locks.take(out, wait=wait):
            drop_empty(out, wait, keep)
    except OSError as error:
        raise TargetError(f"'{escape(out)}' cannot be written: {error.strerror}") from error


def drop_empty(out: str, wait: float = 0.0, keep: Keep = lambda _out, _name: None) -> None:
    """Do as `forget_empty` does, in an output that this process has for itself."""
    for name in sorted(set(begun(out)) - set(waiting(out))):
        take(out, name, wait).close()
        if _is_empty(shard_folder(out, name)):  # still, after the wait
            keep(out, name)
            drop(out, name)
    tidy(out)


@contextmanager
def sharing(out: str, shard: Shard, wait: float = 0.0) -> Iterator[str]:
    """Lock the output for one shard, together with the nodes of the others; yields the shard's folder.

    wait: how many seconds to wait for a run that has the output for itself. Raises UsageError if it still has
    it then, or another division waits to be merged; TargetError if it cannot be written.
    """
    _make_way(out, shard, wait)
    try:
        os.makedirs(shard_folder(out, name_of(shard)), exist_ok=True)
        lock = locks.take(out, shared=True, wait=wait)
    except OSError as error:
        raise TargetError(f"'{escape(out)}' cannot be written: {error.strerror}") from error
    with lock:
        try:
            _check_division(_strangers(begun(out), shard), out, shard)
        except UsageError:
            with suppress(OSError):
                os.rmdir(shard_folder(out, name_of(shard)))
            raise
        yield shard_folder(out, name_of(shard))


def _make_way(out: str, shard: Shard, wait: float) -> None:
    """Ensure that no other division is here, before anything is written. Raises UsageError."""
    _check_division(_strangers(waiting(out), shard), out, shard)
    if _strangers(begun(out), shard):
        forget_empty(out, wait)


def _check_division(others: list[str], out: str, shard: Shard) -> None:
    if not others:
        return
    other = shard_of(others[0])
    if other is None:
        raise UsageError(
            f"'{escape(out)}' holds {others[0]} of a run with --backend: "
            "give that command again, or run `dicomsort merge` on it before --shard"
        )
    raise UsageError(
        f"'{escape(out)}' is divided into {other.of} shards ({others[0]}), not {shard.of}: "
        f"give --shard I/{other.of} or auto/{other.of}, or run `dicomsort merge` on it first"
    )


def _strangers(names: list[str], shard: Shard) -> list[str]:
    """Return those that belong to another division than a shard does."""
    return [name for name in names if (other := shard_of(name)) is None or other.of != shard.of]


def agree(out: str, run: RunFacts, shard: Shard | None = None, any_versions: bool = False) -> None:
    """Ensure that all shards are made with the same model, settings and versions: those of the first node.

    shard: which one this is, if it is one. any_versions: whether other versions are only told. Raises
    UsageError with advice if this run's differ.
    """
    merged = RunFile(out)
    merged.check(run)
    if shard is not None and str(shard.of) in merged.shards:  # some of this division are merged already
        agree_versions(merged, run, any_versions)
    _write_once(shard_folder(out), run)
    agreed = RunFile(shard_folder(out))
    agreed.check(run)
    agree_versions(agreed, run, any_versions)
    was = agreed.last_run.get("roots", agreed.fixed.get("roots", ()))  # an earlier version held them there
    if sorted(was) != sorted(run.facts["roots"]):
        raise UsageError(
            f"the shards of '{escape(out)}' do not sort the same folders: give each of them the same ones"
        )


def agree_versions(agreed: RunFile, run: RunFacts, any_versions: bool) -> None:
    """Compare a run's versions with those of the latest run that is written down. Raises UsageError."""
    theirs, engine = agreed.last_run.get("versions"), str(run.fixed.get("engine", "auto"))
    if theirs:
        check_versions(versions.differences(theirs, run.facts["versions"], engine), any_versions)


def check_versions(found: list[str], any_versions: bool) -> None:
    """Raise UsageError if versions differ, or only say so. found: see `versions.differences`."""
    if not found:
        return
    if any_versions:
        notices.say(f"goes on with other versions than the first node of this run: {'; '.join(found)}")
        return
    raise UsageError(
        f"the first node of this run had other versions: {'; '.join(found)}; install the same on all, "
        "or give --allow-other-versions"
    )


def agreed_on(out: str) -> RunFacts:
    """Return what the shards of an output were made with. Raises UsageError if that is lost."""
    for agreed in (RunFile(out), RunFile(shard_folder(out))):
        if agreed.runs:
            return RunFacts(agreed.fixed, agreed.last_run, agreed.roots or {})
    raise UsageError(f"'{escape(shard_folder(out))}' has lost its {RUN}; do its shards again")


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


def take(out: str, name: str, wait: float = 0.0) -> locks.Lock:
    """Lock a shard that may still be being written; waits so many seconds at most. Raises UsageError."""
    try:
        return locks.take(shard_folder(out, name), wait=wait)
    except locks.BusyError as error:
        raise UsageError(
            f"{name} of '{escape(out)}' is still being written: wait for it, or stop that node"
        ) from error


def drop(out: str, name: str) -> None:
    """Remove a shard whose rows are in the merged manifest, and with the last one the folder of all."""
    shutil.rmtree(shard_folder(out, name), ignore_errors=True)
    tidy(out)


def tidy(out: str) -> None:
    """Remove the folder of all shards if there are none, and nothing in it is still needed.

    Needed are how missing shards are numbered, and digests of pixels (see `pixel_shares`); with these alone
    there, what the shards had in common goes, so that the next ones need not be like them.
    """
    folder = shard_folder(out)
    is_numbered = os.path.exists(os.path.join(folder, ARRAY)) and RunFile(out).shards
    with suppress(OSError):
        if begun(out) or is_numbered:
            return
        if any(name.startswith(PIXELS) for name in os.listdir(folder)):
            os.unlink(os.path.join(folder, RUN))
        else:
            shutil.rmtree(folder, ignore_errors=True)
