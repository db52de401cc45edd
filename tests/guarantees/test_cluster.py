"""The driver, its tasks and its node programs on this machine: fake hands, loky, and what may be killed.

Real clusters: test_dask.py and test_ray.py.
"""

import errno
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from clusters import Words, begun, check_equal, done, parent, processes, start, wait_for
from nodes import Hands, Nodes
from outputs import rows, settings
from predictors import FixedPredictor
from program import command

from dicomsort.cluster import driver, handing_out, on_dask, on_ray, programs, staying, task
from dicomsort.cluster.backends import Backend
from dicomsort.cluster.hands import ClusterLostError, Ended
from dicomsort.cluster.job import Job, TaskFiles
from dicomsort.errors import (
    ExitCode,
    InternalError,
    ModelError,
    NothingFoundError,
    TargetError,
    UsageError,
)
from dicomsort.manifest.names import PARTS_LOG, SHARDS, STDERR_LOG, shard_folder
from dicomsort.outcome import Action, Failure, FileStamp, Placement, Reason, SourceFile, Status
from dicomsort.sorting import part_log
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.summary import SortSummary
from dicomsort.sorting.versions import installed
from dicomsort.system import locks, notices


@pytest.mark.slow
def test_an_interrupted_run_is_merged_and_goes_on_elsewhere(
    words: Words, single: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = start("dicomsort", *words, "--backend", "loky", "--shard-size", "7")
    wait_for(lambda: done(out))
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == ExitCode.INTERRUPTED, err
    assert "goes on" in err
    assert "Traceback" not in err
    assert not (out / SHARDS).exists()
    before = len(rows(out))
    assert before < 39
    again = command(*words, "--backend", "loky", "--shard-size", "7", "--tasks", "2")
    assert again.code == ExitCode.SOME_FAILED, again.err
    assert again.json["found"] == 39
    assert again.json["already_done"] in (before - 1, before)  # the dangling link is looked at again
    check_equal(out, single)


@pytest.mark.slow
def test_a_killed_driver_leaves_no_task_behind(words: Words, single: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = start("dicomsort", *words, "--backend", "loky", "--shard-size", "10")
    wait_for(lambda: done(out))
    (program,) = ours(driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=60)
    wait_for(lambda: not Path(f"/proc/{program}").exists(), 60)  # before the driver's file is too old
    refused = command(*words)
    assert refused.code == ExitCode.USAGE
    assert "dicomsort merge" in refused.err
    again = command(*words, "--backend", "loky", "--tasks", "2")
    assert again.code == ExitCode.SOME_FAILED, again.err
    check_equal(out, single)


@pytest.mark.slow
def test_a_node_program_that_is_killed_costs_one_shard_and_the_next_one_stays(
    words: Words, single: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = start("dicomsort", *words, "--backend", "loky", "--shard-size", "3")
    wait_for(lambda: len(begun(out)) > 2)
    (killed,) = ours(driver.pid)
    os.kill(killed, signal.SIGKILL)
    (after,) = wait_for(lambda: [one for one in ours(driver.pid) if one != killed])
    seen = len(begun(out))
    wait_for(lambda: len(begun(out)) > seen + 2 or driver.poll() is not None)
    assert ours(driver.pid) in ([after], [])
    said, err = driver.communicate(timeout=120)
    assert driver.returncode == ExitCode.SOME_FAILED, err
    why = "a node's program was killed by SIGKILL, maybe for want of memory"
    assert f"1 of 13 shards failed ({why}) and is done again in 1 s" in err
    assert json.loads(said)["found"] == 39
    check_equal(out, single)


def ours(driver: int) -> list[int]:
    """The node programs of a driver on this machine."""
    found = []
    for program in processes("dicomsort.cluster.node"):
        with suppress(OSError):
            if driver in (parent(program), parent(parent(program))):
                found.append(program)
    return found


@pytest.fixture
def job(archive_: Path, small_model: Path, tmp_path: Path) -> Job:
    run = settings(archive_, tmp_path / "out")
    return Job(run, (str(small_model),), "cpu", "float32", "auto", installed(), 1)


HERE = Backend("loky", shard_size=10)


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Hands]:
    """Put fake hands and short pauses in the place of real ones."""

    def put(*there: int) -> Hands:
        fake = Hands(*there)

        @contextmanager
        def connected(_: Backend) -> Iterator[Hands]:
            yield fake

        monkeypatch.setattr(Backend, "connected", connected)
        return fake

    monkeypatch.setattr(handing_out, "PAUSES", (0.01, 0.02, 0.03))
    put()
    return put


pytestmark = pytest.mark.usefixtures("hands")


def test_lost_shards_are_done_again(
    job: Job, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, notes = Nodes(predictor, losses=2), list[str]()
    monkeypatch.setattr(driver, "run", nodes)
    tally = driver.sort(job, HERE, None, notes.append)
    assert (tally.found, tally.statuses[Status.SORTED], tally.statuses[Status.DUPLICATE]) == (39, 30, 6)
    assert (tally.total, tally.shards, tally.shards_done) == (39, 4, 4)
    assert sorted(nodes.done) == sorted([f"task-{number:06}" for number in (1, 1, 2, 2, 3, 4)])
    assert notes == ["1 of 4 shards was lost with a node (ConnectionError) and is done again in 0 s"] * 2
    sort(settings(Path(job.settings.roots[0]), tmp_path / "one"), predictor)
    check_equal(tmp_path / "out", tmp_path / "one")


def test_nodes_that_come_later_get_work_and_none_gets_more_than_there_is_room(
    job: Job,
    predictor: FixedPredictor,
    monkeypatch: pytest.MonkeyPatch,
    hands: Callable[..., Hands],
) -> None:
    nodes, notes, engine = Nodes(predictor), list[str](), hands(0, 0, 0, 1, 0, 3)
    monkeypatch.setattr(driver, "run", nodes)
    tally = driver.sort(job, replace(HERE, shard_size=5), None, notes.append)
    assert (tally.found, len(nodes.done), engine.most) == (39, 8, 3)
    assert notes == ["the engine has no workers: waiting for one, 600 s more at most"] * 2


@pytest.mark.parametrize("there", [(0,), (0, 2, 2, 0)])
def test_without_nodes_a_run_ends_in_time_and_goes_on_later(
    there: tuple[int, ...],
    job: Job,
    predictor: FixedPredictor,
    monkeypatch: pytest.MonkeyPatch,
    hands: Callable[..., Hands],
) -> None:
    monkeypatch.setattr(driver, "run", Nodes(predictor))
    hands(*there)
    raised, said = (ClusterLostError, "lost all its") if any(there) else (UsageError, "no")
    with pytest.raises(raised, match=f"the engine has {said} workers, and none came in 0 s"):
        driver.sort(job, replace(HERE, wait=0.05, shard_size=5))
    assert not os.path.exists(shard_folder(job.settings.out))
    hands(1)
    assert driver.sort(job, HERE).found == 39


def test_a_lost_engine_ends_the_run_and_what_is_done_is_kept(
    job: Job,
    tmp_path: Path,
    predictor: FixedPredictor,
    monkeypatch: pytest.MonkeyPatch,
    hands: Callable[..., Hands],
) -> None:
    nodes, engine = Nodes(predictor), hands(1)

    def lost(_: float) -> list[Ended]:
        if len(nodes.done) > 2:
            raise ClusterLostError("the engine is gone")
        return Hands.ended(engine, 0)

    monkeypatch.setattr(driver, "run", nodes)
    monkeypatch.setattr(engine, "ended", lost)
    with pytest.raises(ClusterLostError, match="the engine is gone"):
        driver.sort(job, HERE)
    assert len(rows(tmp_path / "out")) == 30
    hands(1)
    assert driver.sort(job, HERE).already_done >= 29


def test_a_second_driver_that_comes_at_the_same_moment_harms_not_the_first(
    job: Job, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is still without a node, and so without a shard, when the second one gives up."""
    given_up, seen = threading.Event(), threading.Event()

    class Waiting(Hands):
        def nodes(self) -> int:
            seen.set()
            assert given_up.wait(120)
            return 1

    @contextmanager
    def second(_: Backend) -> Iterator[Hands]:
        monkeypatch.setattr(Backend, "connected", lambda _: nullcontext(Waiting()))
        first.start()
        assert seen.wait(120)
        yield Hands()

    counted = list[SortSummary]()
    first = threading.Thread(target=lambda: counted.append(driver.sort(job, HERE)), daemon=True)
    monkeypatch.setattr(driver, "run", Nodes(predictor))
    monkeypatch.setattr(Backend, "connected", second)
    impatient = replace(job, settings=replace(job.settings, lock_wait=0.1))
    with pytest.raises(UsageError, match="is writing into"):
        driver.sort(impatient, HERE)
    given_up.set()
    first.join(60)
    assert [tally.found for tally in counted] == [39]
    sort(settings(Path(job.settings.roots[0]), tmp_path / "one"), predictor)
    check_equal(tmp_path / "out", tmp_path / "one")


def test_a_second_driver_waits_for_the_first_and_does_what_is_left(
    job: Job, archive_: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one ends, and removes the folder of its lock, while the second one waits for that."""
    waits = threading.Event()
    few = replace(job, settings=replace(job.settings, roots=(str(archive_ / "s1"),)))
    patient = replace(job, settings=replace(job.settings, lock_wait=120.0))

    class Waiting(Hands):
        def nodes(self) -> int:
            second_begun.set()
            assert waits.wait(120)
            return 1

    @contextmanager
    def second(_: Backend) -> Iterator[Hands]:
        monkeypatch.setattr(Backend, "connected", lambda _: nullcontext(Waiting()))
        first.start()
        assert second_begun.wait(120)
        yield Hands()

    second_begun = threading.Event()
    first = threading.Thread(target=lambda: driver.sort(few, HERE), daemon=True)
    monkeypatch.setattr(driver, "run", Nodes(predictor))
    monkeypatch.setattr(Backend, "connected", second)
    with notices.heard(lambda _: waits.set()):
        tally = driver.sort(patient, HERE)
    first.join(60)
    assert (tally.found, tally.already_done) == (39, 6)
    assert len(rows(tmp_path / "out")) == 39
    assert not (tmp_path / "out" / SHARDS).exists()


def test_a_driver_beside_a_plain_run_leaves_nothing_there(job: Job) -> None:
    os.makedirs(job.settings.out)
    with locks.take(job.settings.out), pytest.raises(UsageError, match="is writing into"):
        driver.sort(job, HERE)
    assert os.listdir(job.settings.out) == [locks.LOCK]


def test_tasks_of_a_killed_driver_end_as_soon_as_the_next_one_comes(job: Job, driven: Path) -> None:
    old, lock = task.Driver.of(of_job(job)), shard_folder(job.settings.out, "task-000001")
    os.makedirs(lock)
    assert old.is_there()
    with locks.take(lock), pytest.raises(UsageError, match="is still being written"):
        driver._take_in(job.settings.out, replace(job, run="later"))
    assert not old.is_there()


def test_a_task_that_writes_its_first_row_as_it_ends_is_merged_too(
    job: Job, tmp_path: Path, predictor: FixedPredictor, driven: Path
) -> None:
    found = [SourceFile(job.settings.roots[0] + f"/s{at}/{at}.dcm", f"s{at}/{at}.dcm") for at in range(4)]
    one = driver._planned(job, iter(found), 4, 1)[0]
    Nodes(predictor)(one)
    written = shutil.move(one.folder, tmp_path / "written")
    os.makedirs(one.folder)
    lock = locks.take(one.folder)

    def end(_: str) -> None:
        shutil.copytree(written, one.folder, dirs_exist_ok=True, ignore=lambda *_: [locks.LOCK])
        lock.close()

    with notices.heard(end):
        driver._take_in(job.settings.out, replace(job, settings=replace(job.settings, lock_wait=120.0)))
    assert len(rows(tmp_path / "out")) == 4
    assert not (tmp_path / "out" / SHARDS).exists()


def test_an_answer_of_an_earlier_run_is_none(job: Job, driven: Path) -> None:
    old, new = of_job(job, "task-000001", 0, 9), of_job(replace(job, run="later"), "task-000001", 0, 9)
    os.makedirs(old.folder)
    task.write_summary(old, task.Summary(old.name, 3))
    assert task.summary_of(old) == task.Summary(old.name, 3)
    assert task.summary_of(new) is None


def test_a_changed_file_takes_its_copy_along_and_the_rest_is_done(
    job: Job, archive_: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(archive_, tmp_path / "in", symlinks=True)
    job = replace(job, settings=replace(job.settings, roots=(str(own),)))
    nodes = Nodes(predictor)
    monkeypatch.setattr(driver, "run", nodes)
    driver.sort(job, HERE)
    changed = own / "s4" / "4.dcm"
    changed.write_bytes((own / "s3" / "28.dcm").read_bytes())
    os.utime(changed, ns=(10**18, 10**18))
    tally = driver.sort(job, HERE)
    assert (tally.found, tally.already_done, len(nodes.done)) == (39, 37, 5)  # and the one it repeated
    sort(settings(own, tmp_path / "one"), predictor)
    assert {path: row["label"] for path, row in rows(tmp_path / "out").items()} == {
        path: row["label"] for path, row in rows(tmp_path / "one").items()
    }


def test_nodes_move_together_and_a_name_that_comes_again_costs_no_row(
    job: Job, archive_: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, placing = shutil.copytree(archive_, tmp_path / "in", symlinks=True), PlacementSettings(Action.MOVE)
    layout = "{label}/{sop_instance_uid}.dcm"
    job = replace(job, settings=replace(job.settings, roots=(str(own),), placing=placing, layout=layout))
    again = own / "again0.dcm"
    other = (own / "s3" / "28.dcm").read_bytes().replace(b"2.25.", b"2.24.")
    monkeypatch.setattr(driver, "run", Nodes(predictor))
    assert driver.sort(job, HERE).removed.files == 30
    assert sum(path.is_file() and path.suffix == ".dcm" for path in own.rglob("*")) == 6 + 1
    before = rows(tmp_path / "out")
    again.write_bytes(other)
    assert driver.sort(job, HERE).removed.files == 1
    after = rows(tmp_path / "out")
    old = before[str(again)]
    kept = str(again.with_name(f"again0~{old['sha256'][:8]}.dcm"))
    assert {**after[kept], "path": str(again)} == old
    assert (tmp_path / "out" / after[str(again)]["destination"]).read_bytes() == other
    assert len(after) == len(before) + 1


def test_a_name_that_two_nodes_have_given_is_counted_as_it_stands_in_the_end(
    job: Job, archive_: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of two nodes has found its own bytes under the name of the other's copy, and counted it."""
    layout = "{label}/{sop_instance_uid}"
    job = replace(job, settings=replace(job.settings, layout=layout))
    monkeypatch.setattr(driver, "run", Nodes(predictor))
    tally = driver.sort(job, replace(HERE, shard_size=1))
    alone = sort(settings(archive_, tmp_path / "one", layout=layout), predictor)
    assert tally.statuses[Status.DUPLICATE] == 6
    assert {status: count for status, count in tally.statuses.items() if count} == dict(alone.statuses)
    check_equal(Path(job.out), tmp_path / "one")


def test_shards_that_always_fail_end_the_run_and_what_is_done_stays(
    job: Job, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, notes, tried = Nodes(predictor), list[str](), list[str]()

    def half(one: task.Task) -> task.Summary:
        tried.append(one.name)
        if one.name in ("task-000002", "task-000004"):
            return task.Summary(one.name, error="out of luck", exit_code=int(ExitCode.INTERNAL))
        return nodes(one)

    monkeypatch.setattr(driver, "run", half)
    with pytest.raises(InternalError, match="2 of 4 shards could not be done, the last one failed"):
        driver.sort(job, HERE, None, notes.append)
    assert (tried.count("task-000001"), tried.count("task-000002"), tried.count("task-000004")) == (1, 4, 4)
    assert len(notes) == 6
    assert len(rows(tmp_path / "out")) == 20
    monkeypatch.setattr(driver, "run", nodes)
    assert driver.sort(job, HERE).already_done >= 18


def test_it_is_told_which_node_has_failed(
    job: Job, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = list[str]()
    elsewhere = Nodes(predictor, error="bad luck", exit_code=int(ExitCode.INTERNAL), host="n7")
    monkeypatch.setattr(driver, "run", elsewhere)
    with pytest.raises(InternalError, match=r"failed \(bad luck\) \(node n7\): see parts.log in the output;"):
        driver.sort(job, HERE, None, notes.append)
    assert notes[0] == "1 of 4 shards failed (bad luck) (node n7) and is done again in 0 s"
    elsewhere.ends.update(exit_code=int(ExitCode.USAGE), error="other versions")
    with pytest.raises(UsageError, match=r"^other versions \(node n7\)$"):
        driver.sort(job, HERE)


def test_the_logs_of_shards_without_a_row_are_kept(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(one: task.Task) -> task.Summary:
        os.makedirs(one.folder, exist_ok=True)
        (Path(one.folder) / STDERR_LOG).write_text("CANARY\n" + _crashed())
        why = part_log.crash_in(one.folder)
        part_log.note_failed(one.folder, one.name, why, int(ExitCode.INTERNAL))
        return task.Summary(one.name, error=why, exit_code=int(ExitCode.INTERNAL))

    monkeypatch.setattr(driver, "run", crash)
    where = r"Segmentation fault in string_at \(__init__.py:\d+\)"
    with pytest.raises(InternalError, match=rf"4 of 4 shards .* failed \({where}\): see parts.log"):
        driver.sort(job, HERE)
    assert not (tmp_path / "out" / SHARDS).exists()
    told = (tmp_path / "out" / PARTS_LOG).read_text()
    assert len(re.findall(rf'end part=task-00000\d how=failed exit_code=1 error="{where}"', told)) == 4
    assert "CANARY" not in told


@cache
def _crashed() -> str:
    """What Python writes when native code ends it."""
    code = "import ctypes, faulthandler; faulthandler.enable(); print(ctypes.string_at(0))"
    ended = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == -signal.SIGSEGV
    return ended.stderr


def test_a_task_that_was_stopped_counts_as_lost_with_its_node_and_not_without_end(
    job: Job, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = Nodes(predictor, error="the run was stopped", exit_code=int(ExitCode.INTERRUPTED))
    monkeypatch.setattr(driver, "run", nodes)
    with pytest.raises(InternalError, match="4 of 4 shards could not be done, the last one lost"):
        driver.sort(job, HERE)
    assert len(nodes.done) == 4 * 20


@pytest.mark.parametrize(
    ("code", "raised"),
    [(ExitCode.MODEL, ModelError), (ExitCode.TARGET, TargetError), (ExitCode.USAGE, UsageError)],
)
def test_what_would_meet_every_task_ends_the_run(
    code: ExitCode,
    raised: type[Exception],
    job: Job,
    tmp_path: Path,
    predictor: FixedPredictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = Nodes(predictor, error="this cannot be", exit_code=int(code))
    monkeypatch.setattr(driver, "run", nodes)
    with pytest.raises(raised, match="this cannot be"):
        driver.sort(job, HERE)
    assert len(nodes.done) == 1


def test_an_empty_archive_is_told(job: Job, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingFoundError):
        driver.sort(replace(job, settings=replace(job.settings, roots=(str(tmp_path / "empty"),))), HERE)
    assert not (tmp_path / "out" / SHARDS).exists()


@pytest.mark.parametrize(
    ("files", "size", "nodes", "expected"),
    [
        (39, 10, 1, [10, 10, 10, 9]),
        (40, 10, 3, [10] * 4),
        (39, None, 2, [39]),
        (5000, None, 2, [500] * 10),
        (23_100, None, 1, [1000] * 23 + [100]),
        (40_000, None, 0, [500] * 80),
    ],
)
def test_shards_are_neither_tiny_nor_endless(
    files: int, size: int | None, nodes: int, expected: list[int], job: Job, tmp_path: Path
) -> None:
    os.makedirs(shard_folder(job.settings.out))
    found = [SourceFile(f"/in/{number}", str(number)) for number in range(files)]
    tasks = driver._planned(job, iter(found), size, nodes)
    listed = [list(TaskFiles(one).find()) for one in tasks]
    assert [file for files in listed for file in files] == found
    assert list(map(len, listed)) == expected


def test_everything_that_is_known_of_a_file_reaches_its_task(job: Job) -> None:
    os.makedirs(shard_folder(job.settings.out))
    found = [
        SourceFile("/in/plain", "plain"),
        SourceFile("/in/\udcff\n\u2028", "\udcff\n\u2028"),
        SourceFile("/in/x", "x", Failure(Status.IO_ERROR, Reason.DANGLING_LINK)),
        SourceFile("/in/y", "y", previous=Placement("spine/y", "copy", FileStamp(1, -(10**18)), "ab")),
    ]
    (one,) = driver._planned(job, iter(found), None, 1)
    assert list(TaskFiles(one).find()) == found


def test_without_a_driver_nothing_is_begun(job: Job) -> None:
    """So it is also on a node that has no such folder, and there it must be told."""
    one = of_job(job)
    summary = programs.run(one)
    assert (summary.is_done, summary.exit_code) == (False, ExitCode.INTERNAL)
    assert summary.error == (
        f"it does not see this run in '{job.settings.out}': that must be one folder on all nodes"
    )
    assert summary.host == socket.gethostname()
    assert not Path(one.folder).exists()


def test_a_task_never_raises(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> task.Summary:
        raise ValueError("CANARY^NAME")

    monkeypatch.setattr(programs, "_run", broken)
    summary = programs.run(of_job(job))
    assert summary.exit_code == ExitCode.INTERNAL
    assert "CANARY" not in summary.error


@pytest.mark.usefixtures("driven")
def test_a_node_without_room_for_a_folder_ends_the_run(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    one = of_job(job)
    monkeypatch.setattr(os, "makedirs", full)
    summary = programs.run(one)
    assert summary.exit_code == ExitCode.TARGET
    assert summary.error == f"'{one.folder}' cannot be written: No space left on device"


def of_job(job: Job, name: str = "task-000001", start: int = 0, end: int = 0) -> task.Task:
    return task.Task(job.out, job.run, job.packed(), name, start, end)


@pytest.fixture
def driven(job: Job) -> Path:
    """The file of a living driver."""
    file = Path(shard_folder(job.settings.out)) / task.DRIVER
    file.parent.mkdir(parents=True)
    task.touch(str(file), job.run)
    return file


@pytest.fixture
def no_programs() -> Iterator[None]:
    yield
    while programs._idle:
        programs._idle.pop().end()


@pytest.mark.usefixtures("no_programs")
def test_a_node_with_another_version_says_so(job: Job, driven: Path) -> None:
    other = replace(job, versions={**job.versions, "dicomsort": "9.9"})
    summary = programs.run(of_job(other))
    assert driven.exists()
    assert summary.exit_code == ExitCode.USAGE
    assert "9.9" in summary.error


@pytest.mark.slow
@pytest.mark.usefixtures("no_programs")
def test_one_program_does_task_after_task_until_the_driver_is_gone(job: Job, driven: Path) -> None:
    found = [SourceFile(job.settings.roots[0] + f"/s{at}/{at}.dcm", f"s{at}/{at}.dcm") for at in range(4)]
    first, second = driver._planned(job, iter(found), 2, 1)
    assert programs.run(first).is_done
    (program,) = programs._idle
    assert programs.run(second).found == 2
    assert programs._idle == [program]
    assert programs.run(second).found == 2  # it was done already
    driven.unlink()
    wait_for(lambda: not program.is_fresh, 10)


@pytest.mark.slow
@pytest.mark.usefixtures("no_programs")
def test_a_task_ends_once_the_driver_is_gone(job: Job, driven: Path) -> None:
    found = [SourceFile(job.settings.roots[0] + f"/s{at}/{at}.dcm", f"s{at}/{at}.dcm") for at in range(4)]
    (one,) = driver._planned(job, iter(found), 4, 1)
    threading.Timer(1.0, driven.unlink).start()
    assert programs.run(one).exit_code == ExitCode.INTERRUPTED
    assert programs._idle == []


@pytest.mark.slow
def test_a_program_never_outlives_who_has_started_it(job: Job, driven: Path, tmp_path: Path) -> None:
    found = [SourceFile(job.settings.roots[0] + "/s0/0.dcm", "s0/0.dcm")]
    (one,) = driver._planned(job, iter(found), 1, 1)
    (tmp_path / "job").write_bytes(pickle.dumps(one))
    code = (
        "import pickle, sys, time; from dicomsort.cluster import programs; "
        "print(programs.run(pickle.load(open(sys.argv[1], 'rb'))).is_done, flush=True); "
        "print(programs._idle[0]._process.pid, flush=True); time.sleep(100)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "job")], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        program = int(holder.stdout.readline())
        assert Path(f"/proc/{program}").exists()
        holder.kill()
    wait_for(lambda: not Path(f"/proc/{program}").exists(), 10)
    assert driven.exists()


def test_tasks_of_one_machine_take_a_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(staying, "visible_gpus", lambda: ["GPU-a", "GPU-b"])
    with staying._own_device("auto") as first, staying._own_device("cuda") as second:
        assert (first, second) == ("cuda:0", "cuda:1")
        with (
            staying._own_device("auto") as third,
            staying._own_device("cpu") as other,
            staying._own_device("cuda:1") as named,
        ):
            assert (third, other, named) == ("auto", "cpu", "cuda:1")
    with staying._own_device("auto") as again:
        assert again == "cuda:0"
    monkeypatch.setattr(staying, "visible_gpus", list)
    with staying._own_device("auto") as none:
        assert none == "auto"


@pytest.mark.parametrize(("engine", "name"), [("dask", "distributed"), ("ray", "ray")])
def test_an_engine_that_is_not_installed_is_told(
    engine: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    door = {"dask": on_dask.connected, "ray": on_ray.connected}[engine]
    with pytest.raises(UsageError, match=f"pip install {name}$"), door(Backend(engine, "tcp://x:1")):
        pass


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("head", "none of a dask scheduler: give one such as tcp://head:8786"),
        ("tcp://head:abc", "none of a dask scheduler"),
        ("http://head:8786", "none of a dask scheduler"),
        ("inproc://head", "none of a dask scheduler"),
        ("tls://127.0.0.1:9", "needs certificates: name them in dask's configuration"),
    ],
)
def test_what_cannot_be_the_address_of_a_dask_scheduler_is_told_at_once(
    address: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a try to reach it, which would take ten minutes here."""
    monkeypatch.setattr(on_dask, "_CONNECT_SECONDS", 600.0)
    began = time.monotonic()
    with pytest.raises(UsageError, match=told), on_dask.connected(Backend("dask", address)):
        pass
    assert time.monotonic() - began < 300


def test_where_ray_itself_would_look_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    began = time.monotonic()
    with (
        pytest.raises(UsageError, match=r"answers at '127.0.0.1:9': check --address, or RAY_ADDRESS"),
        on_ray.connected(Backend("ray")),
    ):
        pass
    assert time.monotonic() - began < 60


def test_a_task_of_an_earlier_run_finds_another_driver(job: Job, driven: Path) -> None:
    assert task.Driver.of(of_job(job)).is_there()
    assert not task.Driver.of(of_job(replace(job, run="later"))).is_there()
    driven.write_bytes(b"")  # while it is written
    assert task.Driver.of(of_job(job)).is_there()
    task.touch(str(driven), "later")
    one = of_job(job)
    assert "does not see this run" in programs.run(one).error
    assert not Path(one.folder).exists()
