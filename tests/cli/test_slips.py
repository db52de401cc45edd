"""A slip of the hand on the command line: one line that says what was meant, and exit code 2."""

from pathlib import Path

import pytest
from program import command, inside

from dicomsort.errors import ExitCode, ModelError
from dicomsort.model.bundle import locate
from dicomsort.outcome import Action

SLIPS = [
    ("classfy", "there is no command 'classfy': did you mean classify?"),
    ("model exprt", "there is no command 'exprt': did you mean export?"),
    ("zzz", "there is no command 'zzz'; see `dicomsort --help`"),
    ("--versoin", "there is no option --versoin: did you mean --version?"),
    ("classify in --evidense pixels", "there is no option --evidense: did you mean --evidence?"),
    ("classify in --write-bak labels", "there is no option --write-bak: did you mean --write-back?"),
    ("classify -x", "there is no option -x; see `dicomsort classify --help`"),
    ("classify in", "classify needs --out FOLDER: folder for the class folders, manifest.csv and run.json; "
     "see `dicomsort classify --help`"),
    ("report", "report needs OUT: an output folder, or its manifest.csv; see `dicomsort report --help`"),
    ("report a b", "too many arguments: b; see `dicomsort report --help`"),
    ("classify --out", "--out needs a value"),
    ("classify in --verify=3", "--verify takes no value"),
    ("classify in -o out --workers 0", "--workers '0' must be at least 1"),
    ("classify in -o out --workers many", "--workers 'many' is no whole number"),
    ("classify in -o out --review-below 2", "--review-below '2' must be at most 1"),
    ("classify in -o out --timeout soon", "--timeout 'soon' is no number"),
    ("classify in -o out --action cpy",
     f"--action 'cpy' is unknown: use {', '.join(Action)}; did you mean copy?"),
    ("classify in -o out --engine openvine", "--engine 'openvine' is unknown: use auto, openvino, torch; "
     "did you mean openvino?"),
    ("classify in -o out --evidence headers", "--evidence 'headers' is unknown: use header, pixels; "
     "did you mean header?"),
    ("classify in -o out --device cud", "--device 'cud' is unknown; did you mean cuda?"),
    ("annotate out --as sr -o x --flaw missing --flaw wrog",
     "--flaw 'wrog' is unknown: use missing, unknown, wrong; did you mean wrong?"),
    ("eval --bootstrap=-1", "--bootstrap '-1' must be at least 0"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "line"), SLIPS, ids=[words for words, _ in SLIPS])
def test_a_slip_gets_one_line_that_says_what_was_meant(
    words: str, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = inside(capfd, *words.split())
    assert (ran.code, ran.out, ran.err) == (ExitCode.USAGE, "", f"dicomsort: {line}\n")


def test_the_program_ends_so_too() -> None:
    ran = command("classfy")
    assert (ran.code, ran.out) == (ExitCode.USAGE, "")
    assert ran.err == "dicomsort: there is no command 'classfy': did you mean classify?\n"


def test_a_model_that_is_almost_one_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match=r"^no model 'routr5': did you mean router5\?$"):
        locate("routr5")
    (tmp_path / "a").touch()
    ran = inside(capfd, "classify", tmp_path, "--out", tmp_path / "out", "--model", "routr5")
    assert (ran.code, ran.err) == (ExitCode.MODEL, "dicomsort: no model 'routr5': did you mean router5?\n")


def test_without_words_the_help_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    ran = inside(capfd)
    assert (ran.code, ran.out) == (ExitCode.USAGE, "")
    assert ran.err.startswith("Usage: dicomsort [OPTIONS] COMMAND")
