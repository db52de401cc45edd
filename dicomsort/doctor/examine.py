"""The whole examination, part by part."""

from collections.abc import Callable, Iterator

from dicomsort.doctor import decoders, engines, folder, machine, software
from dicomsort.doctor.finding import Finding

Part = tuple[str, Callable[[], Iterator[Finding]]]


def parts(out: str | None, path: str | None) -> list[Part]:
    """Return what is to be looked at, by title. out: a folder to try. path: the PATH of the shell."""
    found: list[Part] = [
        ("software", lambda: software.examine(path)),
        ("machine", machine.examine),
        ("decoders", decoders.examine),
        ("engines", engines.examine),
    ]
    if out is not None:
        found.append(("folder", lambda: folder.examine(out)))
    return found
