"""An item with many results: each comes once, and one that kills or hangs its process costs itself."""

from typing import Any

import pytest
from books import Book, dies_at_once, read
from held_time import each_start_takes_most_of_the_limit, only_hangs_take_time

from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.pool_worker import Lost
from dicomsort.system.worker_pool import _Pool, run

TWO = PoolSettings(workers=2)


def results(*items: Any, settings: PoolSettings = TWO) -> list[Any]:
    return [result for _, result in run(read, items, settings)]


def test_every_result_comes_in_its_order_and_then_the_last_one() -> None:
    assert results(Book(("a", "b", "c"))) == [(0, "a"), (1, "b"), (2, "c"), "end"]


def test_other_items_are_not_held_up_and_come_once() -> None:
    found = results(*range(200), Book(("a", "long")), *range(200, 400))
    assert sorted(one for one in found if isinstance(one, int)) == list(range(400))
    assert [one for one in found if not isinstance(one, int)] == [(0, "a"), (1, "long"), "end"]


def test_with_one_worker_too() -> None:
    found = results(*range(50), Book(("a",)), *range(50), Book(("b",)), settings=PoolSettings(workers=1))
    assert len(found) == 104


@pytest.mark.parametrize(("trouble", "lost"), [("crash", "crash"), ("hang", "timeout")])
def test_a_result_that_ends_its_process_costs_itself_alone(
    trouble: str, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Pool, "_count_time", only_hangs_take_time)
    found = results(Book(("a", trouble, "c", trouble, trouble, "f")), *range(20))
    assert [one for one in found if not isinstance(one, int)] == [
        *((0, "a"), (1, lost), (2, "c"), (3, lost), (4, lost), (5, "f"), "end"),
    ]
    assert sorted(one for one in found if isinstance(one, int)) == list(range(20))


def test_time_begins_anew_with_every_result_and_every_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Pool, "_count_time", each_start_takes_most_of_the_limit)
    found = results(Book(("long", "long")), settings=PoolSettings(workers=1))
    assert found == [(0, "long"), (1, "long"), "end"]


def test_an_item_that_dies_at_what_it_leaves_out_is_lost_as_a_whole() -> None:
    found = list(run(dies_at_once, [Book(("a", "b"))], TWO))
    assert found == [(Book(("a", "b"), 0, (0, "crash")), Lost.CRASH)]
