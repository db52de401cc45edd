"""The epochs of a training."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from dicomsort.data.dataset import Sample, Unread
from dicomsort.data.splits import Split
from dicomsort.data.targets import split_by_head
from dicomsort.errors import ModelError, UsageError
from dicomsort.evaluation.metrics import macro
from dicomsort.evaluation.predictions import predictions_of
from dicomsort.model.engines.devices import PRECISIONS, choose_precision
from dicomsort.model.heads import Head
from dicomsort.model.networks import Network
from dicomsort.model.quicker import quicken
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.telling import counted
from dicomsort.training.augment import Augmentation
from dicomsort.training.checkpoint import Checkpoint, fingerprint
from dicomsort.training.distributed import ProcessGroup
from dicomsort.training.loader import AugmentedImages, CachedImages, Turning, sampling_weights, seed_of
from dicomsort.training.recipe import Recipe
from dicomsort.training.run_folder import CHECKPOINT

_WARM_UP = 0.1
_AUXILIARY = 0.2  # weight of the auxiliary heads' loss
_FIRST_CYCLE = 7  # of sgdr: one part of seven, then two, then four

OnEpoch = Callable[["Epoch"], None]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave: mean training loss, figures on the validation part (macro figures 0..1), seconds.

    validation_loss is the training's loss on images that are not changed; accuracy counts an image of several
    labels as right where all are. Both are None in epochs of a checkpoint from before they were measured.
    """

    number: int
    loss: float
    f1_macro: float
    recall_macro: float
    learning_rate: float
    seconds: float
    validation_loss: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set ready to train on, and the files that could not be read.

    auxiliary: heads that are trained too, and cut off at the end; in the training images their truth follows
    that of `heads`. turning: how images are turned in training, if a head is to tell that.
    """

    heads: tuple[Head, ...]
    train: CachedImages
    validation: CachedImages
    split: Split
    samples: tuple[Sample, ...]
    unread: tuple[Unread, ...]
    auxiliary: tuple[Head, ...] = ()
    turning: Turning | None = None

    @property
    def outputs(self) -> int:
        """How many logits the heads take, without the auxiliary ones."""
        return sum(head.width for head in self.heads)


@dataclass(frozen=True, slots=True)
class RunContext:
    """Where a training runs: its folder, its processes, and those that read and augment images.

    count: called with the number of images of every step.
    """

    folder: Path
    ranks: ProcessGroup
    pool: PoolSettings
    resume: bool = False
    count: Callable[[int], None] | None = None


class Trainer:
    """The state of a training: weights, their average, optimizer, schedule, and the epochs so far."""

    def __init__(self, network: Network, prepared: Prepared, recipe: Recipe, place: RunContext) -> None:
        self._prepared, self._recipe, self._place = prepared, recipe, place
        self._device = place.ranks.device
        self._network = network.to(self._device).to(memory_format=torch.channels_last)
        self._averaged = (
            AveragedModel(self._network, multi_avg_fn=_averaging(recipe.ema), use_buffers=True)
            if recipe.ema
            else None
        )
        if self._device.type == "cpu":
            quicken(self._network)
        self._together = place.ranks.together(self._network)
        self._precision = PRECISIONS[choose_precision(recipe.precision, [self._device])]
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._precision is torch.float16)
        self._optimizer = _optimizer(self._network, recipe)
        self._share = len(prepared.train) // place.ranks.world
        if len(prepared.train) < 2:
            raise UsageError("one image is not enough to train on")
        if not self._share:
            raise UsageError(
                f"{counted(len(prepared.train), 'image')} for {place.ranks.world} processes: use fewer"
            )
        self._size = max(2, recipe.batch_size // place.ranks.world)
        self._schedule = _schedule(self._optimizer, recipe, max(1, self._share // self._size))
        weights = sampling_weights(prepared.train.strata, prepared.train.sources, recipe.balance)
        self._weights = torch.tensor(weights)
        self._augmentation = Augmentation.parse(recipe.augment)
        self._history: list[dict[str, Any]] = []
        self._best: dict[str, Any] = {"f1_macro": -1.0, "number": 0, "weights": None}
        content = sorted(sample.learned for sample in prepared.samples)
        facts = [recipe.as_dict(), content, sorted(prepared.split.items()), place.ranks.world]
        self._checkpoint = Checkpoint(place.folder / CHECKPOINT, fingerprint(facts))

    def epochs(self, on_epoch: OnEpoch | None) -> Iterator[Epoch]:
        """Train epoch by epoch, from the checkpoint on, and yield all, also those of an earlier run."""
        if self._place.resume:
            self._load()
        for facts in self._history:
            self._tell(Epoch(**facts), on_epoch)
            yield Epoch(**facts)
        while len(self._history) < self._recipe.epochs and not self._is_over():
            epoch = self._epoch(len(self._history) + 1)
            self._history.append(asdict(epoch))
            if self._place.ranks.is_main:
                self._checkpoint.save(self._state())
            self._tell(epoch, on_epoch)
            yield epoch

    def best(self) -> Network:
        """Return the network with the best weights, or the last ones without patience."""
        network = self._steady()
        if self._best["weights"] is not None:
            network.load_state_dict(self._best["weights"])
        return network

    def _tell(self, epoch: Epoch, on_epoch: OnEpoch | None) -> None:
        if on_epoch is not None and self._place.ranks.is_main:
            on_epoch(epoch)

    def _is_over(self) -> bool:
        patience = self._recipe.patience
        return bool(patience) and len(self._history) - int(self._best["number"]) >= patience

    def _steady(self) -> Network:
        module = self._network if self._averaged is None else self._averaged.module
        assert isinstance(module, Network)  # noqa: S101
        return module

    def _epoch(self, number: int) -> Epoch:
        started, rate = time.perf_counter(), self._optimizer.param_groups[0]["lr"]
        torch.manual_seed(seed_of(self._recipe.seed, number, 0))
        self._together.train()
        losses = [self._step(images, truth) for images, truth in self._loader(number)]
        figures = self._place.ranks.on_main(self._validate)
        loss = float(np.mean(losses))
        if self._recipe.patience and figures["f1_macro"] > self._best["f1_macro"]:
            weights = {name: value.cpu().clone() for name, value in self._steady().state_dict().items()}
            self._best = {"f1_macro": figures["f1_macro"], "number": number, "weights": weights}
        seconds = time.perf_counter() - started
        return Epoch(number, loss, learning_rate=rate, seconds=seconds, **figures)

    def _step(self, images: Tensor, truth: Tensor) -> float:
        with _autocast(self._device, self._precision):
            logits = self._together(images.to(self._device, non_blocking=True))
        smoothing, outputs = self._recipe.label_smoothing, self._prepared.outputs
        logits, truth = logits.float(), truth.to(self._device)
        further = self._recipe.further
        loss = loss_of(logits[:, :outputs], truth[:, :outputs], self._prepared.heads, smoothing, further)
        if self._prepared.auxiliary:
            extra = loss_of(logits[:, outputs:], truth[:, outputs:], self._prepared.auxiliary, smoothing)
            loss = loss + _AUXILIARY * extra
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UsageError("the training loss is no number any more; use a lower --learning-rate")
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self._recipe.clip:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_value_(self._network.parameters(), self._recipe.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        if self._averaged is not None:
            self._averaged.update_parameters(self._network)
        if self._place.count is not None:
            self._place.count(len(images) * self._place.ranks.world)
        return value

    def _loader(self, number: int) -> "DataLoader[tuple[Tensor, Tensor]]":
        """Give this process its share of every batch of an epoch."""
        images, recipe, ranks = self._prepared.train, self._recipe, self._place.ranks
        lot = torch.Generator().manual_seed(seed_of(recipe.seed, number, 1))
        order = torch.multinomial(self._weights, len(images), replacement=recipe.balance > 0, generator=lot)
        own = order[ranks.rank : self._share * ranks.world : ranks.world].tolist()
        whole = self._share > self._size  # batch norm needs more than one image
        cuda = self._device.type == "cuda"
        seed = seed_of(recipe.seed, number, 2 + ranks.rank)
        return DataLoader(
            AugmentedImages(images, own, self._augmentation, seed, self._prepared.turning), self._size,
            drop_last=whole, num_workers=self._place.pool.workers if cuda else 0, pin_memory=cuda,
        )  # fmt: skip

    def _validate(self) -> dict[str, float]:
        logits = predict(self._steady(), self._prepared.validation, self._precision)
        logits = logits[:, : self._prepared.outputs]
        truth, heads = self._prepared.validation.truth, self._prepared.heads
        smoothing, further = self._recipe.label_smoothing, self._recipe.further
        loss = loss_of(torch.from_numpy(logits), torch.from_numpy(truth), heads, smoothing, further)
        return {**validation_figures(logits, truth, heads), "validation_loss": float(loss)}

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self._network, "optimizer": self._optimizer, "schedule": self._schedule}
        return parts | {"scaler": self._scaler} | ({"averaged": self._averaged} if self._averaged else {})

    def _state(self) -> dict[str, Any]:
        states = {name: part.state_dict() for name, part in self._parts().items()}
        return {**states, "best": self._best, "history": self._history}

    def _load(self) -> None:
        state = self._checkpoint.load()
        if state is None:
            return
        try:
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self._best = {name: state["best"][name] for name in self._best}
            self._history = [asdict(Epoch(**epoch)) for epoch in state["history"]]
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ModelError(
                f"checkpoint '{self._checkpoint.path}' is damaged; remove it and start the training again"
            ) from error


def _averaging(decay: float) -> Any:
    """Average weights exponentially; early steps weigh more, so that the random start is soon forgotten."""

    def average(averaged: Any, current: Any, count: Any) -> None:
        early = min(decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(early)(averaged, current, count)  # type: ignore[no-untyped-call]

    return average


def _optimizer(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """Make Adam or AdamW; weight decay is kept away from biases and batch norm."""
    learning = [value for value in network.parameters() if value.requires_grad]
    matrices = [value for value in learning if value.ndim > 1]
    vectors = [value for value in learning if value.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.learning_rate, fused=True)


def _schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Make the schedule of the learning rate, step by step. steps: of one epoch."""
    total = max(recipe.epochs * steps, 2)
    if recipe.schedule == "onecycle":
        rising = max(_WARM_UP, 2 / (total + 1))  # of very few steps at least two
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=recipe.learning_rate, total_steps=total + 1, pct_start=rising
        )
    if recipe.schedule == "sgdr":
        first = max(1, math.ceil(total / _FIRST_CYCLE))
        return torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=first, T_mult=2)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[Any]:
    if precision is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, precision)


