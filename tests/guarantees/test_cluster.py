"""Engines that run shards on many nodes: real workers, some of which die, and one manifest in the end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from outputs import rows, settings, tree
from predictors import FixedPredictor
from program import command, inside
from written import picture

from dicomsort import __version__
from dicomsort.cluster import driver, node, task
from dicomsort.cluster.backends import Backend, Cluster
from dicomsort.errors import (
    ExitCode,
    InternalError,
    ModelError,
    NothingFoundError,
    TargetError,
    UsageError,
)
from dicomsort.manifest.names import SHARDS
from dicomsort.outcome import Action, Failure, FileStamp, Placement, Reason, SourceFile, Status
from dicomsort.sorting import shards
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.place import PlacementSettings

Write = Callable[..., Path]
Words = tuple[str | Path, ...]


@pytest.fixture(scope="module")
def archive_(tmp_path_factory: pytest.TempPathFactory, write_dicom: Write) -> Path:
    folder = tmp_path_factory.mktemp("cluster") / "in"
    for number in range(30):
        write_dicom(folder / f"s{number % 5}" / f"{number}.dcm", picture(number))
    for number in range(6):
        shutil.copy(folder / f"s{number % 5}" / f"{number}.dcm", folder / f"again{number}.dcm")
    (folder / "s0" / "broken.dcm").write_bytes((folder / "s0" / "0.dcm").read_bytes()[:2000])
    (folder / "notes.txt").write_text("no picture")
    os.symlink("nowhere", folder / "dangling.dcm")
    return folder


@pytest.fixture(scope="module")
def single(archive_: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the archive."""
    out = tmp_path_factory.mktemp("single") / "out"
    done = command("classify", archive_, "--out", out, "--model", small_model, "-q")
    assert done.code == ExitCode.SOME_FAILED, done.err
    return out


@pytest.fixture
def words(archive_: Path, small_model: Path, tmp_path: Path) -> Words:
    return (
        "classify",
        archive_,
        "--out",
        tmp_path / "out",
        "--model",
        small_model,
        "--workers",
        "1",
        "--json",
    )


def check_equal(out: Path, single: Path) -> None:
    """The manifest row for row, order aside, and every placed file."""
    assert rows(out) == rows(single)
    assert {name: data for name, data in tree(out).items() if name not in ("manifest.csv", "run.json")} == {
        name: data for name, data in tree(single).items() if name not in ("manifest.csv", "run.json")
    }
    assert not (out / SHARDS).exists()


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(happened: Callable[[], Any], seconds: float = 120) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := happened():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def begun(out: Path) -> list[Path]:
    return list((out / SHARDS).glob("task-*/manifest.csv"))


@contextmanager
def dask(folder: Path) -> Iterator[tuple[str, list["subprocess.Popen[str]"]]]:
    """A scheduler and two workers, each a process of its own, over TCP."""
    found = folder / "scheduler.json"
    scheduler = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0", "--scheduler-file", found)
    running = [start("distributed.cli.dask_scheduler", *scheduler)]
    try:
        wait_for(found.exists)
        address = json.loads(found.read_text())["address"]
        common = (address, "--nthreads", "1", "--no-dashboard", "--no-nanny")
        for number in range(2):
            local = folder / f"worker{number}"
            running.append(start("distributed.cli.dask_worker", *common, "--local-directory", local))
        yield address, running[1:]
    finally:
        for program in running:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.communicate()


