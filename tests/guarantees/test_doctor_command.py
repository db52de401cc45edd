"""`dicomsort doctor` says what works here, ends with 3 if something does not, and names nobody."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from program import inside

from dicomsort.doctor import engines, examine
from dicomsort.doctor.finding import Finding, ok, problem, warning
from dicomsort.errors import ExitCode

Capture = pytest.CaptureFixture[str]
PARTS = ["software", "machine", "decoders", "engines", "folder", "settings"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of somebody, in which all lies."""
    folder = tmp_path / "jdoe-home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("LOGNAME", "jdoe")
    return folder


def only(monkeypatch: pytest.MonkeyPatch, *found: Finding) -> None:
    parts = [("engines", lambda: iter(found))]
    monkeypatch.setattr(examine, "parts", lambda *_: parts)


def test_all_of_it_is_told_as_json_and_the_folder_is_left_as_it_was(
    home: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_places", lambda: iter([("openvino", "cpu")]))
    ran = inside(capfd, "doctor", home / "sorted", "--json")
    told = ran.json
    assert [name for name in told if name not in ("problems", "warnings")] == PARTS
    assert ran.code == (ExitCode.SOME_FAILED if told["problems"] else ExitCode.DONE)
    assert not list(home.iterdir())
    assert "jdoe-home" not in ran.out + ran.err
    assert {one["state"] for name in PARTS for one in told[name]} <= {"ok", "note", "warning", "problem"}


@pytest.mark.parametrize(
    ("found", "code", "line"),
    [(ok("a", "fine"), 0, "all is well"), (warning("a", "odd", "do that"), 0, "1 warning:"),
     (problem("a", "bad", "do that"), 3, "1 problem:")],
)  # fmt: skip
def test_only_a_problem_ends_with_3_and_what_to_do_stands_there(
    found: Finding, code: int, line: str, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, found)
    ran = inside(capfd, "doctor")
    assert ran.code == code
    assert line in ran.err
    assert ("-> do that" in ran.out) == bool(found.advice)


def test_a_place_of_settings_that_may_not_be_looked_at_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(examine, "parts", lambda *_: [])
    monkeypatch.setattr(Path, "stat", refused)
    ran = inside(capfd, "doctor", tmp_path / "out", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["settings"][0]["told"] == "none found"


def test_neither_the_home_folder_nor_a_login_is_shown(
    home: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(
        monkeypatch, ok("command", f"{home}/bin/dicomsort"), ok("folder", "'/mnt/jdoe/data' is not there yet")
    )
    ran = inside(capfd, "doctor")
    assert "~/bin/dicomsort" in ran.out
    assert "/mnt/USER/data" in ran.out
    assert "jdoe" not in ran.out


def test_the_values_of_variables_are_not_shown(
    home: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICOMSORT_PACS_AUTHORIZATION", "Bearer secret")
    only(monkeypatch)
    ran = inside(capfd, "doctor", "--json")
    assert "DICOMSORT_PACS_AUTHORIZATION" in ran.out
    assert "secret" not in ran.out


def test_a_part_that_is_slow_is_announced_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are lazy: the first is shown while the last has not begun."""
    begun: list[str] = []

    def look(name: str) -> Iterator[Finding]:
        begun.append(name)
        yield ok(name, "fine")

    monkeypatch.setattr(engines, "examine", lambda: look("engines"))
    parts = dict(examine.parts(None, None))
    assert begun == []
    assert [one.name for one in parts["engines"]()] == ["engines"]
