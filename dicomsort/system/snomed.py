"""Whether a number is a SNOMED CT identifier (SNOMED CT Release File Specifications 5, 5.5 and 5.8)."""

_LONGEST, _SHORTEST = 18, 6
_CONCEPTS = ("00", "10")  # partitions
_TURNED = "1576283094"
_PRODUCTS = (
    *("0123456789", "1234067895", "2340178956", "3401289567", "4012395678"),
    *("5987604321", "6598710432", "7659821043", "8765932104", "9876543210"),
)


def is_concept(text: str) -> bool:
    """Return whether a text is the identifier of a concept: by its length, partition and check digit."""
    if not (text.isascii() and text.isdigit() and _SHORTEST <= len(text) <= _LONGEST):
        return False
    return text[0] != "0" and text[-3:-1] in _CONCEPTS and _check(text) == 0


def _check(digits: str) -> int:
    """Return Verhoeff's check (1969) of a number with its check digit: 0 if it is right."""
    found = 0
    for at, digit in enumerate(reversed(digits)):
        value = int(digit)
        for _ in range(at % 8):
            value = int(_TURNED[value])
        found = int(_PRODUCTS[found][value])
    return found
