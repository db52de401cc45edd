"""A bundle made ready to run: on one device, or on several GPUs."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from dicomsort.model.bundle import Bundle
from dicomsort.model.classifier import Classifier
from dicomsort.model.devices import choose_devices
from dicomsort.model.multi_gpu import MultiGpuClassifier
from dicomsort.system.malloc import keep_freed_memory


@contextmanager
def predictor_for(bundle: Bundle, device: str, precision: str) -> Iterator[Classifier | MultiGpuClassifier]:
    """Make the network ready on its device, or on several, and try it. Raises UsageError or ModelError."""
    keep_freed_memory()
    devices = choose_devices(device)
    if len(devices) > 1:
        with MultiGpuClassifier(bundle, devices, precision) as fleet:
            yield fleet
    else:
        yield Classifier(bundle, str(devices[0]), precision)


@contextmanager
def predictors_for(
    bundles: Sequence[Bundle], device: str, precision: str
) -> Iterator[list[Classifier | MultiGpuClassifier]]:
    """Make several networks ready, as `predictor_for` does each."""
    with ExitStack() as stack:
        yield [stack.enter_context(predictor_for(bundle, device, precision)) for bundle in bundles]
