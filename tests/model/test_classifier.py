"""The network: the same answers, however it is made fast, wherever it runs, and when memory runs out."""

import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from dicomsort.dicom.reader import read_dicom
from dicomsort.errors import InternalError, ModelError, UsageError
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.batching import predict
from dicomsort.model.bundle import Bundle
from dicomsort.model.engines import devices
from dicomsort.model.engines.devices import choose_devices, choose_precision
from dicomsort.model.engines.multi_gpu import MultiGpuClassifier
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.fusion import _fold, fold_batch_norm, fuse_activations
from dicomsort.outcome import Failure, ReadImage, Reason, Status
from dicomsort.system.timing import StageTimer

CPU = torch.device("cpu")
Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def router5() -> Bundle:
    return bundles.load(bundles.locate("router5"))


@pytest.fixture(scope="module")
def radiographs(archive: Path, router5: Bundle) -> Images:
    readings = (
        read_dicom(str(path), router5.preprocessing) for path in sorted(archive.rglob("*")) if path.is_file()
    )
    return np.stack([reading.image for reading in readings if isinstance(reading, ReadImage)])


@pytest.fixture
def noise(small_bundle: Bundle) -> Images:
    size = small_bundle.preprocessing.size
    return np.random.default_rng(0).integers(0, 256, (10, size, size), np.uint8)


def lived_in(body: nn.Module) -> nn.Module:
    """Give batch norms the statistics of a network that was trained."""
    generator = torch.Generator().manual_seed(1)
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2), (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5), (module.bias, -0.2, 0.2),
            ):  # fmt: skip
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=generator)
    return body.eval()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenetv1_100", {"pad_type": "same"}),
        ("mobilenetv2_100", {}),
        ("resnet18", {}),
        ("efficientnet_b0", {}),
        ("tf_efficientnet_b0", {}),
        ("xception41", {}),
    ],
)
@pytest.mark.parametrize("size", [64, 97])
def test_folding_changes_no_answer(name: str, options: dict[str, Any], size: int) -> None:
    body = lived_in(timm.create_model(name, in_chans=1, num_classes=3, **options))
    example = torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(2))
    other = torch.randn(3, 1, size, size, generator=torch.Generator().manual_seed(3))
    plain = fold_batch_norm(body, example)
    assert isinstance(plain, torch.fx.GraphModule)
    assert not any(isinstance(module, nn.BatchNorm2d | Conv2dSame) for module in plain.modules())
    quick = fuse_activations(plain, example)
    assert quick is not plain
    with torch.no_grad():
        want = body(other)
        for network in (plain, quick):
            assert torch.allclose(network(other), want, atol=1e-4 * float(want.abs().max()), rtol=0)


def test_what_cannot_be_folded_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Choosing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, images: Tensor) -> Tensor:
            return self.norm(self.conv(images)) if images.mean() > 0 else images

    choosing, example = Choosing().eval(), torch.ones(1, 1, 8, 8)
    assert fold_batch_norm(choosing, example) is choosing
    body = lived_in(timm.create_model("resnet18", in_chans=1, num_classes=3))
    example = torch.randn(1, 1, 64, 64)
    monkeypatch.setattr(
        "dicomsort.model.fusion._fold", lambda network, _: nn.Sequential(network, nn.Softmax(dim=1))
    )
    assert fold_batch_norm(body, example) is body, "other answers are not taken"
    plain = _fold(body, example)
    monkeypatch.setattr("dicomsort.model.fusion._ACTIVATIONS", {nn.ReLU: ("no such thing", [])})
    assert fuse_activations(plain, example) is plain


def test_every_precision_gives_the_labels_of_the_plain_network(router5: Bundle, radiographs: Images) -> None:
    plain = networks.build(router5).eval()
    with torch.inference_mode():
        want = router5.scores(plain(torch.from_numpy(radiographs)).numpy())
    assert len(want) >= 8
    for precision, far in (("float32", 1e-4), ("bfloat16", 0.05)):
        classifier = TorchClassifier(router5, "cpu", precision)
        assert classifier.precision == precision
        scores = router5.scores(classifier.logits(radiographs))
        sure = (
            want.max(axis=1) > 0.6
        )  # one odd film has 0.599, and 0.754 in bfloat16; it is reviewed in either
        assert sure.sum() >= len(want) - 1
        assert np.abs(scores - want)[sure].max() < far
        assert (scores.argmax(axis=1) == want.argmax(axis=1))[sure].all()


def test_batches_and_threads_change_nothing(router5: Bundle, radiographs: Images) -> None:
    classifier = TorchClassifier(router5, "cpu", "float32")
    many = np.concatenate([radiographs] * 8)[:64]
    at_once = classifier.logits(many)
    with ThreadPoolExecutor(4) as threads:
        one_by_one = np.concatenate(list(threads.map(classifier.logits, np.split(many, len(many)))))
    assert np.abs(router5.scores(at_once) - router5.scores(one_by_one)).max() < 1e-3
    own, other = (router5.logits(answers).argmax(axis=1) for answers in (at_once, one_by_one))
    assert (own == other).all()


class Narrow:
    """A device whose memory holds a few images."""

    def __init__(self, classifier: TorchClassifier, most: int) -> None:
        self.run, self.most, self.asked = classifier._run, most, list[int]()

    def __call__(self, network: nn.Module, images: Images) -> NDArray[np.float32]:
        self.asked.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return self.run(network, images)


