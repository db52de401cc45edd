"""Processes that train one network together, as torchrun starts them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import distributed, nn

from dicomsort.errors import DicomsortError, InternalError
from dicomsort.model.engines.devices import choose_device

Value = TypeVar("Value")

_READING = timedelta(days=7)  # the others wait while the first process reads the images


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The place of a process among those that train together; alone, it is the first of one."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process reads, writes and tells."""
        return self.rank == 0

    def shared(self, value: Value | None) -> Value:
        """Give all processes what the first one has. An exception among it is raised in all."""
        box: list[Any] = [value]
        if self.world > 1:
            distributed.broadcast_object_list(box, device=self._carrier)
        if isinstance(box[0], BaseException):
            raise box[0]
        return box[0]  # type: ignore[no-any-return]

    def on_main(self, work: Any) -> Any:
        """Let the first process do something, and give its result, or its exception, to all."""
        result: Any = None
        if self.is_main:
            try:
                result = work()
            except DicomsortError as error:
                if self.world == 1:
                    raise
                result = error
        return self.shared(result)

    def together(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that all processes take the same steps."""
        if self.world == 1:
            return network
        if self.device.type == "cuda":
            return nn.parallel.DistributedDataParallel(synchronised(network), device_ids=[self.device])
        return nn.parallel.DistributedDataParallel(network)

    @property
    def _carrier(self) -> torch.device:
        return self.device if self.device.type == "cuda" else torch.device("cpu")


def synchronised(network: nn.Module) -> nn.Module:
    """Let batch norms measure the images of all processes; activations inside timm's batch norms stay."""
    return cast("nn.Module", convert_sync_batchnorm(network))  # type: ignore[no-untyped-call]


@contextmanager
def ranks(device: str) -> Iterator[ProcessGroup]:
    """Join the other processes, if torchrun has started several; each takes a GPU of its own.

    Raises UsageError for a device that is not there, InternalError if the others cannot be reached.
    """
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        yield ProcessGroup(0, 1, choose_device(device))
        return
    chosen = choose_device(device)
    if chosen.type == "cuda":
        chosen = choose_device(f"cuda:{distributed.get_node_local_rank()}")
        torch.cuda.set_device(chosen)
    try:
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_READING)
    except (RuntimeError, ValueError) as error:
        raise InternalError(f"torchrun's processes cannot reach each other: {error}") from error
    try:
        yield ProcessGroup(distributed.get_rank(), distributed.get_world_size(), chosen)
    finally:
        distributed.destroy_process_group()
