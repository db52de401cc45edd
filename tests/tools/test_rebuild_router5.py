"""The command that rebuilds router5 says what the card says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from committed import ROOT

TOOL = ROOT / "tools" / "rebuild_router5.py"


def told_by_the_card() -> list[list[str]]:
    """Return the words of the commands below the heading "Training"."""
    card = (ROOT / "models" / "router5" / "README.md").read_text(encoding="utf-8")
    training = card.split("## Training")[1].split("\n## ")[0].replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^    (.*--out .*)$", training, re.MULTILINE)]


def test_router5_is_rebuilt_by_the_commands_of_its_card(tmp_path: Path) -> None:
    words = [
        sys.executable,
        str(TOOL),
        str(tmp_path),
        "--weights",
        "mobilenetv1_100.safetensors",
        "--dry-run",
    ]
    printed = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    plain = printed.replace(f"{sys.executable} -m ", "").replace(sys.executable, "python")
    plain = plain.replace(f"{tmp_path}/", "").replace(f"{ROOT}/", "")
    assert [shlex.split(line) for line in plain.splitlines()] == told_by_the_card()
    assert len(told_by_the_card()) == 3
    assert not list(tmp_path.iterdir())
