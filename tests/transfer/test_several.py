"""Several at a time, in order, and nothing lost when one fails."""

import threading
import time

import pytest

from dicomsort.transfer.several import several


def test_answers_come_in_order_and_so_many_at_a_time() -> None:
    running, most, lock, begun = 0, 0, threading.Lock(), threading.Barrier(4)

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if number < 4:
            begun.wait(60)
        time.sleep(0.001 * (number % 3))
        with lock:
            running -= 1
        return number * number

    found = list(several(work, range(50), 4, lambda: None))
    assert found == [(number, number * number) for number in range(50)]
    assert most == 4


def test_what_was_under_way_when_one_fails_is_told_before_the_failure() -> None:
    begun, taken, asked = threading.Barrier(3), list[int](), list[int]()

    def work(number: int) -> int:
        asked.append(number)
        if number < 3:
            begun.wait(60)
        if number == 1:
            raise LookupError
        return number

    def take() -> None:
        for item, _ in several(work, range(100), 3, lambda: None):
            taken.append(item)

    with pytest.raises(LookupError):
        take()
    assert {0, 2} <= set(taken)
    assert len(taken) < 20
    assert sorted(asked) == sorted({1, *taken})


def test_whoever_leaves_early_waits_for_nothing() -> None:
    over = threading.Event()
    begun = time.monotonic()
    answers = several(lambda number: number == 0 or over.wait(200), range(100), 2, over.set)
    assert next(answers) == (0, True)
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 100
