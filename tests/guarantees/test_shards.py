"""Shards that fill one output together, and the manifest that is made of them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from committed import SORT_ONCE
from outputs import check_places, rows, settings, tree
from predictors import FixedPredictor
from program import command, inside
from written import picture

from dicomsort.errors import ExitCode, NothingFoundError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest.names import SHARDS, shard_folder
from dicomsort.outcome import Reason, Status
from dicomsort.sorting import plan, shards
from dicomsort.sorting.merge import MergeResult, merge
from dicomsort.sorting.pipeline import sort
from dicomsort.system import locks
from dicomsort.system.pool_settings import PoolSettings

Write = Callable[..., Path]
PROGRAM = [sys.executable, str(SORT_ONCE)]
POOL = PoolSettings(2)


@pytest.fixture
def twins(inbox: Path) -> Path:
    """An archive in which images come again, under names that fall into several shards."""
    for number in range(6):
        shutil.copy(inbox / f"s{number % 3}" / f"{number}.dcm", inbox / f"again{number}.dcm")
        shutil.copy(inbox / f"s{number % 3}" / f"{number}.dcm", inbox / "s0" / f"0{number}.dcm")
    return inbox


def in_shards(inbox: Path, out: Path, predictor: FixedPredictor, of: int = 4, **changes: object) -> None:
    for number in range(1, of + 1):
        sort(settings(inbox, out, shard=Shard(number, of), **changes), predictor)


def joined(out: Path) -> MergeResult:
    return merge(str(out), POOL)


def contents(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(out).items() if name not in ("manifest.csv", "run.json")}


def test_an_archive_without_a_radiograph_is_sorted_and_merged_too(
    tmp_path: Path, predictor: FixedPredictor
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "letter.txt").write_text("no picture")
    assert sort(settings(tmp_path / "in", tmp_path / "one"), predictor).exit_code == ExitCode.DONE
    in_shards(tmp_path / "in", tmp_path / "out", predictor, of=2)
    assert joined(tmp_path / "out").statuses == {Status.NOT_DICOM: 1}
    assert rows(tmp_path / "out") == rows(tmp_path / "one")


@pytest.mark.parametrize(
    "text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/4/4", "a/b", "1.0/4", "1/1000000000"]
)
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as 3/16"):
        Shard.parse(text)


def test_every_path_is_in_one_share_and_always_in_the_same() -> None:
    shares = [Shard(number, 7) for number in range(1, 8)]
    held = {
        f"a/{number}.dcm": [share.number for share in shares if share.holds(f"a/{number}.dcm")]
        for number in range(700)
    }
    assert all(len(numbers) == 1 for numbers in held.values())
    sizes = [sum(numbers == [share.number] for numbers in held.values()) for share in shares]
    assert min(sizes) > 70
    # of every later version too, or a run that was begun with an older one could not be gone on with
    assert [held[f"a/{number}.dcm"] for number in range(5)] == PINNED
    assert Shard.parse("3/16") == Shard(3, 16)


PINNED = [[2], [4], [4], [2], [7]]


@pytest.mark.parametrize("of", [1, 2, 5])
def test_shards_make_what_a_single_run_makes(
    of: int, twins: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    sort(settings(twins, tmp_path / "one"), predictor)
    in_shards(twins, tmp_path / "out", predictor, of)
    assert not (tmp_path / "out" / "manifest.csv").exists()
    merged = joined(tmp_path / "out")
    assert (merged.rows, merged.shards, merged.missing) == (26, of, [])
    assert merged.statuses[Status.DUPLICATE] == 12
    assert rows(tmp_path / "out") == rows(tmp_path / "one")
    assert contents(tmp_path / "out") == contents(tmp_path / "one")
    assert not (tmp_path / "out" / SHARDS).exists()


def test_merging_again_changes_nothing(twins: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    in_shards(twins, out, predictor)
    first = joined(out)
    before = tree(out)
    again = joined(out)
    assert tree(out) == before
    assert (again.rows, again.shards, again.statuses) == (first.rows, 0, first.statuses)


@pytest.mark.parametrize(
    "cut", [f"dicomsort.sorting.merge.{name}" for name in ("shards.drop", "settle", "_expect", "census")]
)
def test_a_merge_that_was_cut_short_is_finished(
    cut: str, twins: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sort(settings(twins, tmp_path / "one"), predictor)
    out = tmp_path / "out"
    in_shards(twins, out, predictor)

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cut, cut_off)
        with pytest.raises(KeyboardInterrupt):
            joined(out)
    assert joined(out).missing == []
    assert rows(out) == rows(tmp_path / "one")
    assert contents(out) == contents(tmp_path / "one")


def test_a_missing_shard_is_named_and_joined_later(
    twins: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    for number in (1, 3):
        sort(settings(twins, out, shard=Shard(number, 4)), predictor)
    merged = joined(out)
    assert merged.missing == ["2/4", "4/4"]
    assert merged.exit_code == ExitCode.MISSING
    assert joined(out).missing == ["2/4", "4/4"]
    sort(settings(twins, out, shard=Shard(4, 4)), predictor)
    assert joined(out).missing == ["2/4"]
    tally = sort(settings(twins, out, shard=Shard(2, 4)), predictor)
    assert tally.already_done == 0
    merged = joined(out)
    assert (merged.missing, merged.rows) == ([], 26)
    sort(settings(twins, tmp_path / "one"), predictor)
    assert rows(out) == rows(tmp_path / "one")


def test_after_a_merge_another_division_goes_on(
    twins: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    for number in (1, 2):
        sort(settings(twins, out, shard=Shard(number, 4)), predictor)
    with pytest.raises(UsageError, match="run `dicomsort merge`"):
        sort(settings(twins, out, shard=Shard(1, 3)), predictor)
    done = joined(out).rows
    tallies = [sort(settings(twins, out, shard=Shard(number, 3)), predictor) for number in (1, 2, 3)]
    assert sum(tally.found for tally in tallies) == 26
    assert sum(tally.already_done for tally in tallies) == done
    assert joined(out).missing == []
    sort(settings(twins, tmp_path / "one"), predictor)
    assert rows(out) == rows(tmp_path / "one")


def test_a_radiograph_that_changed_since_the_merge_takes_its_copy_along(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    out = tmp_path / "out"
    in_shards(inbox, out, predictor, 2)
    joined(out)
    changed = inbox / "s0" / "0.dcm"
    write_dicom(changed, picture(77))
    os.utime(changed, ns=(10**18, 10**18))
    tallies = [sort(settings(inbox, out, shard=Shard(number, 2)), predictor) for number in (1, 2)]
    assert sum(tally.already_done for tally in tallies) == 13
    joined(out)
    assert len(rows(out)) == 14
    check_places(inbox, out)


def test_nobody_goes_over_half_a_manifest(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, shard=Shard(1, 2)), predictor)
    with pytest.raises(UsageError, match="holds shards"):
        sort(settings(inbox, out), predictor)
    joined(out)
    sort(settings(inbox, out, shard=Shard(2, 2)), predictor)
    for act in (plan.undo, plan.apply):
        with pytest.raises(UsageError, match="holds shards"):
            act(str(out / "manifest.csv"))


def test_a_shard_that_is_being_written_is_not_merged(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, shard=Shard(1, 2)), predictor)
    before = tree(out)
    with locks.take(str(out), shared=True), pytest.raises(UsageError, match="another dicomsort"):
        joined(out)
    with locks.take(str(out)), pytest.raises(UsageError, match="another dicomsort"):
        sort(settings(inbox, out, shard=Shard(2, 2)), predictor)
    assert {**tree(out), **before} == tree(out)
    with locks.take(str(out), shared=True):
        sort(settings(inbox, out, shard=Shard(2, 2)), predictor)
    assert joined(out).rows == 14


def test_shards_with_other_settings_are_refused(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, shard=Shard(1, 2)), predictor)
    with pytest.raises(
        UsageError,
        match=r"made with --review-below [0-9.]+, not [0-9.]+; use another --out, or --review-below",
    ):
        sort(settings(inbox, out, shard=Shard(2, 2), review_below=0.5), predictor)
    predictor.precision = "bfloat16"
    with pytest.raises(UsageError, match="--precision float32"):
        sort(settings(inbox, out, shard=Shard(2, 2)), predictor)
    predictor.precision = "float32"
    sort(settings(inbox, out, shard=Shard(2, 2)), predictor)
    joined(out)
    with pytest.raises(
        UsageError,
        match=r"made with --review-below [0-9.]+, not [0-9.]+; use another --out, or --review-below",
    ):
        sort(settings(inbox, out, shard=Shard(1, 2), review_below=0.5), predictor)


def test_shards_that_an_earlier_version_has_begun_go_on(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    """It held the roots, in the order in which they were given, in what must stay the same."""
    out, given = tmp_path / "out", (str(inbox), str(tmp_path / "a"))
    Path(given[1]).mkdir()
    sort(settings(inbox, out, roots=given, shard=Shard(1, 2)), predictor)
    for file in out.rglob("run.json"):
        run = json.loads(file.read_text())
        run["fixed"]["roots"] = list(given)
        del run["roots"], run["runs"][0]["roots"]
        file.write_text(json.dumps(run))
    sort(settings(inbox, out, roots=given, shard=Shard(2, 2)), predictor)
    merge(str(out), PoolSettings(2))
    sort(settings(inbox, tmp_path / "single", roots=given), predictor)
    single = {path: row["destination"] for path, row in rows(tmp_path / "single").items()}
    assert {path: row["destination"] for path, row in rows(out).items()} == single


def test_a_share_may_be_empty(tmp_path: Path, predictor: FixedPredictor, write_dicom: Write) -> None:
    write_dicom(tmp_path / "in" / "a.dcm")
    tallies = [
        sort(settings(tmp_path / "in", tmp_path / "out", shard=Shard(number, 9)), predictor)
        for number in range(1, 10)
    ]
    assert sorted(tally.found for tally in tallies) == [0] * 8 + [1]
    merged = joined(tmp_path / "out")
    assert (merged.rows, merged.missing) == (1, [])


def test_shards_of_an_archive_without_a_file_say_so(tmp_path: Path, predictor: FixedPredictor) -> None:
    (tmp_path / "in").mkdir()
    for number in (1, 2, 1):
        with pytest.raises(NothingFoundError, match="no file found under the given folders"):
            sort(settings(tmp_path / "in", tmp_path / "out", shard=Shard(number, 2)), predictor)
    for _ in range(2):
        with pytest.raises(NothingFoundError, match=r"no shard of .* has found a file"):
            joined(tmp_path / "out")


def test_a_plan_in_shards_is_a_plan(twins: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    sort(settings(twins, tmp_path / "one", dry_run=True), predictor)
    in_shards(twins, tmp_path / "out", predictor, dry_run=True)
    joined(tmp_path / "out")
    assert rows(tmp_path / "out") == rows(tmp_path / "one")
    assert contents(tmp_path / "out") == {}
    plan.apply(str(tmp_path / "out" / "manifest.csv"))
    check_places(twins, tmp_path / "out")


@pytest.mark.parametrize(
    "layout", ["{label}/{sop_instance_uid}.dcm", "{label}/{modality}/{sop_instance_uid}.dcm"]
)
def test_two_shards_that_want_one_name_make_what_a_single_run_makes(
    layout: str, twins: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    sort(settings(twins, tmp_path / "one", layout=layout), predictor)
    in_shards(twins, tmp_path / "out", predictor, layout=layout)
    assert joined(tmp_path / "out").rows == 26
    assert rows(tmp_path / "out") == rows(tmp_path / "one")
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


def test_duplicates_can_be_kept_in_shards(twins: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    in_shards(twins, tmp_path / "out", predictor, keep_duplicates=True)
    assert joined(tmp_path / "out").statuses[Status.DUPLICATE] == 0
    check_places(twins, tmp_path / "out")


def test_a_killed_shard_is_named_by_the_merge_and_goes_on(tmp_path: Path, write_dicom: Write) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for number in range(60):
        write_dicom(source / f"s{number % 7}" / f"{number}.dcm", picture(number))
    words = [*PROGRAM, str(source), str(out), "copy"]
    assert subprocess.run([*words, "1/2"], check=False, capture_output=True).returncode == 0
    holding = {**os.environ, "HOLDS_AT_ROW": "5"}
    program = subprocess.Popen([*words, "2/2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=holding)
    part = Path(shard_folder(str(out), shards.name_of(Shard(2, 2)))) / "manifest.csv"
    until = time.monotonic() + 60
    while not part.exists() and time.monotonic() < until:
        time.sleep(0.01)
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=120)
    merged = joined(out)
    assert merged.missing == ["2/2"]
    assert merged.rows < 60
    done = subprocess.run([*words, "2/2"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tally = json.loads(done.stdout)
    assert tally["found"] + len(rows(out)) - tally["already_done"] == 60
    merged = joined(out)
    assert (merged.missing, merged.rows) == ([], 60)
    check_places(source, out)


def test_half_a_line_of_a_part_is_done_again(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    in_shards(inbox, out, predictor, 2)
    part = Path(shard_folder(str(out), shards.name_of(Shard(1, 2)))) / "manifest.csv"
    part.write_bytes(part.read_bytes()[:-30])
    assert joined(out).rows == 13
    in_shards(inbox, out, predictor, 2)
    assert joined(out).rows == 14
    check_places(inbox, out)


def test_a_part_of_another_program_is_refused(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    in_shards(inbox, out, predictor, 2)
    part = Path(shard_folder(str(out), shards.name_of(Shard(2, 2)))) / "manifest.csv"
    part.write_text("path,other\n/a,b\n")
    with pytest.raises(UsageError, match="other columns"):
        joined(out)
    assert part.exists()


def test_a_manifest_without_its_run_file_is_refused(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    in_shards(inbox, out, predictor, 1)
    joined(out)
    (out / "run.json").unlink()
    with pytest.raises(UsageError, match="is missing or damaged"):
        joined(out)


def test_words_and_exit_codes(
    inbox: Path, tmp_path: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("classify", inbox, "--out", out, "--model", small_model, "--workers", "2")
    first = inside(capfd, *words, "--shard", "1/2")
    assert first.code == ExitCode.DONE
    assert "shard 1/2 is done" in first.err
    half = inside(capfd, "merge", out)
    assert half.code == ExitCode.MISSING
    assert "--shard 2/2" in half.err
    assert inside(capfd, *words, "--shard", "2/2", "--json").json["found"] == 14 - len(rows(out))
    whole = inside(capfd, "merge", out, "--json")
    assert (whole.code, whole.json["rows"], whole.json["missing"]) == (ExitCode.DONE, 14, [])
    for wrong, said in (
        (("--shard", "3/2"), "such as 3/16"),
        (("--shard", "1/2", "--restart"), "--restart"),
        (("--shard", "1/2", "--backend", "loky"), "--backend"),
        (("--tasks", "2"), "--backend"),
        (("--backend", "slurm"), "dask, ray, loky"),
        (("--backend", "dask"), "--address"),
        (("--backend", "loky", "--address", "x"), "--address"),
    ):
        refused = inside(capfd, *words, *wrong)
        assert refused.code == ExitCode.USAGE, wrong
        assert said in refused.err
    nowhere = inside(capfd, "merge", tmp_path / "nowhere")
    assert nowhere.code == ExitCode.USAGE
    assert len(nowhere.err.splitlines()) == 1
    assert not (tmp_path / "nowhere").exists()


def test_shards_run_side_by_side(tmp_path: Path, write_dicom: Write) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for number in range(40):
        write_dicom(source / f"{number}.dcm", picture(number % 25))
    words = [*PROGRAM, str(source), str(out), "copy"]
    running = [subprocess.Popen([*words, f"{number}/4"], stdout=subprocess.PIPE) for number in range(1, 5)]
    for program in running:
        program.communicate(timeout=120)
    assert [program.returncode for program in running] == [0] * 4
    assert joined(out).rows == 40
    check_places(source, out)


@pytest.mark.slow
def test_the_program_itself(inbox: Path, tmp_path: Path, small_model: Path) -> None:
    done = command(
        "classify", inbox, "--out", tmp_path / "out", "--model", small_model, "--shard", "1/1", "-q"
    )
    assert done.code == ExitCode.DONE, done.err
    assert Reason.SAME_IMAGE.value not in done.err
    assert command("merge", tmp_path / "out", "-q").code == ExitCode.DONE
    assert len(rows(tmp_path / "out")) == 14
