"""The way of a file: every file one row, nothing lost, nothing twice, whatever interrupts it."""

import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outputs import check_places, rows, settings, tree
from predictors import FixedPredictor
from written import picture

from dicomsort.errors import ExitCode, NothingFoundError, TargetError, UsageError
from dicomsort.model.bundle import Bundle
from dicomsort.outcome import Action, Reason, Status
from dicomsort.sorting import disk_space, plan
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.summary import SortSummary
from dicomsort.system.escaping import unescape
from dicomsort.system.pool_settings import PoolSettings

Write = Callable[..., Path]


OWN = {"manifest.csv", "run.json", ".dicomsort.lock"}


def test_a_first_run(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    before, out = tree(inbox), tmp_path / "out"
    tally = sort(settings(inbox, out), predictor)
    assert tally.exit_code is ExitCode.DONE
    assert tally.statuses == {Status.SORTED: 12, Status.NOT_XRAY: 1, Status.NOT_DICOM: 1}
    assert tally.found == tally.ended == len(rows(out)) == 14
    assert len(tally.labels) > 1
    check_places(inbox, out)
    assert tree(inbox) == before


def test_a_second_run_changes_nothing(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    first = sort(settings(inbox, out), predictor)
    before = {path: path.lstat() for path in out.rglob("*") if path.name not in OWN}
    manifest = (out / "manifest.csv").read_bytes()
    second = sort(settings(inbox, out), predictor)
    assert (second.already_done, second.found, second.statuses) == (14, 14, first.statuses)
    assert (out / "manifest.csv").read_bytes() == manifest
    assert {path: path.lstat() for path in before if path.is_file()} == {
        path: facts for path, facts in before.items() if path.is_file()
    }


def test_only_new_and_changed_files_are_done(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out), predictor)
    write_dicom(inbox / "new.dcm", picture(99))
    (inbox / "notes.txt").write_text("longer than before")
    tally = sort(settings(inbox, out), predictor)
    assert (tally.found, tally.already_done) == (15, 13)
    check_places(inbox, out)


@pytest.mark.parametrize("seed", [3, 50])
def test_a_radiograph_that_changed_takes_its_copy_along(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write, seed: int
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out), predictor)
    write_dicom(inbox / "s0" / "3.dcm", picture(seed))
    for name in ("s0/3.dcm", "s1/4.dcm"):  # the clock of a file system may tick but once in two seconds
        os.utime(inbox / name, ns=(10**18, 10**18))
    tally = sort(settings(inbox, out), predictor)
    assert (tally.already_done, tally.exit_code) == (12, ExitCode.DONE)
    check_places(inbox, out)
    (inbox / "s0" / "3.dcm").write_text("no radiograph any more")
    sort(settings(inbox, out), predictor)
    check_places(inbox, out)


