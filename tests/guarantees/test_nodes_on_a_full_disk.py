"""A disk that is full while nodes sort or compare: one line, nothing lost, the same command goes on."""

import os
import shlex
import sys
from pathlib import Path

import pytest
from clusters import Words, check_equal
from program import command
from small_world import in_a_small_world

from dicomsort.errors import ExitCode

pytestmark = pytest.mark.slow

FILLED = """
import os, sys
if "dicomsort" in sys.orig_argv:
    from dicomsort.cluster import comparing
    comparing.FEWEST = 1
if "dicomsort.cluster.node" in sys.orig_argv:
    from dicomsort.sorting import repeats
    really = repeats.read_pixels
    def filled(*of):
        for one in really(*of):
            try:
                with open({filler!r}, "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
            except OSError:
                pass
            yield one
    repeats.read_pixels = filled
"""


@pytest.mark.parametrize(("size", "fills"), [("100k", False), ("1m", True)])
def test_it_ends_with_5_and_the_same_command_goes_on(
    size: str, fills: bool, words: Words, single: Path, tmp_path: Path
) -> None:
    small, site, out = tmp_path / "small", tmp_path / "site", tmp_path / "out"
    small.mkdir()
    site.mkdir()
    if fills:
        (site / "sitecustomize.py").write_text(FILLED.format(filler=str(small / "filler")))
    path = os.pathsep.join([str(site), *sys.path[1:]])
    cluster = ("--backend", "loky", "--tasks", "2", "--shard-size", "4")
    there = [small / "out" if word == out else word for word in (*words, *cluster)]
    done = in_a_small_world(f"""
        mount -t tmpfs -o size={size} none '{small}'
        code=0; PYTHONPATH='{path}' '{sys.executable}' -m dicomsort {shlex.join(map(str, there))} || code=$?
        rm -f '{small}/filler'
        find '{small}/out' -name '*.part' | grep . && exit 90
        cp -a '{small}/out' '{out}'
        exit $code
    """)
    assert done.returncode == ExitCode.TARGET, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "no space left" in last.lower()
    assert "Traceback" not in done.stderr
    again = command(*words, *cluster)
    assert again.code == ExitCode.SOME_FAILED, again.err
    check_equal(out, single)
