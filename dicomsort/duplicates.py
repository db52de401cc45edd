"""Which files of a manifest are one image twice: same SOP Instance UID, same Pixel Data."""

import threading
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from dicomsort import pixels, workers
from dicomsort.manifest import Record
from dicomsort.names import unescape


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What was found, by the manifest's (escaped) paths.

    first: for each duplicate, the file that it repeats; that is the one with the smallest path. namesakes:
    files that share their SOP Instance UID with another image.
    """

    first: dict[str, str]
    namesakes: frozenset[str]
    unread: frozenset[str] = frozenset()


def judge(records: Callable[[], Iterable[Record]], settings: workers.PoolSettings) -> Verdicts:
    """Compare the files whose SOP Instance UID repeats. records: gives the rows that may be images.

    Only 8 bytes a row are kept in memory, and only files with a repeated UID are read, in workers. The
    answer does not depend on the order of the rows. A file that cannot be read any more is no duplicate.
    """
    repeated = _repeated(hash(record["sop_instance_uid"]) for record in _with_uid(records()))
    if not repeated:
        return Verdicts({}, frozenset())
    groups: dict[str, list[str]] = defaultdict(list)
    for record in _with_uid(records()):
        if hash(record["sop_instance_uid"]) in repeated:
            groups[record["sop_instance_uid"]].append(record["path"])
    groups = {uid: sorted(set(paths)) for uid, paths in groups.items() if len(set(paths)) > 1}
    return _compare(groups, settings)


def _with_uid(records: Iterable[Record]) -> Iterator[Record]:
    return (record for record in records if record["sop_instance_uid"])


def _repeated(hashes: Iterable[int]) -> set[int]:
    ordered = sorted(array("q", hashes))
    return {one for one, other in pairwise(ordered) if one == other}


def _compare(groups: dict[str, list[str]], settings: workers.PoolSettings) -> Verdicts:
    digests = _digests((path for paths in groups.values() for path in paths), settings)
    first: dict[str, str] = {}
    namesakes: set[str] = set()
    for paths in groups.values():
        images: dict[str, str] = {}
        for path in (path for path in paths if digests[path]):
            original = images.setdefault(digests[path], path)
            if original != path:
                first[path] = original
        if len(images) > 1:
            namesakes.update(images.values())
    return Verdicts(first, frozenset(namesakes), frozenset(path for path in digests if not digests[path]))


def _digests(paths: Iterable[str], settings: workers.PoolSettings) -> dict[str, str]:
    results = workers.run(_digest, paths, settings, threading.Event())
    return {path: "" if isinstance(result, workers.Lost) else result for path, result in results}


def _digest(path: str) -> str:
    return pixels.pixel_digest(unescape(path))
