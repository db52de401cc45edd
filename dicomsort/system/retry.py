"""Try again what a network share or a tired disk refuses for a moment."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EHOSTDOWN, errno.ENETDOWN})
"""Errors of a file system that may be gone a moment later."""

_PAUSES = (0.1, 0.4, 1.6)

Result = TypeVar("Result")


def retry_transient(work: Callable[[], Result], pauses: tuple[float, ...] = _PAUSES) -> Result:
    """Call `work`, again after a pause (in seconds) as long as it raises a passing OSError; then raise it."""
    for pause in pauses:
        try:
            return work()
        except OSError as error:
            if error.errno not in PASSING:
                raise
        time.sleep(pause)
    return work()
