"""Which installed packages claim this program's name, and whose files these are; needs nothing of ours."""

import base64
import csv
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions

DISTRIBUTION = "xray-dicomsort"
"""What this program is called among packages; `dicomsort` is another one, of the same module and command."""

_MODULE = "dicomsort"
_ENTRY = "dicomsort.__main__"
_SCRIPTS = ("bin", "Scripts")
_MOST = 1 << 16


@dataclass(frozen=True, slots=True)
class Claim:
    """Another package that puts files into the module `dicomsort`, or a command of that name."""

    name: str
    version: str
    has_module: bool
    has_command: bool


def ours() -> Distribution | None:
    """Return this program as it is installed; None if it is run from a checkout."""
    return next((found for found in distributions() if _name(found) == DISTRIBUTION), None)


def others() -> list[Claim]:
    """Return the other packages here that claim the module, or the command."""
    return sorted(_claims(), key=lambda claim: claim.name)


def _claims() -> Iterator[Claim]:
    for found in distributions():
        name, files = _name(found), found.read_text("RECORD") or ""
        if name == DISTRIBUTION or _MODULE not in files:
            continue
        paths = [row[0] for row in csv.reader(files.splitlines()) if row]
        has_module = any(path.startswith(f"{_MODULE}/") for path in paths)
        has_command = any(path.rpartition("/")[2] == _MODULE and _is_script(path) for path in paths)
        if has_module or has_command:
            yield Claim(name, found.version, has_module, has_command)


def _is_script(path: str) -> bool:
    return path.split("/")[-2:-1] in ([folder] for folder in _SCRIPTS)


def _name(found: Distribution) -> str:
    with suppress(KeyError, TypeError):  # a broken installation has no name
        return str(found.metadata["Name"]).lower().replace("_", "-").replace(".", "-")
    return ""


def overwritten(found: Distribution) -> list[str]:
    """Return which modules of an installed package are missing, or are not those that it brought."""
    rows = csv.reader((found.read_text("RECORD") or "").splitlines())
    told = [(row[0], row[1]) for row in rows if len(row) > 1]
    return [path for path, digest in told if path.endswith(".py") and digest and not _is(found, path, digest)]


def _is(found: Distribution, path: str, digest: str) -> bool:
    kind, _, wanted = digest.partition("=")
    if kind != "sha256":
        return True
    try:
        with open(str(found.locate_file(path)), "rb") as file:
            content = hashlib.sha256(file.read()).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode() == wanted


def command_on_path(path: str | None) -> tuple[str, bool] | None:
    """Return the command `dicomsort` that a shell finds, and whether it is this program; None without one.

    path: the PATH to look in.
    """
    script = shutil.which(_MODULE, path=path)
    if script is None:
        return None
    with suppress(OSError), open(script, "rb") as file:
        return os.path.realpath(script), _ENTRY.encode() in file.read(_MOST)
    return os.path.realpath(script), False


def remedy(claim: Claim) -> str:
    """Return what to do about another package of the same module."""
    return (
        f"pip uninstall {claim.name}, then install this program again with pip install --force-reinstall "
        "--no-deps, or have each in an environment of its own"
    )


def complaint() -> str | None:
    """Return one line if this program cannot even be loaded, because of another package; None otherwise."""
    found, claims = ours(), [claim for claim in others() if claim.has_module]
    if claims:
        claim = claims[0]
        return (
            f"the package '{claim.name}' {claim.version} is another tool, and has replaced files of this "
            f"one: {remedy(claim)}"
        )
    if found is not None and (lost := overwritten(found)):
        return (
            f"{len(lost)} files of this program are missing or not its own, such as {lost[0]} (another "
            "package of the module dicomsort was here): install it again with pip install "
            "--force-reinstall --no-deps"
        )
    return None
