"""A task of an array does the shard of its number, whatever part of the array is submitted."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from outputs import rows, settings
from predictors import FixedPredictor

from dicomsort.errors import UsageError
from dicomsort.inputs.named import Shard
from dicomsort.sorting import array_shards, shards
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.system.pool_settings import PoolSettings


def slurm(index: int, ids: list[int], step: int = 1) -> dict[str, str]:
    """What Slurm tells a task of an array of these ids."""
    told = {"ID": index, "MIN": min(ids), "MAX": max(ids), "COUNT": len(ids), "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in told.items()}


def grid_engine(index: int, ids: range) -> dict[str, str]:
    told = {"ID": index, "FIRST": ids[0], "LAST": ids[-1], "STEPSIZE": ids.step}
    return {f"SGE_TASK_{name}": str(value) for name, value in told.items()}


def numbers(of: int, out: Path, ids: list[int], step: int = 1) -> list[int]:
    """The shards that an array of Slurm does."""
    return [array_shards.parse(f"auto/{of}", str(out), slurm(index, ids, step)).number for index in ids]


@pytest.mark.parametrize("ids", [range(1, 17), range(16)], ids=["from 1", "from 0"])
def test_a_part_that_is_submitted_again_does_what_it_did_in_the_whole(ids: range, tmp_path: Path) -> None:
    whole = dict(zip(ids, numbers(16, tmp_path, [*ids]), strict=True))
    assert sorted(whole.values()) == [*range(1, 17)]
    assert all(shard in (index, 16) for index, shard in whole.items())
    for part in ([3], [3, 7], [*ids][:2], [*ids][-1:], [*ids][::5]):
        assert numbers(16, tmp_path, part) == [whole[index] for index in part], part
    assert numbers(16, tmp_path, [3, 7], step=4) == [3, 7]
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("ids", [range(0, 31, 2), range(1, 32, 2), range(0, 46, 3), range(10, 161, 10)])
def test_so_does_one_of_an_array_with_steps(ids: range, tmp_path: Path) -> None:
    whole = dict(zip(ids, numbers(16, tmp_path, [*ids], ids.step), strict=True))
    assert sorted(whole.values()) == [*range(1, 17)]
    for part in ([ids[4]], [ids[1], ids[6]], [*ids][2:9]):
        for step in (1, ids.step):
            assert numbers(16, tmp_path, part, step) == [whole[index] for index in part]
    with pytest.raises(UsageError, match=f"went by {ids.step}: submit tasks of that again"):
        numbers(16, tmp_path, [ids[3] + 1])


def test_tasks_of_an_array_with_steps_may_begin_at_the_same_moment(tmp_path: Path) -> None:
    ids, together = [*range(10, 81, 10)], Barrier(8, timeout=60)

    def begin(index: int) -> list[int]:
        found = []
        for turn in range(20):
            together.wait()
            out = str(tmp_path / str(turn))
            found.append(array_shards.parse("auto/8", out, slurm(index, ids, 10)).number)
        return found

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(begin, ids)] == [[number] * 20 for number in range(1, 9)]
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {shards.ARRAY}


def test_a_whole_array_without_steps_ends_those(tmp_path: Path) -> None:
    numbers(16, tmp_path, [*range(0, 31, 2)], 2)
    assert numbers(16, tmp_path, [*range(1, 17)]) == [*range(1, 17)]
    assert numbers(16, tmp_path, [6, 7]) == [6, 7]


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        (grid_engine(4, range(1, 17)), 4),
        (grid_engine(31, range(1, 32, 2)), 15),
        ({"LSB_JOBINDEX": "16", "LSB_JOBID": "1"}, 16),
        ({"PBS_ARRAY_INDEX": "0"}, 16),
        ({"PBS_ARRAYID": "5"}, 5),
        ({"JOB_COMPLETION_INDEX": "0"}, 16),
        ({"JOB_COMPLETION_INDEX": "15"}, 15),
    ],
)
def test_other_batch_systems(environment: dict[str, str], number: int, tmp_path: Path) -> None:
    assert array_shards.parse("auto/16", str(tmp_path), environment) == Shard(number, 16)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "this is no task of an array"),
        ({"SGE_TASK_ID": "undefined"}, "this is no task of an array"),
        ({"LSB_JOBINDEX": "0"}, "this is no task of an array"),
        ({"PBS_ARRAY_INDEX": "17"}, "task 17 of PBS is none of 16 shards: number the tasks 1-16 or 0-15"),
        (slurm(3, [*range(17)]), "the tasks of Slurm go from 0 to 16, over more than 16 shards"),
        (slurm(0, [0, 16]), "over more than 16 shards"),
        (slurm(104, [*range(101, 117)]), "task 104 of Slurm is none of 16 shards"),
        (slurm(2, [*range(0, 30, 2)], 2), "over more than 16 shards"),
    ],
)
def test_a_task_that_cannot_be_meant_is_refused(
    environment: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        array_shards.parse("auto/16", str(tmp_path), environment)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("text", ["auto", "auto/0", "auto/", "auto/16/2", "3/2"])
def test_what_is_no_shard_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="such as 3/16"):
        array_shards.parse(text, str(tmp_path), slurm(1, [1, 2]))


def test_another_number_of_shards_is_refused_before_anything_is_written(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, shard=Shard(1, 4)), predictor)
    before = sorted(out.rglob("*"))
    with pytest.raises(
        UsageError, match=r"is divided into 4 shards \(shard-001-of-004\), not 2: give --shard"
    ):
        sort(settings(inbox, out, shard=Shard(1, 2)), predictor)
    assert sorted(out.rglob("*")) == before


def test_the_steps_outlive_a_merge_while_shards_are_missing(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, ids = tmp_path / "out", [0, 2, 4]
    for index in ids[:2]:
        shard = array_shards.parse("auto/3", str(out), slurm(index, ids, 2))
        sort(settings(inbox, out, shard=shard), predictor)
    assert merge(str(out), PoolSettings(2)).missing == ["2/3"]
    assert json.loads((out / "manifest.parts" / "array.json").read_text())["step"] == 2
    shard = array_shards.parse("auto/3", str(out), slurm(4, [4]))
    assert shard == Shard(2, 3)
    sort(settings(inbox, out, shard=shard), predictor)
    assert merge(str(out), PoolSettings(2)).missing == []
    assert len(rows(out)) == 14
    assert not (out / "manifest.parts").exists()
