"""Pictures of all radiographs in folders and archives, named after their sources, and an index of them."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, count, islice

from dicomsort.dicom.render import PictureSettings, Wanted, Written, mark_of, write_each
from dicomsort.errors import NothingFoundError, TargetError
from dicomsort.inputs import names, walk
from dicomsort.inputs.archive_file import (
    LISTED,
    Ended,
    Member,
    Streamed,
    kind_of,
    list_members,
    stream_members,
)
from dicomsort.outcome import TROUBLE, Failure, Reason, Status
from dicomsort.report import page
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import cell, escape
from dicomsort.system.own_files import check_replaceable

INDEX, SHEET = "index.csv", "index.html"
MARK = '<meta name="generator" content="dicomsort render of folders">'

_COLUMNS = ("picture", "path", "result", "reason")
_WRITTEN, _THERE = "written", "there already"
_MOST_ON_SHEET = 5000
_AT_A_TIME = 2000
_LONGEST = 200
_START = 512
_OF_ANOTHER = Failure(Status.IO_ERROR, Reason.DESTINATION_TAKEN)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that may be a radiograph.

    picture: where its picture goes in the output folder. file: the one on the disk, it or its archive.
    """

    path: str
    picture: str
    failure: Failure | None = None
    file: str = ""

    @property
    def mark(self) -> str:
        """What its picture is known by: a digest of the path, and of the file's size and time; or nothing."""
        try:
            facts = os.stat(self.file or self.path)
        except OSError:
            return ""
        told = f"{facts.st_size} {facts.st_mtime_ns} ".encode() + os.fsencode(self.path)
        return blake2b(told, digest_size=16).hexdigest()


@dataclass(slots=True)
class Counts:
    """What became of the sources."""

    written: int = 0
    there: int = 0
    others: int = 0
    failed: int = 0

    @property
    def pictures(self) -> int:
        """How many pictures stand in the folder."""
        return self.written + self.there


def is_many(path: str) -> bool:
    """Return whether a name is that of a folder, or of an archive that is looked into."""
    return os.path.isdir(path) or (names.is_plain(path) and os.path.isfile(path) and bool(_kind(path)))


def find(paths: Sequence[str], out: str) -> Iterator[Source]:
    """Yield the files under paths: these in their order, and what lies in a folder in the order of names.

    Archives are looked into, those in archives are not. The folder `out` is not entered.
    """
    taken = {_key(INDEX), _key(SHEET)}
    roots = _roots(paths)
    for file, (path, relpath, failure) in chain.from_iterable(_under(root, out) for root in roots):
        yield Source(path, _free(relpath, taken), failure, file)


def _roots(paths: Sequence[str]) -> list[walk.Root]:
    """Name the roots if there are several; unlike the walk's own, in their order."""
    whole = list(dict.fromkeys(map(walk.whole, paths)))
    if len(whole) == 1:
        return [walk.Root(whole[0], "")]
    return [walk.Root(path, os.path.basename(path) if os.path.isdir(path) else "") for path in whole]


_Found = tuple[str, str, Failure | None]


def _under(root: walk.Root, out: str) -> Iterator[tuple[str, _Found]]:
    """Yield what is found, each with the file on the disk that it lies in."""
    for found in walk.find([root], out):
        kind = "" if found.failure else _kind(found.path)
        if kind:
            yield from ((found.path, one) for one in _members(found.path, found.relpath, kind))
        else:
            yield found.path, (found.path, found.relpath, found.failure)


