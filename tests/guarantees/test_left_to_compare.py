"""An output whose run was interrupted while nodes compared takes every command, and keeps nothing of it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from clusters import check_equal
from nodes import Hands, Nodes
from outputs import rows, settings
from predictors import FixedPredictor
from written import picture

from dicomsort.cluster import comparing, driver, task
from dicomsort.cluster.backends import Backend
from dicomsort.cluster.job import Job
from dicomsort.inputs.named import Shard
from dicomsort.manifest.names import SHARDS
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.progress_of import status
from dicomsort.sorting.versions import installed
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.worker_pool import keeping

HERE, POOL = Backend("loky", shard_size=2), PoolSettings(1)


class Stopped(Nodes):
    """Nodes that compare one share; then the driver is interrupted."""

    def __call__(self, one: task.Task) -> task.Summary:
        if one.name == "pixels-002-of-003":
            raise KeyboardInterrupt
        return super().__call__(one)


@pytest.fixture
def left(
    tmp_path: Path,
    write_dicom: Callable[..., Path],
    predictor: FixedPredictor,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Job]:
    """Three images, each twice, of which nodes have compared a third."""
    for number in range(3):
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number))
    shutil.copytree(tmp_path / "in", tmp_path / "in" / "again")
    monkeypatch.setattr(comparing, "FEWEST", 1)
    monkeypatch.setattr(Backend, "connected", lambda _: nullcontext(Hands()))
    monkeypatch.setattr(driver, "run", Stopped(predictor))
    run = settings(tmp_path / "in", tmp_path / "out", pool=POOL)
    job = Job(run, ("nowhere",), "cpu", "float32", "auto", installed(), 1)
    with keeping():
        with pytest.raises(KeyboardInterrupt):
            driver.sort(job, HERE)
        assert len(list((tmp_path / "out" / SHARDS).glob("pixels-*.csv"))) == 1
        monkeypatch.setattr(driver, "run", Nodes(predictor))
        yield job


@pytest.mark.parametrize("how", ["nodes", "shard"])
def test_other_folders_are_sorted_into_it(
    how: str, left: Job, tmp_path: Path, write_dicom: Callable[..., Path], predictor: FixedPredictor
) -> None:
    """What the shards of the interrupted run had in common binds no later one: none of them waits."""
    write_dicom(tmp_path / "more" / "new.dcm", picture(50))
    more = replace(left.settings, roots=(str(tmp_path / "more"),))
    if how == "nodes":
        driver.sort(replace(left, settings=more), HERE)
    else:
        sort(replace(more, shard=Shard(1, 1)), predictor)
        merge(left.out, POOL)
    sort(settings(tmp_path / "in", tmp_path / "one", pool=POOL), predictor)
    sort(settings(tmp_path / "more", tmp_path / "one", pool=POOL), predictor)
    assert len(rows(tmp_path / "one")) == 7
    check_equal(tmp_path / "out", tmp_path / "one")


@pytest.mark.parametrize("how", ["nodes", "plain", "merge"])
def test_whatever_judges_it_leaves_no_digests(
    how: str, left: Job, tmp_path: Path, predictor: FixedPredictor
) -> None:
    assert status(left.out).state == "to be merged"
    if how == "nodes":
        driver.sort(left, HERE)
    elif how == "plain":
        sort(left.settings, predictor)
    else:
        merge(left.out, POOL)
    sort(replace(left.settings, out=str(tmp_path / "one")), predictor)
    assert status(left.out).state == "done"
    check_equal(tmp_path / "out", tmp_path / "one")


def test_digests_stay_while_a_shard_is_missing(left: Job, tmp_path: Path, predictor: FixedPredictor) -> None:
    sort(replace(left.settings, shard=Shard(1, 2)), predictor)
    assert merge(left.out, POOL).missing == ["2/2"]
    assert list((tmp_path / "out" / SHARDS).glob("pixels-*.csv"))
    sort(replace(left.settings, shard=Shard(2, 2)), predictor)
    assert merge(left.out, POOL).missing == []
    assert not (tmp_path / "out" / SHARDS).exists()
