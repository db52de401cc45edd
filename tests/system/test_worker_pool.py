"""Disasters in worker processes: each costs its own item and nothing else."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from held_time import each_start_takes_most_of_the_limit, only_hangs_take_time
from jobs import behave, corrupting, large, met, pid_after_a_while, process_id, unsendable

from dicomsort.errors import InternalError
from dicomsort.system import worker, worker_pool
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.pool_worker import Lost, Task, Worker
from dicomsort.system.worker_pool import _Pool, keeping, run


def outcomes(items: list[str], **settings: float) -> dict[str, str | Lost]:
    pool = PoolSettings(**{"workers": 2, **settings})  # type: ignore[arg-type]
    results = list(run(behave, items, pool))
    assert Counter(item for item, _ in results) == Counter(items), "every item exactly once"
    return dict(results)


def test_without_trouble_every_item_comes_back() -> None:
    items = [f"fine:{number}" for number in range(200)]
    assert outcomes(items) == {item: f"done {item}" for item in items}


@pytest.mark.parametrize("kind", ["segfault", "abort", "raise", "hog"])
def test_a_crash_costs_only_its_own_item(kind: str) -> None:
    items = [f"fine:{number}" for number in range(40)]
    items[7:7], items[20:20] = [f"{kind}:a"], [f"{kind}:b"]
    found = outcomes(items, memory_bytes=8 << 30)
    assert {item for item, result in found.items() if result is Lost.CRASH} == {f"{kind}:a", f"{kind}:b"}
    assert sum(result == f"done {item}" for item, result in found.items()) == 40


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_crash_of_the_last_item_is_no_deadlock(workers: int) -> None:
    items = [*(f"slow:{number}" for number in range(6)), "abort:last"]
    found = outcomes(items, workers=workers)
    assert found["abort:last"] is Lost.CRASH
    assert sum(result == f"done {item}" for item, result in found.items()) == 6


def test_a_hang_ends_at_the_time_limit() -> None:
    started = time.monotonic()
    assert outcomes(["hang:a"], timeout=0.5) == {"hang:a": Lost.TIMEOUT}
    assert 0.5 <= time.monotonic() - started < 60


def test_neighbours_of_a_hang_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Pool, "_count_time", only_hangs_take_time)
    items = ["hang:a", *(f"fine:{number}" for number in range(20)), "hang:b"]
    wanted = {item: Lost.TIMEOUT if item.startswith("hang:") else f"done {item}" for item in items}
    assert outcomes(items) == wanted


def test_the_clock_starts_when_a_worker_starts_the_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Pool, "_count_time", each_start_takes_most_of_the_limit)
    items = [f"slow:{number}" for number in range(6)]
    assert Lost.TIMEOUT not in outcomes(items, workers=1, ahead=6).values()


class Clock:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_slow_consumer_is_not_the_items_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the three that a worker has at a time, one may see the others be consumed: 0.6 s."""
    clock = Clock()
    monkeypatch.setattr(worker_pool, "time", clock)
    pool = PoolSettings(workers=1, timeout=0.7, ahead=3)
    found = []
    for item, result in run(behave, [f"fine:{number}" for number in range(8)], pool):
        clock.now += 0.3
        found.append(result == f"done {item}")
    assert found == [True] * 8


def test_workers_are_recycled() -> None:
    results = run(process_id, range(30), PoolSettings(workers=1, recycle_after=10))
    assert sorted(Counter(result for _, result in results).values()) == [10, 10, 10]


