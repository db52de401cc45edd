"""Numbers, lists and errors of reading a text file in the words of a message."""

from collections.abc import Iterable


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return how many there are in words: `1 file`, `2 files`; `many` where it is not `one` with an s."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(names: Iterable[object], last_word: str = "and") -> str:
    """Return names as a person lists them: `a, b and c`."""
    *most, last = [str(name) for name in names] or [""]
    return f"{', '.join(most)} {last_word} {last}" if most else last


def size_told(size: float) -> str:
    """Return a number of bytes as a person reads it, in powers of 1000: `12 bytes`, `4.2 kB`, `312 GB`."""
    if size < 1000:
        return counted(round(size), "byte")
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        digits = int(size < 99.95)
        if round(size, digits) < 1000 or unit == "TB":
            break
    return f"{size:,.{digits}f} {unit}"


def reason_of(error: Exception) -> str:
    """Return why a table cannot be read: the system's words, or the error's own."""
    if isinstance(error, UnicodeError):
        return "save it as CSV UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
