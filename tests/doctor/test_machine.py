"""Limits of a container and of a session are found, with what to do about them."""

import os
import resource
from collections.abc import Callable

import pytest

from dicomsort.doctor import machine
from dicomsort.doctor.finding import Finding, State

GB = 1 << 30


@pytest.fixture
def tells(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Finding]]:
    """Examine a machine of 8 processors whose files of the system say this."""

    def examine(**files: str) -> dict[str, Finding]:
        known = {"meminfo": f"MemAvailable: {32 * GB // 1024} kB\n", "cpuinfo": "flags : fpu avx2\n", **files}
        monkeypatch.setattr(
            machine, "_read", lambda path: known.get(path.rpartition("/")[2].replace(".", "_"), "")
        )
        monkeypatch.setattr(machine, "processors", lambda: 8)
        return {one.name: one for one in machine.examine()}

    return examine


Tells = Callable[..., dict[str, Finding]]


def test_a_container_that_may_use_less_time_than_it_sees_processors_is_told(tells: Tells) -> None:
    found = tells(cpu_max="250000 100000\n")["processors"]
    assert (found.state, found.advice.split(":")[0]) == (State.WARNING, "use --workers 2")
    assert tells(cpu_max="max 100000\n")["processors"].state is State.OK
    assert tells(cpu_cfs_quota_us="100000", cpu_cfs_period_us="100000")["processors"].state is State.WARNING
    assert tells(cpu_cfs_quota_us="-1", cpu_cfs_period_us="100000")["processors"].state is State.OK


def test_memory_that_is_too_small_for_all_workers_is_told_whoever_limits_it(tells: Tells) -> None:
    assert tells()["memory"].state is State.OK
    little = tells(meminfo=f"MemAvailable: {GB // 1024} kB\n")["memory"]
    assert (little.state, little.advice.split(":")[0]) == (State.WARNING, "use --workers 2")
    limited = tells(memory_max=str(2 * GB), memory_current=str(GB))["memory"]
    assert limited.state is State.WARNING
    assert "1.1 GB left to this cgroup" in limited.told
    assert tells(memory_max="max")["memory"].state is State.OK


def test_the_instructions_decide_the_precision(tells: Tells) -> None:
    assert "float32" in tells()["instructions"].told
    assert "run in bfloat16" in tells(cpuinfo="Features : fp asimd bf16\n")["instructions"].told
    assert tells(cpuinfo="")["instructions"].state is State.NOTE


def test_a_low_limit_of_open_files_is_told_with_the_command(
    tells: Tells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1 << 20))
    found = tells()["open files"]
    assert (found.state, found.advice) == (State.WARNING, "ulimit -n 4096")


def test_this_machine_is_examined_without_a_problem() -> None:
    found = list(machine.examine())
    assert not [one for one in found if one.state is State.PROBLEM]
    assert f"of {os.cpu_count()} may be used" in found[0].told
