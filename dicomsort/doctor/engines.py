"""Whether a network computes here what it should, on each engine and device."""

import os
from collections.abc import Iterator

from dicomsort.doctor.finding import Finding, note, ok, problem
from dicomsort.errors import DicomsortError, is_installed
from dicomsort.model import trial
from dicomsort.model.bundle import Bundle
from dicomsort.model.engines import selection

_NVIDIA = "/proc/driver/nvidia/version"


def examine() -> Iterator[Finding]:
    """Show a shipped model one picture on each engine, and compare with what it should answer."""
    try:
        bundle = trial.load()
    except DicomsortError as error:
        yield problem(
            "model", str(error), "install this program again: pip install --force-reinstall --no-deps"
        )
        return
    yield ok("model", bundle.tag)
    for engine, device in _places():
        yield _tried(bundle, engine, device)
    yield from _gpus()


def _places() -> Iterator[tuple[str, str]]:
    for engine in selection.ENGINES:
        if is_installed(engine):
            yield engine, "cpu"
    if is_installed("torch") and is_installed("timm"):
        for device in selection.accelerators():
            yield "torch", device


def _tried(bundle: Bundle, engine: str, device: str) -> Finding:
    name = f"{engine} on {device}"
    try:
        _, precision, off = trial.attempt(bundle, engine, device)
    except DicomsortError as error:
        return problem(name, str(error), "use another --engine or --device, and report it")
    except Exception as error:  # noqa: BLE001  (a library that cannot be loaded: whatever it raises)
        return problem(
            name, f"cannot be used ({type(error).__name__})", f"pip install --force-reinstall {engine}"
        )
    return ok(name, f"answers as it should, in {precision} (scores off by {off:.4f} at most)")


def _gpus() -> Iterator[Finding]:
    """Tell of GPUs that are there and cannot be used."""
    if selection.accelerators():
        return
    if not is_installed("torch"):
        yield note("GPU", "not looked for: that takes PyTorch")
    elif os.path.exists(_NVIDIA):
        yield problem(
            "GPU",
            "NVIDIA's driver is here, but PyTorch finds no device",
            "see nvidia-smi and CUDA_VISIBLE_DEVICES",
        )
    else:
        yield note("GPU", "none: networks run on the processor")
