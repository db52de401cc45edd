"""What is left out of a quick look is what took long when it was measured, and is there."""

import ast
from pathlib import Path

from committed import ROOT, TESTS
from long_tests import long_tests

REPORT = """
============================= slowest durations ==============================
0.90s call     tests/room/test_this.py::test_long
0.30s call     tests/room/test_this.py::test_cases[a b/c]
0.50s setup    tests/room/test_this.py::test_cases[a b/c]
0.02s call     tests/room/test_this.py::test_cases[x::y[z]]
0.01s teardown tests/room/test_this.py::test_cases[x::y[z]]
0.19s call     tests/room/test_this.py::test_quick
0.60s call     elsewhere/test_this.py::test_other
"""


def test_a_test_is_long_where_its_cases_are_on_average() -> None:
    long, cases = "tests/room/test_this.py::test_long", "tests/room/test_this.py::test_cases"
    assert long_tests(REPORT) == [cases, long]
    assert long_tests(REPORT, 0.5) == [long]
    assert long_tests("") == []


def test_the_listed_tests_exist() -> None:
    names = (TESTS / "long.txt").read_text().split()
    assert names == sorted(set(names))
    files = {name.partition("::")[0] for name in names}
    there = {f"{file}::{name}" for file in files for name in defined(ROOT / file)}
    assert set(names) - there == set()


def defined(file: Path) -> set[str]:
    found = set[str]()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return found
