"""Messages are plain English: no lists as Python writes them, and one thing is not many."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import PYTHONIC

import dicomsort
from dicomsort.system.telling import counted, listed

PACKAGE = Path(dicomsort.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
COLLECTIONS = ("list", "sorted", "tuple", "set", "dict", "frozenset", "repr", "ascii", "vars", "asdict")
SHOWN = (ast.List, ast.Tuple, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def formatted(file: str) -> Iterator[ast.FormattedValue]:
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FormattedValue))


def is_pythonic(value: ast.FormattedValue) -> bool:
    inner = value.value
    called = ast.unparse(inner.func) if isinstance(inner, ast.Call) else ""
    return value.conversion == ord("r") or isinstance(inner, SHOWN) or called in COLLECTIONS


@pytest.mark.parametrize("file", FILES)
def test_no_text_holds_a_list_or_a_value_as_python_writes_it(file: str) -> None:
    assert not [ast.unparse(value.value) for value in formatted(file) if is_pythonic(value)]


@pytest.mark.parametrize("file", FILES)
def test_no_text_leaves_one_and_many_to_the_reader(file: str) -> None:
    texts = [
        node.value
        for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert not [text for text in texts if re.search(r"\w\((s|es|ies)\)|\b(has/have|is/are|was/were)\b", text)]


@pytest.mark.parametrize(
    "text", ["['a', 'b']", "{'a': 1}", "('a',)", "<Status.SORTED: 'sorted'>", "PosixPath('x')", "{'a'}"]
)
def test_the_check_that_every_command_of_a_test_goes_through_finds_what_python_writes(text: str) -> None:
    """See `program.Ran`."""
    assert PYTHONIC.search(f"dicomsort: this is {text}, you know\n")


@pytest.mark.parametrize(
    "text",
    [
        "'a' (no file)",
        "pip install 'xray-dicomsort[cloud]'",
        "a[0]",
        "it's (a 'b')",
        "'[a]'",
        "--tag 'x=[1]'",
    ],
)
def test_it_lets_plain_words_be(text: str) -> None:
    assert not PYTHONIC.search(f"dicomsort: this is {text}, you know\n")


def test_one_is_not_many() -> None:
    assert [counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [counted(number, "study", "studies") for number in (1, 2)] == ["1 study", "2 studies"]
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
