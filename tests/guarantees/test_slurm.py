"""The page on Slurm, run on a real Slurm: arrays, tasks submitted again, merges, and programs killed."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from clusters import check_equal, wait_for
from committed import ROOT
from program import command
from slurm import CONTROLLER, NODES, Slurm, slurm

from dicomsort.errors import ExitCode
from dicomsort.manifest.names import SHARDS

pytestmark = pytest.mark.slow

SHARES = 4
MOMENTS = 10


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with slurm() as running:
        yield running


class Page:
    """The commands of the page, with the paths, the number of shares and the options of a test."""

    def __init__(self, archive: Path, out: Path, model: Path) -> None:
        page = (ROOT / "docs/how-to/slurm.md").read_text(encoding="utf-8")
        blocks = re.findall(r"(?:^    .*\n)+", page, re.MULTILINE)
        self.out, self.script = out, out.parent / "sort.sh"
        self._changes = {
            "/archive": str(archive),
            "/shared/sorted --shard": f"{out} --model {model} --workers 1 --shard",
            "/shared/sorted": str(out),
            "3,7": "3",
            "16 --cpus": f"{SHARES} --cpus",
            "auto/16": f"auto/{SHARES}",
            "sort.sh": str(self.script),
        }
        script, self.both, self.again, *_ = (
            self._own(re.sub("^    ", "", block, flags=re.MULTILINE)) for block in blocks
        )
        self.script.write_text(script)

    def _own(self, text: str) -> str:
        for word, own in self._changes.items():
            text = text.replace(word, own)
        return text

    def divide(self, shares: int) -> None:
        """Use another number of shares."""
        text = self.script.read_text()
        text = text.replace(f"1-{SHARES} ", f"1-{shares} ").replace(f"auto/{SHARES}", f"auto/{shares}")
        self.script.write_text(text)


@pytest.fixture
def page(archive_: Path, small_model: Path, tmp_path: Path) -> Page:
    return Page(archive_, tmp_path / "out", small_model)


def merge(cluster: Slurm, out: Path) -> None:
    """Merge as a job."""
    job = cluster.submit("--wrap", f"dicomsort merge {out} --ok-with-trouble")
    assert cluster.ended(job) == {job: "COMPLETED"}, cluster.said(job)


def test_the_array_of_the_page_and_the_merge_behind_it(cluster: Slurm, page: Page, single: Path) -> None:
    """Files with trouble do not keep the merge from starting."""
    said = cluster.ask("bash", "-euc", page.both)
    merged = said.split()[-1]
    assert cluster.ended(merged) == {merged: "COMPLETED"}
    sorts = str(int(merged) - 1)
    assert set(cluster.states(sorts).values()) <= {"COMPLETED"}
    check_equal(page.out, single)


def test_a_shard_that_is_missing_is_told_to_the_batch_system(
    cluster: Slurm, page: Page, single: Path
) -> None:
    first = cluster.submit("--array=1,2,4", page.script)
    assert set(cluster.ended(first).values()) == {"COMPLETED"}
    job = cluster.submit("--wrap", f"dicomsort merge {page.out} --ok-with-trouble")
    assert cluster.ended(job) == {job: "FAILED"}
    assert f"3/{SHARES}" in cluster.said(job)
    assert command("merge", page.out, "--ok-with-trouble").code == ExitCode.MISSING
    merged = cluster.ask("bash", "-euc", page.again).split()[-1]
    assert cluster.ended(merged) == {merged: "COMPLETED"}
    check_equal(page.out, single)


@pytest.mark.parametrize(("array", "part"), [("1-4", "1,3"), ("0-3", "0"), ("10-40:10", "20,40")])
def test_tasks_submitted_again_do_their_own_shares(
    array: str, part: str, cluster: Slurm, page: Page, single: Path
) -> None:
    """In arrays that begin anywhere and have steps; the tasks are cancelled as they begin."""
    job = cluster.submit(f"--array={array}", page.script)
    wait_for(lambda: begun(page.out))
    for number in part.split(","):
        cluster.ask("scancel", f"{job}_{number}")
    cluster.ended(job)
    again = cluster.submit(f"--array={part}", page.script)
    assert cluster.ended(again) == dict.fromkeys(part.split(","), "COMPLETED"), cluster.said(again)
    merge(cluster, page.out)
    check_equal(page.out, single)


def test_a_requeued_task_goes_on(cluster: Slurm, page: Page, single: Path) -> None:
    job = cluster.submit(page.script)
    wait_for(lambda: begun(page.out))
    cluster.ask("scontrol", "requeue", f"{job}_2")
    assert cluster.ended(job) == dict.fromkeys(("1", "2", "3", "4"), "COMPLETED"), cluster.said(job)
    merge(cluster, page.out)
    check_equal(page.out, single)


def test_a_node_that_was_given_up_and_works_on_harms_nothing(
    cluster: Slurm, page: Page, single: Path
) -> None:
    """Its slurmd is dead, its program hangs, and wakes when the same task is at work on another node."""
    job = cluster.submit("--array=2", page.script)
    wait_for(lambda: begun(page.out))
    first = programs(cluster, "classify")
    for pid in first:
        os.kill(pid, signal.SIGSTOP)
    (node,) = cluster.ask("squeue", "--noheader", f"--jobs={job}", "--format=%N").split()
    cluster.kill(node)
    wait_for(lambda: started_again(cluster, job, first))
    assert cluster.ask("squeue", "--noheader", f"--jobs={job}", "--format=%N") != node
    for pid in first:
        os.kill(pid, signal.SIGCONT)
    assert cluster.ended(job) == {"2": "COMPLETED"}, cluster.said(job)
    cluster.start(node)
    assert set(cluster.ended(cluster.submit(page.script)).values()) == {"COMPLETED"}
    merge(cluster, page.out)
    check_equal(page.out, single)


def started_again(cluster: Slurm, job: str, first: list[int]) -> set[int]:
    """Let requeued tasks start now; return the programs that were not there before."""
    cluster.hurry(job)
    return set(programs(cluster, "classify")) - set(first)


def programs(cluster: Slurm, word: str) -> list[int]:
    """The programs of jobs that have a word in their command lines."""
    found = []
    for pid in cluster.processes():
        with suppress(OSError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def begun(out: Path) -> list[Path]:
    return list((out / SHARDS).glob("*/manifest.csv"))


def kill(cluster: Slurm, victim: str, chance: random.Random) -> None:
    """Kill one of the programs that a victim names, if there is one; a daemon comes back after a moment."""
    if victim in PROGRAMS:
        for pid in programs(cluster, PROGRAMS[victim])[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return
    name = CONTROLLER if victim == CONTROLLER else chance.choice(NODES)
    cluster.kill(name)
    time.sleep(chance.uniform(0, 2))
    cluster.start(name)


PROGRAMS = {"dicomsort": "classify", "script": "slurm_script"}
VICTIMS = ("dicomsort", "slurmd", CONTROLLER, "script")


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_whatever_is_killed_the_same_command_goes_on(
    moment: int, cluster: Slurm, page: Page, single: Path
) -> None:
    """Every other moment is one in which rows are written, which is over soon in so small an archive."""
    chance = random.Random(moment)
    page.divide(2)
    job = cluster.submit(page.script)
    if moment % 2:
        wait_for(lambda: begun(page.out))
        time.sleep(chance.uniform(0, 0.5))
    else:
        time.sleep(chance.uniform(0, 5))
    kill(cluster, VICTIMS[moment // 2 % 4], chance)
    cluster.ended(job)
    again = cluster.submit(page.script)
    assert set(cluster.ended(again).values()) == {"COMPLETED"}, cluster.said(again)
    merge(cluster, page.out)
    check_equal(page.out, single)


@pytest.fixture
def driver(archive_: Path, small_model: Path, tmp_path: Path) -> Path:
    """The program of the page on dask, with the paths and sizes of a test."""
    page = (ROOT / "docs/how-to/dask.md").read_text(encoding="utf-8")
    (text,) = re.findall("^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    more = f'"--model", "{small_model}", "--workers", "1", "--shard-size", "10"'
    for word, own in {
        '"/archive"': f'"{archive_}", {more}',
        "/shared/sorted": str(tmp_path / "out"),
        "walltime=": 'interface="lo", walltime=',
    }.items():
        assert word in text
        text = text.replace(word, own)
    (tmp_path / "driver.py").write_text(text)
    return tmp_path / "driver.py"


def test_dask_workers_come_and_go_as_jobs_and_one_may_be_cancelled(
    cluster: Slurm, driver: Path, tmp_path: Path, single: Path
) -> None:
    """The cluster begins without a worker."""
    out, environment = tmp_path / "out", {**cluster.environment, "DASK_CONFIG": str(tmp_path / "dask")}
    program = subprocess.Popen(
        [sys.executable, driver], env=environment, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: begun(out), 120)
        workers = cluster.ask("squeue", "--noheader", "--name=dask-worker", "--states=running", "--format=%A")
        cluster.ask("scancel", workers.split()[0])
        _, err = program.communicate(timeout=200)
    finally:
        program.kill()
    assert program.returncode == ExitCode.SOME_FAILED, err
    check_equal(out, single)
    wait_for(lambda: not cluster.ask("squeue", "--noheader"))
