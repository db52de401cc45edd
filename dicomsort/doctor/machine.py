"""What the machine gives: processors, memory, and limits of this session."""

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress

from dicomsort.doctor.finding import Finding, note, ok, problem, warning
from dicomsort.system.telling import size_told
from dicomsort.system.threads import processors

_SIMD = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
_CGROUP = "/sys/fs/cgroup"
_EACH_WORKER = 400 << 20  # what a worker that reads radiographs of 16 megapixels takes at its peak
_FEWEST_FILES = 512


def examine() -> Iterator[Finding]:
    """Look at the machine."""
    yield _processors()
    yield _instructions()
    yield _memory()
    yield _open_files()
    yield _temporary()


def _processors() -> Finding:
    usable, quota = processors(), _quota()
    told = f"{usable} of {os.cpu_count()} may be used"
    if quota is not None and quota < usable - 0.5:
        advice = f"use --workers {max(1, round(quota))}: more would wait for each other"
        return warning("processors", f"{told}, but a limit of {quota:g} is set (cgroup)", advice)
    return ok("processors", told)


def _quota() -> float | None:
    """Return how many processors a container may use in time, None without a limit (cgroup v2, then v1)."""
    words = _read(f"{_CGROUP}/cpu.max").split()
    if not words:
        words = [_read(f"{_CGROUP}/cpu/cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    with suppress(ValueError, ZeroDivisionError):
        quota, period = (int(word) for word in words)
        return quota / period if quota > 0 else None
    return None


def _read(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read(1 << 20)
    return ""


def _instructions() -> Finding:
    text = _read("/proc/cpuinfo")
    lines = (line for line in text.splitlines() if line.lower().startswith(("flags", "features")))
    flags = set(next(lines, "").partition(":")[2].split())
    if not flags:
        return note("instructions", "the system does not tell them")
    has = ", ".join(name for name in _SIMD if name in flags) or "none that speed up a network"
    if flags & _BFLOAT16:
        return ok("instructions", f"{has}; networks run in bfloat16")
    return note("instructions", f"{has}; without bfloat16, networks run in float32")


def _memory() -> Finding:
    free, most = _available(), _memory_limit()
    if free is None:
        return note("memory", "the system does not tell how much is free")
    least = min(free, most) if most is not None else free
    told = f"{size_told(free)} available" + (
        "" if most is None else f", {size_told(most)} left to this cgroup"
    )
    if least < _EACH_WORKER * processors():
        fit = max(1, int(least / _EACH_WORKER))
        return warning("memory", told, f"use --workers {fit}: each may take {size_told(_EACH_WORKER)}")
    return ok("memory", told)


def _available() -> int | None:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _memory_limit() -> int | None:
    for most, used in (("memory.max", "memory.current"),
                       ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):  # fmt: skip
        with suppress(ValueError):
            limit = int(_read(f"{_CGROUP}/{most}"))
            if limit < 1 << 60:
                return max(0, limit - int(_read(f"{_CGROUP}/{used}")))
    return None


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FEWEST_FILES:
        return warning("open files", f"at most {soft}", f"ulimit -n {min(4096, hard) if hard > 0 else 4096}")
    return ok("open files", "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft}")


def _temporary() -> Finding:
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    except OSError:
        return problem("temporary folder", "there is none that can be written", "set TMPDIR to one")
    told = f"{folder}, {size_told(free)} free"
    if free < 1 << 30:
        return warning(
            "temporary folder", told, "members of archives are unpacked there: set TMPDIR to another"
        )
    return ok("temporary folder", told)
