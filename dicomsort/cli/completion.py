"""What a shell completes besides names of commands, options and files; and slips of the hand in these."""

import re

import typer

from dicomsort.errors import nearest
from dicomsort.model.shipped import shipped_names

_DEVICES = ("auto", "cpu", "cuda", "cuda:0", "cuda:all", "mps")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:(all|[0-9]+))?( *, *cuda:[0-9]+)*")


def models(incomplete: str) -> list[str]:
    """Return the shipped models that begin so; with none, a shell goes on to files."""
    return [name for name in shipped_names() if name.startswith(incomplete)]


def devices(incomplete: str) -> list[str]:
    """Return the devices that begin so."""
    return [name for name in _DEVICES if name.startswith(incomplete)]


def check_device(value: str) -> str:
    """Return a device as it is. Raises a usage error for what is almost one."""
    if not _DEVICE.fullmatch(value) and (meant := nearest(value, _DEVICES)):
        raise typer.BadParameter(f"is unknown; did you mean {meant}?")
    return value