def loss_of(
    logits: Tensor, truth: Tensor, heads: Sequence[Head], smoothing: float, further: float = 1.0
) -> Tensor:
    """Return the sum over heads of the mean loss over the images of which the truth is known.

    Cross entropy for multiclass heads, binary cross entropy, summed over labels, for the others, both with
    label smoothing (Szegedy et al. 2016). logits, truth: (n, outputs), truth NaN where unknown. further: the
    weight of every head but the first.
    """
    total = logits.sum() * 0.0
    widths = [head.width for head in heads]
    parts = zip(heads, torch.split(logits, widths, 1), torch.split(truth, widths, 1), strict=True)
    for at, (head, own, wanted) in enumerate(parts):
        known = ~wanted.isnan().any(dim=1)
        if bool(known.any()):
            total = total + (further if at else 1.0) * _loss_of(head, own[known], wanted[known], smoothing)
    return total


def _loss_of(head: Head, logits: Tensor, truth: Tensor, smoothing: float) -> Tensor:
    if head.kind == "multiclass":
        return nn.functional.cross_entropy(logits, truth, label_smoothing=smoothing)
    smooth = truth * (1 - smoothing) + smoothing / 2
    each = nn.functional.binary_cross_entropy_with_logits(logits, smooth, reduction="sum")
    return each / len(truth)


