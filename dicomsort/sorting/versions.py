"""The versions of what can change a result, and how those of two machines differ."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata

from dicomsort import __version__

_ENGINES = ("openvino", "torch")
_PACKAGES = (
    *("imagecodecs", "numpy", "pillow", "pydicom", *_ENGINES),
    *("pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-libjpeg", "pyjpegls", "python-gdcm"),
)


def installed() -> dict[str, str]:
    """Name the versions of what can change a result, as far as it is installed."""
    return dict(_installed())


@cache
def _installed() -> dict[str, str]:
    """Look once: that takes as long as reading some files, and a node asks for every shard."""
    versions = {"dicomsort": __version__}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def differences(theirs: Mapping[str, str], ours: Mapping[str, str], engine: str = "auto") -> list[str]:
    """Say in which versions two machines differ: `numpy 2.1.0 there, 2.2.0 here`.

    engine: the one in use, since another one that is installed changes nothing; `auto` for not known yet: an
    engine that only one machine has is not compared then.
    """
    found = []
    for package in dict.fromkeys((*theirs, *ours)):
        there, here = theirs.get(package, "none"), ours.get(package, "none")
        is_in_use = package not in _ENGINES or package == engine
        is_in_both = package in theirs and package in ours and engine not in _ENGINES
        if there != here and (is_in_use or is_in_both):
            found.append(f"{package} {there} there, {here} here")
    return found
