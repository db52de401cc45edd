"""Items that come as they are wanted: what comes first, what is let go, and workers that wait for them."""

import threading
import time

import pytest
from jobs import behave

from dicomsort.system import worker_pool
from dicomsort.system.inbox import NOTHING_NOW, Inbox
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.pool_worker import Lost
from dicomsort.system.worker_pool import run


def taken(inbox: Inbox[str]) -> list[str]:
    found = []
    for item in inbox:
        if item is NOTHING_NOW:
            break
        found.append(item)
    return found


def test_the_last_wanted_comes_first_and_what_is_for_later_in_its_order() -> None:
    inbox: Inbox[str] = Inbox(10)
    assert inbox.expect(["later 1", "later 2", "later 3"]) == []
    for item in ("first", "second", "later 2", "first"):
        assert inbox.want(item) is None
    inbox.hurry("later 3")
    inbox.hurry("nowhere")
    assert taken(inbox) == ["later 3", "first", "later 2", "second", "later 1"]
    assert taken(inbox) == []


def test_there_is_a_bound_and_what_falls_out_is_told() -> None:
    inbox: Inbox[str] = Inbox(2)
    assert [inbox.want(item) for item in "abc"] == [None, None, "a"]
    assert inbox.expect("uvwxyz") == []
    assert inbox.expect("vbk") == ["u"]
    assert taken(inbox) == ["c", "b", "v", "k"]


def test_the_bell_rings_for_what_comes_after_there_was_nothing() -> None:
    inbox: Inbox[str] = Inbox(1000)
    assert taken(inbox) == []
    assert not inbox.bell.poll()
    for number in range(1000):  # never more than the pipe holds
        inbox.want(str(number))
    assert inbox.bell.poll()
    assert len(taken(inbox)) == 1000
    assert not inbox.bell.poll()
    inbox.close()
    assert inbox.bell.poll()
    assert list(inbox) == []


def test_workers_wait_for_an_inbox_and_take_an_item_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "_POLL_SECONDS", 300.0)
    inbox: Inbox[str] = Inbox(100)
    results = run(behave, inbox, PoolSettings(workers=2, ahead=1))
    began, waited = time.monotonic(), []
    inbox.want("fine:0")
    for number, (item, result) in enumerate(results):
        assert result == f"done {item}"
        waited.append(time.monotonic() - began)
        if number == 10:
            inbox.close()
            continue
        began = time.monotonic()
        threading.Timer(0.02, inbox.want, [f"fine:{number + 1}"]).start()
    assert len(waited) == 11
    assert max(waited) < 150, "none waits for the pool's next look around"


def test_a_pool_that_waits_costs_next_to_nothing() -> None:
    inbox: Inbox[str] = Inbox(100)
    for item in ("slow:0", "slow:1", "slow:2"):
        inbox.want(item)
    results = run(behave, inbox, PoolSettings(workers=1, ahead=1))
    next(results)
    began = time.thread_time()
    next(results)  # busy for 0.3 s, with another item in the inbox
    assert time.thread_time() - began < 0.1
    inbox.close()
    assert len(list(results)) <= 1


def test_a_crash_costs_its_item_and_the_inbox_goes_on() -> None:
    inbox: Inbox[str] = Inbox(100)
    results = run(behave, inbox, PoolSettings(workers=2, ahead=1))
    inbox.want("segfault:a")
    inbox.want("fine:1")
    found = dict(next(results) for _ in range(2))
    inbox.want("fine:2")
    found |= dict([next(results)])
    assert found == {"segfault:a": Lost.CRASH, "fine:1": "done fine:1", "fine:2": "done fine:2"}
    results.close()


def test_a_stop_ends_a_pool_that_waits() -> None:
    inbox: Inbox[str] = Inbox(100)
    stop = threading.Event()
    inbox.want("fine:1")
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.extend(run(behave, inbox, PoolSettings(1), stop)))
    waiting.start()
    time.sleep(0.2)
    stop.set()
    waiting.join(60)
    assert not waiting.is_alive()
