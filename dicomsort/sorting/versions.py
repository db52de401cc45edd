"""The versions of what can change a result."""

from contextlib import suppress
from functools import cache
from importlib import metadata

from dicomsort import __version__

_PACKAGES = (
    *("imagecodecs", "numpy", "pillow", "pydicom", "openvino", "torch"),
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
