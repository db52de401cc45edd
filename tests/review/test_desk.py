"""An output on which a person decides: lists, decisions, taking back, two at once, spot checks."""

import csv
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from outputs import rows, settings, tree
from predictors import FixedPredictor
from scipy.stats import beta
from written import picture, write_dicom

from dicomsort.errors import InternalError, UsageError
from dicomsort.manifest.decisions import Decisions
from dicomsort.review.desk import Desk
from dicomsort.review.index import SORTS, Filter
from dicomsort.review.opening import opened
from dicomsort.sorting.pipeline import sort


def settled(desk: Desk, out: Path, decided: int) -> None:
    """Wait until so many rows of the manifest on the disk say what a person decided."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
            last = {row["path"]: row["reviewed_label"] for row in csv.DictReader(file)}
        if sum(map(bool, last.values())) == decided:
            return
        time.sleep(0.05)
    raise AssertionError(desk.notices())


@pytest.fixture
def out(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> Path:
    sort(settings(inbox, tmp_path / "out", review_below=1.0), predictor)
    return tmp_path / "out"


@pytest.fixture
def by_model(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> Path:
    sort(settings(inbox, tmp_path / "out", review_below=0.0), predictor)
    return tmp_path / "out"


@pytest.fixture
def desk(out: Path) -> Iterator[Desk]:
    with opened(str(out), "Dr. A") as desk:
        yield desk


def test_a_list_is_sorted_as_it_was_asked_for(desk: Desk) -> None:
    ids = desk.find(Filter())
    confidences = [item.confidence or 0 for item in desk.items(ids)]
    assert len(ids) == 12
    assert confidences == sorted(confidences)
    assert desk.find(Filter(descending=True)) != ids
    for order in SORTS:
        assert sorted(desk.find(Filter(sort=order))) == sorted(ids)
    paths = [item.path for item in desk.items(desk.find(Filter(sort="path")))]
    assert paths == sorted(paths)
    labels = [item.label for item in desk.items(desk.find(Filter(sort="label")))]
    assert labels == sorted(labels)
    with pytest.raises(UsageError, match="no order by 'size'"):
        desk.find(Filter(sort="size"))


def test_a_list_holds_what_was_asked_for(desk: Desk) -> None:
    everything = desk.items(desk.find(Filter()))
    for label in {item.label for item in everything}:
        found = desk.items(desk.find(Filter(label=label)))
        assert found
        assert {item.label for item in found} == {label}
    assert len(desk.find(Filter(text="S1/"))) == 4
    assert len(desk.find(Filter(folder=everything[0].folder))) == 4
    assert desk.find(Filter(statuses=("sorted",))) == []
    assert len(desk.find(Filter(reason="confidence below the review threshold"))) == 12
    assert desk.find(Filter(reason="polarity in doubt")) == []
    assert desk.find(Filter(further=(("view", "lateral"),))) == []
    assert desk.find(Filter(study="1.2.3")) == []


def test_it_is_known_whether_a_study_in_a_list_has_several_images(
    tmp_path: Path, predictor: FixedPredictor
) -> None:
    for name, study in (("a", "2.25.1"), ("b", "2.25.1"), ("c", "2.25.2"), ("d", ""), ("e", "")):
        shape = {"StudyInstanceUID": study, "SOPInstanceUID": f"2.25.9{ord(name)}"}
        write_dicom(tmp_path / "in" / f"{name}.dcm", picture(ord(name)), **shape)
    sort(settings(tmp_path / "in", tmp_path / "out", review_below=1.0), predictor)
    with opened(str(tmp_path / "out"), "Dr. A") as desk:
        a, b, c, d, e = desk.find(Filter(sort="path"))
        assert desk.has_studies([c, a])  # the other one of a need not be listed
        assert not desk.has_studies([c, d, e])
        assert not desk.has_studies([])
        assert desk.find(Filter(study="2.25.1", sort="path")) == [a, b]


def test_a_decision_is_seen_at_once_and_done_within_a_second(out: Path, desk: Desk) -> None:
    first, second, *_ = desk.find(Filter())
    assert desk.decide([first], "spine") == ()
    assert desk.decide([second], "excluded") == ()
    spine, excluded = desk.items([first, second])
    assert (spine.status, spine.reviewed_label, spine.reviewed_by) == ("sorted", "spine", "Dr. A")
    assert spine.destination.startswith("spine/")
    assert (excluded.status, excluded.reviewed_label) == ("excluded", "excluded")
    assert len(Decisions(str(out))) == 2  # before anything has moved
    assert desk.counts()["undecided"] == 10
    assert desk.counts()["decided"] == 2
    assert desk.counts()["reviewed"] == {"excluded": 1, "spine": 1}
    assert desk.find(Filter(decided=True)) == [first, second]
    assert desk.find(Filter(decided=True, reviewed="spine")) == desk.find(Filter(reviewed="spine")) == [first]
    assert desk.find(Filter(reviewed="others")) == []
    settled(desk, out, 2)
    assert (out / spine.destination).is_file()
    assert desk.items([first]) == [spine]
    assert desk.picture_of(first) == str(out / spine.destination)


def test_a_file_may_be_decided_on_again_before_and_after_it_has_moved(out: Path, desk: Desk) -> None:
    first = desk.find(Filter())[0]
    for label in ("spine", "others", "excluded", "unsure", "spine"):
        assert desk.decide([first], label) == ()
    settled(desk, out, 1)
    assert desk.decide([first], "others") == ()
    until = time.monotonic() + 60
    while not (out / desk.items([first])[0].destination).exists() and time.monotonic() < until:
        time.sleep(0.05)
    [item] = desk.items([first])
    assert (out / item.destination).is_file()
    assert item.destination.startswith("others/")


def test_the_last_batch_is_taken_back_and_then_the_one_before(out: Path, desk: Desk) -> None:
    before = desk.items(desk.find(Filter()))
    ids = [item.id for item in before]
    desk.decide(ids[:3], "spine")
    desk.decide(ids[1:4], "excluded")
    assert desk.undo() == tuple(ids[1:4])
    assert [item.reviewed_label for item in desk.items(ids[:4])] == ["spine", "spine", "spine", ""]
    assert desk.undo() == tuple(ids[:3])
    assert desk.undo() == ()
    assert desk.items(ids) == before
    desk.decide(ids[:1], "spine")
    settled(desk, out, 1)
    assert desk.undo() == (ids[0],)
    settled(desk, out, 0)
    assert (out / before[0].destination).is_file()


def test_what_cannot_be_decided_is_refused_alone(out: Path, desk: Desk) -> None:
    first, second, *_ = desk.find(Filter())
    [item] = desk.items([first])
    (out / item.destination).unlink()
    [refused] = desk.decide([first, second], "spine")
    assert refused.id == first
    assert "run classify again" in refused.reason
    assert [one.reviewed_label for one in desk.items([first, second])] == ["", "spine"]
    with pytest.raises(UsageError, match="there is no class 'foot'"):
        desk.decide([second], "foot")
    with pytest.raises(KeyError):
        desk.decide([999], "spine")
    with pytest.raises(KeyError):
        desk.items([-1])


def test_what_fails_only_when_it_is_carried_out_is_told_and_taken_back(out: Path, desk: Desk) -> None:
    first = desk.find(Filter())[0]
    [item] = desk.items([first])
    desk.decide([first], "spine")
    (out / desk.items([first])[0].destination).parent.mkdir(parents=True, exist_ok=True)
    (out / desk.items([first])[0].destination).write_bytes(b"somebody's")
    until = time.monotonic() + 60
    notices: list[str] = []
    while not notices and time.monotonic() < until:
        notices = desk.notices()
        time.sleep(0.05)
    assert notices == [f"{item.path}: another file has that name there"]
    assert desk.items([first]) == [item]
    assert len(Decisions(str(out))) == 0


def test_the_second_person_can_only_look_and_is_told_so(out: Path, desk: Desk) -> None:
    before = tree(out)
    with opened(str(out), "Dr. B") as second:
        assert "another dicomsort is working" in second.read_only
        assert len(second.items(second.find(Filter()))) == 12
        with pytest.raises(UsageError, match="you can only look"):
            second.decide([0], "spine")
    assert tree(out) == before


def test_all_is_written_when_the_desk_is_closed(out: Path) -> None:
    with opened(str(out), "Dr. A") as desk:
        desk.decide(desk.find(Filter()), "spine")
    assert sum(row["reviewed_label"] == "spine" for row in rows(out).values()) == 12
    assert {name.split("/")[0] for name in tree(out) if name.endswith(".dcm")} == {"spine"}
    assert json.loads((out / "run.json").read_text())["decisions"] == (out / "decisions.csv").stat().st_size


def test_a_folder_that_is_no_output_ends_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no manifest.csv in"), opened(str(tmp_path), "Dr. A"):
        pass


def test_further_classes_may_be_chosen_and_stay(out: Path) -> None:
    with opened(str(out), "Dr. A", ("foot",)) as desk:
        assert desk.labels[-1] == "foot"
        desk.decide([0], "foot")
    with opened(str(out), "Dr. A") as desk:
        assert desk.labels[-1] == "foot"
    with pytest.raises(UsageError, match="cannot be a class"), opened(str(out), "Dr. A", ("a/b",)):
        pass


def test_a_spot_check_draws_every_class_by_its_share(by_model: Path) -> None:
    with opened(str(by_model), "Dr. A") as desk:
        desk.draw(6, seed=1)
        found = desk.spot_check()
        assert found is not None
        assert (found["drawn"], found["of"], found["answered"]) == (6, 12, 0)
        for label in found["labels"].values():
            assert abs(label["drawn"] - label["of"] / 2) < 1
        drawn = desk.find(Filter(sample=True))
        assert [item.in_sample for item in desk.items(drawn)] == [True] * 6
    with opened(str(by_model), "Dr. A") as desk:
        desk.draw(6, seed=1)
        assert desk.find(Filter(sample=True)) == drawn


def test_a_spot_check_states_the_precision_with_its_exact_interval(by_model: Path) -> None:
    with opened(str(by_model), "Dr. A") as desk:
        desk.draw(10)
        items = desk.items(desk.find(Filter(sample=True)))
        for item in items[:7]:
            desk.decide([item.id], item.label)
        desk.decide([items[7].id], "excluded")
        desk.decide([items[8].id], "unsure")
    found = json.loads((by_model / "review.json").read_text())["sample"]
    assert (found["answered"], found["right"], found["unsure"], found["precision"]) == (8, 7, 1, 7 / 8)
    assert found["low"] == pytest.approx(beta.ppf(0.025, 7, 2))
    assert found["high"] == pytest.approx(beta.ppf(0.975, 8, 1))
    assert len(found["files"]) == 10
    with opened(str(by_model), "Dr. A") as desk:
        desk.draw(10)
        again = desk.spot_check()
    assert again == {key: value for key, value in found.items() if key != "files"}


def test_nothing_to_draw_from_is_told(out: Path) -> None:
    with opened(str(out), "Dr. A") as desk, pytest.raises(UsageError, match="nothing to draw from"):
        desk.draw(5)


def test_a_folder_that_cannot_be_written_can_be_looked_at(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dicomsort.system.locks.take", refuse)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with opened(str(out), "Dr. A") as desk:
        assert "cannot be written" in desk.read_only
        assert len(desk.find(Filter())) == 12


def test_an_unforeseen_end_of_the_work_is_told_and_the_decision_is_carried_out_later(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError

    with ExitStack() as stack:
        desk = stack.enter_context(opened(str(out), "Dr. A"))
        with monkeypatch.context() as patched:
            patched.setattr("dicomsort.sorting.reviewing._carried_out", broken)
            desk.decide(desk.find(Filter())[:1], "spine")
            desk._thread.join(10)
        with pytest.raises(InternalError, match="MemoryError"):
            desk.decide([1], "others")
        with pytest.raises(InternalError, match="MemoryError"):
            stack.close()
    assert not any(row["reviewed_label"] for row in rows(out).values())
    with opened(str(out), "Dr. B"):
        pass
    [row] = [row for row in rows(out).values() if row["reviewed_label"]]
    assert (row["reviewed_by"], row["destination"][:6]) == ("Dr. A", "spine/")