@torch.inference_mode()
def predict(
    network: Network, images: CachedImages, precision: torch.dtype = torch.float32
) -> NDArray[np.float32]:
    """Return float32 logits (n, outputs)."""
    network.eval()
    device = next(network.parameters()).device
    logits = []
    for batch in images.batches():
        with _autocast(device, precision):
            logits.append(network(batch.to(device)).float().cpu().numpy())
    return np.concatenate(logits)


def features_of(
    network: Network, images: CachedImages, precision: torch.dtype = torch.float32
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the inputs and outputs of the last layer: float32 (n, dimensions) and logits (n, outputs)."""
    device = next(network.parameters()).device
    network.eval()
    with _autocast(device, precision):
        found = [network.features(batch.to(device)) for batch in images.batches()]
    features, logits = (torch.cat(part).cpu().numpy() for part in zip(*found, strict=True))
    return features, logits


def validation_figures(
    logits: NDArray[np.float32], truth: NDArray[np.float32], heads: Sequence[Head]
) -> dict[str, float]:
    """Return macro F1, macro recall and accuracy, averaged over the heads."""
    figures = [
        macro(predictions_of(part.head, part.truth, part.head.scores(part.values)))
        for part in split_by_head(heads, truth, logits)
    ]
    names = ("f1_macro", "recall_macro", "accuracy")
    return {name: float(np.mean([each[name] for each in figures])) for name in names}
