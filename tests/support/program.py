"""The program, run as a user would or in this process, and how it ended."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dicomsort.cli.main import app

PYTHONIC = re.compile(
    r"""\[(?:'[^']*'|"[^"]*")[,\]]|\{(?:'[^']*'|"[^"]*")[:,}]|\('[^']*',|<\w+\.\w+: |\w+Path\('"""
)
"""A list, a dict, a set, a tuple or an enum as Python writes it, which no message may hold."""


@dataclass(frozen=True)
class Ran:
    """How a command ended. Its messages are those of a person."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert not PYTHONIC.search(self.err), self.err

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value


_HIDE = """
import sys
from importlib.machinery import PathFinder

class Blind(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {libraries!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Blind
"""


def without(folder: Path, *libraries: str) -> dict[str, str]:
    """Return an environment whose Python programs, and their workers, find none of these libraries.

    folder: gets a `sitecustomize`, which every Python imports as it starts.
    """
    (folder / "sitecustomize.py").write_text(_HIDE.format(libraries=libraries))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path[1:]])}


def command(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Ran:
    """Run the installed program as a user would."""
    words = [sys.executable, "-m", "dicomsort", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=env, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


def inside(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> Ran:
    """Run a command in this process; it need not load torch again."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        app([str(word) for word in arguments], prog_name="dicomsort")
    said = capfd.readouterr()
    return Ran(int(ended.value.code or 0), said.out, said.err)
