"""What lies in an archive, or came from another machine, gets its place: always a copy."""

import os
from contextlib import suppress

from dicomsort.outcome import FileStamp, Part, Reason
from dicomsort.sorting.copies import UnlikeError, copy_part, digest, forget_cached, has_bytes_of
from dicomsort.system.atomic import publish, temporary_for


def put(part: Part, target: str, verify: bool, stamp: FileStamp | None) -> str:
    """Give a file that was left for this its place, or copy the bytes of a part of another one.

    Returns the SHA-256 of the copy, read anew, in hex; empty without `verify`. Raises UnlikeError if it
    differs, FileExistsError if the target is there, or any other OSError.
    """
    is_whole = part.start == 0 and part.length is None and not part.packing and _is_beside(part.file, target)
    temporary = part.file if is_whole else temporary_for(target)
    try:
        if not is_whole:
            copy_part(part, temporary)
        sha256 = _checked(part, temporary) if verify else ""
        if stamp is not None:
            os.utime(temporary, ns=(stamp.mtime_ns, stamp.mtime_ns))
        publish(temporary, target)
        return sha256
    finally:
        if not is_whole:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def _is_beside(path: str, target: str) -> bool:
    """Return whether a file lies in the file system of the folder that is to hold its copy."""
    return os.stat(path).st_dev == os.stat(os.path.dirname(target)).st_dev


def _checked(part: Part, copy: str) -> str:
    """Return the checksum of a copy, read anew. Raises UnlikeError unless it has the part's bytes."""
    forget_cached(copy)
    if copy != part.file and not has_bytes_of(part, copy):
        raise UnlikeError(Reason.DIFFERENT)
    return digest(copy)


def is_already(part: Part, target: str) -> bool:
    """Return whether a killed run has placed a part but not recorded it: there is a copy of its bytes."""
    try:
        return not os.path.islink(target) and has_bytes_of(part, target)
    except OSError:
        return False
