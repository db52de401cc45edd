"""What ends a run, and the exit code each end has."""

import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from importlib.util import find_spec
from pathlib import Path

from dicomsort import __version__

_LONGEST_WORD = 64
_PYTORCH = "torch torchvision timm"
_CLOUD = "botocore obstore urllib3"
_PACS = "pynetdicom requests urllib3"
_OPTIONAL = {
    "torch": ("PyTorch", _PYTORCH),
    "torchvision": ("torchvision", _PYTORCH),
    "timm": ("timm", _PYTORCH),
    "sklearn": ("scikit-learn", "scikit-learn"),
    "matplotlib": ("matplotlib", "matplotlib"),
    "openvino": ("OpenVINO", "openvino"),
    "onnx": ("ONNX", "onnx"),
    "onnxscript": ("onnxscript", "onnxscript"),
    "highdicom": ("highdicom", "highdicom"),
    "pyarrow": ("pyarrow", "pyarrow"),
    "obstore": ("obstore", _CLOUD),
    "botocore": ("botocore", _CLOUD),
    "urllib3": ("urllib3", _CLOUD),
    "requests": ("requests", _PACS),
    "pynetdicom": ("pynetdicom", _PACS),
    "prometheus_client": ("prometheus-client", "prometheus-client"),
}
"""By module: libraries that a machine that only sorts need not have, and the packages that bring them.

No extra of this package is named: pip would add PyTorch, gigabytes of it, to an installation without.
"""


class ExitCode(IntEnum):
    """Exit codes of every command; see docs/reference/statuses-and-exit-codes.md."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    SOME_FAILED = 3
    NOTHING_FOUND = 4
    TARGET = 5
    MODEL = 6
    MISSING = 7
    INTERRUPTED = 130


class DicomsortError(Exception):
    """An end with one clear line that says what to do. Subclasses fix the exit code."""

    exit_code = ExitCode.INTERNAL


class InternalError(DicomsortError):
    """Our fault or the machine's: a worker that cannot start, sums that do not add up."""


class UsageError(DicomsortError):
    """The command line or the training data cannot be used as given."""

    exit_code = ExitCode.USAGE


class MissingLibraryError(UsageError, ImportError):
    """What was asked for needs a library that is not installed here, as on a machine that only sorts."""

    @classmethod
    def of(cls, libraries: Sequence[str], what: str = "this") -> "MissingLibraryError":
        """Return the error that names libraries, given by their modules, and says how to install them."""
        names, packages = zip(*(_OPTIONAL[library] for library in libraries), strict=True)
        are = "is" if len(names) == 1 else "are"
        return cls(
            f"{what} needs {_listed(names)}, which {are} not installed here: "
            f"pip install {' '.join(dict.fromkeys(packages))} (see docs/how-to/install-light.md)"
        )


class NothingFoundError(DicomsortError):
    """There is no file under the given folders."""

    exit_code = ExitCode.NOTHING_FOUND


class TargetError(DicomsortError):
    """The output folder is not writable, or it is full."""

    exit_code = ExitCode.TARGET


class MissingError(DicomsortError):
    """Shards that were begun have no rows yet: they are still to be done."""

    exit_code = ExitCode.MISSING


class ModelError(DicomsortError):
    """The model bundle is missing, damaged, or of an unknown format."""

    exit_code = ExitCode.MODEL


def check_installed(what: str, *libraries: str) -> None:
    """Raise MissingLibraryError unless libraries are installed; loads none of them.

    what: in words what needs them, such as `training`. libraries: the names of their modules.
    """
    if missing := [library for library in libraries if not is_installed(library)]:
        raise MissingLibraryError.of(missing, what)


@contextmanager
def names_missing_libraries() -> Iterator[None]:
    """Turn the import of a library that is not installed into a MissingLibraryError; also a decorator."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _OPTIONAL or is_installed(library):
            raise
        raise MissingLibraryError.of([library]) from None


def is_installed(library: str) -> bool:
    """Return whether a module can be found, without loading it."""
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:
        return False


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most like another; empty if none is much like it."""
    from difflib import get_close_matches  # noqa: PLC0415  (only slips of the hand need it)

    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(word.lower()[:_LONGEST_WORD], by_lower, n=1, cutoff=0.7)
    return by_lower[found[0]] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message, `: did you mean router5?`; empty if there is no good guess."""
    meant = nearest(word, known)
    return f": did you mean {meant}?" if meant else ""


def internal(error: Exception) -> str:
    """Say where an unforeseen error has come from, and no more: its message may quote a header."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
    return f"internal error, please report it: {where} (version {__version__})"
