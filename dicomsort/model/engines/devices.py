"""Where a network runs, and in which precision."""

from collections.abc import Sequence

import torch

from dicomsort.errors import UsageError
from dicomsort.system.telling import counted

THREADS = torch.get_num_threads()
"""Processor threads that PyTorch may use; OMP_NUM_THREADS and the affinity of the process are in it."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_KINDS = ("cpu", "cuda", "mps")
_CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16")
_USE = "use auto, cpu, cuda, cuda:n, several as cuda:0,cuda:1, cuda:all, or mps"


def choose_devices(names: str) -> tuple[torch.device, ...]:
    """Turn auto, cpu, cuda, cuda:n, cuda:all, mps or a list of CUDA devices into devices that are there.

    Raises UsageError otherwise.
    """
    given = names
    if names == "cuda:all":
        names = ",".join(f"cuda:{index}" for index in range(_cuda_devices()))
        if not names:
            raise UsageError("--device cuda:all: no CUDA device is available here; use --device auto or cpu")
    if not all(name.strip() for name in names.split(",")):
        raise UsageError(f"--device '{given}' is unknown: {_USE}")
    chosen = tuple(choose_device(name.strip()) for name in names.split(","))
    if len(chosen) > 1 and any(device.type != "cuda" or device.index is None for device in chosen):
        raise UsageError(f"--device '{names}': several must be CUDA devices with their numbers; {_USE}")
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"--device '{names}' names a device twice")
    return chosen


def choose_device(name: str) -> torch.device:
    """Turn auto, cpu, cuda, cuda:n or mps into a device that is there. Raises UsageError otherwise."""
    if name == "auto":
        name = "cuda" if _cuda_devices() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, index = name.partition(":")
    if kind not in _KINDS or (colon and (kind != "cuda" or not (index.isascii() and index.isdecimal()))):
        raise UsageError(f"--device '{name}' is unknown: {_USE}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: no Apple GPU is available here; use --device auto or cpu")
    count = _cuda_devices()
    if kind == "cuda" and int(index or 0) >= count:
        raise UsageError(f"--device {name}: {counted(count, 'CUDA device')} here; use --device auto or cpu")
    return torch.device(name)


def visible_gpus() -> list[str]:
    """Name the CUDA devices that this process may use (CUDA_VISIBLE_DEVICES), in their order, by UUID."""
    found = (torch.cuda.get_device_properties(index) for index in range(_cuda_devices()))
    return [str(getattr(gpu, "uuid", index)) for index, gpu in enumerate(found)]


def choose_precision(name: str, devices: Sequence[torch.device]) -> str:
    """Turn auto, float32, bfloat16 or float16 into one of the last three.

    auto depends on nothing but the devices: bfloat16 where all of them compute in it, float32 elsewhere.
    Raises UsageError for any other word.
    """
    if name == "auto":
        return "bfloat16" if all(_computes_bfloat16(device) for device in devices) else "float32"
    if name not in PRECISIONS:
        raise UsageError(f"--precision '{name}' is unknown: use auto, {', '.join(PRECISIONS)}")
    return name


def _computes_bfloat16(device: torch.device) -> bool:
    """Return whether a device has bfloat16 in hardware; emulating it would be slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    told = hasattr(torch.cpu, "get_capabilities")  # by newer releases of PyTorch
    if device.type == "cpu" and told and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        features = torch.cpu.get_capabilities()
        return any(features.get(name, False) for name in _CPU_BFLOAT16)
    return False


def _cuda_devices() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