@pytest.mark.slow
def test_a_dask_worker_that_is_killed_costs_nothing(
    words: Words, single: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with dask(tmp_path) as (address, workers):
        driver = start("dicomsort", *words, "--backend", "dask", "--address", address, "--shard-size", "10")
        wait_for(lambda: begun(out))
        os.killpg(workers[0].pid, signal.SIGKILL)
        said, err = driver.communicate(timeout=240)
    assert driver.returncode == ExitCode.SOME_FAILED, err
    check_equal(out, single)
    tally = json.loads(said)
    assert (tally["found"], tally["already_done"]) == (39, 0)
    assert {status: count for status, count in tally["statuses"].items() if count} == {
        "sorted": 30, "duplicate": 6, "decode_error": 1, "not_dicom": 1, "io_error": 1
    }  # fmt: skip
    assert tally["labels"] == inside(capfd, "merge", single, "--json").json["labels"]


@pytest.mark.slow
def test_an_interrupted_run_is_merged_and_goes_on_elsewhere(
    words: Words, single: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = start("dicomsort", *words, "--backend", "loky", "--shard-size", "10")
    wait_for(lambda: begun(out))
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
    assert (again.json["found"], again.json["already_done"]) == (39, before)
    check_equal(out, single)


@pytest.mark.slow
def test_a_killed_driver_leaves_no_task_behind(words: Words, single: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = start("dicomsort", *words, "--backend", "loky", "--shard-size", "10")
    wait_for(lambda: begun(out))
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=60)
    done = command(*words)
    assert done.code == ExitCode.USAGE
    assert "dicomsort merge" in done.err
    again = command(*words, "--backend", "loky", "--tasks", "2")
    assert again.code == ExitCode.SOME_FAILED, again.err
    check_equal(out, single)


@pytest.mark.slow
def test_a_ray_worker_that_is_killed_costs_its_shard(words: Words, single: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "out"
    driver = start("dicomsort", *words, "--backend", "ray", "--tasks", "2", "--shard-size", "10")
    wait_for(lambda: begun(out))
    task_program = wait_for(lambda: _children("dicomsort.cluster.node"))[0]
    os.kill(_parent(task_program), signal.SIGKILL)
    said, err = driver.communicate(timeout=400)
    assert driver.returncode == ExitCode.SOME_FAILED, err
    assert json.loads(said)["found"] == 39
    check_equal(out, single)


def _children(name: str) -> list[int]:
    """Processes with a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if name.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def job(archive_: Path, small_model: Path, tmp_path: Path) -> task.Job:
    run = settings(archive_, tmp_path / "out")
    return task.Job(run, (str(small_model),), "cpu", "float32", "auto", __version__, 1)


class Nodes:
    """Stands for the nodes: does a task in this process, but fails the first `losses` times."""

    def __init__(self, predictor: FixedPredictor, losses: int = 0, **ends: Any) -> None:
        self.predictor, self.losses, self.ends = predictor, losses, ends
        self.done: list[str] = []

    def __call__(self, one: task.Task) -> None:
        self.done.append(one.name)
        if self.losses:
            self.losses -= 1
            raise ConnectionError
        os.makedirs(one.folder, exist_ok=True)
        if self.ends:
            task.write_summary(one, task.Summary(one.name, **self.ends))
            return
        run = replace(one.job.settings, task=one.name)
        tally = sort(run, self.predictor, files=task.TaskFiles(one))
        statuses = {status.value: count for status, count in tally.statuses.items()}
        task.write_summary(one, task.Summary(one.name, tally.found, statuses, tally.spent))


HERE = Backend("loky", shard_size=10)


def test_lost_shards_are_done_again(
    job: task.Job, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, notes = Nodes(predictor, losses=2), list[str]()
    monkeypatch.setattr(driver, "run", nodes)
    tally = driver.sort(job, HERE, None, notes.append)
    assert (tally.found, tally.statuses[Status.SORTED], tally.statuses[Status.DUPLICATE]) == (39, 30, 6)
    assert nodes.done == ["task-000001"] * 2 + [f"task-{number:06}" for number in (1, 2, 3, 4)]
    assert notes == ["4 of 4 shards were lost (ConnectionError) and are done again"] * 2
    sort(settings(Path(job.settings.roots[0]), tmp_path / "one"), predictor)
    check_equal(tmp_path / "out", tmp_path / "one")


def test_a_changed_file_takes_its_copy_along_and_the_rest_is_done(
    job: task.Job, archive_: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
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
    job: task.Job, archive_: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
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


def test_shards_that_always_fail_end_the_run_and_what_is_done_stays(
    job: task.Job, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = Nodes(predictor)

    def half(one: task.Task) -> None:
        if one.name in ("task-000002", "task-000004"):
            raise ConnectionError
        nodes(one)

    monkeypatch.setattr(driver, "run", half)
    monkeypatch.setattr(Cluster, "do", _do_what_can_be_done)
    with pytest.raises(InternalError, match="2 of 4 shards could not be done"):
        driver.sort(job, HERE)
    assert len(rows(tmp_path / "out")) == 20
    monkeypatch.setattr(driver, "run", nodes)
    assert driver.sort(job, HERE).already_done >= 18


def _do_what_can_be_done(_: Cluster, function: Callable[[Any], None], items: list[Any]) -> None:
    for item in items:
        with suppress(ConnectionError):
            function(item)


@pytest.mark.parametrize(
    ("code", "raised"),
    [(ExitCode.MODEL, ModelError), (ExitCode.TARGET, TargetError), (ExitCode.USAGE, UsageError)],
)
def test_what_would_meet_every_task_ends_the_run(
    code: ExitCode,
    raised: type[Exception],
    job: task.Job,
    tmp_path: Path,
    predictor: FixedPredictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = Nodes(predictor, error="this cannot be", exit_code=int(code))
    monkeypatch.setattr(driver, "run", nodes)
    with pytest.raises(raised, match="this cannot be"):
        driver.sort(job, HERE)
    assert len(nodes.done) == 4


def test_an_empty_archive_is_told(job: task.Job, tmp_path: Path) -> None:
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
        (9300, None, 1, [2000] * 4 + [1300]),
    ],
)
def test_shards_are_neither_tiny_nor_endless(
    files: int, size: int | None, nodes: int, expected: list[int], job: task.Job, tmp_path: Path
) -> None:
    os.makedirs(shards.folder_of(job.settings.out))
    found = [SourceFile(f"/in/{number}", str(number)) for number in range(files)]
    tasks = driver._planned(job, iter(found), size, nodes)
    listed = [list(task.TaskFiles(one).find()) for one in tasks]
    assert [file for files in listed for file in files] == found
    assert list(map(len, listed)) == expected


def test_everything_that_is_known_of_a_file_reaches_its_task(job: task.Job) -> None:
    os.makedirs(shards.folder_of(job.settings.out))
    found = [
        SourceFile("/in/plain", "plain"),
        SourceFile("/in/\udcff\n\u2028", "\udcff\n\u2028"),
        SourceFile("/in/x", "x", Failure(Status.IO_ERROR, Reason.DANGLING_LINK)),
        SourceFile("/in/y", "y", previous=Placement("spine/y", "copy", FileStamp(1, -(10**18)), "ab")),
    ]
    (one,) = driver._planned(job, iter(found), None, 1)
    assert list(task.TaskFiles(one).find()) == found


def test_without_a_driver_nothing_is_begun(job: task.Job) -> None:
    one = task.Task(job, "task-000001", 0, 0)
    summary = task.run(one)
    assert (summary.is_done, summary.exit_code) == (False, ExitCode.INTERRUPTED)
    assert not Path(one.folder).exists()


def test_a_task_never_raises(job: task.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: task.Task) -> task.Summary:
        raise ValueError("CANARY^NAME")

    monkeypatch.setattr(task, "_run", broken)
    summary = task.run(task.Task(job, "task-000001", 0, 0))
    assert summary.exit_code == ExitCode.INTERNAL
    assert "CANARY" not in summary.error


def test_a_node_with_another_version_says_so(job: task.Job) -> None:
    folder = Path(shards.folder_of(job.settings.out))
    folder.mkdir(parents=True)
    (folder / task.DRIVER).write_text("x")
    summary = task.run(task.Task(replace(job, version="9.9"), "task-000001", 0, 0))
    assert summary.exit_code == ExitCode.USAGE
    assert "9.9" in summary.error


def test_tasks_of_one_machine_take_a_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(node, "visible_gpus", lambda: ["GPU-a", "GPU-b"])
    with node._own_device("auto") as first, node._own_device("cuda") as second:
        assert (first, second) == ("cuda:0", "cuda:1")
        with (
            node._own_device("auto") as third,
            node._own_device("cpu") as other,
            node._own_device("cuda:1") as named,
        ):
            assert (third, other, named) == ("auto", "cpu", "cuda:1")
    with node._own_device("auto") as again:
        assert again == "cuda:0"
    monkeypatch.setattr(node, "visible_gpus", list)
    with node._own_device("auto") as none:
        assert none == "auto"


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_an_engine_that_is_not_installed_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed" if name == "dask" else "ray", None)
    with (
        pytest.raises(UsageError, match=f"pip install {'distributed' if name == 'dask' else 'ray'}$"),
        Backend(name, "tcp://x:1").connected(),
    ):
        pass


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_told(words: Words) -> None:
    done = command(*words, "--backend", "dask", "--address", "tcp://127.0.0.1:9")
    assert done.code == ExitCode.USAGE
    assert done.err.splitlines()[-1] == (
        "dicomsort: no dask scheduler answers at 'tcp://127.0.0.1:9': check --address"
    )
