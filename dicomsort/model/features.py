"""What a network knows of an image before it decides: the vectors that its last layer is given."""

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dicomsort.model import networks
from dicomsort.model.bundle import Bundle


class FeatureExtractor:
    """A bundle's network in float32 on one device; `features` may be called by several threads."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self._device = device
        self._network = networks.build(bundle).eval().to(device)
        self._given = threading.local()
        self._network.last.register_forward_pre_hook(self._note)

    def _note(self, _: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        self._given.features = inputs[0]

    @torch.inference_mode()
    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the pooled features, float32 (n, width), of uint8 images (n, size, size)."""
        torch.get_num_threads()  # in a new thread, the number counts only once it has been asked for
        self._network(torch.from_numpy(images).to(self._device))
        found: NDArray[np.float32] = self._given.features.flatten(1).float().cpu().numpy()
        return found
