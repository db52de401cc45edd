"""Completion, tried by typing into real shells."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from committed import ROOT
from program import command
from terminal import Terminal, found, terminal

Shell = Callable[[str, Path], AbstractContextManager[Terminal]]
STARTS = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}
READS = {
    "bash": "source ./completion",
    "zsh": "autoload -Uz compinit; compinit -u -D; source ./completion",
    "fish": "source ./completion",
}


def script(shell: str, folder: Path) -> str:
    """The script that a shell reads, as typer makes it for `--install-completion`."""
    from typer._completion_shared import get_completion_script

    return get_completion_script(prog_name="dicomsort", complete_var="_DICOMSORT_COMPLETE", shell=shell)


@contextmanager
def shell_in(name: str, folder: Path) -> Iterator[Terminal]:
    """A shell that has read the completion, in a folder with a program `dicomsort` on its path."""
    program = folder / "bin" / "dicomsort"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dicomsort "$@"\n')
    program.chmod(0o755)
    (folder / "completion").write_text(script(name, folder) + "\n")
    environment = {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "HOME": str(folder),
        "ZDOTDIR": str(folder),
    }
    with terminal([found(name), *STARTS[name]], folder, environment) as opened:
        opened.type(f'{READS[name]}; echo is-re""ady\n')
        opened.wait_for("is-ready")
        yield opened


@pytest.mark.parametrize(
    "shell", ["bash", *(pytest.param(name, marks=pytest.mark.slow) for name in ("zsh", "fish"))]
)
def test_a_shell_completes_commands_options_choices_models_and_files(shell: str, tmp_path: Path) -> None:
    (tmp_path / "archive-of-2019").mkdir()
    with shell_in(shell, tmp_path) as opened:
        opened.type("dicomsort classi\t")
        opened.wait_for("classify ")
        opened.type("--evid\t")
        opened.wait_for("--evidence ")
        opened.type("pix\t")
        opened.wait_for("pixels ")
        opened.type("--model rou\t")
        opened.wait_for("router5 ")
        opened.type("archive-of\t")
        opened.wait_for("archive-of-2019")


def test_bash_lists_what_there_is(tmp_path: Path) -> None:
    with shell_in("bash", tmp_path) as opened:
        opened.type("dicomsort model \t\t")
        listed = opened.wait_for("export")
        assert {"export", "evidence", "anatomy"} <= set(listed.split())


def test_the_opposites_of_flags_do_not_double_the_list() -> None:
    environment = {**os.environ, "COMP_WORDS": "dicomsort classify --", "COMP_CWORD": "2"}
    ran = command(env={**environment, "_DICOMSORT_COMPLETE": "complete_bash"})
    offered = ran.out.split()
    assert {"--verify", "--no-archives", "--config", "--help"} <= set(offered)
    assert not {"--no-verify", "--archives"} & set(offered)
    assert len(offered) == len(set(offered))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_completion_is_installed_for_the_shell_that_asks(tmp_path: Path) -> None:
    with shell_in("bash", tmp_path) as opened:
        opened.type("dicomsort --install-completion\n")
        opened.wait_for("completion installed in")
    assert "dicomsort.sh" in (tmp_path / ".bashrc").read_text()
    assert "_dicomsort_completion" in (tmp_path / ".bash_completions" / "dicomsort.sh").read_text()
