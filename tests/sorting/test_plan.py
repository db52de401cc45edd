"""Plan, apply, undo: exactly what the manifest says, and nothing else."""

import csv
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from outputs import check_places, rows, settings, tree
from predictors import FixedPredictor

from dicomsort.errors import ExitCode, TargetError, UsageError
from dicomsort.outcome import Action, Reason
from dicomsort.sorting import plan
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.place import PlacementSettings

ACTIONS = [Action.COPY, Action.SYMLINK, Action.HARDLINK]


def planned(inbox: Path, out: Path, predictor: FixedPredictor, **changes: Any) -> str:
    sort(settings(inbox, out, dry_run=True, **changes), predictor)
    return str(out / "manifest.csv")


@pytest.mark.parametrize("action", ACTIONS)
def test_apply_does_what_a_run_would_have_done(
    action: Action,
    inbox: Path,
    tmp_path: Path,
    predictor: FixedPredictor,
) -> None:
    out, other = tmp_path / "planned", tmp_path / "sorted"
    path = planned(inbox, out, predictor, placing=PlacementSettings(action))
    done = plan.apply(path)
    sort(settings(inbox, other, placing=PlacementSettings(action)), predictor)
    assert done == plan.PlanResult(12)
    check_places(inbox, out)
    skipped = {"manifest.csv", "run.json"}
    assert {k: v for k, v in tree(out).items() if k not in skipped} == {
        k: v for k, v in tree(other).items() if k not in skipped
    }
    assert rows(out) == rows(other)
    again = sort(settings(inbox, out, placing=PlacementSettings(action)), predictor)
    assert again.already_done == again.found


def test_apply_places_no_more_than_the_plan(
    inbox: Path,
    tmp_path: Path,
    predictor: FixedPredictor,
) -> None:
    path = planned(inbox, tmp_path / "out", predictor)
    shutil.copy(inbox / "s0" / "0.dcm", inbox / "s0" / "new.dcm")
    os.utime(inbox / "s1" / "1.dcm", ns=(1, 1))
    (inbox / "s2" / "2.dcm").unlink()
    done = plan.apply(path)
    assert done.done == 10
    assert done.left == {Reason.CHANGED: 1, Reason.VANISHED: 1}
    assert done.exit_code is ExitCode.SOME_FAILED
    assert not [name for name in tree(tmp_path / "out") if name.endswith(("new.dcm", "/1.dcm", "/2.dcm"))]


def test_apply_refuses_what_does_not_fit_before_it_begins(
    inbox: Path,
    tmp_path: Path,
    predictor: FixedPredictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = planned(inbox, tmp_path / "out", predictor)
    before = tree(tmp_path / "out")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 5000))
    with pytest.raises(TargetError, match=r"has 5\.0 kB free, .* kB too few: free some"):
        plan.apply(path)
    assert tree(tmp_path / "out") == before
    assert plan.apply(path, Action.SYMLINK).done == 12


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("verify", [False, True])
def test_undo_removes_what_was_placed_and_nothing_else(
    action: Action,
    verify: bool,
    inbox: Path,
    tmp_path: Path,
    predictor: FixedPredictor,
) -> None:
    out = tmp_path / "out"
    sources = tree(inbox)
    sort(settings(inbox, out, placing=PlacementSettings(action, verify)), predictor)
    mine = out / "spine" / "my notes.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    done = plan.undo(str(out / "manifest.csv"), verify)
    assert done == plan.PlanResult(12)
    assert set(tree(out)) == {"manifest.csv", "run.json", "spine/my notes.txt"}
    assert tree(inbox) == sources
    assert plan.apply(str(out / "manifest.csv")).done == 12
    mine.unlink()
    check_places(inbox, out)


def test_undo_leaves_what_has_changed(
    inbox: Path,
    tmp_path: Path,
    predictor: FixedPredictor,
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, placing=PlacementSettings(verify=True)), predictor)
    placed = sorted(out / row["destination"] for row in rows(out).values() if row["destination"])
    placed[0].write_text("annotated by a person")
    facts = placed[1].stat()
    placed[1].write_bytes(placed[1].read_bytes()[:-1] + b"!")
    os.utime(placed[1], ns=(facts.st_atime_ns, facts.st_mtime_ns))
    done = plan.undo(str(out / "manifest.csv"), verify=True)
    assert (done.done, done.left) == (10, {Reason.CHANGED_COPY: 2})
    assert placed[0].read_text() == "annotated by a person"
    assert placed[1].exists()
    assert sum(row["status"] in ("sorted", "review") for row in rows(out).values()) == 2


def test_without_plan_or_manifest_there_is_nothing_to_do(
    inbox: Path,
    tmp_path: Path,
    predictor: FixedPredictor,
) -> None:
    sort(settings(inbox, tmp_path / "out"), predictor)
    with pytest.raises(UsageError, match="holds no plan"):
        plan.apply(str(tmp_path / "out" / "manifest.csv"))
    (tmp_path / "manifest.csv").write_text("a,b\n")
    for path in (tmp_path / "nowhere", tmp_path / "manifest.csv", inbox / "notes.txt", tmp_path):
        with pytest.raises(UsageError, match="manifest"):
            plan.undo(str(path))


def test_a_plan_can_be_made_with_another_layout(
    inbox: Path,
    tmp_path: Path,
    predictor: FixedPredictor,
) -> None:
    out = tmp_path / "out"
    path = planned(inbox, out, predictor, layout="{modality}/{label}/{sop_instance_uid}.dcm")
    plan.apply(path)
    placed = [name for name in tree(out) if name.endswith(".dcm")]
    assert len(placed) == 12
    assert all(name.startswith("DX/") for name in placed)
    assert replace(settings(inbox, out)).layout == "{label}/{relpath}"


def test_undo_leaves_what_may_be_the_last_copy(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out), predictor)
    (inbox / "s0" / "0.dcm").unlink()
    done = plan.undo(str(out / "manifest.csv"))
    assert (done.done, done.left) == (11, {Reason.LAST_COPY: 1})
    assert len([name for name in tree(out) if name.endswith("s0/0.dcm")]) == 1


def test_undo_through_a_link_to_the_manifest(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out), predictor)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "manifest.csv"
    link.symlink_to(out / "manifest.csv")
    assert plan.undo(str(link)).done == 12
    assert link.is_symlink()
    assert not [name for name in tree(out) if name.endswith(".dcm")]


def test_what_a_killed_apply_has_done_is_known(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    path = planned(inbox, out, predictor)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan.apply(path, step=step)
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        assert sum(row["action"] == "copy" for row in csv.DictReader(file)) == 5
    size = max(file.stat().st_size for file in inbox.rglob("*.dcm"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 8 * size))
    assert plan.apply(path).done == 7
    check_places(inbox, out)


def test_apply_takes_the_latest_plan(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    for action in (Action.COPY, Action.SYMLINK, Action.COPY):
        path = planned(inbox, out, predictor, placing=PlacementSettings(action))
    plan.apply(path)
    assert {row["action"] for row in rows(out).values() if row["destination"]} == {"copy"}
