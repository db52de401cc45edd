"""Which terms of a table a text holds: how spellings are compared, and what is found in a few words."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Codes = tuple[str, ...]

_LETTERS = str.maketrans({
    "Æ": "AE", "Œ": "OE", "Ø": "O", "Ł": "L", "Đ": "D", "Ð": "D", "Þ": "TH", "ẞ": "SS", "\ufffd": "?",
})  # fmt: skip
_IDEOGRAPH = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])")
_BETWEEN = re.compile(r"[^\w?]+|_+")
_NUMBER = re.compile(r"[0-9]")
_HOLE = re.compile(r"\?+")
_SHORTEST = 3  # letters of a term that is found among other words
_MOST_SEEN, _LONGEST_SEEN = 4096, 256


def words_of(text: str) -> list[str]:
    """Split a text into words to compare: capitals without accents, one for each ideograph.

    A question mark inside a word stays: it is what a program has made of a letter that it did not know.
    """
    if text.isascii() and text.isalnum():
        return [text.upper()]
    plain = unicodedata.normalize("NFKD", text.upper().translate(_LETTERS))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter)).translate(_LETTERS)
    plain = _IDEOGRAPH.sub(r" \1 ", plain)
    plain = _HOLE.sub(lambda hole: "?" if _is_inside(hole) else " ", plain)
    return _BETWEEN.sub(" ", plain).split()


def _is_inside(hole: re.Match[str]) -> bool:
    before, behind = hole.string[: hole.start()][-1:], hole.string[hole.end() :][:1]
    return before.isalnum() and behind.isalnum()


def _letters(key: str) -> int:
    """Return how many letters a term has; an ideograph says as much as two."""
    return len(_IDEOGRAPH.sub("xx", key.replace(" ", "")))


@dataclass(frozen=True, slots=True)
class Wording:
    """Terms by their words, each with the codes of what it names; none where it rightly names no place.

    Can be pickled, so that workers may look for terms in what must not leave them. sides: words that say on
    which side a part lies. telling: terms that are looked for in a text on anything. weak: terms that mean
    something else beside others (`THORAX FACE` is a frontal view).
    """

    phrases: Mapping[str, Codes] = field(default_factory=dict)
    sides: frozenset[str] = frozenset()
    telling: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()
    longest: int = 1
    _seen: dict[tuple[bool, str], Codes | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        terms: Iterable[tuple[str, Codes]],
        sides: Iterable[str] = (),
        telling: Iterable[str] = (),
        weak: Iterable[str] = (),
    ) -> "Wording":
        """Make a wording of (term, codes); a later term replaces an earlier one of the same words."""
        phrases = {" ".join(words_of(term)): codes for term, codes in terms}
        longest = max((key.count(" ") + 1 for key in phrases), default=1)
        return cls(phrases, frozenset(sides), frozenset(telling), frozenset(weak), longest)

    def codes_of(self, text: str) -> Codes | None:
        """Return what a value that should be one term names; () if no place, None if it is not known.

        A term counts whatever is between its words, with a side before or behind it, among words that name no
        place (`PORT CHEST`) or numbers and, if it is long enough, beside words that are not known.
        """
        return self._looked_up(text, True)

    def consists_of_terms(self, text: str) -> bool:
        """Return whether a text holds terms, sides and single letters alone."""
        words = words_of(text)
        known = self.sides.union(*(key.split() for key in self._parts(words)))
        return self._whole(words) is not None or all(word in known or len(word) == 1 for word in words)

    def found_in(self, text: str) -> Codes:
        """Return what the terms in a text on anything name, of those that are `telling`."""
        return self._looked_up(text, False) or ()

    def _looked_up(self, text: str, is_term: bool) -> Codes | None:
        """Look a text up, or remember: a few texts stand in all headers of an archive."""
        known = (is_term, text)
        if known in self._seen:
            return self._seen[known]
        words = words_of(text)
        found = self._term(words) if is_term else self._told(words)
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        if len(text) <= _LONGEST_SEEN:
            self._seen[known] = found
        return found

    def _term(self, words: Sequence[str]) -> Codes | None:
        for some in (words, self._without_sides(words)):
            if (whole := self._whole(some)) is not None:
                return whole
        return self._among(words)

    def _told(self, words: Sequence[str]) -> Codes:
        return _together(self.phrases[key] for key in self._parts(words) if key in self.telling)

    def _whole(self, words: Sequence[str]) -> Codes | None:
        spaced, joined = " ".join(words), "".join(words)
        for key in (spaced, joined):
            if key in self.phrases:
                return self.phrases[key]
        return self._mended(spaced) if "?" in spaced else None

    def _mended(self, spaced: str) -> Codes | None:
        """Return what a term with lost letters means, if only one thing fits."""
        pattern = re.compile(".{1,2}".join(re.escape(part) for part in spaced.split("?")))
        fitting = {codes for key, codes in self.phrases.items() if pattern.fullmatch(key)}
        return fitting.pop() if len(fitting) == 1 else None

    def _among(self, words: Sequence[str]) -> Codes | None:
        """Return what the terms among the words name together; a short one only if all words are known."""
        keys = list(self._parts(words))
        known = self.sides.union(*(key.split() for key in keys))
        if all(word in known or _NUMBER.search(word) for word in words):
            return self._named(keys)
        return self._named([key for key in keys if _letters(key) >= _SHORTEST]) or None

    def _named(self, keys: Sequence[str]) -> Codes:
        strong = _together(self.phrases[key] for key in keys if key not in self.weak)
        return strong or _together(self.phrases[key] for key in keys)

    def _without_sides(self, words: Sequence[str]) -> Sequence[str]:
        """Leave out the sides at both ends."""
        first, last = 0, len(words)
        while first < last and words[first] in self.sides:
            first += 1
        while first < last and words[last - 1] in self.sides:
            last -= 1
        return words[first:last]

    def _parts(self, words: Sequence[str]) -> Iterator[str]:
        """Go through the longest terms that follow each other in the words."""
        at = 0
        while at < len(words):
            length = next((many for many in self._lengths(words, at)), 0)
            if length:
                yield " ".join(words[at : at + length])
            at += length or 1

    def _lengths(self, words: Sequence[str], at: int) -> Iterator[int]:
        for many in range(min(self.longest, len(words) - at), 0, -1):
            if " ".join(words[at : at + many]) in self.phrases:
                yield many


def _together(codes: Iterable[Codes]) -> Codes:
    return tuple(dict.fromkeys(code for some in codes for code in some))
