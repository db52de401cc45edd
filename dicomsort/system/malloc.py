"""Keep freed memory for the next image instead of giving it back to the system."""

import ctypes
import sys
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h of the GNU C library
_BYTES, _OLD_BYTES = 1 << 30, 32 << 20  # older libraries refuse more than 32 MiB


def keep_freed_memory() -> None:
    """Make the C library keep what is freed, up to a GiB; without effect but on Linux with glibc.

    Images and activations of 5 to 50 MB come and go many times a second. By default each is mapped anew, and
    the system fills every page of it with zeros first, which takes up to half of the time of a run. All
    threads share one heap, or each would keep its own share.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            if any(library.mallopt(_MMAP_THRESHOLD, size) for size in (_BYTES, _OLD_BYTES)):
                library.mallopt(_TRIM_THRESHOLD, _BYTES)
                library.mallopt(_ARENA_MAX, 1)
