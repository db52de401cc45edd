"""Whether a value of a header holds something of what names a person in it."""

import re
from dataclasses import dataclass

from dicomsort.dicom.wording import words_of

_WORD = re.compile(rb"[0-9A-Z\x80-\xff]{2,}")
_UMLAUTS = str.maketrans({"Ä": "AE", "Ö": "OE", "Ü": "UE", "Å": "AA", "Ø": "OE"})
_INSIDE, _PART, _ACROSS = 4, 5, 6
_DATE = 8


@dataclass(frozen=True, slots=True)
class Naming:
    """The words of what names a person: capitals, as bytes of the header's own encoding and as plain ASCII.

    inside: those that are looked for inside others; long ones, also where something stands between their
    letters. together: all of them, in which the words of a value are looked for.
    """

    words: frozenset[bytes]
    inside: tuple[bytes, ...]
    together: bytes

    @classmethod
    def of(cls, values: bytes, text: str, birth: bytes) -> "Naming":
        """Make it of values as they stand in the header. text: the same decoded, empty if they are ASCII.

        birth: Patient's Birth Date, which is looked for in other orders of day, month and year, too.
        """
        words = {*_WORD.findall(values.upper()), *_plain(text), *_dates(birth)}
        inside = tuple([word for word in words if len(word) >= _INSIDE])
        return cls(frozenset(words), inside, b" ".join(words))

    def is_in(self, value: bytes) -> bool:
        """Return whether a value holds one of the words, or a part of one that was cut off."""
        own = value.upper()
        words = _WORD.findall(own)
        if not self.words.isdisjoint(words) or any(
            len(word) >= _PART and word in self.together for word in words
        ):
            return True
        joined = b"".join(words)
        return any(word in (own if len(word) < _ACROSS else joined) for word in self.inside)

    def has_word_in(self, value: bytes) -> bool:
        """Return whether one of the words is a word of a value."""
        return not self.words.isdisjoint(_WORD.findall(value.upper()))


def _plain(text: str) -> list[bytes]:
    """Return the words of a text without accents, and with umlauts in two letters."""
    if not text:
        return []
    spelled = f"{text} {text.upper().translate(_UMLAUTS)}"
    return _WORD.findall(b" ".join([word.encode("ascii", "ignore") for word in words_of(spelled)]))


def _dates(birth: bytes) -> tuple[bytes, ...]:
    if len(birth) != _DATE or not birth.isdigit():
        return ()
    year, short, month, day = birth[:4], birth[2:4], birth[4:6], birth[6:]
    long = (day + month + year, month + day + year)
    return (*long, short + month + day, day + month + short, month + day + short)
