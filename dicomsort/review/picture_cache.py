"""Where pictures of the review page are kept: the last ones in memory, thumbnails in a folder."""

import os
import stat
from collections import OrderedDict
from contextlib import suppress

from dicomsort.outcome import Failure
from dicomsort.system.atomic import TEMPORARY

Answer = bytes | Failure
"""A picture, or why there is none."""

_FEW = 100  # bytes that a failure counts for
_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"  # of a JPEG that is whole


class RecentPictures:
    """The pictures that were asked for last, as many as fit; the very last one always does."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held = most_bytes, 0
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def get(self, key: str) -> Answer | None:
        """Return what is kept under a key."""
        if key in self._answers:
            self._answers.move_to_end(key)
        return self._answers.get(key)

    def put(self, key: str, answer: Answer) -> None:
        """Keep what is new, and let go of what was not asked for the longest."""
        self._held += _size(answer) - _size(self._answers.pop(key, b""))
        self._answers[key] = answer
        while self._held > self._most and len(self._answers) > 1:
            self._held -= _size(self._answers.popitem(last=False)[1])


def _size(answer: Answer) -> int:
    return _FEW if isinstance(answer, Failure) else len(answer)


class ThumbnailFolder:
    """JPEG files by key, for nobody but their owner (folder 0700, files 0600), whole or not there.

    It may be removed at any time. What cannot be kept is not kept: a full disk costs time, and nothing else.
    """

    def __init__(self, folder: str) -> None:
        """Make the folder, and the one that holds it, if they are not there."""
        self._folder = folder
        self._usable = all(_make_private(each) for each in (os.path.dirname(folder), folder))

    def has(self, key: str) -> bool:
        """Return whether there is a thumbnail of this key."""
        return self._usable and os.path.exists(self._path(key))

    def get(self, key: str) -> bytes | None:
        """Return the thumbnail of this key if it is there, and whole."""
        if not self._usable:
            return None
        with suppress(OSError):
            with open(self._path(key), "rb", opener=_without_links) as file:
                content = file.read()
            if content.startswith(_BEGIN) and content.endswith(_END):
                return content
        return None

    def put(self, key: str, content: bytes) -> bool:
        """Keep a thumbnail. Returns whether that was possible."""
        temporary = os.path.join(self._folder, f"{TEMPORARY}{key}.part")
        if not self._usable:
            return False
        try:
            with suppress(FileNotFoundError):
                os.unlink(temporary)  # of a run that was killed
            with open(temporary, "xb", opener=_for_the_owner) as file:
                file.write(content)
            os.replace(temporary, self._path(key))
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            return False
        return True

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, f"{key}.jpg")


def _make_private(folder: str) -> bool:
    """Make a folder that only its owner can enter; return whether there is one now."""
    try:
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode):  # a link might lead anywhere
            return False
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.chmod(folder, 0o700)
    except OSError:
        return False
    return True


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
