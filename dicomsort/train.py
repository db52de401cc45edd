"""Labels and images to a bundle."""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler
from torchvision.transforms import v2

from dicomsort import __version__, dataset, networks
from dicomsort.bundle import Bundle, compact
from dicomsort.dataset import TRAIN, VALIDATION, Sample
from dicomsort.devices import THREADS, choose_device
from dicomsort.errors import UsageError
from dicomsort.labels import Head
from dicomsort.metrics import confusion, figures, threshold_for_precision
from dicomsort.networks import Network
from dicomsort.outcome import Failure
from dicomsort.preprocess import Preprocessing
from dicomsort.workers import PoolSettings

REVIEW_PRECISION = 0.995
"""The review threshold of a bundle is set so that this share of the answers above it is right."""

_EMA_DECAY = 0.998
_WARM_UP = 0.1


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. learning_rate: the peak of a one-cycle schedule for AdamW (Smith 2018).

    balance: 0 samples images as they come, 1 samples every class equally often, and within a class every
    source; in between, a class or source of n images is seen in proportion to n ** (1 - balance).
    balance_by: the column that tells the sources, for the record.
    """

    arch: str = "mobilenet_v1"
    size: int = 224
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    balance: float = 0.5
    balance_by: str | None = None
    seed: int = 0
    pretrained: Path | None = None
    device: str = "auto"
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave: mean training loss, macro figures on the validation part (0..1), seconds."""

    number: int
    loss: float
    macro_f1: float
    macro_recall: float
    seconds: float


Watch = Callable[[Epoch], None]
ReadWatch = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Images:
    """Labelled images in memory. pixels: uint8 (n, size, size); labels: class indices (n,); sources: (n,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set ready to train on, and the files that could not be read."""

    labels: tuple[str, ...]
    train: Images
    validation: Images
    split: dict[str, str]
    samples: tuple[Sample, ...]
    failures: tuple[tuple[Sample, Failure], ...]


def prepare(
    samples: Sequence[Sample], split: dict[str, str] | None, recipe: Recipe, watch: ReadWatch | None = None
) -> Prepared:
    """Split the samples unless a split is given, and read the training and validation images.

    Images of the test part are not even opened beyond their hash. Raises UsageError if a class has no
    readable image in one of the two parts.
    """
    labels = dataset.classes(samples)
    split = dataset.make_split(samples, recipe.seed) if split is None else split
    split = {sample.sha256: split.get(sample.sha256, dataset.TEST) for sample in samples}
    failures: list[tuple[Sample, Failure]] = []
    parts = {}
    for part in (TRAIN, VALIDATION):
        members = dataset.in_part(samples, split, part)
        parts[part], unread = _read(members, labels, recipe, watch)
        failures += unread
        if missing := [name for index, name in enumerate(labels) if index not in parts[part].labels]:
            raise UsageError(f"class '{missing[0]}' has no readable image in the {part} part of the split")
    return Prepared(labels, parts[TRAIN], parts[VALIDATION], split, tuple(samples), tuple(failures))


def _read(
    samples: Sequence[Sample], labels: tuple[str, ...], recipe: Recipe, watch: ReadWatch | None
) -> tuple[Images, list[tuple[Sample, Failure]]]:
    pixels = np.zeros((len(samples), recipe.size, recipe.size), np.uint8)
    place = {id(sample): index for index, sample in enumerate(samples)}
    readable = np.zeros(len(samples), bool)
    failures = []
    preprocessing = Preprocessing(size=recipe.size)
    for sample, reading in dataset.read_all(samples, preprocessing, recipe.pool):
        if isinstance(reading, Failure):
            failures.append((sample, reading))
        else:
            pixels[place[id(sample)]] = reading.image
            readable[place[id(sample)]] = True
        if watch is not None:
            watch(1)
    indices = np.array([labels.index(sample.label) for sample in samples], np.int64)
    sources = tuple(sample.source for sample, ok in zip(samples, readable, strict=True) if ok)
    return Images(pixels[readable], indices[readable], sources), failures


