"""The salt of an output folder, with which keys of its patients, studies and stations are made."""

import os

from dicomsort.manifest.names import OWN_FOLDER
from dicomsort.system.keys import salt_in


def salt_of(out: str) -> bytes:
    """Return the salt of an output folder, which is made if there is none. Raises UsageError, TargetError.

    Another output has another one, so that keys of two outputs tell nothing of each other.
    """
    return salt_in(os.path.join(out, OWN_FOLDER, "salt"))
