"""What memory a process may take, and keep."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


@contextmanager
def memory_for(more: int) -> Iterator[None]:
    """Let this process map so many bytes more while the block runs, and no more: what asks for them fails.

    Without effect but on Linux. Threads that are started in the block have to fit, too.
    """
    if sys.platform != "linux":
        yield
        return
    import resource  # noqa: PLC0415  (of Unix alone)

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = [each for each in (soft, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([mapped + more, *limits]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
