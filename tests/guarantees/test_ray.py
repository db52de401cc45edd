"""A real ray cluster: nodes that come and go, and what is killed at any moment."""

import json
import os
import random
import signal
import socket
import time
from pathlib import Path

import pytest
from clusters import (
    Program,
    Ray,
    Words,
    begun,
    check_equal,
    done,
    kill,
    number_in,
    parent,
    processes,
    ray,
    read_to_compare,
    start,
    told,
    wait_for,
)
from outputs import rows
from program import command

from dicomsort.errors import ExitCode

pytest.importorskip("ray")

pytestmark = pytest.mark.slow

SMALL = ("--shard-size", "4")
MOMENTS = 10


def running(words: Words, cluster: Ray, *more: str) -> Program:
    """Start the driver, for small shards."""
    return start("dicomsort", *words, "--backend", "ray", "--address", cluster.address, *more)


def test_a_ray_that_is_started_here_loses_a_worker(words: Words, single: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = start("dicomsort", *words, "--backend", "ray", "--tasks", "2", "--shard-size", "10")
    wait_for(lambda: begun(out))
    program = wait_for(lambda: processes("dicomsort.cluster.node"))[0]
    os.kill(parent(program), signal.SIGKILL)
    said, err = driver.communicate(timeout=400)
    assert driver.returncode == ExitCode.SOME_FAILED, err
    assert json.loads(said)["found"] == 39
    check_equal(out, single)


def test_a_node_that_dies_while_it_compares_costs_what_it_had_not_read(
    words: Words, single: Path, tmp_path: Path, held: Path
) -> None:
    with ray() as cluster:
        cluster.let("join")
        driver = running(words, cluster, *SMALL)
        program = wait_for(lambda: number_in(held))
        os.kill(parent(program), signal.SIGKILL)
        _, err = driver.communicate(timeout=240)
    assert driver.returncode == ExitCode.SOME_FAILED, err
    assert sum(read_to_compare(tmp_path / "out")) == 12 - 2
    check_equal(tmp_path / "out", single)


def test_nodes_may_come_late_and_go(words: Words, single: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with ray() as cluster:
        driver = running(words, cluster, "--shard-size", "2")
        wait_for(lambda: begun(out))
        (first,) = wait_for(lambda: len(found := processes("dicomsort.cluster.node")) == 1 and found)
        os.kill(first, signal.SIGSTOP)  # it would have done all before the next one is there
        cluster.let("join")
        programs = wait_for(lambda: len(found := processes("dicomsort.cluster.node")) == 2 and found)
        assert [told(program, "OMP_NUM_THREADS") for program in programs] == [None, None]  # ray sets it to 1
        os.kill(first, signal.SIGCONT)
        cluster.let("kill")
        said, err = driver.communicate(timeout=400)
    assert driver.returncode == ExitCode.SOME_FAILED, err
    assert json.loads(said)["found"] == 39
    check_equal(out, single)


def test_what_is_no_cluster_or_not_of_this_machine_is_refused_in_a_line(words: Words) -> None:
    began = time.monotonic()
    nothing = command(*words, "--backend", "ray", "--address", "127.0.0.1:9")
    assert time.monotonic() - began < 30
    assert nothing.code == ExitCode.USAGE
    assert nothing.err.splitlines()[-1] == (
        "dicomsort: no ray cluster answers at '127.0.0.1:9': check --address, or RAY_ADDRESS"
    )
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        began = time.monotonic()
        other = command(*words, "--backend", "ray", "--address", address)
        assert time.monotonic() - began < 30
    assert other.code == ExitCode.USAGE
    assert other.err.splitlines()[-1] == (
        f"dicomsort: this machine is no node of the ray cluster at '{address}', or lacks its token: run "
        f"`ray start --address {address}` on it first, and set RAY_AUTH_MODE=token if ray has tokens"
    )


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_whatever_is_killed_at_any_moment_the_same_command_ends_as_a_single_run(
    moment: int, words: Words, single: Path, tmp_path: Path
) -> None:
    """The moment is some fraction of a second after so many shards have begun."""
    chance, out = random.Random(moment), tmp_path / "out"
    with ray() as cluster:
        cluster.let("join")
        driver = running(words, cluster, *SMALL)
        victim, number = ("node", "driver", "head")[moment % 3], chance.randrange(9)
        wait_for(lambda: len(begun(out)) >= number or driver.poll() is not None)
        time.sleep(chance.random())
        if victim == "driver":
            kill(driver)
        else:
            cluster.let("kill" if victim == "node" else "head")
        _, err = driver.communicate(timeout=240)
        assert "Traceback" not in err
        if victim != "head":
            again = command(*words, "--backend", "ray", "--address", cluster.address, *SMALL)
    if victim == "head":
        told = ("is gone: what was done is kept", "no ray cluster answers at")  # it may not have been reached
        assert driver.returncode == ExitCode.SOME_FAILED or any(line in err for line in told)
        again = command(*words, "--backend", "loky")
    assert again.code in (ExitCode.DONE, ExitCode.SOME_FAILED), again.err
    assert len(rows(out)) == 39
    check_equal(out, single)
    assert done(out) == []
