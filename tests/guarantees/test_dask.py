"""A real dask cluster: workers that come and go, and what is killed at any moment."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from clusters import (
    Dask,
    Program,
    Words,
    begun,
    check_equal,
    dask,
    done,
    kill,
    number_in,
    parent,
    processes,
    read_to_compare,
    start,
    told,
    wait_for,
)
from outputs import rows
from program import command, inside

from dicomsort.errors import ExitCode
from dicomsort.manifest.names import SHARDS

pytestmark = pytest.mark.slow

MOMENTS = 10


def running(words: Words, cluster: Dask, *more: str) -> Program:
    """Start the driver, for small shards."""
    return start("dicomsort", *words, "--backend", "dask", "--address", cluster.address, *more)


SMALL = ("--shard-size", "4")


def test_workers_may_come_late_and_go(
    words: Words, single: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with dask(tmp_path, 0) as cluster:
        driver = running(words, cluster, *SMALL)
        assert driver.stderr is not None
        waiting = f"the dask scheduler at {cluster.address} has no workers: waiting for one"
        assert next(line for line in driver.stderr if waiting in line)
        cluster.join()
        wait_for(lambda: begun(out))
        cluster.join()
        wait_for(lambda: len(done(out)) > 2)
        kill(cluster.workers[0])
        said, err = driver.communicate(timeout=240)
    assert driver.returncode == ExitCode.SOME_FAILED, err
    check_equal(out, single)
    tally = json.loads(said)
    assert (tally["found"], tally["already_done"]) == (39, 0)
    assert {status: count for status, count in tally["statuses"].items() if count} == {
        "sorted": 30, "duplicate": 6, "decode_error": 1, "not_dicom": 1, "io_error": 1
    }  # fmt: skip
    assert tally["labels"] == inside(capfd, "merge", single, "--json").json["labels"]


def test_a_worker_that_dies_while_it_compares_costs_what_it_had_not_read(
    words: Words, single: Path, tmp_path: Path, held: Path
) -> None:
    with dask(tmp_path, 2) as cluster:
        driver = running(words, cluster, *SMALL)
        program = wait_for(lambda: number_in(held))
        os.kill(parent(program), signal.SIGKILL)
        _, err = driver.communicate(timeout=240)
    assert driver.returncode == ExitCode.SOME_FAILED, err
    assert sum(read_to_compare(tmp_path / "out")) == 12 - 2
    check_equal(tmp_path / "out", single)


def test_a_nanny_does_not_keep_the_program_to_one_thread(words: Words, single: Path, tmp_path: Path) -> None:
    """It sets OMP_NUM_THREADS=1 for its worker, which may run many threads (distributed 2026.8, nanny)."""
    with dask(tmp_path, 0) as cluster:
        nanny = cluster.join("--nanny")
        driver = running(words, cluster, *SMALL)
        (program,) = wait_for(lambda: programs_below(nanny.pid))
        worker = parent(program)
        assert (told(worker, "OMP_NUM_THREADS"), told(program, "OMP_NUM_THREADS")) == ("1", None)
        driver.communicate(timeout=240)
    assert driver.returncode == ExitCode.SOME_FAILED
    check_equal(tmp_path / "out", single)


def programs_below(nanny: int) -> list[int]:
    """Return the programs that the worker of a nanny has started; other tests have some of their own."""
    found = []
    for program in processes("dicomsort.cluster.node"):
        with suppress(OSError):
            found += [program] if parent(parent(program)) == nanny else []
    return found


def test_without_workers_it_ends_in_time(words: Words, tmp_path: Path) -> None:
    with dask(tmp_path, 0) as cluster:
        driver = running(words, cluster, "--wait-for-nodes", "2")
        _, err = driver.communicate(timeout=60)
    assert driver.returncode == ExitCode.USAGE
    assert err.splitlines()[-1] == (
        f"dicomsort: the dask scheduler at {cluster.address} has no workers, and none came in 2 s "
        "(--wait-for-nodes): start some"
    )
    assert not (tmp_path / "out" / SHARDS).exists()


def test_a_scheduler_that_does_not_answer_is_told(words: Words) -> None:
    ended = command(*words, "--backend", "dask", "--address", "tcp://127.0.0.1:9")
    assert ended.code == ExitCode.USAGE
    assert ended.err.splitlines()[-1] == (
        "dicomsort: no dask scheduler answers at 'tcp://127.0.0.1:9': check --address"
    )


def test_a_lost_scheduler_is_told_in_a_line_of_its_own_and_the_same_command_goes_on(
    words: Words, single: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with dask(tmp_path, 2) as cluster:
        driver = running(words, cluster, *SMALL)
        wait_for(lambda: len(done(out)) > 2)
        assert cluster.scheduler is not None
        kill(cluster.scheduler)
        killed = time.monotonic()
        _, err = driver.communicate(timeout=120)
        assert time.monotonic() - killed < 60
    assert driver.returncode == ExitCode.INTERNAL
    *more, last = [line for line in err.splitlines() if " files" not in line]
    assert last == (
        f"dicomsort: the dask scheduler at {cluster.address} is gone: what was done is kept; "
        "start one, and the same command goes on"
    )
    assert all("waiting for it" in line for line in more)  # for nodes that were still at work
    again = command(*words, "--backend", "loky")
    assert again.code == ExitCode.SOME_FAILED, again.err
    check_equal(out, single)


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_whatever_is_killed_at_any_moment_the_same_command_ends_as_a_single_run(
    moment: int, words: Words, single: Path, tmp_path: Path
) -> None:
    """The moment is some fraction of a second after so many shards have begun."""
    chance, out = random.Random(moment), tmp_path / "out"
    with dask(tmp_path, 2) as cluster:
        driver = running(words, cluster, *SMALL)
        assert cluster.scheduler is not None
        victims = {"worker": cluster.workers[0], "scheduler": cluster.scheduler, "driver": driver}
        victim, number = list(victims)[moment % 3], chance.randrange(9)
        wait_for(lambda: len(begun(out)) >= number or driver.poll() is not None)
        time.sleep(chance.random())
        kill(victims[victim])
        _, err = driver.communicate(timeout=240)
        assert "Traceback" not in err
        if victim == "scheduler":
            cluster.scheduler.communicate()
            cluster.begin()
            cluster.join()
        again = command(*words, "--backend", "dask", "--address", cluster.address, *SMALL)
    assert again.code in (ExitCode.DONE, ExitCode.SOME_FAILED), again.err
    assert len(rows(out)) == 39
    check_equal(out, single)
