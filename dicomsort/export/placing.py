"""Where what is written ends: in its place, there already, or nowhere, for a reason of a fixed set."""

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace

from dicomsort.dicom.rewrite import ChangedError, DamagedError, sop_instance_uid_in
from dicomsort.export.written import Left, Outcome, Written
from dicomsort.system.atomic import write_new

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def guarded(work: Callable[[], Outcome]) -> Outcome:
    """Return what becomes of a file; whatever its reading raises is a value, but for lack of memory.

    What is no trouble of the file is one of this program, and is called that.
    """
    try:
        return work()
    except MemoryError:
        raise
    except FileNotFoundError:
        return Left.GONE
    except ChangedError:
        return Left.CHANGED
    except (OSError, DamagedError):
        return Left.UNREADABLE
    except Exception:  # noqa: BLE001  (the other files must not wait for it)
        return Left.INTERNAL


def foreseen(planned: Written, folder: str) -> Written:
    """Return what would be written, or is there already."""
    return replace(planned, is_new=not os.path.lexists(os.path.join(folder, planned.file)))


def found(planned: Written, folder: str, uid: str) -> Outcome | None:
    """Return what an earlier run has written, or that another file has its name; None if there is nothing.

    uid: its SOP Instance UID.
    """
    target = os.path.join(folder, planned.file)
    if not os.path.lexists(target):
        return None
    is_ours = sop_instance_uid_in(target) == uid
    return _standing(planned, target, digest(target), is_new=False) if is_ours else Left.TAKEN


def put(planned: Written, folder: str, write: Callable[[str], str]) -> Outcome:
    """Write a file under its name in the folder.

    write: takes the file's name; returns its SHA-256, raises FileExistsError.
    """
    target = os.path.join(folder, planned.file)
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return _standing(planned, target, write(target), is_new=True)
    except FileExistsError:
        return Left.TAKEN
    except OSError as error:
        return Left.FULL if error.errno in _FULL else Left.NOT_WRITTEN


def _standing(planned: Written, target: str, sha256: str, is_new: bool) -> Written:
    facts = os.stat(target)
    return replace(planned, size=facts.st_size, mtime_ns=facts.st_mtime_ns, sha256=sha256, is_new=is_new)


def write_whole(target: str, content: bytes) -> str:
    """Write a new file; see `put`."""
    write_new(target, content)
    return hashlib.sha256(content).hexdigest()


def digest(path: str) -> str:
    """Return the SHA-256 of a file in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
