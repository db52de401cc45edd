"""A bundle made ready to run: on a processor, on one GPU, or on several."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from dicomsort.errors import check_installed
from dicomsort.model import joined
from dicomsort.model.batching import Predictor
from dicomsort.model.bundle import Bundle
from dicomsort.model.engines.selection import Choice, choose_engine
from dicomsort.system.malloc import keep_freed_memory
from dicomsort.system.starting import somewhere

if TYPE_CHECKING:
    from dicomsort.model.engines.openvino import OpenVinoClassifier
    from dicomsort.model.engines.torch import TorchClassifier


@contextmanager
def predictor_for(bundle: Bundle, device: str, precision: str, engine: str = "auto") -> Iterator[Predictor]:
    """Make the network ready on its device, or on several, and try it. Raises UsageError or ModelError."""
    with predictors_for([bundle], device, precision, engine) as [predictor]:
        yield predictor


@contextmanager
def predictors_for(
    bundles: Sequence[Bundle], device: str, precision: str, engine: str = "auto"
) -> Iterator[list[Predictor]]:
    """Make several networks ready, all on one engine, as `predictor_for` does each.

    Those that share all but the last layer are computed once; see `joined`.
    """
    keep_freed_memory()
    choice = choose_engine(engine, device, bundles)
    with ExitStack() as stack:
        yield joined.ready(
            bundles, lambda each: _ready(each, choice, precision, stack), choice.engine == "openvino"
        )


def classifier_for(
    bundle: Bundle, device: str, precision: str, engine: str = "auto"
) -> "OpenVinoClassifier | TorchClassifier":
    """Make the network ready on one device, and try it. Raises UsageError or ModelError."""
    keep_freed_memory()
    return _on_one_device(bundle, choose_engine(engine, device, [bundle]), precision)


def _ready(bundle: Bundle, choice: Choice, precision: str, stack: ExitStack) -> Predictor:
    if not choice.is_several:
        return _on_one_device(bundle, choice, precision)
    check_installed("several GPUs", "torch", "timm")
    with somewhere():
        from dicomsort.model.engines.devices import choose_devices  # noqa: PLC0415
        from dicomsort.model.engines.multi_gpu import MultiGpuClassifier  # noqa: PLC0415

    return stack.enter_context(MultiGpuClassifier(bundle, choose_devices(choice.device), precision))


def _on_one_device(bundle: Bundle, choice: Choice, precision: str) -> "OpenVinoClassifier | TorchClassifier":
    """Load the engine that was chosen, and no other."""
    if choice.engine == "openvino":
        from dicomsort.model.engines.openvino import OpenVinoClassifier  # noqa: PLC0415

        return OpenVinoClassifier(bundle, precision)
    check_installed("a network on torch (--engine torch, a GPU, or a model without a graph)", "torch", "timm")
    with somewhere():  # PyTorch and its MKL ask where they are
        from dicomsort.model.engines.torch import TorchClassifier  # noqa: PLC0415

    return TorchClassifier(bundle, choice.device, precision)
