"""A model adapted to one place by images that persons judged there: from the labels to a bundle."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dicomsort import __version__
from dicomsort.data import caveats, corrections, studies
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TRAIN, Columns, Data, Sample, Unread, asked, data_hash, meant
from dicomsort.data.splits import folds_of, merged_groups
from dicomsort.data.table import NONE, evidence_in
from dicomsort.errors import UsageError
from dicomsort.evaluation import guarantee
from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.guarantee import guarantee_of, reviewed
from dicomsort.evaluation.metrics import Predictions, differences, measure
from dicomsort.evaluation.predictions import Question, check, patients_of, predictions_of, questions
from dicomsort.evaluation.run import without_rare
from dicomsort.evaluation.tables import difference_text, figure_text
from dicomsort.evaluation.thresholds import REVIEW_PRECISION, fitted_head, right
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head, split_columns
from dicomsort.model.networks import Network
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.telling import counted
from dicomsort.training import head_shift, run_folder
from dicomsort.training.head_shift import Shift
from dicomsort.training.loader import CachedImages, images_of
from dicomsort.training.run import SilentTraining, TrainingReporter
from dicomsort.training.trainer import features_of

_FEWEST = 20  # images; fewer say nothing of a place
_FOLDS = 5
_RESAMPLES = 2000
_LEAST = 1e-4  # a threshold
_MACRO = {"recall_macro", "f1_macro"}
_FIGURES = {
    "recall_macro": "macro recall",
    "f1_macro": "macro F1",
    "accuracy": "accuracy",
    "subset_accuracy": "all labels right",
}


_TAKEN = frozenset({"seed"})


def check_alone(given: Mapping[str, Any]) -> None:
    """Raise UsageError where options of a training are given, which adapting has no use for."""
    odd = [name for name, value in given.items() if not _is_left_away(value) and name not in _TAKEN]
    if odd:
        option = {"balance": "balance-power", "balance_by": "balance"}.get(odd[0], odd[0].replace("_", "-"))
        raise UsageError(f"--adapt keeps the network as it is: leave --{option} away")


def _is_left_away(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, (tuple, list)) and not value)


@dataclass(frozen=True, slots=True)
class Figure:
    """What a figure was before and is after, and the difference, on images that the fit had not seen."""

    before: Estimate
    after: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class AdaptedHead:
    """A head that has moved: its shift, the head with the temperature and thresholds of the place, figures.

    figures: by name, each image answered by a layer that was fitted without its patient. facts: what the
    bundle's metrics say of it. unseen: the labels that no judged image has.
    """

    place: int
    head: Head
    shift: Shift
    figures: Mapping[str, Figure]
    facts: Mapping[str, Any]
    unseen: tuple[str, ...] = ()

    @property
    def is_better(self) -> bool:
        """Whether a figure is shown to be higher with 95 % confidence, and none to be lower."""
        differences = [figure.difference for figure in self.figures.values()]
        return any(each.low > 0 for each in differences) and all(each.high >= 0 for each in differences)


@dataclass(frozen=True, slots=True)
class Adaptation:
    """One call of `train --adapt`: the model, where the judged images are, and where the new bundle goes."""

    model: Bundle
    data: Path
    out: Path
    cache_folder: Path
    targets: tuple[str, ...] = ()
    patient: str | None = None
    corrections: Path | None = None
    workers: int | None = None
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    reporter: TrainingReporter = field(default_factory=SilentTraining)

    def run(self) -> tuple[dict[str, Any], int]:
        """Adapt the model and save it; return the facts of the new one, and how many files were not read.

        Raises UsageError for data that do not fit the model, or are too few; TargetError, ModelError.
        """
        cache = Cache(self.cache_folder, self.model.preprocessing)
        found, asked_for = self._load(cache)
        samples, unread = self._read(cache, found)
        network = networks.build(self.model).eval().to(self.device)
        images = images_of(samples, [question.head for question in asked_for], cache)
        moved = _adapted(network, images, self.model, asked_for, samples, self.seed)
        bundle = self._bundle(network, moved, samples, unread)
        bundle.save(self.out)
        run_folder.write_card(self.out, bundle)
        self._tell(moved, samples, bundle)
        return self._told(bundle, moved), len(unread)

    def _load(self, cache: Cache) -> tuple[Data, tuple[Question, ...]]:
        targets = asked(self.data, self.targets)
        rule, told = studies.rule_of_all(self.data, [self.model])
        columns = Columns(targets, study=rule, patient=self.patient, evidence=evidence_in(self.data, targets))
        found, count = corrections.load(
            self.data, meant(self.data, columns), self.corrections, cache.hash_of, pool_settings(self.workers)
        )
        found = without_rare(found, targets, [self.model])
        check(self.model.heads, targets, found.samples)
        if self.corrections is not None:
            self.reporter.info(f"{counted(count, 'label is', 'labels are')} corrected by {self.corrections}")
        for line in (*told, *found.remarks):
            self.reporter.warn(line)
        if not found.has_patients and self.patient != NONE:
            self.reporter.warn(caveats.RESAMPLED)
        return found, questions(self.model.heads, targets)

    def _read(self, cache: Cache, found: Data) -> tuple[list[Sample], list[Unread]]:
        """Read the pictures; each content counts once. Raises UsageError if too few are left."""
        with self.reporter.counting("reading", len(found.samples)) as count:
            unread = [*found.unread, *cache.fill(found.samples, pool_settings(self.workers), count)]
        bad = {sample.sha256 for sample, _ in unread}
        samples, contradicted = _each_once([one for one in found.samples if one.sha256 not in bad])
        if contradicted:
            what = counted(contradicted, "image is", "images are")
            self.reporter.warn(f"warning: {what} judged more than once and differently, and left out")
        for line in caveats.lines_of(cache.remarks(samples)):
            self.reporter.warn(line)
        if unread:
            self.reporter.unread(unread)
        if len(samples) < _FEWEST:
            raise UsageError(
                f"--adapt: {counted(len(samples), 'image')} that can be read and whose label is known; "
                f"review at least {_FEWEST}, and better 200"
            )
        if unread:
            run_folder.write_unread(unread, self.out)
        if seen := sum(self.model.split.get(one.sha256) == TRAIN for one in samples):
            self.reporter.warn(
                f"warning: {seen} of these images have trained '{self.model.name}': figures will be too good"
            )
        return samples, unread

    def _bundle(
        self,
        network: Network,
        moved: Sequence[AdaptedHead],
        samples: Sequence[Sample],
        unread: Sequence[Unread],
    ) -> Bundle:
        model, heads = self.model, list(self.model.heads)
        for one in moved:
            heads[one.place] = one.head
        changed = {one.head.name for one in moved}
        facts = {
            "model": model.tag,
            "images": len(samples),
            "patients": len({sample.group for sample in samples}),
            "unreadable": len(unread),
            "data_sha256": data_hash(samples),
            "seed": self.seed,
            "dicomsort": __version__,
        }
        return replace(
            model,
            name=self.out.resolve().name,
            head=heads[0],
            further=tuple(heads[1:]),
            weights=_moved_weights(network, model, moved),
            split={**model.split, **{sample.sha256: TRAIN for sample in samples}},
            training={**model.training, "adapted": [*model.training.get("adapted", []), facts]},
            metrics=_metrics(model.metrics, changed, [one.facts for one in moved]),
        )

    def _told(self, bundle: Bundle, moved: Sequence[AdaptedHead]) -> dict[str, Any]:
        figures = {
            one.head.name: {name: asdict(figure) for name, figure in one.figures.items()} for one in moved
        }
        told = {"bundle": str(self.out), "model": bundle.tag, "better": all(one.is_better for one in moved)}
        return {**told, "figures": figures, **bundle.training, **bundle.metrics}

    def _tell(self, moved: Sequence[AdaptedHead], samples: Sequence[Sample], bundle: Bundle) -> None:
        people = len({sample.group for sample in samples})
        self.reporter.info(
            f"{counted(len(samples), 'image')} of {counted(people, 'patient')}; each is judged by a layer "
            "fitted without its patient, with 95 % intervals"
        )
        for one in moved:
            for name, figure in one.figures.items():
                self.reporter.info(
                    f"'{one.head.name}', {_FIGURES[name]}: {figure_text(figure.before)} before, "
                    f"{figure_text(figure.after)} after; difference {difference_text(figure.difference)}"
                )
            if one.unseen:
                self.reporter.warn(
                    f"'{one.head.name}': no judged image is of {', '.join(one.unseen)}; nothing shows how "
                    "well these are told now, so no macro figures are given"
                )
            if not one.is_better:
                self.reporter.warn(
                    f"'{one.head.name}' is not shown to be better than that of {self.model.name}: keep that, "
                    "or review more images"
                )
        for line in guarantee.lines_of(bundle.metrics):
            self.reporter.info(line)
        self.reporter.info(f"wrote {self.out} ({bundle.tag})")


def _each_once(samples: Sequence[Sample]) -> tuple[list[Sample], int]:
    """Return one sample of each content, and how many contents were left out because labels differ.

    Patients that share a content count as one from then on.
    """
    together = zip(samples, merged_groups(samples), strict=True)
    joined = [replace(sample, group=group) for sample, group in together]
    labels: dict[str, set[tuple[str, ...]]] = {}
    for sample in joined:
        labels.setdefault(sample.sha256, set()).add(sample.targets)
    agreed = {one.sha256: one for one in joined if len(labels[one.sha256]) == 1}
    return list(agreed.values()), len(labels) - len(agreed)


def _adapted(
    network: Network,
    images: CachedImages,
    model: Bundle,
    asked_for: Sequence[Question],
    samples: Sequence[Sample],
    seed: int,
) -> list[AdaptedHead]:
    """Fit the heads that are asked for to images, and measure them on the same ones, out of fold."""
    features, outputs = features_of(network, images)
    logits = split_columns(outputs[:, : model.outputs], [head.width for head in model.heads])
    truth = split_columns(images.truth, [question.head.width for question in asked_for])
    patients = patients_of(samples)
    moved = []
    for question, wanted in zip(asked_for, truth, strict=True):
        known = ~np.isnan(wanted).any(axis=1)
        seen = _Seen(features[known], logits[question.at][known], wanted[known], patients[known])
        moved.append(_adapted_head(question, seen, seed))
    return moved


class _Seen(NamedTuple):
    """The images whose answer to a question is known: (n, ...) each."""

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    truth: NDArray[np.float32]
    patients: NDArray[np.int64]


def _adapted_head(question: Question, seen: _Seen, seed: int) -> AdaptedHead:
    """Fit a head. Raises UsageError for fewer patients than folds, or but one answer."""
    head, name = question.head, question.target
    if len(np.unique(seen.patients)) < _FOLDS or len(np.unique(seen.truth, axis=0)) < 2:
        raise UsageError(
            f"--adapt: '{name}' needs images of {_FOLDS} patients or more, and of two labels or more"
        )
    folds = folds_of(seen.patients, _FOLDS, seed)
    unseen = head_shift.out_of_fold(seen.features, seen.logits, seen.truth, head, folds)
    fitted = _fitted(head, unseen, seen.truth)
    scores = fitted.scores(unseen)
    found, _, guaranteed = reviewed(fitted, scores, seen.truth, seen.patients, REVIEW_PRECISION)
    promise = guarantee_of(found, scores, seen.truth, seen.patients, REVIEW_PRECISION, guaranteed)
    facts = {
        "head": head.name,
        "images": len(seen.truth),
        "accuracy": float(right(found, scores, seen.truth).mean()),
        "review_precision": REVIEW_PRECISION,
        "coverage": promise.coverage,
        "guarantee": asdict(promise),
    }
    shift = head_shift.fit(seen.features, seen.logits, seen.truth, head)
    absent = tuple(head.labels[at] for at in head.kept if at not in _occurring(head, seen.truth))
    figures = _figures(head, _answers(found, seen, unseen, folds), seen, seed)
    if absent:
        figures = {name: figure for name, figure in figures.items() if name not in _MACRO}
    return AdaptedHead(question.at, found, shift, figures, facts, absent)


def _occurring(head: Head, truth: NDArray[np.float32]) -> set[int]:
    """Return the places of the labels that images have. truth: (n, width), none NaN."""
    if head.kind == "binary":
        return {int(value) for value in np.unique(truth)}
    return set(np.flatnonzero((head.truth(truth) > 0.5).any(axis=0)).tolist())


def _fitted(head: Head, logits: NDArray[np.float32], truth: NDArray[np.float32]) -> Head:
    """Fit temperature and thresholds; a label that no image has keeps the logit from which it counts.

    The temperature never falls: a few images that are all told apart would make a model sure of everything.
    """
    fitted = fitted_head(head, logits, truth, head.temperature)
    if head.kind != "multilabel":
        return fitted
    before = np.array(head.thresholds or [0.5] * head.width)
    kept = 1 / (1 + np.exp(-np.log(before / (1 - before)) * head.temperature / fitted.temperature))
    seen = _occurring(head, truth)
    pairs = enumerate(zip(fitted.thresholds, np.clip(kept, _LEAST, 1 - _LEAST).tolist(), strict=True))
    return replace(fitted, thresholds=tuple(new if at in seen else old for at, (new, old) in pairs))


def _answers(head: Head, seen: _Seen, unseen: NDArray[np.float32], folds: NDArray[np.int64]) -> Predictions:
    """Return what a fitted head answers to logits out of fold (n, width).

    Of several labels the thresholds, too, are those that suit the images of the other folds.
    """
    found = predictions_of(head, seen.truth, head.scores(unseen), seen.patients)
    if head.kind != "multilabel":
        return found
    chosen = found.chosen.copy()
    for fold in np.unique(folds):
        own = folds == fold
        other = _fitted(head, unseen[~own], seen.truth[~own])
        chosen[own] = predictions_of(other, seen.truth[own], other.scores(unseen[own])).chosen
    return replace(found, chosen=chosen)


def _figures(before: Head, new: Predictions, seen: _Seen, seed: int) -> dict[str, Figure]:
    """Compare what the head was with what it answers now."""
    old = predictions_of(before, seen.truth, before.scores(seen.logits), seen.patients)
    was, now = (measure(one, _RESAMPLES, seed).overall for one in (old, new))
    apart = differences(old, new, _RESAMPLES, seed)
    return {
        name: Figure(was[name], now[name], apart[name]) for name in _FIGURES if name in was and name in apart
    }


def _moved_weights(network: Network, model: Bundle, moved: Sequence[AdaptedHead]) -> dict[str, Any]:
    """Return a model's weights with its last layer moved; all others are the very same."""
    layer = network.last
    name = next(name for name, module in network.body.named_modules() if module is layer)
    starts = np.cumsum([0, *(head.width for head in model.heads)])
    weight = layer.weight.detach().cpu().numpy().copy()
    bias = layer.bias.detach().cpu().numpy().copy()
    for one in moved:
        own = slice(starts[one.place], starts[one.place] + one.head.width)
        weight[own] += one.shift.weight.reshape(weight[own].shape)
        bias[own] += one.shift.bias
    kept = {f"{name}.weight": weight, f"{name}.bias": bias}
    return {**model.weights, **{key: value.astype(model.weights[key].dtype) for key, value in kept.items()}}


def _metrics(
    metrics: Mapping[str, Any], changed: Set[str], facts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a bundle's metrics with the facts of the heads that have moved in place of their old ones."""

    def others(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [each for each in found if each["head"] not in changed]

    told = {**metrics, "validation": [*facts, *others(metrics.get("validation", ()))]}
    if "calibration" in metrics:
        heads = others(metrics["calibration"].get("heads", ()))
        told["calibration"] = {**metrics["calibration"], "heads": heads}
    return told
