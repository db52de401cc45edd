"""After a run a person sees what is where, and with which command to go on."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from outputs import rows, settings
from predictors import FixedPredictor
from program import Ran, inside
from reports import words_of
from rich.console import Console
from written import picture, write_dicom

from dicomsort.cli import console, endings
from dicomsort.cli.figures import tell
from dicomsort.errors import ExitCode
from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.evaluate import Comparison
from dicomsort.evaluation.metrics import Predictions, measure
from dicomsort.evaluation.predictions import EvalSettings
from dicomsort.evaluation.report import Results
from dicomsort.inputs.named import Shard
from dicomsort.manifest.history import rows_with
from dicomsort.model.bundle import Bundle
from dicomsort.outcome import Status
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.summary import SortSummary

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for number in range(8):
        write_dicom(folder / f"{number}.dcm", picture(number))
    return folder


def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the console be that of a terminal of 80 columns."""
    monkeypatch.setattr(
        console, "console", lambda results=False: Console(stderr=not results, soft_wrap=True, width=80)
    )


def middle(inbox: Path, tmp_path: Path, bundle: Bundle) -> float:
    """A threshold with files on both sides."""
    sort(settings(inbox, tmp_path / "tried"), FixedPredictor(bundle))
    sure = sorted(float(row["confidence"]) for row in rows(tmp_path / "tried").values())
    return (sure[3] + sure[4]) / 2


def classify(capfd: Capture, inbox: Path, out: Path, model: Path, *more: str | Path) -> Ran:
    return inside(capfd, "classify", inbox, "--out", out, "--model", model, "--device", "cpu", *more)


def table_of(out: str) -> dict[str, list[str]]:
    """The table of labels: the cells of each row by its first."""
    table = out.partition("radiographs in the output by label\n")[2]
    lines = table.partition("dicomsort:")[0].splitlines()
    found = [line.split() for line in lines if line.strip() and "─" not in line]
    return {cells[0]: cells[1:] for cells in found}


def test_the_table_tells_sorted_and_review_apart(
    inbox: Path, tmp_path: Path, small_bundle: Bundle, capfd: Capture
) -> None:
    out = tmp_path / "out"
    done = sort(
        settings(inbox, out, review_below=middle(inbox, tmp_path, small_bundle)), FixedPredictor(small_bundle)
    )
    capfd.readouterr()
    endings.report_summary(done, str(out))
    printed, err = capfd.readouterr()
    told = table_of(printed)
    assert told.pop("label") == ["sorted", "review", "files"]
    held = rows(out).values()
    for label, counts in told.items():
        mine = [row["status"] for row in held if row["label"] == label]
        assert counts == [str(mine.count("sorted")), str(mine.count("review")), str(len(mine))]
        json = done.as_dict()["radiographs"][label]
        assert json == {
            "sorted": mine.count("sorted"), "review": mine.count("review"), "planned": 0, "planned_review": 0
        }  # fmt: skip
        assert done.as_dict()["labels"][label] == len(mine)
    assert sum(int(counts[1]) for counts in told.values()) == 4
    assert err.endswith(
        f"to go on: dicomsort review {out}\ndicomsort: all at a glance: dicomsort report {out}\n"
    )


def test_long_labels_go_on_in_the_next_line_of_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    """Nothing of them is cut: what a person cannot read is no table."""
    narrow(monkeypatch)
    label = "radiographs_of_the_" + "very_" * 12 + "long_class"
    done = SortSummary(found=3, radiographs={label: Counter(planned=2, planned_review=12345)})
    endings.report_summary(done, "out")
    printed = capfd.readouterr().out
    table = printed.partition("by label\n")[2].splitlines()
    assert max(map(len, table)) <= 80
    assert "…" not in printed
    assert "".join(line.split()[0] for line in table if "_" in line) == label
    assert "12345" in printed
    assert "12347" in printed