def test_a_file_that_cannot_be_read_now_keeps_its_copy(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, path = tmp_path / "out", inbox / "s0" / "3.dcm"
    sort(settings(inbox, out), predictor)
    data, placed = path.read_bytes(), rows(out)[str(path)]["destination"]
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    assert sort(settings(inbox, out), predictor).exit_code is ExitCode.SOME_FAILED
    assert (out / placed).read_bytes() == data
    path.unlink()
    path.write_bytes(data)
    os.utime(path, ns=(10**18, 10**18))
    assert sort(settings(inbox, out), predictor).exit_code is ExitCode.DONE
    check_places(inbox, out)


def test_a_manifest_that_points_outside_the_output_is_refused(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim.dcm"
    sort(settings(inbox, out), predictor)
    source = inbox / "s0" / "3.dcm"
    shutil.copy2(source, victim)
    path = out / "manifest.csv"
    destination = rows(out)[str(source)]["destination"]
    path.write_text(path.read_text().replace(f",{destination},", ",../victim.dcm,"))
    os.utime(source, ns=(10**18, 10**18))
    with pytest.raises(UsageError, match="lies outside the output"):
        sort(settings(inbox, out), predictor)
    assert victim.exists()


def test_a_folder_of_what_was_sorted_holds_nothing_new(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    sort(settings(inbox, tmp_path / "out"), predictor)
    again = sort(settings(inbox / "s0", tmp_path / "out"), predictor)
    assert again.found == again.already_done > 0
    assert again.new.total() == 0


@pytest.mark.parametrize("stop_after", [0, 1, 7, 13])
def test_an_interrupted_run_goes_on(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, stop_after: int
) -> None:
    out = tmp_path / "out"

    def interrupt(tally: SortSummary) -> None:
        if tally.ended > stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sort(settings(inbox, out), predictor, interrupt)
    tally = sort(settings(inbox, out), predictor)
    assert (tally.found, tally.already_done) == (14, stop_after + 1)
    check_places(inbox, out)


def test_a_dry_run_plans_and_places_nothing(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    tally = sort(settings(inbox, out, dry_run=True), predictor)
    assert tally.statuses[Status.PLANNED] == 12
    assert set(tree(out)) == {"manifest.csv", "run.json"}
    planned = {path: row["destination"] for path, row in rows(out).items()}
    assert sort(settings(inbox, out), predictor).statuses[Status.SORTED] == 12
    assert {path: row["destination"] for path, row in rows(out).items()} == planned
    check_places(inbox, out)


@pytest.mark.parametrize("action", [Action.SYMLINK, Action.HARDLINK, Action.REFLINK])
def test_other_actions(inbox: Path, tmp_path: Path, predictor: FixedPredictor, action: Action) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, placing=PlacementSettings(action)), predictor)
    check_places(inbox, out)
    done = {row["action"] for row in rows(out).values() if row["destination"]}
    assert done <= {action.value, "copy" if action is Action.REFLINK else action.value}


def test_unsure_answers_go_to_review(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    tally = sort(settings(inbox, out, review_below=1.0), predictor)
    assert tally.statuses[Status.REVIEW] == 12
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"review"}
    reasons = {row["reason"] for row in rows(out).values() if row["status"] == "review"}
    assert reasons == {Reason.BELOW_THRESHOLD.value}
    check_places(inbox, out)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_polarity_in_doubt_goes_to_review_however_sure_the_model_is(
    dry_run: bool, tmp_path: Path, write_dicom: Write, predictor: FixedPredictor
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    path = write_dicom(inbox / "a.dcm", picture(0), RescaleSlope="1")
    path.write_bytes(path.read_bytes().replace(b"DS\x02\x001 ", b"DS\x02\x00?!"))
    sort(settings(inbox, out, review_below=0.0, dry_run=dry_run), predictor)
    if dry_run:
        plan.apply(str(out / "manifest.csv"))
    row = rows(out)[str(path)]
    assert row["status"] == "review"
    assert row["reason"] == f"{Reason.POLARITY}; {Reason.NUMBER_UNREADABLE}"
    assert row["label"]
    assert (out / "review" / "a.dcm").exists()


def test_the_output_may_lie_inside_the_input(inbox: Path, predictor: FixedPredictor) -> None:
    out = inbox / "sorted"
    assert sort(settings(inbox, out), predictor).found == 14
    assert sort(settings(inbox, out), predictor).found == 14
    check_places(inbox, out)


def test_several_roots_keep_their_names(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    other = tmp_path / "elsewhere" / "in"
    shutil.copytree(inbox, other)
    for path in other.rglob("*.dcm"):
        path.write_bytes(path.read_bytes().replace(b"2.25.", b"2.26."))
    out = tmp_path / "out"
    tally = sort(settings(inbox, out, roots=(str(inbox), str(other))), predictor)
    assert tally.statuses[Status.SORTED] == 24
    parts = Counter(row["destination"].split("/")[1] for row in rows(out).values() if row["destination"])
    assert parts == {"in": 12, "in-2": 12}


def test_odd_names_reach_the_output_and_the_manifest(
    tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    plain = write_dicom(tmp_path / "plain.dcm", picture(1)).read_bytes()
    inbox.mkdir()
    names = [b"caf\xe9.dcm", b"new\nline", b"a/[/b]x.dcm", b"-rf", b"=1+1", b"a\\b", b"x" * 255]
    for number, name in enumerate(names):
        path = os.path.join(os.fsencode(inbox), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(plain.replace(b"2.25.", b"2.%02d." % number))
    tally = sort(settings(inbox, out), predictor)
    assert tally.statuses == {Status.SORTED: len(names)}
    found = {os.path.relpath(os.fsencode(unescape(path)), os.fsencode(inbox)) for path in rows(out)}
    assert found == set(names)
    check_places(inbox, out)


class TestDuplicates:
    """The same SOP Instance UID and Pixel Data: the smallest path is first, whatever the order of work."""

    @pytest.fixture
    def twins(self, tmp_path: Path, write_dicom: Write) -> Path:
        inbox = tmp_path / "in"
        same = [("b/2", 1), ("a/9", 1), ("c", 1), ("d", 2)]
        for name, seed, uid in [*((name, seed, "1.2.3") for name, seed in same), ("e", 1, "1.2.4")]:
            write_dicom(inbox / name, picture(seed), SOPInstanceUID=uid)
        return inbox

    @pytest.mark.parametrize("workers", [1, 3])
    @pytest.mark.parametrize("dry_run", [False, True])
    def test_only_the_first_stays(
        self, twins: Path, tmp_path: Path, predictor: FixedPredictor, workers: int, dry_run: bool
    ) -> None:
        out = tmp_path / "out"
        changes = {"pool": PoolSettings(workers), "dry_run": dry_run}
        tally = sort(settings(twins, out, **changes), predictor)
        found = {Path(path).relative_to(twins).as_posix(): row for path, row in rows(out).items()}
        first = str(twins / "a/9")
        assert {name: row["duplicate_of"] for name, row in found.items()} == {
            "a/9": "", "b/2": first, "c": first, "d": "", "e": "",
        }  # fmt: skip
        assert found["a/9"]["reason"] == found["d"]["reason"] == Reason.SAME_UID.value
        assert found["b/2"]["reason"] == Reason.SAME_IMAGE.value
        assert tally.statuses[Status.DUPLICATE] == 2
        assert tally.ended == tally.found == 5
        if not dry_run:
            check_places(twins, out)

    def test_a_smaller_path_that_comes_later_takes_over(
        self, twins: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
    ) -> None:
        out = tmp_path / "out"
        sort(settings(twins, out), predictor)
        write_dicom(twins / "A", picture(1), SOPInstanceUID="1.2.3")
        tally = sort(settings(twins, out), predictor)
        assert tally.statuses[Status.DUPLICATE] == 3
        assert {row["duplicate_of"] for row in rows(out).values()} == {"", str(twins / "A")}
        check_places(twins, out)

    def test_what_was_cut_short_is_finished(
        self, twins: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out, calls = tmp_path / "out", 0
        for cut in (
            "dicomsort.sorting.deduplicate.find_repeats",
            "dicomsort.sorting.deduplicate.remove",
            "dicomsort.sorting.deduplicate._taken_back",
        ):
            for _ in range(2):

                def fail(*_: object, **__: object) -> None:
                    raise KeyboardInterrupt

                with monkeypatch.context() as patch:
                    patch.setattr(cut, fail)
                    with pytest.raises(KeyboardInterrupt):
                        sort(settings(twins, out), predictor)
                calls += 1
                if cut == "dicomsort.sorting.deduplicate.find_repeats":
                    assert len([row for row in rows(out).values() if row["destination"]]) == 5
        assert sort(settings(twins, out), predictor).statuses[Status.DUPLICATE] == 2
        assert calls == 6
        check_places(twins, out)

    def test_a_duplicate_whose_original_changed_is_placed_by_the_next_run(
        self, twins: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
    ) -> None:
        out = tmp_path / "out"
        sort(settings(twins, out), predictor)
        for name in ("a/9", "c"):
            write_dicom(twins / name, picture(7), SOPInstanceUID="1.2.9")
            os.utime(twins / name, ns=(10**18, 10**18))
        first = sort(settings(twins, out), predictor)
        assert first.statuses[Status.PLANNED] == 1
        last = sort(settings(twins, out), predictor)
        assert last.statuses == {Status.SORTED: 4, Status.DUPLICATE: 1}
        check_places(twins, out)

    def test_a_duplicate_of_a_vanished_file_stays_one(
        self, twins: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
    ) -> None:
        out = tmp_path / "out"
        sort(settings(twins, out), predictor)
        (twins / "a/9").unlink()
        write_dicom(twins / "new", picture(5), SOPInstanceUID="1.2.5")
        assert sort(settings(twins, out), predictor).statuses[Status.PLANNED] == 0

    def test_a_copy_that_a_person_changed_stays(
        self, twins: Path, tmp_path: Path, predictor: FixedPredictor, write_dicom: Write
    ) -> None:
        out = tmp_path / "out"
        sort(settings(twins, out), predictor)
        kept = out / rows(out)[str(twins / "a/9")]["destination"]
        kept.write_text("annotated")
        write_dicom(twins / "A", picture(1), SOPInstanceUID="1.2.3")
        sort(settings(twins, out), predictor)
        assert kept.read_text() == "annotated"


def test_failed_files_are_done_again_on_demand(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    copyfile = shutil.copyfile

    def failing(source: str, target: str) -> None:
        if source.endswith("/7.dcm"):
            raise OSError(5, "Input/output error")
        copyfile(source, target)

    monkeypatch.setattr("dicomsort.sorting.place.copy_file", failing)
    assert sort(settings(inbox, out), predictor).exit_code is ExitCode.SOME_FAILED
    monkeypatch.undo()
    again = sort(settings(inbox, out), predictor)
    assert (again.already_done, again.exit_code, again.older_troubles) == (14, ExitCode.DONE, 1)
    assert replace(again, strict=True).exit_code is ExitCode.SOME_FAILED
    last = sort(settings(inbox, out, retry_failed=True), predictor)
    assert (last.already_done, last.exit_code) == (13, ExitCode.DONE)
    check_places(inbox, out)


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, room = tmp_path / "out", 5
    copyfile = shutil.copyfile

    def filling(source: str, target: str) -> None:
        nonlocal room
        room -= 1
        if room < 0:
            Path(target).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        copyfile(source, target)

    monkeypatch.setattr("dicomsort.sorting.place.copy_file", filling)
    with pytest.raises(TargetError, match="no space left"):
        sort(settings(inbox, out), predictor)
    monkeypatch.undo()
    assert not [name for name in tree(out) if ".part" in name]
    sort(settings(inbox, out), predictor)
    check_places(inbox, out)


def test_another_threshold_needs_another_output(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    sort(settings(inbox, tmp_path / "out"), predictor)
    with pytest.raises(
        UsageError,
        match=r"made with --review-below 0\.0, not 0\.5; use another --out, or --review-below 0\.0",
    ):
        sort(settings(inbox, tmp_path / "out", review_below=0.5), predictor)


def test_impossible_folders_are_refused(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingFoundError):
        sort(settings(tmp_path / "empty", tmp_path / "o"), predictor)
    with pytest.raises(UsageError, match="there is no"):
        sort(settings(tmp_path / "nowhere", tmp_path / "o"), predictor)
    for out in (inbox, inbox.parent, inbox / "s0" / ".."):
        with pytest.raises(UsageError, match="is, or lies in, --out"):
            sort(settings(inbox, out), predictor)
    with pytest.raises(TargetError, match="is a file"):
        sort(settings(inbox, inbox / "notes.txt"), predictor)


def test_an_output_among_the_sources_holds_none_of_them(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    before = tree(inbox)
    with pytest.raises(UsageError, match="lies in what is sorted and holds other files"):
        sort(settings(inbox, inbox / "s0"), predictor)
    assert tree(inbox) == before
    for _ in range(2):
        assert sort(settings(inbox, inbox / "new"), predictor).found == 14


def test_workers_and_batches_do_not_change_the_answers(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    from dicomsort.model.engines.torch import TorchClassifier

    answers = []
    for number, (workers, batch) in enumerate([(1, 1), (3, 64)]):
        out = tmp_path / f"out{number}"
        changes = {"pool": PoolSettings(workers), "batch_size": batch}
        sort(settings(inbox, out, **changes), TorchClassifier(small_bundle, "cpu", "float32"))
        answers.append(rows(out))
    for path, row in answers[0].items():
        other = answers[1][path]
        assert row["label"] == other["label"]
        assert row["confidence"] == other["confidence"] or float(row["confidence"]) == pytest.approx(
            float(other["confidence"]), abs=1e-3
        )


def test_a_network_that_fails_ends_the_run_with_every_row_kept(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    class Failing(FixedPredictor):
        batches = 0

        def logits(
            self, images: np.ndarray[Any, np.dtype[np.uint8]]
        ) -> np.ndarray[Any, np.dtype[np.float32]]:
            self.batches += 1
            if self.batches > 1:
                raise RuntimeError("device lost")
            return super().logits(images)

    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="device lost"):
        sort(settings(inbox, out), Failing(small_bundle))
    assert sort(settings(inbox, out), FixedPredictor(small_bundle)).found == 14
    check_places(inbox, out)


UIDS = "{label}/{sop_instance_uid}.dcm"


def test_a_layout_by_uid_keeps_the_smallest_path_of_an_image(
    tmp_path: Path, write_dicom: Write, predictor: FixedPredictor
) -> None:
    """The first by path is placed, whatever came first, and other images of its UID are not overwritten."""
    folder, out = tmp_path / "in", tmp_path / "out"
    for name, seed in (("b", 1), ("c", 1), ("d", 2)):
        write_dicom(folder / name, picture(seed), SOPInstanceUID="1.2.3")
    sort(settings(folder, out, layout=UIDS), predictor)
    write_dicom(folder / "a", picture(1), SOPInstanceUID="1.2.3", StudyID="7")
    tally = sort(settings(folder, out, layout=UIDS), predictor)
    found = {Path(path).name: row for path, row in rows(out).items()}
    assert {name: row["status"] for name, row in found.items()} == {
        "a": "sorted" if found["a"]["status"] == "sorted" else "review",
        "b": "duplicate",
        "c": "duplicate",
        "d": "io_error" if found["d"]["label"] == found["a"]["label"] else found["d"]["status"],
    }
    assert (out / found["a"]["destination"]).read_bytes() == (folder / "a").read_bytes()
    assert found["b"]["duplicate_of"] == str(folder / "a")
    assert tally.ended == 4
    again = sort(settings(folder, out, layout=UIDS), predictor)
    assert again.already_done == 4


def test_two_images_of_one_uid_never_overwrite_each_other(
    tmp_path: Path, write_dicom: Write, predictor: FixedPredictor
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    gray = picture(1)
    write_dicom(folder / "a", gray, SOPInstanceUID="1.2.3")
    other = gray.copy()
    other[0, 0] += 1
    write_dicom(folder / "b", other, SOPInstanceUID="1.2.3")
    tally = sort(settings(folder, out, layout=UIDS), predictor)
    assert tally.statuses[Status.IO_ERROR] == 1
    taken = [row for row in rows(out).values() if row["status"] == "io_error"]
    assert Reason.DESTINATION_TAKEN in taken[0]["reason"]
    assert len([name for name in tree(out) if name.endswith(".dcm")]) == 1


def test_duplicates_can_be_kept(tmp_path: Path, write_dicom: Write, predictor: FixedPredictor) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b"):
        write_dicom(folder / name, picture(1), SOPInstanceUID="1.2.3")
    tally = sort(settings(folder, out, keep_duplicates=True), predictor)
    assert tally.statuses[Status.DUPLICATE] == 0
    check_places(folder, out)
    with pytest.raises(UsageError, match="made with --keep-duplicates; use another --out, or give it again"):
        sort(settings(folder, out), predictor)


def test_restart_wants_an_empty_output(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, restart=True), predictor)
    before = tree(out)
    with pytest.raises(UsageError, match="is not empty"):
        sort(settings(inbox, out, restart=True), predictor)
    assert tree(out) == before


def test_copies_that_will_not_fit_are_told_early(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_space, "_LOOK_EVERY", 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 100))
    counted, missing = threading.Event(), list[int]()
    count = disk_space.Forecast._count

    def counting(forecast: disk_space.Forecast) -> None:
        count(forecast)
        counted.set()

    def watch(tally: SortSummary) -> None:
        assert counted.wait(60)
        missing.append(tally.missing_bytes)

    monkeypatch.setattr(disk_space.Forecast, "_count", counting)

    sort(settings(inbox, tmp_path / "out"), predictor, watch)
    assert max(missing) > 100
    missing.clear()
    sort(settings(inbox, tmp_path / "links", placing=PlacementSettings(Action.SYMLINK)), predictor, watch)
    assert max(missing) == 0


def test_times_before_1970_are_times(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> None:
    os.utime(inbox / "s0" / "0.dcm", ns=(-5_000_000_000, -5_000_000_000))
    sort(settings(inbox, tmp_path / "out"), predictor)
    again = sort(settings(inbox, tmp_path / "out"), predictor)
    assert again.already_done == 14
    check_places(inbox, tmp_path / "out")


def test_a_duplicate_keeps_its_place_if_the_first_cannot_have_one(
    tmp_path: Path, write_dicom: Write, predictor: FixedPredictor
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_dicom(folder / "b", picture(1), SOPInstanceUID="1.2.3")
    sort(settings(folder, out), predictor)
    placed = out / rows(out)[str(folder / "b")]["destination"]
    placed.with_name("a").write_text("a person's")
    write_dicom(folder / "a", picture(1), SOPInstanceUID="1.2.3")
    for _ in range(2):
        sort(settings(folder, out), predictor)
        assert placed.read_bytes() == (folder / "b").read_bytes()
        assert placed.with_name("a").read_text() == "a person's"
        assert rows(out)[str(folder / "a")]["duplicate_of"] == str(folder / "b")


@pytest.mark.parametrize("dry", [True, False])
def test_a_duplicate_of_a_file_that_vanished_is_placed(
    dry: bool, tmp_path: Path, write_dicom: Write, predictor: FixedPredictor
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b"):
        write_dicom(folder / name, picture(1), SOPInstanceUID="1.2.3")
    sort(settings(folder, out, dry_run=dry, placing=PlacementSettings(Action.SYMLINK)), predictor)
    (folder / "a").unlink()
    sort(settings(folder, out, placing=PlacementSettings(Action.SYMLINK)), predictor)
    found = rows(out)[str(folder / "b")]
    assert found["status"] in ("sorted", "review")
    assert (out / found["destination"]).read_bytes() == (folder / "b").read_bytes()


def test_many_files_that_changed_together_are_all_placed_again(
    tmp_path: Path, write_dicom: Write, predictor: FixedPredictor
) -> None:
    """Folders that are empty for a moment are removed by one thread while another fills them."""
    folder, out = tmp_path / "in", tmp_path / "out"
    whole = write_dicom(tmp_path / "x", picture(1)).read_bytes()
    for number in range(60):
        (folder / str(number)).mkdir(parents=True)
        for name in ("a", "b"):
            (folder / str(number) / name).write_bytes(whole)
    sort(settings(folder, out, keep_duplicates=True), predictor)
    for path in folder.rglob("*"):
        os.utime(path, ns=(10**18, 10**18))
    tally = sort(settings(folder, out, keep_duplicates=True), predictor)
    assert tally.exit_code is ExitCode.DONE
    check_places(folder, out)