def test_what_does_not_fit_into_memory_is_halved_from_then_on(
    small_bundle: Bundle, noise: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = TorchClassifier(small_bundle, "cpu", "float32")
    want = classifier.logits(noise)
    narrow = Narrow(classifier, 3)
    monkeypatch.setattr(classifier, "_run", narrow)
    assert np.allclose(classifier.logits(noise), want, atol=1e-5)
    assert narrow.asked == [10, 5, 2, 2, 1, 2, 2, 1]
    narrow.asked.clear()
    assert np.allclose(classifier.logits(noise), want, atol=1e-5)
    assert narrow.asked == [2] * 5
    narrow.most = 0
    with pytest.raises(InternalError, match="no memory for a single image"):
        classifier.logits(noise)


def test_an_answer_beyond_a_precision_is_computed_in_float32(small_bundle: Bundle, noise: Images) -> None:
    exact = TorchClassifier(small_bundle, "cpu", "float32").logits(noise)
    classifier = TorchClassifier(small_bundle, "cpu", "bfloat16")
    with torch.no_grad():
        next(classifier._network.parameters()).fill_(torch.inf)
    assert np.allclose(classifier.logits(noise), exact, atol=1e-5)


@pytest.mark.parametrize(
    ("features", "precision"),
    [({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({"bf16": True}, "bfloat16"),
     ({"avx512_f": True, "avx512_bf16": False}, "float32"), ({}, "float32")],
)  # fmt: skip
def test_auto_precision_goes_by_the_processor(
    features: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert choose_precision("auto", [CPU]) == precision
    assert choose_precision("float32", [CPU]) == "float32"
    with pytest.raises(UsageError, match="--precision 'int8' is unknown: use auto"):
        choose_precision("int8", [CPU])


def test_several_devices_have_one_precision_and_no_device_comes_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "_cuda_devices", lambda: 3)
    names = [str(device) for device in choose_devices("cuda:all")]
    assert names == ["cuda:0", "cuda:1", "cuda:2"]
    assert [device.index for device in choose_devices("cuda:2,cuda:0")] == [2, 0]
    for wrong in ("cuda:1,cuda:1", "cuda:0,cpu", "cuda:0,cuda:3", "cuda:0,", "cuda,cuda:0", ""):
        with pytest.raises(UsageError, match="--device"):
            choose_devices(wrong)
    ability = {0: (9, 0), 1: (7, 5), 2: (8, 0)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: ability[device.index])
    assert choose_precision("auto", choose_devices("cuda:0,cuda:2")) == "bfloat16"
    assert choose_precision("auto", choose_devices("cuda:all")) == "float32"


def test_a_fleet_answers_as_one_classifier_does(small_bundle: Bundle, noise: Images) -> None:
    want = TorchClassifier(small_bundle, "cpu", "float32").logits(noise)
    with (
        MultiGpuClassifier(small_bundle, [CPU, CPU], "float32") as fleet,
        ThreadPoolExecutor(fleet.concurrency) as threads,
    ):
        assert fleet.concurrency == 4
        assert fleet.batch_size == TorchClassifier(small_bundle, "cpu", "float32").batch_size
        for answer in threads.map(fleet.logits, [noise] * 12):
            assert np.allclose(answer, want, atol=1e-5)
        for process in fleet._processes:
            process.kill()
        with pytest.raises(InternalError, match="process of a device has died"):
            fleet.logits(noise)
    assert not any(process.is_alive() for process in fleet._processes)


def test_a_fleet_tells_what_is_wrong_with_a_model(small_bundle: Bundle) -> None:
    from dataclasses import replace

    spoiled = {**small_bundle.weights, "classifier.bias": np.full(5, np.nan, np.float32)}
    with (
        pytest.raises(ModelError, match="no usable scores"),
        MultiGpuClassifier(replace(small_bundle, weights=spoiled), [CPU]),
    ):
        pass


class Gate:
    """A predictor that waits until it is let go, and counts who is in it."""

    engine, name, precision, concurrency, batch_size = "none", "cpu", "float32", 2, 2

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.open = bundle, threading.Event()

    def logits(self, images: Images) -> NDArray[np.float32]:
        assert self.open.wait(10)
        return np.eye(len(self.bundle.head.labels), dtype=np.float32)[images[:, 0, 0]]


def test_failures_do_not_wait_for_batches_and_few_pictures_are_held(small_bundle: Bundle) -> None:
    gate, taken = Gate(small_bundle), list[int]()
    closed = threading.Event()

    def readings() -> Generator[tuple[int, ReadImage | Failure], None, None]:
        try:
            for number in range(1000):
                taken.append(number)
                if number % 3 == 1:
                    yield number, Failure(Status.NOT_DICOM, Reason.NO_DICOM)
                else:
                    yield number, ReadImage(np.full((4, 4), number % 5, np.uint8))
        finally:
            closed.set()

    results: Iterator[Any] = predict(readings(), gate, 2, StageTimer())
    first = next(results)
    assert (first.item, first.output) == (1, None)
    for _ in range(3):
        assert next(results).output is None
    assert max(taken) < 20, "only a few are read ahead of a network that does not answer"
    gate.open.set()
    rest = list(results)
    assert sorted([1, 4, 7, 10] + [result.item for result in rest]) == list(range(1000))
    for result in rest:
        if result.output is not None:
            assert int(np.argmax(result.output)) == result.item % 5
    assert closed.is_set()