def test_models_are_compared_in_blocks_where_a_table_would_be_cut(
    monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    given = Predictions(
        "multiclass", ("a", "b"), np.array([0, 1, 1]), np.array([0, 1, 0]), np.eye(2)[[0, 1, 0]]
    )
    figures = measure(given, bootstrap=50)
    by = {name: Estimate(0.01, -0.02, 0.03) for name in figures.overall}
    compared = (Comparison("one", figures, {}), Comparison("two", figures, by))
    results = Results((), {"group": compared}, (), "test", EvalSettings())
    tell(results, None)
    assert "comparison for 'group', differences to one" in capfd.readouterr().out
    narrow(monkeypatch)
    tell(results, None)
    printed = capfd.readouterr().out
    assert "comparison" not in printed
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert "two for 'group', differences to one" in printed
    accuracy = figures.overall["accuracy"]
    row = f"accuracy {accuracy.value:.3f} {accuracy.low:.3f} to {accuracy.high:.3f} +0.010 (-0.020 to +0.030)"
    assert row in re.sub(" +", " ", printed)


def test_a_plan_tells_class_and_review_apart_and_how_it_is_carried_out(
    inbox: Path, tmp_path: Path, small_bundle: Bundle, capfd: Capture
) -> None:
    threshold, out = middle(inbox, tmp_path, small_bundle), tmp_path / "a plan"
    done = sort(settings(inbox, out, review_below=threshold, dry_run=True), FixedPredictor(small_bundle))
    places = done.as_dict()["radiographs"].values()
    assert sum(each["planned"] for each in places) == sum(each["planned_review"] for each in places) == 4
    capfd.readouterr()
    endings.report_summary(done, str(out))
    printed, err = capfd.readouterr()
    assert "planned for its class planned for review files" in re.sub(" +", " ", printed)
    assert err.endswith(
        f"to go on: dicomsort report '{out}'\ndicomsort: and if that is right: dicomsort apply '{out}'\n"
    )


def test_without_anything_to_look_at_only_the_report_is_named(capfd: Capture) -> None:
    done = SortSummary(found=1)
    done.statuses[Status.NOT_DICOM] = 1
    endings.report_summary(done, "out")
    printed, err = capfd.readouterr()
    assert err.endswith("dicomsort: all at a glance: dicomsort report out\n")
    assert "radiographs" not in printed + err


def test_progress_knows_how_many_files_there_are(inbox: Path, tmp_path: Path, small_bundle: Bundle) -> None:
    """Of a file that has several rows the last one counts."""
    threshold, path = middle(inbox, tmp_path, small_bundle), str(tmp_path / "out" / "manifest.csv")
    plan = settings(inbox, tmp_path / "out", review_below=threshold, dry_run=True)
    sort(plan, FixedPredictor(small_bundle))
    assert rows_with(path, "status", (Status.PLANNED,)) == 8
    first = Path(path).read_text().splitlines()[1]
    with Path(path).open("a") as file:
        file.write(first.replace(",planned,", ",sorted,", 1) + "\n")
    assert rows_with(path, "status", (Status.PLANNED,)) == 7
    assert rows_with(path, "colour", ("red",)) is None
    assert rows_with(str(tmp_path / "none.csv"), "status", ("sorted",)) is None


def test_a_merge_tells_the_same(inbox: Path, tmp_path: Path, small_bundle: Bundle, capfd: Capture) -> None:
    threshold, out, single = middle(inbox, tmp_path, small_bundle), tmp_path / "out", tmp_path / "single"
    whole = sort(settings(inbox, single, review_below=threshold), FixedPredictor(small_bundle))
    for number in (1, 2):
        shard = settings(inbox, out, review_below=threshold, shard=Shard(number, 2))
        sort(shard, FixedPredictor(small_bundle))
    ran = inside(capfd, "merge", out)
    assert table_of(ran.out)["label"] == ["sorted", "review", "files"]
    assert ran.err.endswith(f"all at a glance: dicomsort report {out}\n")
    told = inside(capfd, "merge", out, "--json").json
    assert told["radiographs"] == whole.as_dict()["radiographs"]
    assert told["labels"] == whole.as_dict()["labels"]


def test_a_run_ends_with_its_report_if_asked(
    inbox: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    out = tmp_path / "out"
    ran = classify(capfd, inbox, out, small_model, "--report", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    words = words_of((out / "report.html").read_text())
    assert "8 files found" in words
    assert "files/s" in words
    ran = classify(capfd, inbox, out, small_model, "--report")
    assert ran.err.endswith(f"wrote {out}/report.html\n")
    ran = classify(capfd, inbox, tmp_path / "new", small_model, "--report", "--shard", "1/2")
    assert ran.code == ExitCode.USAGE
    assert not (tmp_path / "new").exists()


def test_after_a_plan_and_after_its_undoing_a_person_knows_how_to_go_on(
    inbox: Path, tmp_path: Path, small_model: Path, capfd: Capture
) -> None:
    out = tmp_path / "my out"
    classify(capfd, inbox, out, small_model, "--dry-run")
    applied, undone = (inside(capfd, name, out).err.splitlines() for name in ("apply", "undo"))
    assert applied == ["dicomsort: 8 placed", f"dicomsort: all at a glance: dicomsort report '{out}'"]
    assert undone == [
        "dicomsort: 8 removed",
        f"dicomsort: it is a plan again: dicomsort apply '{out}' places it",
    ]
    assert inside(capfd, "undo", out).err == "dicomsort: 0 removed\n"
    assert inside(capfd, "apply", out, "--quiet").err == ""
