"""What the program finds around it, as a shell makes it: streams closed or full, a folder that is gone."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from outputs import rows, settings
from predictors import FixedPredictor
from program import Ran, inside, without
from written import picture

from dicomsort.errors import ExitCode
from dicomsort.sorting.pipeline import sort

Write = Callable[..., Path]
SHELL = '"$@"'
CLOSED = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-", "all": "<&- >&- 2>&-"}
GONE = "the current folder has been removed"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, write_dicom: Write) -> Path:
    folder = tmp_path_factory.mktemp("few") / "in"
    for number in range(4):
        write_dicom(folder / f"{number}.dcm", picture(number))
    return folder


def shell(script: str, *words: object, **env: str) -> Ran:
    """Run the program with these words where a shell script says "$@"."""
    program = [sys.executable, "-m", "dicomsort", *map(str, words)]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *program],
        capture_output=True, text=True, timeout=120, env={**os.environ, **env}, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def statuses(out: Path) -> Counter[str]:
    return Counter(row["status"] for row in rows(out).values())


@pytest.mark.parametrize(
    "which",
    ["all", *(pytest.param(one, marks=pytest.mark.slow) for one in ("stdin", "stdout", "stderr"))],
)
def test_closed_streams_cost_no_file(which: str, few: Path, small_model: Path, tmp_path: Path) -> None:
    words = ("classify", few, "--out", tmp_path / "out", "--model", small_model, "--review-below", "0")
    ran = shell(f"{SHELL} {CLOSED[which]}", *words)
    assert ran.code == ExitCode.DONE, ran.err
    assert statuses(tmp_path / "out") == {"sorted": 4}
    assert "Traceback" not in ran.err
    assert (tmp_path / "out" / "manifest.csv").read_text().startswith("path,status,")


@pytest.mark.slow
def test_closed_streams_cost_no_task(few: Path, small_model: Path, tmp_path: Path) -> None:
    words = ("--out", tmp_path / "out", "--model", small_model, "--backend", "loky", "--tasks", "1")
    ran = shell(f"{SHELL} {CLOSED['all']}", "classify", few, *words, "--review-below", "0")
    assert ran.code == ExitCode.DONE
    assert statuses(tmp_path / "out") == {"sorted": 4}


def test_closed_standard_input_is_an_empty_list(tmp_path: Path) -> None:
    ran = shell(f"{SHELL} <&-", "classify", "--from-list", "-", "--out", tmp_path / "o", "--model", "none")
    assert (ran.code, ran.err.count("\n")) == (ExitCode.MODEL, 1), "the list is none to complain of"


def test_a_result_that_cannot_be_written_is_told(
    few: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    sort(settings(few, tmp_path / "out"), predictor)
    words = ("merge", tmp_path / "out", "--json", "--quiet")
    ran = shell(f"{SHELL} >/dev/full", *words)
    assert ran == Ran(5, "", "dicomsort: standard output cannot be written: No space left on device\n")
    ran = shell(f"{SHELL} 2>'{tmp_path}/said' | head -c 0; echo ${{PIPESTATUS[0]}}", *words)
    assert ran.out == "5\n"
    said = (tmp_path / "said").read_text()
    assert said == "dicomsort: standard output cannot be written: Broken pipe\n"
    ran = shell(f"{SHELL} 2>/dev/full", *words)
    assert (ran.code, ran.json["rows"]) == (ExitCode.DONE, 4)


@pytest.mark.slow
def test_a_run_whose_result_cannot_be_written_is_done_all_the_same(
    few: Path, small_model: Path, tmp_path: Path
) -> None:
    words = ("classify", few, "--out", tmp_path / "out", "--model", small_model, "--json")
    ran = shell(f"{SHELL} >/dev/full", *words)
    assert ran == Ran(5, "", "dicomsort: standard output cannot be written: No space left on device\n")
    assert statuses(tmp_path / "out").total() == 4
    ran = shell(f"{SHELL} 2>/dev/full", *words)
    assert (ran.code, ran.json["already_done"]) == (ExitCode.DONE, 4)


@pytest.mark.parametrize("stream", ["2>/dev/full", "2> >(true)"])
def test_nobody_needs_to_listen(stream: str, tmp_path: Path) -> None:
    ran = shell(f"{SHELL} {stream}", "undo", tmp_path / "manifest.csv")
    assert ran == Ran(ExitCode.USAGE, "", "")


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_help_that_cannot_be_written_is_told(word: str) -> None:
    ran = shell(f"{SHELL} >/dev/full", word)
    assert ran == Ran(5, "", "dicomsort: standard output cannot be written: No space left on device\n")


@pytest.mark.parametrize("words", ["--version", "--help", "config classify"])
def test_what_a_closed_pipe_does_not_take_is_told(words: str, tmp_path: Path) -> None:
    script = f"(sleep 0.2; {SHELL}; echo $? >'{tmp_path}/code') | true"
    ran = shell(script, *words.split())
    assert ran.err == "dicomsort: standard output cannot be written: Broken pipe\n"
    assert (tmp_path / "code").read_text() == "5\n"


def test_a_table_is_shown_in_any_encoding() -> None:
    words = ("config", "classify", "--out", "/nowhere/\u017c\u00f3/out")
    ran = shell(SHELL, *words, PYTHONIOENCODING="ascii")
    assert (ran.code, ran.err) == (ExitCode.DONE, "")
    assert "/nowhere/\\u017c\\xf3/dicomsort.toml" in ran.out


def gone(folder: Path) -> str:
    """Return the beginning of a script that is in a folder which has been removed."""
    folder.mkdir()
    return f"cd '{folder}' && rmdir '{folder}' && {SHELL}"


def test_absolute_paths_work_in_a_folder_that_is_gone(few: Path, small_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in few.iterdir()))
    words = ("--from-list", tmp_path / "list", "--out", out, "--model", small_model, "--review-below", "0")
    ran = shell(gone(tmp_path / "gone"), "classify", *words)
    assert ran.code == ExitCode.DONE, ran.err
    assert statuses(out) == {"sorted": 4}


@pytest.mark.slow
def test_other_commands_work_in_a_folder_that_is_gone(
    few: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    ran = shell(gone(tmp_path / "gone"), "render", next(few.iterdir()), "--out", tmp_path / "p")
    assert ran.code == ExitCode.DONE, ran.err
    sort(settings(few, tmp_path / "out"), predictor)
    ran = shell(gone(tmp_path / "gone"), "undo", tmp_path / "out" / "manifest.csv")
    assert (ran.code, ran.err.splitlines()[0]) == (ExitCode.DONE, "dicomsort: 4 removed")


def test_a_folder_that_is_gone_asks_for_no_pytorch(
    few: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    sort(settings(few, tmp_path / "out"), predictor)
    hidden = without(tmp_path, "torch", "timm")
    ran = shell(gone(tmp_path / "gone"), "undo", tmp_path / "out" / "manifest.csv", **hidden)
    assert (ran.code, ran.err.splitlines()[0]) == (ExitCode.DONE, "dicomsort: 4 removed")


@pytest.mark.parametrize(
    "words",
    [("{few}", "--out", "o"), pytest.param(("in", "--out", "{tmp}/o"), marks=pytest.mark.slow)],
)
def test_relative_paths_in_a_folder_that_is_gone_are_told(
    words: tuple[str, ...], few: Path, tmp_path: Path
) -> None:
    given = [word.format(few=few, tmp=tmp_path) for word in words]
    ran = shell(gone(tmp_path / "gone"), "classify", *given)
    assert (ran.code, ran.err.count("\n")) == (ExitCode.USAGE, 1), ran.err
    assert GONE in ran.err
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_a_list_of_relative_paths_in_a_folder_that_is_gone_is_told(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a/1.dcm\n")
    words = ("--from-list", tmp_path / "list", "--out", tmp_path / "out", "--model", small_model)
    ran = shell(gone(tmp_path / "gone"), "classify", *words)
    assert (ran.code, ran.err.count("\n")) == (ExitCode.USAGE, 1), ran.err
    assert GONE in ran.err
    assert len((tmp_path / "out" / "manifest.csv").read_text().splitlines()) == 1


def test_a_terminal_that_can_nothing_and_a_locale_without_utf8(
    few: Path, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same rows as anywhere else, under names that no ASCII holds."""
    inbox = tmp_path / "Bücher"
    inbox.mkdir()
    (inbox / "Gerät 1.dcm").write_bytes((few / "0.dcm").read_bytes())
    words = ("classify", inbox, "--out", tmp_path / "out", "--model", small_model)
    poor = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    ran = shell(f"unset HOME; {SHELL}", *words, **poor, TERM="dumb", COLUMNS="20", NO_COLOR="1")
    assert ran.code == ExitCode.DONE, ran.err
    assert ran.err.isascii()
    assert set(rows(tmp_path / "out")) == {str(inbox / "Gerät 1.dcm")}
    assert inside(capfd, *words, "--json").json["already_done"] == 1
