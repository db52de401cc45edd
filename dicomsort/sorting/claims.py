"""Which destinations are taken, where two sources could want the same one."""

import hashlib
import os
import threading
import unicodedata
from collections.abc import Iterable


class Destinations:
    """Gives each destination away once.

    Needed where a layout does not follow the sources' paths, or where the target does not tell `A` from `a`;
    elsewhere two sources never meet, nothing is kept in memory, and every claim is granted.
    """

    def __init__(self, needed: bool, folds: bool, taken: Iterable[str] = ()) -> None:
        self._needed, self._folds = needed or folds, folds
        self._lock = threading.Lock()
        self._taken = {self._key(destination) for destination in taken} if self._needed else set()

    def grant(self, destination: str) -> bool:
        """Claim a destination; False if somebody else has it."""
        if not self._needed:
            return True
        key = self._key(destination)
        with self._lock:
            if key in self._taken:
                return False
            self._taken.add(key)
            return True

    def free(self, destination: str) -> None:
        """Give up a destination whose file has been taken away."""
        with self._lock:
            self._taken.discard(self._key(destination))

    def _key(self, destination: str) -> int:
        name = unicodedata.normalize("NFC", destination).casefold() if self._folds else destination
        return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "big")


def folds_case(folder: str, name: str) -> bool:
    """Tell whether the folder takes an existing file's name in capitals for the same file."""
    return name.upper() != name and os.path.lexists(os.path.join(folder, name.upper()))