def train(name: str, prepared: Prepared, recipe: Recipe, watch: Watch | None = None) -> Bundle:
    """Train a network and return its bundle, with the weights averaged over the last steps.

    The schedule ends at a learning rate of nothing, so the end is taken and validation chooses no epoch; it
    serves for temperature and review threshold alone. Deterministic for a given seed,
    data, machine and library versions. Raises UsageError for an unknown network or device, unsuitable
    pretrained weights, or a loss that is no number.
    """
    torch.manual_seed(recipe.seed)
    device = choose_device(recipe.device)
    torch.set_num_threads(THREADS)
    network = Network(networks.spec_for(recipe.arch), len(prepared.labels))
    if recipe.pretrained is not None:
        networks.start_from(network, recipe.pretrained)
    network.to(device)
    network.to(memory_format=torch.channels_last)
    averaged = AveragedModel(network, multi_avg_fn=_average, use_buffers=True)
    epochs = []
    for epoch in _epochs(network, averaged, prepared, recipe, device):
        epochs.append(epoch)
        if watch is not None:
            watch(epoch)
    let_classes_count_alike(_unwrapped(averaged), prepared.train, recipe.balance)
    bundle = Bundle(
        name=name,
        network=networks.spec_for(recipe.arch),
        preprocessing=Preprocessing(size=recipe.size),
        head=Head("label", prepared.labels),
        weights=compact(networks.weights_of(_unwrapped(averaged))),
        training=_record(prepared, recipe, epochs),
        split=prepared.split,
    )
    return calibrated(bundle, prepared.validation, device)


def _average(averaged: Any, current: Any, count: Any) -> None:
    """Average weights exponentially; early steps weigh more, so that the random start is soon forgotten."""
    decay = min(_EMA_DECAY, (1 + int(count)) / (10 + int(count)))
    get_ema_multi_avg_fn(decay)(averaged, current, count)  # type: ignore[no-untyped-call]


def let_classes_count_alike(network: Network, images: Images, balance: float) -> None:
    """Take the classes' shares of the training out of the answers (Menon et al. 2021, logit adjustment).

    A network learns to prefer what it has seen often; what counts here is the mean of the classes' recalls.
    """
    weights = sampling_weights(images, balance)
    shares = np.bincount(images.labels, weights=weights) / np.sum(weights)
    bias = network.body.get_classifier().bias
    with torch.no_grad():
        bias -= torch.from_numpy(np.log(shares)).to(bias)


def _unwrapped(averaged: AveragedModel) -> Network:
    module = averaged.module
    assert isinstance(module, Network)  # noqa: S101
    return module


