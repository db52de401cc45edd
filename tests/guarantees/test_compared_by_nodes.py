"""Files whose UID repeats are read by the nodes and not by the driver; the rows are those of a single run."""

import os
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clusters import Words, check_equal, kill, number_in, read_to_compare, wait_for
from clusters import start as started
from nodes import Hands, Nodes
from outputs import rows, settings
from predictors import FixedPredictor
from program import command
from written import picture

from dicomsort.cluster import comparing, driver, handing_out, staying, task
from dicomsort.cluster.backends import Backend
from dicomsort.cluster.hands import ClusterLostError, Run
from dicomsort.cluster.job import Job, lines_of
from dicomsort.errors import ExitCode, InternalError
from dicomsort.manifest.names import PARTS_LOG, SHARDS, shard_folder
from dicomsort.outcome import Status
from dicomsort.sorting import deduplicate, pixel_shares, repeats
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.progress_of import status
from dicomsort.sorting.repeats import Wanted
from dicomsort.sorting.summary import SortSummary
from dicomsort.sorting.versions import installed
from dicomsort.system import locks
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.worker_pool import keeping

HERE, POOL = Backend("loky", shard_size=6), PoolSettings(1)
VANISHES = "again/5.dcm"


@pytest.fixture
def inbox(tmp_path: Path, write_dicom: Callable[..., Path]) -> Path:
    """Nineteen images: of twelve UIDs seven come again, one of these with other pixels, one in an archive."""
    folder = tmp_path / "in"
    for number in range(12):
        write_dicom(folder / f"s{number % 3}" / f"{number}.dcm", picture(number))
    for number in range(1, 6):
        (folder / "again").mkdir(exist_ok=True)
        shutil.copy(folder / f"s{number % 3}" / f"{number}.dcm", folder / "again")
    write_dicom(folder / "again" / "7.dcm", picture(99))
    with zipfile.ZipFile(folder / "some.zip", "w") as packed:
        packed.write(folder / "s0" / "0.dcm", "0.dcm")
    return folder


