"""A bundle's network on a GPU, or on a processor, by PyTorch."""

import threading
from functools import cached_property
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dicomsort.errors import InternalError, ModelError
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle
from dicomsort.model.engines.devices import PRECISIONS, THREADS, choose_device, choose_precision
from dicomsort.model.features import FeatureExtractor

Images = NDArray[np.uint8]
Logits = NDArray[np.float32]

_MOST_LANES = 8
_CPU_BATCH = 8  # larger ones do not fit the caches of a processor
_CPU_LEAST = 4  # smaller ones are computed by other kernels, whose last bits differ
_GPU_BATCH = 256
_TRIAL = 8
_MEMORY_SHARE = 0.5
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


class TorchClassifier:
    """A bundle's network, ready on a device; `logits` may be called by `concurrency` threads at a time.

    On a processor each lane has its share of the threads, which costs less than to share out every
    convolution, and a batch of one, two or three images is computed as one of four, so that an answer does
    not depend on what else is in its batch; on a GPU one batch is copied while another is computed.

    name: the device. precision: float32, bfloat16 or float16. batch_size: images at a time that suit the
    device. Raises UsageError for a device or precision that there is not, ModelError as `check` does.
    """

    engine = "torch"

    def __init__(self, bundle: Bundle, device: str = "auto", precision: str = "auto") -> None:
        self.bundle = bundle
        self.device = choose_device(device)
        self.name = str(self.device)
        self.precision = choose_precision(precision, [self.device])
        self.concurrency = {"cpu": min(THREADS, _MOST_LANES), "cuda": 2}.get(self.device.type, 1)
        if self.device.type == "cpu":
            torch.set_num_threads(max(1, THREADS // self.concurrency))
        self._network = self._build(PRECISIONS[self.precision])
        self._exact: nn.Module | None = None
        self._streams = threading.local()
        self._most = 1 << 20
        self.check()
        self.batch_size = self._choose_batch()

    def logits(self, images: Images) -> Logits:
        """Return float32 logits (n, bundle.width) for uint8 images (n, size, size).

        What does not fit into the memory of the device is halved, from then on. An answer beyond the range of
        the precision is computed again in float32. Raises InternalError if not even one image fits.
        """
        parts: list[Logits] = []
        done = 0
        while done < len(images):
            parts.append(self._part(images[done : done + self._most]))
            done += len(parts[-1])
        return np.concatenate(parts)

    def features(self, images: Images) -> NDArray[np.float32]:
        """Return what the last layer is given, float32 (n, dimensions), computed in float32."""
        return self._extractor.features(images)

    @cached_property
    def _extractor(self) -> FeatureExtractor:
        return FeatureExtractor(self.bundle, self.device)

    def check(self) -> None:
        """Run one black image. Raises ModelError unless it gives as many finite numbers as it should."""
        size = self.bundle.preprocessing.size
        try:
            answer = self.logits(np.zeros((1, size, size), np.uint8))
        except RuntimeError as error:
            message = str(error).splitlines()[0]
            raise ModelError(
                f"model '{self.bundle.name}' does not run on {self.device} in {self.precision}: {message}"
            ) from error
        if answer.shape != (1, self.bundle.width) or not np.isfinite(answer).all():
            raise ModelError(f"model '{self.bundle.name}' gives no usable scores: its weights are damaged")

    def _part(self, images: Images) -> Logits:
        try:
            answer = self._run(self._network, images)
            beyond = ~np.isfinite(answer).all(axis=1)
            if self.precision != "float32" and beyond.any():
                answer[beyond] = self._run(self._in_float32(), images[beyond])
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if len(images) == 1:
                raise InternalError(
                    f"{self.device} has no memory for a single image: free some, or use --device cpu"
                ) from error
            self._most = min(self._most, len(images) // 2)
        else:
            return answer
        self._free()
        return self.logits(images)

    @torch.inference_mode()
    def _run(self, network: nn.Module, images: Images) -> Logits:
        torch.get_num_threads()  # in a new thread, the number counts only once it has been asked for
        batch = torch.from_numpy(images)
        if self.device.type == "cpu" and (count := len(images)) < _CPU_LEAST:
            return _on_host(network(functional.pad(batch, (0, 0, 0, 0, 0, _CPU_LEAST - count))))[:count]
        if self.device.type != "cuda":
            return _on_host(network(batch.to(self.device)))
        with torch.cuda.stream(self._stream()):
            return _on_host(network(batch.pin_memory().to(self.device, non_blocking=True)))

    def _build(self, precision: torch.dtype) -> nn.Module:
        network, size = networks.build(self.bundle), self.bundle.preprocessing.size
        return networks.optimize_for_inference(network, size, precision, self.device.type == "cpu").to(
            self.device
        )

    def _in_float32(self) -> nn.Module:
        if self._exact is None:
            self._exact = self._build(torch.float32)
        return self._exact

    def _stream(self) -> torch.cuda.Stream:
        """Return the calling thread's own stream."""
        if not hasattr(self._streams, "stream"):
            self._streams.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        return cast("torch.cuda.Stream", self._streams.stream)

    def _free(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _choose_batch(self) -> int:
        """Return a power of two: by the memory that is free, on a GPU."""
        if self.device.type != "cuda":
            return _CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH // 8
        size = self.bundle.preprocessing.size
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.max_memory_allocated(self.device)
        self.logits(np.zeros((_TRIAL, size, size), np.uint8))
        each = (torch.cuda.max_memory_allocated(self.device) - before) / _TRIAL
        free, _ = torch.cuda.mem_get_info(self.device)
        fitting = int(_MEMORY_SHARE * free / self.concurrency / max(each, 1))
        return min(_GPU_BATCH, 1 << max(fitting, 1).bit_length() - 1)


def _on_host(logits: Tensor) -> Logits:
    return np.array(logits.float().cpu().numpy())


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)
