"""Which engine runs a network, and where: decided before any of them is loaded."""

import ctypes
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from dicomsort.errors import UsageError, is_installed
from dicomsort.model.bundle import Bundle

ENGINES = ("openvino", "torch")

_CUDA_DRIVER = "libcuda.so.1"
_AMD_DRIVER = "/dev/kfd"


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and the devices as the user named them; `cpu` for openvino."""

    engine: str
    device: str

    @property
    def is_several(self) -> bool:
        """Whether the user named more than one device."""
        return "," in self.device or self.device == "cuda:all"


def choose_engine(engine: str, device: str, bundles: Sequence[Bundle]) -> Choice:
    """Choose what runs networks: one engine for all of them.

    engine: auto, openvino or torch. auto is openvino on a processor and torch on any other device; models
    without a graph, or a system without OpenVINO, take torch everywhere. device: as on the command line; auto
    is a GPU if there is one. Raises UsageError for another word, or an engine that the device or a model does
    not go with.
    """
    if engine not in ("auto", *ENGINES):
        raise UsageError(f"--engine '{engine}' is unknown: use auto, {' or '.join(ENGINES)}")
    if engine == "torch":
        return Choice("torch", device)
    if engine == "openvino" and device not in ("auto", "cpu"):
        raise UsageError(f"--engine openvino runs on the processor; for --device {device} use --engine torch")
    on_processor = device == "cpu" or (device == "auto" and (engine == "openvino" or not has_gpu()))
    without = [bundle.name for bundle in bundles if bundle.graph is None]
    if engine == "openvino" and without:
        raise UsageError(
            f"model '{without[0]}' has no graph for --engine openvino: "
            "`dicomsort model export` adds one, or use --engine torch"
        )
    runs = on_processor and not without and is_installed("openvino")
    return Choice("openvino", "cpu") if runs or engine == "openvino" else Choice("torch", device)


def has_gpu() -> bool:
    """Return whether there is a GPU for PyTorch; PyTorch is asked, and loaded, only where that may be."""
    if not gpu_in_sight():
        return False
    from dicomsort.model.engines import devices  # noqa: PLC0415

    return devices.choose_device("auto").type != "cpu"


def gpu_in_sight() -> bool:
    """Return whether the system may have a GPU that PyTorch can use, without loading PyTorch."""
    if not is_installed("torch"):
        return False
    return sys.platform == "darwin" or os.path.exists(_AMD_DRIVER) or _cuda_devices() > 0


def accelerators() -> list[str]:
    """Return the devices besides the processor that PyTorch can use, as --device names them."""
    if not gpu_in_sight():
        return []
    from dicomsort.model.engines import devices  # noqa: PLC0415

    if gpus := devices.visible_gpus():
        return [f"cuda:{index}" for index in range(len(gpus))]
    return ["mps"] if devices.choose_device("auto").type == "mps" else []


def visible_gpus() -> list[str]:
    """Name the CUDA devices that this process may use (CUDA_VISIBLE_DEVICES), in their order, by UUID."""
    if not gpu_in_sight():
        return []
    from dicomsort.model.engines import devices  # noqa: PLC0415

    return devices.visible_gpus()


def _cuda_devices() -> int:
    """Ask NVIDIA's driver how many devices this process may use; 0 without a driver."""
    count = ctypes.c_int(0)
    with suppress(OSError, AttributeError):
        driver = ctypes.CDLL(_CUDA_DRIVER)
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0