@pytest.fixture
def job(inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A run that hands out to fake hands whatever few files are to be compared. Its model is nowhere."""
    monkeypatch.setattr(comparing, "FEWEST", 1)
    monkeypatch.setattr(handing_out, "PAUSES", (0.01, 0.02, 0.03))
    engine(monkeypatch, Hands())
    run = settings(inbox, tmp_path / "out", pool=POOL)
    with keeping():
        yield Job(run, ("nowhere",), "cpu", "float32", "auto", installed(), 1)


def engine(monkeypatch: pytest.MonkeyPatch, hands: Hands) -> None:
    monkeypatch.setattr(Backend, "connected", lambda _: nullcontext(hands))


class Reading:
    """Who reads files to compare them: nodes, while a task of theirs is done, or else this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by_nodes, self.alone, self.is_node = list[str](), list[str](), False
        self._really = repeats.read_pixels
        monkeypatch.setattr(repeats, "read_pixels", self._noted)

    def forget(self) -> None:
        """Forget what was read until now."""
        self.by_nodes, self.alone = [], []

    def _noted(self, wanted: Iterable[Wanted], pool: PoolSettings) -> Iterator[tuple[Wanted, str]]:
        for one, digest in self._really(wanted, pool):
            (self.by_nodes if self.is_node else self.alone).append(one.path)
            yield one, digest


class Comparing(Nodes):
    """Nodes, of which a test is told when they begin to compare: `before` may raise what happens to them."""

    def __init__(self, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(predictor)
        self.reading, self.compared = Reading(monkeypatch), list[str]()
        self.before: Callable[[task.Task], None] = lambda _: None
        monkeypatch.setattr(driver, "run", self)

    def __call__(self, one: task.Task) -> task.Summary:
        if not one.compares:
            return super().__call__(one)
        self.compared.append(one.name)
        self.before(one)
        self.reading.is_node = True
        try:
            return super().__call__(one)
        finally:
            self.reading.is_node = False


@pytest.fixture
def nodes(predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch) -> Comparing:
    return Comparing(predictor, monkeypatch)


@pytest.fixture
def alone(job: Job, tmp_path: Path, predictor: FixedPredictor) -> Path:
    """What one process makes of it."""
    sort(settings(Path(job.settings.roots[0]), tmp_path / "one", pool=POOL), predictor)
    return tmp_path / "one"


def digests(out: str | Path) -> list[str]:
    """The lines of digests that nodes have left."""
    left = sorted(Path(shard_folder(str(out))).glob("pixels-*.csv"))
    return [line for path in left for line in path.read_text().splitlines()[1:]]


def test_the_nodes_read_and_the_driver_does_not(job: Job, alone: Path, nodes: Comparing) -> None:
    said: list[str] = []
    tally = driver.sort(job, HERE, None, said.append)
    assert nodes.compared == [f"pixels-{at:03}-of-003" for at in (1, 2, 3)]
    assert (len(nodes.reading.by_nodes), nodes.reading.alone, said) == (14, [], [])
    assert len(set(nodes.reading.by_nodes)) == 14
    assert (tally.found, tally.ended, tally.shards, tally.shards_done) == (20, 20, 4, 4)
    assert (tally.statuses[Status.DUPLICATE], tally.waiting) == (6, "")
    out = Path(job.out)
    told = [line.split() for line in (out / PARTS_LOG).read_text().splitlines()]
    compared = [words for words in told if words[2].startswith("part=pixels-")]
    assert [words[1] for words in compared] == ["start", "end"] * 3
    assert sum(int(words[-2].removeprefix("read=")) for words in compared[1::2]) == 14
    check_equal(out, alone)


def test_no_model_is_loaded_to_compare(job: Job, nodes: Comparing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of this job is nowhere, so that what loads it fails; what compares does not."""
    ended: list[tuple[task.Task, task.Summary, Any]] = []
    really = staying._done

    def noted(one: task.Task, models: Any, stack: ExitStack) -> Any:
        summary, after = really(one, models, stack)
        ended.append((one, summary, after))
        return summary, after

    monkeypatch.setattr(staying, "_done", noted)
    driver.sort(job, HERE)
    assert [(one.compares, summary.error, models) for one, summary, models in ended] == [(True, "", ())] * 3
    sorting = replace(ended[0][0], name="task-000009")
    os.makedirs(sorting.folder)
    assert really(sorting, (), ExitStack())[0].exit_code == ExitCode.MODEL


def test_a_file_that_vanished_is_no_duplicate_and_the_merge_tries_it_once_more(
    job: Job, inbox: Path, tmp_path: Path, predictor: FixedPredictor, nodes: Comparing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def gone(*_: object) -> None:
        if (inbox / VANISHES).exists():
            shutil.move(inbox / VANISHES, tmp_path / "away")

    really = repeats.find_repeats

    def find_once_it_is_gone(*of: Any) -> repeats.Compared:
        gone()
        return really(*of)

    with monkeypatch.context() as patched:
        patched.setattr(deduplicate, "find_repeats", find_once_it_is_gone)
        sort(settings(inbox, tmp_path / "one", pool=POOL), predictor)
    shutil.move(tmp_path / "away", inbox / VANISHES)
    nodes.reading.forget()
    nodes.before = gone
    driver.sort(job, HERE)
    assert nodes.reading.alone == [str(inbox / VANISHES)]
    assert rows(Path(job.out))[str(inbox / VANISHES)]["status"] == "sorted"
    check_equal(Path(job.out), tmp_path / "one")


def test_a_share_that_was_lost_with_its_node_is_compared_again(
    job: Job, alone: Path, nodes: Comparing
) -> None:
    """By another one, that reads what the first has not."""

    def lost(one: task.Task) -> None:
        nodes.before = lambda _: None
        os.makedirs(one.folder)
        first = next(iter(lines_of(one)))
        leave(one, [first])
        with (Path(shard_folder(job.out)) / f"{one.name}.csv").open("a") as file:
            file.write("half a li")
        raise ConnectionError

    nodes.before, said = lost, list[str]()
    driver.sort(job, HERE, None, said.append)
    assert said == [
        "1 of 3 shares to compare was lost with a node (ConnectionError) and is done again in 0 s"
    ]
    assert sorted(nodes.compared) == [f"pixels-{at:03}-of-003" for at in (1, 1, 2, 3)]
    assert (len(nodes.reading.by_nodes), len(nodes.reading.alone)) == (13, 1)  # the first one's is one here
    check_equal(Path(job.out), alone)


def leave(one: task.Task, lines: list[bytes]) -> None:
    wanted = [Wanted.of(at, line) for at, line in enumerate(lines)]
    pixel_shares.leave(one.out, one.name, wanted, PoolSettings(1))


def test_a_share_that_always_fails_ends_the_run_and_the_same_command_goes_on(
    job: Job, alone: Path, nodes: Comparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(one: task.Task) -> None:
        if one.name == "pixels-002-of-003":
            os.makedirs(one.folder, exist_ok=True)
            taken.append(locks.take(one.folder))

    taken: list[locks.Lock] = []
    nodes.before = lambda one: busy(one) if not taken else None
    with pytest.raises(
        InternalError, match="1 of 3 shares to compare could not be done, the last one failed"
    ):
        driver.sort(job, HERE)
    taken.pop().close()
    left = digests(job.out)
    assert len(left) == 14 - 6
    assert status(job.out).state == "to be merged"
    nodes.reading.forget()
    nodes.before = lambda _: None
    assert driver.sort(job, HERE).already_done == 20
    assert (len(nodes.reading.by_nodes), nodes.reading.alone) == (6, [])
    check_equal(Path(job.out), alone)


def test_an_interrupt_while_nodes_compare_reads_nothing_more(job: Job, alone: Path, nodes: Comparing) -> None:
    """As an interrupt of a merge: all rows are there, and the same command goes on with what is left."""

    def interrupted(one: task.Task) -> None:
        if one.name == "pixels-002-of-003":
            raise KeyboardInterrupt

    nodes.before = interrupted
    with pytest.raises(KeyboardInterrupt):
        driver.sort(job, HERE)
    out = Path(job.out)
    assert (len(rows(out)), len(digests(out)), nodes.reading.alone) == (20, 6, [])
    assert not list((out / SHARDS).glob("task-*"))
    nodes.before = lambda _: None
    tally = driver.sort(job, HERE)
    assert (tally.found, tally.already_done, tally.statuses[Status.DUPLICATE]) == (20, 20, 6)
    assert (len(nodes.reading.by_nodes), nodes.reading.alone) == (14, [])
    check_equal(out, alone)


@pytest.mark.parametrize("share", [1, 2])
def test_what_a_driver_that_was_killed_meanwhile_leaves_is_compared_by_nodes_too(
    share: int, job: Job, inbox: Path, tmp_path: Path, predictor: FixedPredictor, nodes: Comparing
) -> None:
    """What lies there in that moment; and a file has come since."""

    def snapshot(one: task.Task) -> None:
        if one.name.startswith(f"pixels-00{share}"):
            shutil.copytree(job.out, tmp_path / "killed", symlinks=True)

    nodes.before = snapshot
    driver.sort(job, HERE)
    shutil.rmtree(job.out)
    shutil.move(tmp_path / "killed", job.out)
    assert len(list(Path(job.out, SHARDS).glob("task-*"))) == 4
    assert len(digests(job.out)) == 6 * (share - 1)
    shutil.copy(inbox / "s2" / "8.dcm", inbox / "again")
    sort(settings(inbox, tmp_path / "one", pool=POOL), predictor)
    nodes.reading.forget()
    nodes.before = lambda _: None
    tally = driver.sort(job, HERE)
    assert (tally.found, tally.already_done, tally.statuses[Status.DUPLICATE]) == (21, 20, 7)
    assert (len(nodes.reading.by_nodes), nodes.reading.alone) == (16 - 6 * (share - 1), [])
    check_equal(Path(job.out), tmp_path / "one")


def test_it_can_be_seen_that_nodes_compare(job: Job, nodes: Comparing) -> None:
    seen, shown = [], list[SortSummary]()

    def look(one: task.Task) -> None:
        told = status(job.out)
        seen.append((told.state, told.doing, told.files, told.total, told.parts_done, told.parts_known))
        wait_for(lambda: shown and shown[-1].waiting.startswith("comparing images that came twice, "))

    nodes.before = look
    driver.sort(job, HERE, shown.append)
    assert seen == [("running", "comparing", 20, 20, 4, 4)] * 3
    last = shown[-1]
    assert (last.ended, last.total, last.shards, last.shards_done) == (20, 20, 4, 4)
    assert status(job.out).state == "done"


@pytest.mark.parametrize("why", ["few", "digests", "kept"])
def test_nothing_is_handed_out_where_the_merge_reads_next_to_nothing(
    why: str, job: Job, nodes: Comparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "few":
        monkeypatch.setattr(comparing, "FEWEST", 15)
    read = replace(job.settings.read, pixel_digest=why == "digests")
    chosen = replace(job.settings, read=read, keep_duplicates=why == "kept")
    tally = driver.sort(replace(job, settings=chosen), HERE)
    assert (nodes.compared, nodes.reading.by_nodes) == ([], [])
    assert len(nodes.reading.alone) == (14 if why == "few" else 0)
    assert tally.statuses[Status.DUPLICATE] == (0 if why == "kept" else 6)
    assert not Path(job.out, SHARDS).exists()


def test_a_run_that_finds_nothing_new_compares_nothing(job: Job, nodes: Comparing) -> None:
    driver.sort(job, HERE)
    nodes.compared.clear()
    assert driver.sort(job, HERE).already_done == 20
    assert (nodes.compared, len(nodes.reading.by_nodes), nodes.reading.alone) == ([], 14, [])


def test_an_engine_that_is_lost_meanwhile_ends_the_run_as_ever(
    job: Job, alone: Path, nodes: Comparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost(Hands):
        def hand_out(self, run: Run, one: task.Task) -> None:
            if one.name == "pixels-002-of-003":
                raise ClusterLostError("the engine is gone")
            super().hand_out(run, one)

    engine(monkeypatch, Lost())
    with pytest.raises(ClusterLostError, match="the engine is gone"):
        driver.sort(job, HERE)
    assert len(digests(job.out)) == 6
    engine(monkeypatch, Hands(2))
    driver.sort(job, HERE)
    assert (len(nodes.reading.by_nodes), nodes.reading.alone) == (14, [])
    check_equal(Path(job.out), alone)


@pytest.mark.slow
def test_a_node_that_is_killed_while_it_compares_costs_what_it_had_not_read(
    words: Words, single: Path, tmp_path: Path, held: Path
) -> None:
    running = started("dicomsort", *words, "--backend", "loky", "--shard-size", "10")
    try:
        node = wait_for(lambda: number_in(held))
        assert len(digests(tmp_path / "out")) == 2
        os.kill(node, signal.SIGKILL)
        _, err = running.communicate(timeout=240)
    finally:
        kill(running)
    assert running.returncode == ExitCode.SOME_FAILED, err
    assert "1 of 2 shares to compare failed (a node's program was killed by SIGKILL" in err
    told = (tmp_path / "out" / PARTS_LOG).read_text()
    assert [line.split()[-2:] for line in told.splitlines() if " read=" in line] == [
        ["read=8", "unread=0"], ["read=2", "unread=0"]
    ]  # fmt: skip
    check_equal(tmp_path / "out", single)


@pytest.mark.slow
def test_a_driver_that_is_killed_while_nodes_compare_is_followed_by_the_same_command(
    words: Words, single: Path, tmp_path: Path, held: Path
) -> None:
    running = started("dicomsort", *words, "--backend", "loky", "--shard-size", "10")
    try:
        program = wait_for(lambda: number_in(held))
        os.kill(running.pid, signal.SIGKILL)
        running.communicate()
        wait_for(lambda: not Path(f"/proc/{program}").exists())
    finally:
        kill(running)
    assert status(str(tmp_path / "out")).state == "to be merged"
    again = command(*words, "--backend", "loky", "--shard-size", "10")
    assert again.code == ExitCode.SOME_FAILED, again.err
    assert sum(read_to_compare(tmp_path / "out")) == 12 - 2
    check_equal(tmp_path / "out", single)
