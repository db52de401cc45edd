"""A batch of uint8 images to logits, on a device."""

import numpy as np
import torch
from numpy.typing import NDArray

from dicomsort import networks
from dicomsort.bundle import Bundle
from dicomsort.errors import ModelError, UsageError


class Classifier:
    """A bundle's network, ready on a device, in float32."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.bundle = bundle
        self.device = choose_device(device)
        self._network = networks.build(bundle).eval().to(self.device)
        self._network.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 logits (n, labels) for uint8 images (n, size, size)."""
        batch = torch.from_numpy(images).to(self.device)
        return np.asarray(self._network(batch).float().cpu(), np.float32)

    def check(self) -> None:
        """Run one black image. Raises ModelError unless the answer has one finite number per label."""
        size = self.bundle.preprocessing.size
        try:
            answer = self.logits(np.zeros((1, size, size), np.uint8))
        except RuntimeError as error:
            message = str(error).splitlines()[0]
            raise ModelError(
                f"model '{self.bundle.name}' does not run on {self.device}: {message}"
            ) from error
        if answer.shape != (1, len(self.bundle.head.labels)) or not np.isfinite(answer).all():
            raise ModelError(f"model '{self.bundle.name}' gives no usable scores: its weights are damaged")


def choose_device(name: str) -> torch.device:
    """Turn auto, cpu, cuda, cuda:n or mps into a device that is there. Raises UsageError otherwise."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and (kind != "cuda" or not index.isdecimal())):
        raise UsageError(f"--device '{name}' is unknown: use auto, cpu, cuda, cuda:n or mps")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: no Apple GPU is available here; use --device auto or cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(index or 0) >= count:
        raise UsageError(f"--device {name}: {count} CUDA device(s) available here; use --device auto or cpu")
    return torch.device(name)
