"""The pixels of files whose UID repeats, compared in shares on many nodes before the shards are merged."""

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import TargetError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest.groups import Keys, none
from dicomsort.manifest.history import DAMAGE, damaged
from dicomsort.manifest.lines import STABLE, Block, Hashes, blocks, names_of
from dicomsort.manifest.mending import cut_torn_line
from dicomsort.manifest.names import MANIFEST, PIXELS, shard_folder
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.spill import scratch
from dicomsort.sorting import repeats, shards
from dicomsort.sorting.repeats import KNOWN, Wanted
from dicomsort.system import locks
from dicomsort.system.escaping import escape
from dicomsort.system.pool_settings import PoolSettings

_NAME = re.compile(rf"{PIXELS}[0-9]+-of-[0-9]+\.csv")


@dataclass(frozen=True, slots=True)
class SharedOut:
    """What a share of the comparison came to: files that were read now, and those that could not be."""

    read: int
    unread: int

    def as_dict(self) -> dict[str, int]:
        """Return it as JSON values."""
        return {"read": self.read, "unread": self.unread}


def known(out: str) -> Iterator[Block]:
    """Yield the digests that shares have left in an output; none if there are none.

    What is damaged is left out: its files are read again.
    """
    folder = shard_folder(out)
    with suppress(FileNotFoundError):
        for name in sorted(filter(_NAME.fullmatch, os.listdir(folder))):
            yield from _digests_in(os.path.join(folder, name))


def _digests_in(path: str) -> Iterator[Block]:
    if _names_digests(path):
        yield from filter(_is_whole, blocks(path))


def _names_digests(path: str) -> bool:
    try:
        return names_of(path) == KNOWN
    except DAMAGE:
        return False


def _is_whole(block: Block) -> bool:
    try:
        block.check()
    except DAMAGE:
        return False
    return True


def drop(out: str) -> None:
    """Remove what shares have left, once a merge has used it."""
    folder = shard_folder(out)
    with suppress(FileNotFoundError):
        for name in filter(_NAME.fullmatch, os.listdir(folder)):
            os.unlink(os.path.join(folder, name))
        shards.tidy(out)


def compare(
    out: str, share: Shard, pool: PoolSettings, step: Callable[[], None] = lambda: None, wait: float = 0.0
) -> SharedOut:
    """Read the pixels of files whose SOP Instance UID repeats and is of this share, and leave their digests.

    All shards must have been sorted, and none be merged meanwhile; shares may be compared at once. What was
    cut short goes on when it is called again. step: called after each file. wait: how many seconds to wait
    for a program that merges, or compares this share. Raises UsageError if one still does then, or there is
    nothing to merge; TargetError if it cannot be written.
    """
    out = os.path.abspath(out)
    _manifests(out)
    try:
        with locks.take(out, shared=True, wait=wait):
            return _compare(out, share, pool, step, wait)
    except OSError as error:
        raise TargetError(f"'{escape(out)}' cannot be written: {error.strerror}") from error


def _compare(out: str, share: Shard, pool: PoolSettings, step: Callable[[], None], wait: float) -> SharedOut:
    manifests, facts = _manifests(out), shards.agreed_on(out)
    if facts.fixed.get("keep_duplicates"):
        return SharedOut(0, 0)
    name = name_of(share)
    folder = os.path.join(shard_folder(out), f".{name}")
    keys = partial(_of_share, share=share, dry_run=bool(facts.facts.get("dry_run")))
    os.makedirs(folder, exist_ok=True)
    with locks.take(folder, doing=f"comparison of share {share}", wait=wait), scratch(folder) as spilt:
        return leave(out, name, _wanted(out, manifests, spilt, keys), pool, step)


def name_of(share: Shard) -> str:
    """Return the name of a share of the comparison: `pixels-003-of-016`."""
    return f"{PIXELS}{share.number:03d}-of-{share.of:03d}"


def to_compare(out: str, dry_run: bool, folder: str) -> Iterator[Wanted]:
    """Yield the files that a merge would read now to tell what is one image; none if that is judged already.

    folder: for what memory does not hold. Raises UsageError where a manifest is damaged.
    """
    manifests = _there(out)
    is_judged = RunFile(out).settled and not shards.waiting(out)
    if manifests and not is_judged and _are_alike(manifests):
        yield from _wanted(out, manifests, folder, partial(repeats.judgeable, dry_run=dry_run))


def _wanted(out: str, manifests: list[str], folder: str, keys: Keys) -> Iterator[Wanted]:
    compared = repeats.candidates(
        partial(_lines, manifests), names_of(manifests[0]), folder, keys, known(out), also=none
    )
    return repeats.to_read(compared, folder, out)


def _there(out: str) -> list[str]:
    """Return the manifest of an output and those of its shards, as far as they exist."""
    folders = [out, *(shard_folder(out, name) for name in shards.waiting(out))]
    return [path for folder in folders if os.path.exists(path := os.path.join(folder, MANIFEST))]


def _are_alike(manifests: list[str]) -> bool:
    return len({tuple(names_of(path)) for path in manifests}) == 1


def _manifests(out: str) -> list[str]:
    found = _there(out)
    if not found:
        raise UsageError(f"'{escape(out)}' holds no {MANIFEST} and no shards of one: name an --out folder")
    if not shards.waiting(out):
        raise UsageError(f"'{escape(out)}' has no shards that wait to be merged: there is nothing to compare")
    if not _are_alike(found):
        raise UsageError(f"the shards of '{escape(out)}' have different columns: merge them first")
    return found


def _lines(manifests: list[str]) -> Iterator[Block]:
    """Yield the lines of several manifests as if they were one."""
    before = 0
    for path in manifests:
        try:
            for block in blocks(path):
                block.check()
                yield block.moved(before)
        except DAMAGE as error:
            raise damaged(path) from error
        before += os.path.getsize(path)


def _of_share(block: Block, share: Shard, dry_run: bool) -> tuple[Hashes, NDArray[np.bool_]]:
    hashes, counts = repeats.judgeable(block, dry_run)
    stable = block.cells("sop_instance_uid").hashes(STABLE)
    return hashes, counts & (stable % np.uint64(share.of) == np.uint64(share.number - 1))


def still_to_read(out: str, name: str, wanted: Iterable[Wanted]) -> Iterator[Wanted]:
    """Yield the files of which a share has not left the digest yet. name: of the share."""
    path, there = os.path.join(shard_folder(out), f"{name}.csv"), set()
    if os.path.exists(path):
        for block in _digests_in(path):
            there |= {repeats.digest_of(block.line(row))[0] for row in range(len(block))}
    return (one for one in wanted if (one.path, *one.stamp) not in there)


def leave(
    out: str, name: str, wanted: Iterable[Wanted], pool: PoolSettings, step: Callable[[], None] = lambda: None
) -> SharedOut:
    """Write the digests of files as they are read. name: of the share. Raises TargetError."""
    path, done, unread = os.path.join(shard_folder(out), f"{name}.csv"), 0, 0
    try:
        cut_torn_line(path)
        if os.path.exists(path) and not _names_digests(path):
            os.unlink(path)
        with open(path, "a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(KNOWN)
            with closing(repeats.read_pixels(wanted, pool)) as results:
                for one, digest in results:
                    done, unread = done + 1, unread + (not digest)
                    if digest:
                        writer.writerow([one.path, *one.stamp, one.uid, digest])
                        file.flush()
                    step()
            os.fsync(file.fileno())
    except OSError as error:
        raise TargetError(f"'{escape(path)}' cannot be written: {error.strerror}") from error
    return SharedOut(done, unread)