def _epochs(
    network: Network, averaged: AveragedModel, prepared: Prepared, recipe: Recipe, device: torch.device
) -> Iterator[Epoch]:
    loader = _loader(prepared.train, recipe)
    optimizer = torch.optim.AdamW(_parameter_groups(network, recipe), lr=recipe.learning_rate)
    steps = max(recipe.epochs * len(loader), 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.learning_rate, total_steps=steps, pct_start=_WARM_UP
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    for number in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        network.train()
        losses = []
        for images, labels in loader:
            with _half(device):
                loss = criterion(network(images.to(device)), labels.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            averaged.update_parameters(network)
            losses.append(_finite(loss))
        logits = predict(_unwrapped(averaged), prepared.validation.pixels, device)
        macro = _validation_figures(logits, prepared.validation.labels)
        seconds = time.perf_counter() - started
        yield Epoch(number, float(np.mean(losses)), macro["f1"], macro["recall"], seconds)


def _finite(loss: Tensor) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise UsageError("the training loss is no number any more; use a lower --learning-rate")
    return value


def _parameter_groups(network: Network, recipe: Recipe) -> list[dict[str, Any]]:
    """Keep weight decay away from biases and batch norm."""
    matrices = [value for value in network.parameters() if value.ndim > 1]
    vectors = [value for value in network.parameters() if value.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def _half(device: torch.device) -> AbstractContextManager[Any]:
    """Use bfloat16 where the hardware has it; several times faster than float32 there."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    if device.type == "cpu" and _cpu_has_bfloat16():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def _cpu_has_bfloat16() -> bool:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


class _Augmented(Dataset[tuple[Tensor, int]]):
    """Training images, each changed a little every time it is seen."""

    def __init__(self, images: Images) -> None:
        self._pixels = torch.from_numpy(images.pixels)
        self._labels = images.labels
        self._change = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomAffine(degrees=12, translate=(0.08, 0.08), scale=(0.8, 1.2)),
                v2.ColorJitter(brightness=0.3, contrast=0.4),
                v2.RandomApply([v2.GaussianBlur(3, (0.1, 1.5))], p=0.1),
                v2.RandomInvert(p=0.1),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        changed: Tensor = self._change(self._pixels[index].unsqueeze(0))
        return changed.squeeze(0), int(self._labels[index])


def sampling_weights(images: Images, balance: float) -> list[float]:
    """Return how often each image is to be drawn, relative to the others; see Recipe.balance."""
    groups = list(zip(images.labels.tolist(), images.sources, strict=True))
    of_class, of_group = Counter(label for label, _ in groups), Counter(groups)
    shares: Counter[int] = Counter()
    for (label, _), count in of_group.items():
        shares[label] += count ** (1 - balance)
    return [
        of_class[label] ** (1 - balance) / shares[label] * of_group[label, source] ** -balance
        for label, source in groups
    ]


def _loader(images: Images, recipe: Recipe) -> DataLoader[tuple[Tensor, int]]:
    weights = sampling_weights(images, recipe.balance)
    order = torch.Generator().manual_seed(recipe.seed)
    sampler = WeightedRandomSampler(weights, len(weights), generator=order)
    whole_batches = len(weights) > recipe.batch_size  # batch norm needs more than one image
    return DataLoader(_Augmented(images), recipe.batch_size, sampler=sampler, drop_last=whole_batches)


@torch.inference_mode()
def predict(
    network: Network, pixels: NDArray[np.uint8], device: torch.device, half: bool = True
) -> NDArray[np.float32]:
    """Return float32 logits (n, labels) for uint8 (n, size, size), in half precision if that is fast."""
    network.eval()
    answers = []
    for start in range(0, len(pixels), 64):
        with _half(device) if half else nullcontext():
            answers.append(
                network(torch.from_numpy(pixels[start : start + 64]).to(device)).float().cpu().numpy()
            )
    return np.concatenate(answers)


def _validation_figures(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    classes = logits.shape[1]
    names = tuple(f"class{index}" for index in range(classes))
    counts = confusion(labels, logits.argmax(axis=1), classes)
    return {name: figure.value for name, figure in figures(counts, names, bootstrap=0).macro.items()}


def calibrated(bundle: Bundle, images: Images, device: torch.device) -> Bundle:
    """Fit temperature and review threshold on images that were not trained on, in float32 as in use."""
    network = networks.build(bundle).eval().to(device)
    with torch.inference_mode():
        chunks = [network(torch.from_numpy(images.pixels[at : at + 64]).to(device)).cpu().numpy()
                  for at in range(0, len(images.pixels), 64)]  # fmt: skip
    logits = np.concatenate(chunks)
    head = replace(bundle.head, temperature=fit_temperature(logits, images.labels))
    scores = head.scores(logits).astype(np.float64)
    correct = scores.argmax(axis=1) == images.labels
    threshold = threshold_for_precision(scores.max(axis=1), correct, REVIEW_PRECISION)
    threshold = min(math.ceil(threshold * 1e4) / 1e4, 1.0)
    metrics = {
        "validation": {
            "images": len(correct),
            "accuracy": float(correct.mean()),
            "review_precision": REVIEW_PRECISION,
            "coverage": float((scores.max(axis=1) >= threshold).mean()),
        }
    }
    return replace(bundle, head=replace(head, review_below=threshold), metrics=metrics)


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the temperature that minimises the negative log likelihood (Guo et al. 2017)."""
    log_temperature = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    answers, truth = torch.from_numpy(logits).double(), torch.from_numpy(labels)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(answers / log_temperature.exp(), truth)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return round(float(np.clip(log_temperature.detach().exp().item(), 0.05, 20)), 4)


def _record(prepared: Prepared, recipe: Recipe, epochs: Sequence[Epoch]) -> dict[str, Any]:
    """Tell how the weights came about; no path of the machine goes into a bundle."""
    settings = asdict(recipe)
    del settings["pool"], settings["device"]
    settings["pretrained"] = recipe.pretrained.name if recipe.pretrained else None
    parts = Counter(prepared.split[sample.sha256] for sample in prepared.samples)
    content = json.dumps(sorted((sample.sha256, sample.label) for sample in prepared.samples))
    return {
        "recipe": settings,
        "data_sha256": hashlib.sha256(content.encode()).hexdigest(),
        "images": dict(sorted(parts.items())),
        "unreadable": len(prepared.failures),
        "last_epoch": asdict(epochs[-1]),
        "dicomsort": __version__,
        "torch": torch.__version__,
    }
