"""Which files of a manifest are one image twice: same SOP Instance UID, same Pixel Data."""

import threading
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from dicomsort.dicom import pixel_data
from dicomsort.manifest.history import Record
from dicomsort.system import worker_pool
from dicomsort.system.escaping import unescape


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What was found, by the manifest's (escaped) paths.

    first: for each duplicate, the file that it repeats; that is the one with the smallest path. namesakes:
    files that share their SOP Instance UID with another image.
    """

    first: dict[str, str]
    namesakes: frozenset[str]
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of a group: where it is, or would be if nothing else were there."""

    path: str
    destination: str
    placed: bool
    refused: bool


def judge(
    records: Callable[[], Iterable[Record]],
    is_refused: Callable[[Record], bool],
    settings: worker_pool.PoolSettings,
) -> Verdicts:
    """Compare the files whose SOP Instance UID repeats. records: gives the rows that may be images.

    is_refused: whether a file found its destination taken; it can be the first of an image only if another
    file of that image holds the place and will make way. Only 8 bytes a row are kept in memory, and only
    files with a repeated UID are read, in workers. The answer does not depend on the order of the rows. A
    file that cannot be read any more is no duplicate.
    """
    repeated = _repeated(hash(record["sop_instance_uid"]) for record in _with_uid(records()))
    if not repeated:
        return Verdicts({}, frozenset())
    groups: dict[str, dict[str, _Member]] = defaultdict(dict)
    for record in _with_uid(records()):
        if hash(record["sop_instance_uid"]) in repeated:
            member = _Member(
                record["path"], record["destination"], bool(record["action"]), is_refused(record)
            )
            groups[record["sop_instance_uid"]][member.path] = member
    return _compare([list(group.values()) for group in groups.values() if len(group) > 1], settings)


def _with_uid(records: Iterable[Record]) -> Iterator[Record]:
    return (record for record in records if record["sop_instance_uid"])


def _repeated(hashes: Iterable[int]) -> set[int]:
    ordered = sorted(array("q", hashes))
    return {one for one, other in pairwise(ordered) if one == other}


def _compare(groups: list[list[_Member]], settings: worker_pool.PoolSettings) -> Verdicts:
    digests = _digests((member.path for group in groups for member in group), settings)
    first: dict[str, str] = {}
    namesakes: set[str] = set()
    for group in groups:
        images: dict[str, list[_Member]] = defaultdict(list)
        for member in group:
            if digests[member.path]:
                images[digests[member.path]].append(member)
        for members in images.values():
            original = _first(members)
            if original is not None:
                first.update({one.path: original for one in members if one.path != original})
        if len(images) > 1:
            namesakes.update(one.path for members in images.values() for one in members)
            namesakes -= first.keys()
    return Verdicts(first, frozenset(namesakes), frozenset(path for path in digests if not digests[path]))


def _first(members: list[_Member]) -> str | None:
    """Return the smallest path of those that are placed or can be; None if somebody else has their place."""
    held = {member.destination for member in members if member.placed}
    able = [member.path for member in members if not member.refused or member.destination in held]
    return min(able, default=None)


def _digests(paths: Iterable[str], settings: worker_pool.PoolSettings) -> dict[str, str]:
    results = worker_pool.run(_digest, paths, settings, threading.Event())
    return {path: "" if isinstance(result, worker_pool.Lost) else result for path, result in results}


def _digest(path: str) -> str:
    return pixel_data.pixel_digest(unescape(path))