def test_processes_stay_for_the_next_run_and_end_with_the_block(tmp_path: Path) -> None:
    settings, folders = PoolSettings(workers=2, ahead=3), (tmp_path / str(number) for number in count())

    def pids(settings: PoolSettings) -> set[int]:
        """Both processes: each waits for the other one, and neither can have been sent all items."""
        (folder := next(folders)).mkdir()
        return {pid for _, pid in run(met, [str(folder)] * 60, settings) if isinstance(pid, int)}

    with keeping():
        first = pids(settings)
        again = pids(settings)
        assert again == first
        found = dict(run(behave, ["fine:1", "abort:2", "fine:3"], settings))  # one of another function
        assert found == {"fine:1": "done fine:1", "abort:2": Lost.CRASH, "fine:3": "done fine:3"}
        third = pids(settings)
        assert not first <= third
        for process in third:
            os.kill(process, signal.SIGKILL)  # while they have nothing to do
        fourth = pids(settings)
        assert not fourth & third
        other = pids(replace(settings, timeout=61.0))
        assert not other & fourth
    for process in other | fourth:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert not pids(settings) & other


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_in_a_process_that_stayed_is_no_deadlock(workers: int) -> None:
    settings = PoolSettings(workers=workers)
    with keeping():
        assert len(list(run(process_id, range(20), settings))) == 20
        items = [*(f"slow:{number}" for number in range(4)), "abort:a", "segfault:b"]
        found = dict(run(behave, items, settings))
    assert {item for item, result in found.items() if result is Lost.CRASH} == {"abort:a", "segfault:b"}
    assert len(found) == 6


def test_items_are_taken_only_as_there_is_room() -> None:
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        for taken in range(1, 1001):
            yield f"fine:{taken}"

    results = run(behave, source(), PoolSettings(workers=2, ahead=4))
    next(results)
    assert taken <= 2 * 4 + 2 + 4
    results.close()


class DiesOnArrival:
    """A function that kills the worker while it is unpickled, before any item."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (3,)


def test_a_worker_that_cannot_start_is_not_blamed_on_a_file() -> None:
    with pytest.raises(InternalError, match="die while starting"):
        list(run(DiesOnArrival(), ["fine:1"], PoolSettings(workers=1)))  # type: ignore[arg-type]


def test_no_worker_survives_a_killed_main_process(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from dicomsort.system.pool_settings import PoolSettings
        from dicomsort.system.worker_pool import run

        def hang(item):
            Path(sys.argv[1], str(os.getpid())).touch()
            time.sleep(600)

        if __name__ == "__main__":
            list(run(hang, range(4), PoolSettings(workers=2, timeout=500, ahead=1)))
        """)
    )
    pids = tmp_path / "pids"
    pids.mkdir()
    main = subprocess.Popen([sys.executable, script, pids])
    deadline = time.monotonic() + 60
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    main.kill()
    main.wait()
    workers = [int(path.name) for path in pids.iterdir()]
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_crashes_side_by_side_among_quick_items_cost_only_themselves() -> None:
    items = [f"fine:{number}" for number in range(300)]
    bad = [f"segfault:{number}" for number in range(3)]
    items[100:100], items[:0], items[len(items) :] = bad, ["abort:first"], ["abort:last"]
    found = outcomes(items)
    assert {item for item, result in found.items() if result is Lost.CRASH} == {
        *bad,
        "abort:first",
        "abort:last",
    }
    assert sum(result == f"done {item}" for item, result in found.items()) == 300


def test_workers_killed_from_outside_lose_nothing() -> None:
    killed: set[int] = set()
    results: list[tuple[int, int | Lost]] = []
    for item, result in run(pid_after_a_while, range(1500), PoolSettings(workers=2)):
        results.append((item, result))
        if len(results) % 300 == 0 and isinstance(result, int) and result not in killed:
            killed.add(result)
            os.kill(result, signal.SIGKILL)
    assert len(killed) >= 3
    assert sorted(item for item, _ in results) == list(range(1500))
    assert not any(isinstance(result, Lost) for _, result in results)


class Pipe:
    """Takes down what a worker sends."""

    def __init__(self) -> None:
        self.sent: list[list[object]] = []

    def send(self, message: tuple[float, list[object]]) -> None:
        self.sent.append(message[1])