def _kind(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return kind_of(file.read(_START), file)
    except OSError:
        return ""


def _members(path: str, relpath: str, kind: str) -> Iterator[_Found]:
    """Yield what is in an archive, and itself where it is damaged: something may be missing then."""
    numbers: Counter[int] = Counter()
    try:
        for one in _listed(path, kind):
            if isinstance(one, Reason):
                yield path, relpath, Failure(Status.DECODE_ERROR, one)
                continue
            numbers[hash(one.name)] += 1
            number = numbers[hash(one.name)]
            yield names.member(path, one.name, number), f"{relpath}/{names.clean(one.name)}", one.failure
    except OSError:
        yield path, relpath, Failure(Status.IO_ERROR, Reason.UNREADABLE)


def _listed(path: str, kind: str) -> Iterator[Member | Reason]:
    """Yield the members of an archive, and what is wrong with it as a whole."""
    if kind not in LISTED:
        for one in stream_members(path, kind):
            if isinstance(one, Streamed):
                yield one.member
            elif isinstance(one, Ended) and one.damage:
                yield one.damage
        return
    since: int | None = 0
    while since is not None:
        listing = list_members(path, kind, since)
        yield from listing.members
        if listing.damage:
            yield listing.damage
        since = listing.rest


def _free(relpath: str, taken: set[int]) -> str:
    """Return a name for a picture that no other has, on file systems that do not tell capitals apart too.

    Only a hash is kept of each.
    """
    stem = "/".join(map(_safe, relpath.split("/")))
    numbered = chain([f"{stem}.png"], (f"{stem}.{number}.png" for number in count(2)))
    free = next(name for name in numbered if _key(name) not in taken)
    taken.add(_key(free))
    return free


def _key(name: str) -> int:
    return int.from_bytes(blake2b(name.casefold().encode(), digest_size=8).digest(), "big")


def _safe(part: str) -> str:
    """Return a part of a name that every file system takes, and a page may name."""
    plain = "".join(char if char.isprintable() and char not in '\\:*?"<>|' else "_" for char in part)
    if len(plain.encode()) <= _LONGEST:
        return plain
    digest = blake2b(os.fsencode(part), digest_size=4).hexdigest()
    return plain.encode()[: _LONGEST - 9].decode(errors="ignore") + "-" + digest


def check_index(out: str) -> None:
    """Raise UsageError if an index would take the place of what is none."""
    for name, mark in ((INDEX, ",".join(_COLUMNS)), (SHEET, MARK)):
        check_replaceable(os.path.join(out, name), mark)


Told = Callable[[Source, Written | Failure], None]


def write(found: Iterable[Source], out: str, settings: PictureSettings, tell: Told) -> Counts:
    """Write a picture of each radiograph and the index, in the order of the sources.

    What is there already is left as it is, so the same call goes on where another was stopped. tell: called
    with each result as it comes. Memory holds some thousands of names at a time, and the page's.
    Raises TargetError if the folder is full or cannot be written, NothingFoundError if there is no picture.
    """
    counts, shown, looked_at = Counts(), list[Source](), 0
    try:
        with replacing(os.path.join(out, INDEX)) as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(_COLUMNS)
            for source, result in _in_order(found, out, settings, tell):
                looked_at += 1
                _count(counts, result)
                has_picture = not isinstance(result, Failure)
                if has_picture and len(shown) < _MOST_ON_SHEET:
                    shown.append(source)
                table.writerow(map(cell, _row(source, result)))
        left = counts.pictures - len(shown)
        with replacing(os.path.join(out, SHEET)) as file:
            file.write(page.render("pictures.html", shown=shown, left=left, mark=MARK))
    except OSError as error:
        raise TargetError(f"'{escape(out)}' cannot be written: {error.strerror}") from error
    if not looked_at:
        raise NothingFoundError("there is no file in what was given")
    return counts


def _count(counts: Counts, result: Written | Failure | None) -> None:
    if result is None:
        counts.there += 1
    elif isinstance(result, Written):
        counts.written += 1
    elif result.status in TROUBLE:
        counts.failed += 1
    else:
        counts.others += 1


def _row(source: Source, result: Written | Failure | None) -> tuple[str, str, str, str]:
    if isinstance(result, Failure):
        return "", escape(source.path), result.status.value, str(result.reason)
    return source.picture, escape(source.path), _THERE if result is None else _WRITTEN, ""


def _in_order(
    found: Iterable[Source], out: str, settings: PictureSettings, tell: Told
) -> Iterator[tuple[Source, Written | Failure | None]]:
    """Yield each source with its result, None for a picture that was there: some thousand at a time."""
    sources = iter(found)
    while some := list(islice(sources, _AT_A_TIME)):
        yield from _some_in_order(some, out, settings, tell)


def _some_in_order(
    some: Sequence[Source], out: str, settings: PictureSettings, tell: Told
) -> Iterator[tuple[Source, Written | Failure | None]]:
    targets = {os.path.join(out, source.picture): source for source in some if source.failure is None}
    todo = {target: source for target, source in targets.items() if not os.path.lexists(target)}
    results: dict[str, Written | Failure] = {}
    for target in targets.keys() - todo.keys():
        if _is_of_another(target, targets[target]):
            results[target] = _OF_ANOTHER
            tell(targets[target], _OF_ANOTHER)
    wanted_all = (Wanted(source.path, target, source.mark) for target, source in todo.items())
    for wanted, result in write_each(wanted_all, settings):
        if isinstance(result, Failure) and result.reason is Reason.TARGET_DONE:
            raise TargetError(
                f"'{escape(out)}' is full or cannot be written: free some space, or use another"
            )
        results[wanted.target] = result
        tell(todo[wanted.target], result)
    for source in some:
        if source.failure is not None:
            tell(source, source.failure)
        yield source, source.failure or results.get(os.path.join(out, source.picture))


def _is_of_another(picture: str, source: Source) -> bool:
    """Return whether a picture that is there says that it was made of another file, or of an earlier one."""
    with suppress(OSError):
        return mark_of(picture) not in ("", source.mark)
    return False
