"""Threads for placing: every item once, in order; one thread where one is enough, more where items wait."""

import threading
import time

import pytest

from dicomsort.system.threads import LazyThreadPool


def test_every_item_is_done_once_whatever_the_timing() -> None:
    for pause in (0.0, 0.0005):
        done: list[int] = []

        def work(item: int, pause: float = pause, done: list[int] = done) -> int:
            time.sleep(pause)
            done.append(item)
            return -item

        with LazyThreadPool(work, 4, "test") as pool:
            futures = []
            for item in range(500):
                futures.append(pool.submit(item))
                if item % 50 == 0:
                    time.sleep(0.002)
            assert [pool.result(future) for future in futures] == [-item for item in range(500)]
        assert sorted(done) == list(range(500))


def test_threads_come_only_where_items_wait() -> None:
    gate, names = threading.Event(), set[str]()

    def slow(item: int) -> None:
        names.add(threading.current_thread().name)
        gate.wait(10)

    with LazyThreadPool(slow, 3, "test") as pool:
        first = [pool.submit(item) for item in range(5)]
        time.sleep(0.05)
        assert len(names) == 1
        first += [pool.submit(item) for item in range(40)]
        time.sleep(0.05)
        assert len(names) == 3
        gate.set()
        for future in first:
            pool.result(future)


def test_what_a_thread_raises_is_raised_where_it_is_asked_for() -> None:
    def fail(item: int) -> int:
        if item == 1:
            raise OSError("full")
        return item

    with LazyThreadPool(fail, 2, "test") as pool:
        futures = [pool.submit(item) for item in range(3)]
        assert pool.result(futures[0]) == 0
        with pytest.raises(OSError, match="full"):
            pool.result(futures[1])
        assert pool.result(futures[2]) == 2


def test_what_has_not_been_begun_is_forgotten_at_the_end() -> None:
    done: list[int] = []

    def slow(item: int) -> None:
        time.sleep(0.05)
        done.append(item)

    with LazyThreadPool(slow, 1, "test") as pool:
        for item in range(100):
            pool.submit(item)
    assert len(done) < 5
