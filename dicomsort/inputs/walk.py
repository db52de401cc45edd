"""Find the files under some roots."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

from dicomsort.inputs.names import is_remote
from dicomsort.outcome import Failure, Reason, SourceFile, Status
from dicomsort.system.retry import retry_transient

_Inode = tuple[int, int]
_NO_NAME = (errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True)
class Root:
    """A folder or a file to sort, by its absolute path.

    name: stands in front of every relative path below it; empty where there is one root only.
    """

    path: str
    name: str


def roots_of(paths: Sequence[str], known: Sequence[Root] = ()) -> list[Root]:
    """Make paths absolute, drop those that lie under another one, give each of several a unique name.

    Addresses of stores and of a PACS stay as they are, but for a slash at their end. known: roots that have
    their names already, of earlier runs: these, and folders below them, keep what their files are called by.
    """
    kept: list[str] = []
    for path in sorted(set(map(whole, paths)), key=lambda path: path.split(os.sep)):
        if not kept or not lies_under(path, kept[-1]):
            kept.append(path)
    names = {path: name for path in kept if (name := _known_name(path, known)) is not None}
    if len(kept) == 1 and not known:
        return [Root(kept[0], "")]
    taken = {root.name.partition(os.sep)[0].casefold() for root in known}
    taken |= {name.casefold() for root in known if not root.name for name in _names_in(root.path)}
    for path in kept:
        if path not in names:
            names[path] = _unique(os.path.basename(path) or "root", taken)
    return [Root(path, names[path]) for path in kept]


def _known_name(path: str, known: Sequence[Root]) -> str | None:
    """Return the name of a root, or of a folder or file below one; None for what is new."""
    for root in known:
        if path == root.path:
            return root.name
        if lies_under(path, root.path) and not is_remote(path):
            below = os.path.relpath(path, root.path)
            return os.path.join(root.name, below if os.path.isdir(path) else os.path.dirname(below))
    return None


def _names_in(folder: str) -> list[str]:
    """Return what is in a folder, if it can be listed: what a new root must not be called."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def whole(path: str) -> str:
    """Return a root's name as it counts: absolute, or the address as it is."""
    return path.rstrip("/") if is_remote(path) else absolute(path)


def absolute(path: str) -> str:
    """Return an absolute path with one slash in front; POSIX lets two stand, which are one everywhere."""
    long = os.path.abspath(path)
    return long[1:] if long.startswith("//") else long


def _unique(base: str, taken: set[str]) -> str:
    name = next(
        name
        for number in count(1)
        if (name := f"{base}-{number}" if number > 1 else base).casefold() not in taken
    )
    taken.add(name.casefold())
    return name


def lies_under(path: str, folder: str) -> bool:
    """Return whether an absolute path lies below a folder, by its name alone."""
    return path != folder and path.startswith(folder.rstrip(os.sep) + os.sep)


def _ignore() -> None:
    pass


def find(
    roots: Sequence[Root], avoid: str, follow_links: bool = False, on_empty: Callable[[], object] = _ignore
) -> Iterator[SourceFile]:
    """Yield every file under the roots, folder by folder in the order of names; nothing is read or counted.

    A link to a file is a file; a linked folder is entered only with `follow_links`, and never twice on one
    way down. The folder `avoid` (the output) is never entered. What cannot be read later on is known here
    already and comes as a SourceFile with a failure: folders that cannot be listed, dangling links, pipes,
    sockets and devices. on_empty: called at each folder in which there is nothing at all.
    """
    forbidden = os.path.realpath(avoid)
    for root in roots:
        if os.path.isdir(root.path):
            if os.path.realpath(root.path) != forbidden:
                yield from _walk(root, follow_links, forbidden, on_empty)
        else:
            name = os.path.basename(root.path)
            yield found(root.path, os.path.join(root.name, name))


def _walk(
    root: Root, follow_links: bool, forbidden: str, on_empty: Callable[[], object]
) -> Iterator[SourceFile]:
    """Walk without recursion, so that no depth is too deep. The stack holds folders with their ancestors."""
    stack: list[tuple[str, str, frozenset[_Inode | None]]] = [(root.path, root.name, frozenset())]
    while stack:
        folder, relative, above = stack.pop()
        try:
            entries = retry_transient(partial(_entries, folder))
        except OSError:
            failure = Failure(Status.IO_ERROR, Reason.UNREADABLE_FOLDER)
            yield SourceFile(folder, relative, failure)
            continue
        if not entries:
            on_empty()
        here = above | {_inode(folder)} if follow_links else above
        below: list[tuple[str, str, frozenset[_Inode | None]]] = []
        for entry in entries:
            path = os.path.join(relative, entry.name)
            if _is_folder(entry, follow_links):
                if not _is_barred(entry, here, forbidden):
                    below.append((entry.path, path, here))
            elif not (entry.is_symlink() and _leads_to_folder(entry)):
                yield found(entry.path, path, entry)
        stack.extend(reversed(below))


def _entries(folder: str) -> "list[os.DirEntry[str]]":
    with os.scandir(folder) as listing:
        return sorted(listing, key=lambda entry: entry.name)


def _is_folder(entry: "os.DirEntry[str]", follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:
        return False


def _leads_to_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_barred(entry: "os.DirEntry[str]", above: frozenset[_Inode | None], forbidden: str) -> bool:
    """Return whether this is the output folder, a link into it, or a link back to a folder above."""
    if not entry.is_symlink() and entry.name != os.path.basename(forbidden):
        return False
    real = os.path.realpath(entry.path)
    return real == forbidden or lies_under(real, forbidden) or (entry.is_symlink() and _inode(real) in above)


def found(
    path: str,
    relative: str,
    entry: "os.DirEntry[str] | None" = None,
    missing: Reason = Reason.VANISHED,
) -> SourceFile:
    """Return a file, with a failure if it is known already that it cannot be read.

    missing: what is said of a name behind which there is nothing.
    """
    try:
        regular = entry.is_file() if entry else os.path.isfile(path)
        if regular:
            return SourceFile(path, relative)
        os.stat(path)
    except FileNotFoundError:
        reason = Reason.DANGLING_LINK if os.path.islink(path) else missing
        return SourceFile(path, relative, Failure(Status.IO_ERROR, reason))
    except OSError as error:
        reason = {errno.ELOOP: Reason.LINK_LOOP, **dict.fromkeys(_NO_NAME, missing)}.get(
            error.errno or 0, Reason.UNREADABLE
        )
        return SourceFile(path, relative, Failure(Status.IO_ERROR, reason))
    return SourceFile(path, relative, Failure(Status.NOT_DICOM, Reason.SPECIAL_FILE))


def _inode(path: str) -> _Inode | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