@pytest.mark.parametrize("pause", [0.0, 0.006])
def test_quick_results_share_a_message_and_slow_ones_do_not_wait(
    pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(worker, "time", clock)

    def function(item: int) -> int:
        clock.now += pause
        return -item

    pipe, gauge = Pipe(), [0.0, 0]
    with open(os.devnull, "w") as nowhere:
        work = worker._Work(pipe, gauge, function, 600.0, nowhere)
        work._answer(range(100))
        if work._results:
            work._send()
    assert [result for results in pipe.sent for result in results] == [-item for item in range(100)]
    assert len(pipe.sent) == (100 if pause else 2)
    assert gauge == [0.0, 100]


def test_an_item_that_spoils_its_process_is_run_alone_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    start = _Pool._start

    def counting(pool: _Pool[int, int]) -> Any:
        started.append(pool)
        return start(pool)

    monkeypatch.setattr(_Pool, "_start", counting)
    results = list(run(corrupting, range(300), PoolSettings(workers=2)))
    assert sorted(item for item, _ in results) == list(range(300))
    assert not any(isinstance(result, Lost) for _, result in results)
    assert len(started) < 10


def test_a_result_that_cannot_be_sent_costs_its_own_item() -> None:
    results = dict(run(unsendable, range(100), PoolSettings(workers=2, ahead=16)))
    assert [item for item, result in results.items() if isinstance(result, Lost)] == [3]
    assert len(results) == 100


def test_large_items_and_large_results_do_not_wait_for_each_other() -> None:
    items = [b"%d" % number + bytes(20_000) for number in range(1500)]
    results = run(large, iter(items), PoolSettings(workers=1))
    assert sum(len(result) == 50_000 for _, result in results if isinstance(result, bytes)) == 1500


def test_a_time_out_is_not_put_on_the_next_item() -> None:
    class Gauge(list[float]):
        """The item ends just after its start was looked at."""

        def __getitem__(self, place: Any) -> Any:
            value = super().__getitem__(place)
            if place == worker.STARTED:
                self[worker.ENDED] = 1
            return value

    tasks = deque([Task(1), Task(2)])
    ours, _theirs = multiprocessing.Pipe()
    pool = PoolSettings(timeout=5)
    process = Worker(None, ours, Gauge([7.0, 0]), ready=True, tasks=tasks, seen=(7.0, 0.0))
    assert process.over_time(pool, 100.0) is None
    process = Worker(None, ours, [7.0, 1], ready=True, tasks=tasks)
    assert process.over_time(pool, 100.0) is None, "its time begins when the pool sees it"
    assert process.over_time(pool, 104.0) is None
    assert process.over_time(pool, 106.0) is tasks[1]


def test_a_clock_that_leaps_is_no_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a stop of the whole program: by an hour whenever a result has come, with the next begun."""
    clock = Clock()
    monkeypatch.setattr(worker_pool, "time", clock)
    pool = PoolSettings(workers=1, timeout=1.1, ahead=3)
    items = [f"slow:{number}" for number in range(5)]
    for item, result in run(behave, items, pool):
        clock.now += 3600
        assert result == f"done {item}"


def test_a_stop_of_the_whole_program_is_no_time_out(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent("""
        import time
        from dicomsort.system.pool_settings import PoolSettings
        from dicomsort.system.worker_pool import run

        def nap(item):
            time.sleep(0.3)
            return item

        if __name__ == "__main__":
            for item, result in run(nap, range(12), PoolSettings(workers=2, timeout=5.0)):
                print(item, result, flush=True)
        """)
    )
    words = [sys.executable, str(script)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as main:
        assert main.stdout is not None
        lines = [main.stdout.readline()]
        os.killpg(main.pid, signal.SIGSTOP)
        time.sleep(6)
        os.killpg(main.pid, signal.SIGCONT)
        lines += main.stdout.readlines()
    assert main.returncode == 0
    assert sorted(lines) == sorted(f"{item} {item}\n" for item in range(12))


def test_only_what_was_begun_is_blamed() -> None:
    pool: worker_pool._Pool[int, int] = worker_pool._Pool(abs, PoolSettings())

    class Dead:
        def kill(self) -> None: ...
        def join(self) -> None: ...
        def close(self) -> None: ...

    def bury(task: Task[int], gauge: list[float]) -> list[tuple[int, int | Lost]]:
        ours, _theirs = multiprocessing.Pipe()
        process = Worker(Dead(), ours, gauge, ready=True, tasks=deque([task]))
        pool._workers.append(process)
        return list(pool._bury(process))

    idle = Task(1)
    assert bury(idle, [0.0, 0]) == []
    assert list(pool._again) == [idle]
    begun = Task(2)
    assert bury(begun, [5.0, 0]) == []
    assert list(pool._suspects) == [begun]
    assert bury(begun, [0.0, 0]) == [], "it was not even begun"
    assert bury(begun, [5.0, 0]) == [(2, Lost.CRASH)]
