"""One walk for all shards: the first that comes writes the list of all files, the others wait for it.

A shard goes through each list once. Started again after it has come to the end of one, it sees to it that
there is a newer one, so that new files are found.
"""

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from dicomsort.errors import TargetError
from dicomsort.inputs.file_list import DamagedListError, FileList, Listed, write
from dicomsort.inputs.named import Archive, Files, Shard
from dicomsort.manifest.names import shard_folder
from dicomsort.sorting import accounts
from dicomsort.sorting.summary import SortSummary, Watch
from dicomsort.system import atomic
from dicomsort.system.claims import Claim, Owner
from dicomsort.system.escaping import escape

if TYPE_CHECKING:
    from dicomsort.sorting.pipeline import SortSettings

Tell = Callable[[str], None]

_FOLDER = ".files"
_LIST = re.compile(r"([0-9a-f]{16})-([0-9]{6})\.list")
_SHORTEST, _LONGEST = 0.1, 2.0
_END = 1 << 20  # bytes at each end of a list of paths, by which it is told


@contextmanager
def of_shard(
    settings: "SortSettings", files: Files, tally: SortSummary, watch: Watch | None
) -> Iterator[Files]:
    """Yield what a run is to sort: of a shard by the list that all shards have in common.

    A pipe gives each shard its own. Raises as `shared` does; NothingFoundError at the end of a block if no
    shard has a file.
    """
    is_pipe = isinstance(files, Archive) and files.listed is not None and not os.path.isfile(files.listed)
    if settings.shard is None or not isinstance(files, Archive) or is_pipe:
        yield files
        return

    def tell(what: str) -> None:
        tally.waiting = what
        if watch is not None:
            watch(tally)

    with shared(files, settings.shard, os.path.abspath(settings.out), tell) as listed:
        yield listed
        if not listed.files.about.files:
            accounts.check_found(tally, settings)


@contextmanager
def shared(archive: Archive, shard: Shard, out: str, tell: Tell) -> Iterator[Listed]:
    """Yield a shard's files by the list of all; write it if nobody has, or wait for whoever does.

    A block that ends well is the end of this list for the shard. archive: without a shard of its own where
    each is to get all files. tell: called with a line when waiting begins, and now and then; empty at its
    end. Raises TargetError, and what `Archive.find` does.
    """
    folder = Path(shard_folder(out), _FOLDER)
    own = archive.shard or Shard(1, 1)
    series = _series(archive, own.of)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _wanted(folder, series, shard)
        listed = Listed(archive, _obtained(path, archive, own.of, tell), own.number)
    except OSError as error:
        raise TargetError(f"'{escape(str(folder))}' cannot be written: {error.strerror}") from error
    try:
        yield listed
        with suppress(OSError):
            _ended(path, shard).parent.mkdir(exist_ok=True)
            _ended(path, shard).touch()
    finally:
        listed.files.close()


def latest(out: str) -> FileList | None:
    """Return the newest list of an output, in its series by number, not by time; None if there is none."""
    folder = os.path.join(shard_folder(out), _FOLDER)
    try:
        names = sorted(filter(_LIST.fullmatch, os.listdir(folder)))
        last = {name.partition("-")[0]: os.path.join(folder, name) for name in names}.values()
        return FileList(max(last, key=lambda path: os.stat(path).st_mtime_ns)) if last else None
    except (OSError, DamagedListError):
        return None


def _series(archive: Archive, of: int) -> str:
    """Return what tells lists of the same files, cut into as many shards, from those of others."""
    roots = [[root.path, root.name] for root in archive.roots]
    about = [of, roots, archive.follow_links, archive.listed and _told_of(archive.listed)]
    return hashlib.blake2b(json.dumps(about).encode(), digest_size=8).hexdigest()


def _told_of(source: str) -> str:
    """Return what tells a list of paths from another one: its size, its beginning and its end."""
    with open(source, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        hasher = hashlib.blake2b(file.read(_END))
        file.seek(max(0, size - _END))
        hasher.update(file.read(_END))
    return f"{size} {hasher.hexdigest()}"


def _wanted(folder: Path, series: str, shard: Shard) -> Path:
    """Return the newest list, or the next one if this shard has come to the end of that."""
    last = max(_numbers(folder, series), default=1)
    path = _list(folder, series, last)
    return _list(folder, series, last + 1) if _ended(path, shard).exists() else path


def _numbers(folder: Path, series: str) -> list[int]:
    found = (_LIST.fullmatch(name) for name in os.listdir(folder))
    return [int(one[2]) for one in found if one and one[1] == series]


def _list(folder: Path, series: str, number: int) -> Path:
    return folder / f"{series}-{number:06}.list"


def _ended(path: Path, shard: Shard) -> Path:
    return path.with_suffix(".ended") / f"{shard.number}-of-{shard.of}"


def _obtained(path: Path, archive: Archive, of: int, tell: Tell) -> FileList:
    """Return a list, once somebody has written it. Raises OSError."""
    owner, waits = Owner(), _waits()
    while (found := _opened(path)) is None:
        claim = Claim.of_next(path, owner)
        if claim is not None:
            with claim:
                tell("writing the list of all files, for all shards")
                if _opened(path) is None:  # or it was done while we looked
                    _write(path, archive, of, claim)
            continue
        tell(f"waiting for the list of all files, which {owner.host} writes: {owner.steps} files so far")
        time.sleep(next(waits))
    tell("")
    return found


def _opened(path: Path) -> FileList | None:
    """Open a list, if it is there; what is no whole list is taken away. Raises OSError."""
    try:
        return FileList(str(path))
    except FileNotFoundError:
        return None
    except DamagedListError:
        path.unlink(missing_ok=True)
        return None


def _waits() -> Iterator[float]:
    return (min(_LONGEST, _SHORTEST * 1.3**step) for step in count())


def _write(path: Path, archive: Archive, of: int, claim: Claim) -> None:
    """Write a list and publish it whole, unless another process has taken over meanwhile. Raises OSError."""
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        write(str(temporary), archive, of, claim.step)
        with suppress(
            FileExistsError, FileNotFoundError
        ):  # theirs is there, or ours was taken for a dead one's
            atomic.publish(str(temporary), str(path))
    finally:
        temporary.unlink(missing_ok=True)
    _forget(path)


def _forget(path: Path) -> None:
    """Remove what dead writers of a list have left, and the lists before the one that others may read."""
    series, _, number = path.stem.partition("-")
    left = set(path.parent.glob(f"{path.stem}.*.part"))
    for older in range(int(number) - 2, 0, -1):
        one = _list(path.parent, series, older)
        if not one.exists():
            break
        shutil.rmtree(one.with_suffix(".ended"), ignore_errors=True)
        left.add(one)
    for file in left:
        with suppress(OSError):
            file.unlink()
