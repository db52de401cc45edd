"""Where a file goes below the output folder: a template of fields, and which destinations are taken."""

import hashlib
import os
import re
import threading
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import Formatter

from dicomsort.errors import UsageError
from dicomsort.manifest.names import OWN
from dicomsort.outcome import Header
from dicomsort.system.atomic import TEMPORARY

DEFAULT = "{label}/{relpath}"
FIELDS = (
    *("label", "relpath", "stem", "sop_instance_uid", "study_instance_uid", "series_instance_uid"),
    *("modality", "body_part"),
)
_APART = ("relpath", "sop_instance_uid")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_LONGEST_PART, _KEPT_OF_PART, _LONGEST_SUFFIX, _MOST_BYTES_OF_LETTER = 255, 160, 16, 4
_UNSAFE = re.compile(r'[\0/\\<>:"|?*\x01-\x1f]')


@dataclass(frozen=True, slots=True)
class Layout:
    """A template such as `{label}/{modality:unknown}/{relpath}`.

    Raises UsageError for a template that is no relative path, has an unknown field, or cannot keep files
    apart, that is, holds neither `relpath` nor `sop_instance_uid`.
    """

    template: str = DEFAULT

    def __post_init__(self) -> None:
        fields = {name for _, name, _ in self._parts() if name is not None}
        if unknown := fields - set(FIELDS):
            raise UsageError(f"--layout has no field '{min(unknown)}'; there are {', '.join(FIELDS)}")
        if not fields & set(_APART):
            raise UsageError("--layout cannot keep files apart: put {relpath} or {sop_instance_uid} into it")
        texts = "x".join(text for text, _, _ in self._parts())
        if (
            self.template.startswith("/")
            or self.template.endswith("/")
            or {"", ".", ".."} & set(re.sub(r"\{[^}]*\}", "x", self.template).split("/"))
        ):
            raise UsageError("--layout must be a relative path without empty, '.' or '..' parts")
        if "\\" in texts or "\0" in texts:
            raise UsageError("--layout must be written with / and without control characters")

    @property
    def follows_sources(self) -> bool:
        """Whether every source has a destination of its own, so that two can never meet."""
        return any(name == "relpath" for _, name, _ in self._parts())

    @property
    def label_depth(self) -> int | None:
        """How many folders stand above the one that has the label's name; None if there is none."""
        folders = self.template.split("/")[:-1]
        if "{label}" not in folders or "{relpath" in self.template.partition("{label}")[0]:
            return None
        return folders.index("{label}")

    def destination(self, label: str, relpath: str, header: Header) -> str:
        """Return where a file goes, relative to the output folder.

        label: the class, or `review`. relpath: the file's path relative to its root. A value that the header
        does not have is the field's default in the template, else `unknown`; a missing SOP Instance UID is
        made of the path, so that such files stay apart. The program's own names are changed.
        """
        values = self._values(label, relpath, header)
        path = "".join(
            text + ("" if name is None else values[name] or self._missing(name, default, relpath))
            for text, name, default in self._parts()
        )
        first, slash, rest = path.partition("/")
        path = (_not_ours(first) if first.casefold() in OWN else first) + slash + rest
        folder, slash, name = path.rpartition("/")
        return _fitting(folder + slash + (_not_ours(name) if name.startswith(TEMPORARY) else name))

    def _values(self, label: str, relpath: str, header: Header) -> Mapping[str, str]:
        return {
            "label": label,
            "relpath": relpath,
            "stem": _clean(os.path.splitext(os.path.basename(relpath))[0]),
            "sop_instance_uid": _clean(header.sop_instance_uid),
            "study_instance_uid": _clean(header.study_instance_uid),
            "series_instance_uid": _clean(header.series_instance_uid),
            "modality": _clean(header.modality),
            "body_part": _clean(header.body_part_examined),
        }

    def _missing(self, name: str, default: str, relpath: str) -> str:
        if name != "sop_instance_uid":
            return default or "unknown"
        digest = hashlib.blake2b(os.fsencode(relpath), digest_size=8).hexdigest()
        return f"{default or 'unknown'}-{digest}"

    def _parts(self) -> list[tuple[str, str | None, str]]:
        """Split the template into (text, field or None, default)."""
        try:
            parsed = list(Formatter().parse(self.template))
        except ValueError as error:
            raise UsageError(f"--layout '{self.template}' is no template: {error}") from error
        if any(conversion for _, _, _, conversion in parsed):
            raise UsageError("--layout takes fields as {name} or {name:default} only")
        return [(text, name, _clean(default or "")) for text, name, default, _ in parsed]


def _fitting(path: str) -> str:
    """Shorten the parts that no file system takes; objects and members of archives may have such names."""
    if len(path) * _MOST_BYTES_OF_LETTER <= _LONGEST_PART:
        return path
    return "/".join(
        part if len(os.fsencode(part)) <= _LONGEST_PART else _cut(part) for part in path.split("/")
    )


def _cut(part: str) -> str:
    """Return the beginning of a name, its SHA-1, so that two stay apart, and its suffix."""
    whole, suffix = os.fsencode(part), os.path.splitext(part)[1]
    suffix = suffix if len(os.fsencode(suffix)) <= _LONGEST_SUFFIX else ""
    digest = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
    return f"{whole[:_KEPT_OF_PART].decode('utf-8', 'ignore')}~{digest}{suffix}"


class Destinations:
    """The destinations that are taken; each is reserved once.

    Needed where a layout does not follow the sources' paths, or where the target does not distinguish `A`
    from `a`; elsewhere two sources never meet, nothing is kept in memory, and everything can be reserved.
    """

    def __init__(self, needed: bool, folds: bool, taken: Iterable[str] = ()) -> None:
        self._needed, self._folds = needed or folds, folds
        self._lock = threading.Lock()
        self._taken = {self._key(destination) for destination in taken} if self._needed else set()

    def reserve(self, destination: str) -> bool:
        """Reserve a destination; returns False if another source has it."""
        if not self._needed:
            return True
        key = self._key(destination)
        with self._lock:
            if key in self._taken:
                return False
            self._taken.add(key)
            return True

    def release(self, destination: str) -> None:
        """Release a destination whose file has been removed."""
        with self._lock:
            self._taken.discard(self._key(destination))

    def _key(self, destination: str) -> int:
        name = unicodedata.normalize("NFC", destination).casefold() if self._folds else destination
        return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "big")


def folds_case(folder: str, name: str) -> bool:
    """Return whether the folder takes an existing file's name in capitals for the same file."""
    return name.upper() != name and os.path.lexists(os.path.join(folder, name.upper()))


def _not_ours(name: str) -> str:
    """Change a name that the program itself uses in the output, to one that no source has."""
    return f"{name[:200]}~{hashlib.blake2b(os.fsencode(name), digest_size=6).hexdigest()}"


def _clean(value: str) -> str:
    """Make a value a harmless part of a file name on any file system."""
    name = _UNSAFE.sub("_", value).strip().rstrip(".")
    return f"_{name}" if _RESERVED.fullmatch(name) else name[:128]
