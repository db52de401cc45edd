"""An archive that is divided among nodes, and what a single run makes of it."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters import Words
from program import command
from written import picture

from dicomsort.errors import ExitCode


@pytest.fixture(scope="session")
def archive_(tmp_path_factory: pytest.TempPathFactory, write_dicom: Callable[..., Path]) -> Path:
    """Thirty-nine files: pictures, of which six come twice, and three that are none or cannot be read."""
    folder = tmp_path_factory.mktemp("cluster") / "in"
    for number in range(30):
        write_dicom(folder / f"s{number % 5}" / f"{number}.dcm", picture(number))
    for number in range(6):
        shutil.copy(folder / f"s{number % 5}" / f"{number}.dcm", folder / f"again{number}.dcm")
    (folder / "s0" / "broken.dcm").write_bytes((folder / "s0" / "0.dcm").read_bytes()[:2000])
    (folder / "notes.txt").write_text("no picture")
    os.symlink("nowhere", folder / "dangling.dcm")
    return folder


@pytest.fixture(scope="session")
def single(archive_: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the archive."""
    out = tmp_path_factory.mktemp("single") / "out"
    done = command("classify", archive_, "--out", out, "--model", small_model, "--workers", "1", "-q")
    assert done.code == ExitCode.SOME_FAILED, done.err
    return out


@pytest.fixture
def words(archive_: Path, small_model: Path, tmp_path: Path) -> Words:
    """The command that sorts the archive with few processes, but for what divides it."""
    out = ("--out", tmp_path / "out")
    return ("classify", archive_, *out, "--model", small_model, "--workers", "1", "--json")


HELD = """
import os, sys
if "dicomsort" in sys.orig_argv:
    from dicomsort.cluster import comparing
    comparing.FEWEST = 1
if "dicomsort.cluster.node" in sys.orig_argv:
    import time
    from dicomsort.sorting import repeats
    really = repeats.read_pixels
    def held(*of):
        for at, one in enumerate(really(*of)):
            if at == 2 and not os.path.exists({flag!r}):
                with open({flag!r}, "x") as file:
                    print(os.getpid(), file=file)
                time.sleep(600)
            yield one
    repeats.read_pixels = held
"""


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets the number of the first process that compares, which has read two files and waits."""
    folder, flag = tmp_path / "site", tmp_path / "held"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HELD.format(flag=str(flag)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path[1:]]))
    return flag
