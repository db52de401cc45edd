"""Another package of the same module and command is found, and what it has done to this one."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dicomsort
from dicomsort.doctor import software
from dicomsort.doctor.finding import Finding, State
from dicomsort.system import installed

PACKAGE = Path(dicomsort.__file__).parent


def digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def install(
    site: Path, name: str, version: str, files: dict[str, bytes], scripts: tuple[str, ...] = ()
) -> None:
    """Put a package into a folder as pip does: its files over whatever is there, and its RECORD."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")
    record = [f"../../../bin/{script},," for script in scripts]
    for path, content in files.items():
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        record.append(f"{path},{digest(content)},{len(content)}")
    (info / "RECORD").write_text("\n".join([*record, f"{info.name}/METADATA,,", ""]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, the only one there is."""
    folder = tmp_path / "lib" / "python3" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.setattr(installed, "distributions", lambda: _found_in(folder))
    return folder


def _found_in(folder: Path) -> Iterator[object]:
    from importlib.metadata import distributions

    return iter(distributions(path=[str(folder)]))


OURS = {"dicomsort/__init__.py": b"ours", "dicomsort/errors.py": b"ours", "dicomsort/cli/main.py": b"ours"}
THEIRS = {
    "dicomsort/__init__.py": b"__version__ = '3.0.0'\n",
    "dicomsort/errors.py": b"class DicomsortException(Exception):\n    pass\n",
    "dicomsort/utils.py": b"",
}


def problems(found: Iterator[Finding]) -> dict[str, str]:
    return {one.name: f"{one.told} | {one.advice}" for one in found if one.state is State.PROBLEM}


def test_the_other_tool_installed_last_has_replaced_files_of_this_one(site: Path) -> None:
    install(site, "xray-dicomsort", "1.0", OURS, ("dicomsort",))
    install(site, "dicomsort", "3.0.0", THEIRS, ("dicomsort",))
    told = problems(software.examine(None))
    assert "3.0.0 is another tool, with the same module and command" in told["package dicomsort"]
    assert "pip uninstall dicomsort" in told["package dicomsort"]
    assert "2 are missing or not as they were installed, such as dicomsort/__init__.py" in told["own files"]


def test_the_other_tool_installed_first_is_told_too_since_its_removal_would_take_files_along(
    site: Path,
) -> None:
    install(site, "dicomsort", "3.0.0", THEIRS, ("dicomsort",))
    install(site, "xray-dicomsort", "1.0", OURS, ("dicomsort",))
    told = problems(software.examine(None))
    assert "package dicomsort" in told
    assert "own files" not in told


def test_files_that_went_with_the_other_tool_are_missed(site: Path) -> None:
    install(site, "xray-dicomsort", "1.0", OURS, ("dicomsort",))
    (site / "dicomsort" / "errors.py").unlink()
    told = problems(software.examine(None))
    assert "1 are missing" in told["own files"] or "such as dicomsort/errors.py" in told["own files"]


def test_packages_that_only_mention_the_name_are_left_alone(site: Path) -> None:
    install(site, "xray-dicomsort", "1.0", OURS, ("dicomsort",))
    install(site, "plugin", "1", {"plugin/dicomsort.py": b"", "docs/dicomsort/x.py": b""})
    assert installed.others() == []


def test_a_command_of_the_other_tool_on_the_path_is_told(tmp_path: Path) -> None:
    for folder, text in (
        ("ours", "from dicomsort.__main__ import main\n"),
        ("theirs", "import dicomsort.gui.core\n"),
    ):
        script = tmp_path / folder / "dicomsort"
        script.parent.mkdir()
        script.write_text(f"#!/usr/bin/env python3\n{text}")
        script.chmod(0o755)
    both = {
        folder: installed.command_on_path(str(tmp_path / folder)) for folder in ("ours", "theirs", "none")
    }
    assert both == {
        "ours": (str(tmp_path / "ours" / "dicomsort"), True),
        "theirs": (str(tmp_path / "theirs" / "dicomsort"), False),
        "none": None,
    }
    assert "is another tool" in problems(software.examine(str(tmp_path / "theirs")))["command"]


def broken(site: Path) -> subprocess.CompletedProcess[str]:
    """Run a copy of the program that another package has been at; libraries are found as ever."""
    words = [sys.executable, "-m", "dicomsort", "doctor"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path[1:]])}
    return subprocess.run(words, capture_output=True, text=True, env=environment, cwd=site, check=False)


def copied(site: Path) -> dict[str, bytes]:
    """This program's modules, as they are installed."""
    files = [path for path in PACKAGE.rglob("*.py") if "shipped" not in path.parts]
    return {f"dicomsort/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes() for path in files}


def test_a_program_that_cannot_load_because_of_the_other_tool_says_so_in_one_line(tmp_path: Path) -> None:
    """In place of a traceback: `dicomsort` of PyPI replaces __init__.py and errors.py."""
    install(tmp_path, "xray-dicomsort", "1.0", copied(tmp_path), ("dicomsort",))
    install(tmp_path, "dicomsort", "3.0.0", THEIRS, ("dicomsort",))
    ran = broken(tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(
        "dicomsort: the package 'dicomsort' 3.0.0 is another tool, and has replaced files"
    )
    assert ran.stderr.count("\n") == 1
    shutil.rmtree(tmp_path / "dicomsort-3.0.0.dist-info")
    (tmp_path / "dicomsort" / "errors.py").unlink()
    gone = broken(tmp_path)
    assert gone.returncode == 2
    assert gone.stderr.startswith("dicomsort: 2 files of this program are missing or not its own")


def test_what_an_extra_lacks_is_installed_by_its_own_name() -> None:
    """The name of this package with the extra would bring PyTorch into an installation without."""
    found = list(software._extras({"parquet": [("no-such-a", "1"), ("pytest", "1"), ("no-such-b", "2")]}))
    assert [(one.name, one.told, one.advice) for one in found] == [
        ("extra [parquet]", "without no-such-a, no-such-b", "pip install no-such-a no-such-b")
    ]
