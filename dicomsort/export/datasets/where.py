"""A filter that a person writes: `view = frontal and confidence > 0.99`, understood and never executed."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dicomsort.errors import UsageError
from dicomsort.manifest.columns import REJECT, ROTATION, answers_of
from dicomsort.manifest.reading import labels_by_head
from dicomsort.outcome import Status
from dicomsort.system.escaping import escape, uncell

FINAL = "final_label"
"""A column of a filter that no manifest has: what a person decided, else what the model did."""

Cells = Sequence[str]
Test = Callable[[Cells], bool]

_NUMBERS = frozenset(
    {"confidence", "pixel_confidence", REJECT, ROTATION, "rows", "columns", "frames", "size", "mtime_ns"}
)
_TIMES = frozenset({"reviewed_at"})  # ISO 8601 in UTC: in the order of texts
_WORDS = frozenset({"and", "or", "not", "in"})
_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<sign><=|>=|!=|==|<>|[=<>(),])"""
    r"""|(?P<word>[^\s'"=<>!(),]+))""",
    re.DOTALL,
)
_ESCAPED = re.compile(r"""\\(['"\\])""")  # no other: a path has `\xNN` in it
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
_SAME = {"==": "=", "<>": "!="}
_MOST = 10_000
_DEEPEST = 50
_CLOSE = 0.6


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    at: int
    is_quoted: bool = False
    is_sign: bool = False

    def is_word(self, word: str) -> bool:
        return not (self.is_quoted or self.is_sign) and self.text.casefold() == word


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a manifest, and what is known of them. labels: by column, of those that hold labels."""

    names: Sequence[str]
    numbers: frozenset[str]
    labels: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, names: Sequence[str]) -> "Columns":
        """Return what the names of a manifest's columns tell."""
        answers = answers_of(names)
        heads = labels_by_head(answers)
        labels = {f"{head}.label": known for head, known in heads.items() if head}
        labels |= dict.fromkeys(("label", "pixel_label", FINAL, "reviewed_label"), heads[""])
        return cls(names, _NUMBERS | (set(answers) - set(labels)), labels)

    def find(self, told: str) -> str | None:
        """Return the column that is meant; `view` is `view.label` where no column has that name."""
        known = (*self.names, FINAL)
        return next((name for name in (told, f"{told}.label") if name in known), None)

    def like(self, told: str) -> str:
        """Return a hint at a column that may be meant; nothing if none is near."""
        short = [name.removesuffix(".label") for name in self.names if name.endswith(".label")]
        return hint(told, [*self.names, FINAL, *short])


def hint(told: str, known: Sequence[str]) -> str:
    """Return `: did you mean 'x'?` for a word that is none of those known; nothing if none is near."""
    by_fold = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(told.casefold(), list(by_fold), 1, _CLOSE)
    return f": did you mean '{by_fold[near[0]]}'?" if near else ""


def compiled(text: str, names: Sequence[str]) -> Test:
    """Return what tells whether the cells of a row of a manifest fulfill a filter.

    names: of the manifest's columns. Raises UsageError with one line that tells what is wrong, and where.
    """
    return _Parser(text, Columns.of(names)).test()


def final_label(names: Sequence[str]) -> Callable[[Cells], str]:
    """Return what tells what a row counts as: what a person called it, else what the model did."""
    label, reviewed = names.index("label"), names.index("reviewed_label")
    no_class = ("", "excluded", "unsure")
    return lambda cells: uncell(cells[label] if cells[reviewed] in no_class else cells[reviewed])


