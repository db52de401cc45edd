"""What the file system under a folder can do, tried with files of our own that are taken away again."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress

from dicomsort.doctor.finding import Finding, State, note, ok, problem, warning
from dicomsort.sorting.copies import clone
from dicomsort.system.escaping import escape
from dicomsort.system.mounts import mount_of
from dicomsort.system.telling import size_told

_MARK = ".dicomsort-doctor-"
_LEAST_FREE, _LEAST_INODES = 1 << 30, 10_000


def examine(folder: str) -> Iterator[Finding]:
    """Try a folder, or the nearest one above it that is there; it is then as it was before."""
    here = _nearest(os.path.abspath(folder))
    if not os.path.isdir(here):
        yield problem("folder", f"'{escape(here)}' is no folder", "choose a folder, or a name that is free")
        return
    if here != os.path.abspath(folder):
        yield note("folder", f"'{escape(folder)}' is not there yet: '{escape(here)}' was tried")
    yield _kind(here)
    try:
        own = tempfile.mkdtemp(prefix=_MARK, dir=here)
    except OSError as error:
        yield problem("writing", f"{error.strerror}", "choose another folder, or have its rights changed")
        return
    try:
        yield ok("writing", "a folder was made, and will be removed")
        yield from _tried(own)
    except OSError as error:  # full, or taken away meanwhile
        yield problem(
            "files", f"none can be written ({error.strerror})", "free some space, or choose another folder"
        )
    finally:
        shutil.rmtree(own, ignore_errors=True)
    yield from _room(here)


def _nearest(folder: str) -> str:
    while not os.path.lexists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


def _kind(folder: str) -> Finding:
    """Name the file system, by the longest mount point above the folder (Linux)."""
    mount = mount_of(folder)
    if mount.lonely:
        advice = "other machines do not see locks here: never begin two runs into one output at once"
        return Finding("file system", State.WARNING, mount.lonely, advice)
    return note("file system", mount.kind or "unknown")


def _tried(own: str) -> Iterator[Finding]:
    file = os.path.join(own, "file")
    with open(file, "wb") as written:
        written.write(b"x" * 4096)
    for name, attempt, state, advice in _ATTEMPTS:
        try:
            yield ok(name, attempt(own))
        except OSError as error:
            yield Finding(name, state, f"not possible ({error.strerror})", advice)
    yield _case(own)
    yield _names(own)
    yield _longest(own)


def _hardlink(own: str) -> str:
    os.link(os.path.join(own, "file"), os.path.join(own, "linked"))
    return "possible, so files get their names at once and whole"


def _never_replaces(own: str) -> str:
    """See that a link refuses a name that is taken, on which it rests that nothing is ever replaced."""
    taken = os.path.join(own, "taken")
    with open(taken, "wb"):
        pass
    try:
        os.link(os.path.join(own, "file"), taken)
    except FileExistsError:
        return "refused, as it should be"
    except OSError:
        with suppress(FileExistsError):
            os.close(os.open(taken, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            raise
        return "refused, as it should be"
    raise OSError(errno.EEXIST, "a name that was taken has been given away")


def _symlink(own: str) -> str:
    os.symlink("file", os.path.join(own, "symbolic"))
    return "possible: --action symlink"


def _reflink(own: str) -> str:
    if not clone(os.path.join(own, "file"), os.path.join(own, "cloned")):
        raise OSError(errno.ENOTSUP, "this file system has none")
    return "possible: --action reflink takes no space"


def _lock(own: str) -> str:
    path = os.path.join(own, "lock")
    with open(path, "a+b") as one, open(path, "a+b") as other:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "kept: two runs cannot fill one folder"
    raise OSError(errno.ENOLCK, "two could have it at a time")


def _rename(own: str) -> str:
    one, other = os.path.join(own, "one"), os.path.join(own, "other")
    for path in (one, other):
        with open(path, "wb"):
            pass
    os.replace(one, other)
    return "possible"


def _fsync(own: str) -> str:
    for path in (os.path.join(own, "file"), own):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return "files and folders can be synced"


_OTHER_FOLDER = "use a folder on another file system for --out"
_ATTEMPTS: tuple[tuple[str, Callable[[str], str], State, str], ...] = (
    (
        "hard links",
        _hardlink,
        State.WARNING,
        "--action hardlink does not work here; names are reserved instead",
    ),
    ("taken names", _never_replaces, State.PROBLEM, _OTHER_FOLDER),
    ("symbolic links", _symlink, State.WARNING, "--action symlink does not work here: use copy"),
    ("reflinks", _reflink, State.NOTE, "--action reflink makes whole copies here"),
    ("locks", _lock, State.WARNING, "let only one run at a time write into an output here"),
    ("renaming", _rename, State.PROBLEM, _OTHER_FOLDER),
    ("syncing", _fsync, State.WARNING, "after a power cut, run the same command again with --verify"),
)
"""What is tried, how bad it is if that fails, and what to do then."""


def _case(own: str) -> Finding:
    with open(os.path.join(own, "Case"), "wb"):
        pass
    if os.path.exists(os.path.join(own, "cASE")):
        return note("capitals", "'a' and 'A' are one name here: files that differ in that get a number")
    return ok("capitals", "'a' and 'A' are two names")


def _names(own: str) -> Finding:
    """Try what some file systems refuse: characters of Windows, and bytes that are no UTF-8."""
    refused = []
    for name, told in ((b"a:b?.dcm", "':' or '?'"), (b"\xff.dcm", "bytes that are no UTF-8")):
        try:
            with open(os.path.join(os.fsencode(own), name), "wb"):
                pass
        except (OSError, ValueError):
            refused.append(told)
    if refused:
        return warning(
            "odd names", f"not with {' or '.join(refused)}", "such files end as io_error: rename them"
        )
    return ok("odd names", "any bytes")


def _longest(own: str) -> Finding:
    facts = os.statvfs(own)
    if facts.f_namemax < 255:
        told = f"{facts.f_namemax} bytes"
        return warning("longest name", told, "longer ones end as io_error; a shorter --layout may help")
    return ok("longest name", f"{facts.f_namemax} bytes")


def _room(folder: str) -> Iterator[Finding]:
    facts = os.statvfs(folder)
    free = facts.f_bavail * facts.f_frsize
    told = f"{size_told(free)} free"
    advice = "copies need as much as the radiographs: free some, or use --action symlink"
    yield warning("space", told, advice) if free < _LEAST_FREE else ok("space", told)
    if facts.f_files == 0:
        yield ok("inodes", "as many as there is space for")
    elif facts.f_favail < _LEAST_INODES:
        yield warning(
            "inodes", f"{facts.f_favail} free", "each placed file takes one: use another file system"
        )
    else:
        yield ok("inodes", f"{facts.f_favail} free")