class _Parser:
    """Recursive descent: or, and, not, a comparison; each returns a test of a row's cells."""

    def __init__(self, text: str, columns: Columns) -> None:
        self._text, self._columns = text, columns
        if len(text) > _MOST:
            raise UsageError(f"--where is longer than {_MOST} characters")
        self._tokens, self._at, self._depth = list(self._split()), 0, 0

    def _split(self) -> Iterator[_Token]:
        at = 0
        while self._text[at:].strip():
            found = _TOKEN.match(self._text, at)
            if found is None:
                start = at + len(self._text[at:]) - len(self._text[at:].lstrip())
                quote = self._text[start] in "'\""
                raise self._wrong("the quotation mark is not closed" if quote else "not understood", start)
            kind = found.lastgroup or ""
            told, start, at = found[kind], found.start(kind), found.end()
            if kind == "quoted":
                told = _ESCAPED.sub(r"\1", told[1:-1])
            yield _Token(_SAME.get(told, told), start, kind == "quoted", kind == "sign")

    def _wrong(self, what: str, at: int | None = None) -> UsageError:
        place = self._place if at is None else at
        return UsageError(f"--where, at character {place + 1}{self._rest(place)}: {what}")

    @property
    def _place(self) -> int:
        return self._next.at if self._next else len(self._text)

    def _rest(self, place: int, most: int = 30) -> str:
        rest = self._text[place : place + most].strip()
        return f" ('{rest}')" if rest.isprintable() and rest else " (the end)" if not rest else ""

    @property
    def _next(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, *signs: str) -> str:
        """Take the next token if it is one of these signs or words; nothing otherwise."""
        token = self._next
        for sign in signs:
            if token and ((token.is_sign and token.text == sign) or (sign.isalpha() and token.is_word(sign))):
                self._at += 1
                return sign
        return ""

    def test(self) -> Test:
        """Return the whole filter."""
        if not self._tokens:
            raise UsageError(
                "--where is empty: write a filter such as 'view = frontal and confidence > 0.99'"
            )
        test = self._either()
        if self._next is not None:
            raise self._wrong("expected 'and', 'or' or the end")
        return test

    def _either(self) -> Test:
        tests = [self._both()]
        while self._take("or"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda cells: any(test(cells) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._take("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda cells: all(test(cells) for test in tests)

    def _one(self) -> Test:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong(f"more than {_DEEPEST} parentheses or 'not' in each other")
        try:
            if self._take("not"):
                inner = self._one()
                return lambda cells: not inner(cells)
            if self._take("("):
                inner = self._either()
                if not self._take(")"):
                    raise self._wrong("a parenthesis is not closed")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _word(self, what: str) -> _Token:
        token = self._next
        if token is None or token.is_sign or (not token.is_quoted and token.text.casefold() in _WORDS):
            raise self._wrong(f"expected {what}")
        self._at += 1
        return token

    def _comparison(self) -> Test:
        told = self._word("a column")
        name = self._columns.find(told.text)
        if name is None:
            raise self._wrong(f"no column '{escape(told.text)}'{self._columns.like(told.text)}", told.at)
        if name in self._columns.numbers:
            return self._of_number(name)
        return self._of_text(name)

    def _values(self) -> list[_Token]:
        """Take a list in parentheses."""
        if not self._take("("):
            raise self._wrong("expected '(' and a list of values")
        values = [self._word("a value")]
        while self._take(","):
            values.append(self._word("a value"))
        if not self._take(")"):
            raise self._wrong("expected ',' or ')'")
        return values

    def _sign(self, name: str, signs: Sequence[str]) -> str:
        sign = self._take("<=", ">=", "!=", "=", "<", ">", "in", "not")
        if sign == "not" and not self._take("in"):
            raise self._wrong("expected 'in'")
        if not sign:
            raise self._wrong(f"expected a comparison of '{name}': =, !=, <, <=, >, >= or in")
        if sign in ("<", "<=", ">", ">=") and sign not in signs:
            raise self._wrong(f"'{name}' holds texts: use =, != or in", self._tokens[self._at - 1].at)
        return sign

    def _of_text(self, name: str) -> Test:
        sign = self._sign(name, ("<", "<=", ">", ">=") if name in _TIMES else ())
        values = self._values() if sign in ("in", "not") else [self._word("a value")]
        for value in values:
            self._check_label(name, value)
        cell = self._cell(name)
        if sign in ("in", "="):
            wanted = {value.text for value in values}
            return lambda cells: cell(cells) in wanted
        if sign in ("not", "!="):
            unwanted = {value.text for value in values}
            return lambda cells: cell(cells) not in unwanted
        compare, limit = _COMPARE[sign], values[0].text
        return lambda cells: bool(cell(cells)) and compare(cell(cells), limit)

    def _check_label(self, name: str, value: _Token) -> None:
        """Raise UsageError for a value that a column cannot have, which would silently choose nothing."""
        if name == "status" and value.text not in [*Status]:
            raise self._wrong(f"no status '{escape(value.text)}'{hint(value.text, [*Status])}", value.at)
        known = self._columns.labels.get(name, ())
        free = name in (FINAL, "reviewed_label") or "|" in value.text or not value.text
        if known and not free and value.text not in known:
            raise self._wrong(
                f"'{name}' has no label '{escape(value.text)}'{hint(value.text, known)}", value.at
            )

    def _cell(self, name: str) -> Callable[[Cells], str]:
        if name == FINAL:
            return final_label(self._columns.names)
        at = self._columns.names.index(name)
        return lambda cells: uncell(cells[at])

    def _of_number(self, name: str) -> Test:
        sign = self._sign(name, ("<", "<=", ">", ">="))
        tokens = self._values() if sign in ("in", "not") else [self._word("a number")]
        values = [self._number(name, token) for token in tokens]
        at = self._columns.names.index(name)
        if sign in ("in", "=", "not", "!="):
            is_in = sign in ("in", "=")
            return lambda cells: ((float(cells[at]) if cells[at] else None) in values) is is_in
        limit = values[0]
        if limit is None:
            raise self._wrong("nothing is smaller or greater than an empty cell", tokens[0].at)
        compare, bound = _COMPARE[sign], limit
        return lambda cells: bool(cells[at]) and compare(float(cells[at]), bound)

    def _number(self, name: str, token: _Token) -> float | None:
        """Return a number; None for an empty text, which is an empty cell."""
        if token.is_quoted and not token.text:
            return None
        if not _NUMBER.fullmatch(token.text):
            raise self._wrong(f"'{name}' holds numbers, and '{escape(token.text)}' is none", token.at)
        return float(token.text)


_COMPARE: dict[str, Callable[[object, object], bool]] = {
    "<": lambda one, other: one < other,  # type: ignore[operator]
    "<=": lambda one, other: one <= other,  # type: ignore[operator]
    ">": lambda one, other: one > other,  # type: ignore[operator]
    ">=": lambda one, other: one >= other,  # type: ignore[operator]
}
