"""Labels under other names: what the data, or another model, call something, and what it is called here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dicomsort.data.dataset import Sample
from dicomsort.errors import UsageError
from dicomsort.evaluation.predictions import ModelPredictions, Prediction
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head, check_label, split_columns

Names = Mapping[str, str]
"""What labels are called -> what they are called here, all at once: two may change places."""


_SPARE = "."
"""Stands between a label and its place where another of the same new name answers for it."""


def is_spare(label: str, names: Names) -> bool:
    """Return whether a head has a label only to keep the place of one that another answers for now."""
    old, _, place = label.rpartition(_SPARE)
    return old in names and place.isdecimal()


def names_of(pairs: Iterable[str]) -> dict[str, str]:
    """Read `OLD=NEW` pairs. Raises UsageError for what is none, and for a label that has two new names."""
    names: dict[str, str] = {}
    for pair in pairs:
        old, _, new = pair.partition("=")
        try:
            check_label(new)
        except ValueError as error:
            raise UsageError(f"--map '{pair}': use OLD=NEW; {error}") from error
        if not old or names.get(old, new) != new:
            raise UsageError(f"--map '{pair}': use OLD=NEW, each OLD once")
        names[old] = new
    return names


def renamed_sample(sample: Sample, names: Names) -> Sample:
    """Return a sample with the new names in its targets."""
    targets = tuple("|".join(dict.fromkeys(names.get(label, label) for label in cell.split("|")))
                    for cell in sample.targets)  # fmt: skip
    return sample if targets == sample.targets else replace(sample, targets=targets)


def check_known(names: Names, samples: Iterable[Sample], models: Iterable[Bundle]) -> None:
    """Raise UsageError for an old name that neither the data nor a model has."""
    known = {label for sample in samples for cell in sample.targets for label in cell.split("|")}
    known |= {label for model in models for head in model.heads for label in head.labels}
    for old in names:
        if old not in known:
            raise UsageError(f"--map: neither the data nor a model has a label '{old}'")


def renamed_head(head: Head, names: Names) -> Head:
    """Return a head whose labels have the new names; of several with one name the first answers for all.

    Raises UsageError if that leaves too few labels, or makes one of the two of a binary head.
    """
    if not any(label in names for label in head.labels):
        return head
    new = [names.get(label, label) for label in head.labels]
    places = {name: head.labels.index(name) if name in head.labels and name not in names else new.index(name)
              for name in new}  # fmt: skip
    if len(places) < 2:
        raise UsageError(f"--map: all labels of '{head.name}' would have one name, '{new[0]}'")
    parents = {names.get(label, label): names.get(over, over) for label, over in head.parents.items()}
    rare = [names.get(label, label) for label in head.rare]
    labels = list(new)
    for at, name in enumerate(new):
        if places[name] != at:
            labels[at] = f"{head.labels[at]}{_SPARE}{at}"
            parents[labels[at]] = name
            rare.append(labels[at])
    parents = {label: over for label, over in parents.items() if label != over}
    try:
        return replace(head, labels=tuple(labels), parents=parents, rare=tuple(dict.fromkeys(rare)))
    except ValueError as error:
        raise UsageError(f"--map: {error}") from error


def renamed_bundle(bundle: Bundle, names: Names) -> Bundle:
    """Return a model that is asked by the new names; for measuring alone: it weighs no header any more."""
    first, *further = (renamed_head(head, names) for head in bundle.heads)
    return replace(bundle, head=first, further=tuple(further), evidence=None)


def renamed(predicted: ModelPredictions, names: Names) -> ModelPredictions:
    """Return predictions by the new names; the scores of labels that have one name are merged."""
    before, bundle = predicted.bundle.heads, renamed_bundle(predicted.bundle, names)
    if all(len(old.merged) == len(new.merged) for old, new in zip(before, bundle.heads, strict=True)):
        return replace(predicted, bundle=bundle)

    def merged(one: Prediction) -> Prediction:
        pixels = None if one.pixel_scores is None else _merged(one.pixel_scores, before, bundle.heads)
        return replace(one, scores=_merged(one.scores, before, bundle.heads), pixel_scores=pixels)

    return replace(
        predicted,
        bundle=bundle,
        predictions=tuple(map(merged, predicted.predictions)),
        tuning=tuple(map(merged, predicted.tuning)),
    )


def _merged(
    scores: NDArray[np.float32], before: Sequence[Head], heads: Sequence[Head]
) -> NDArray[np.float32]:
    """Add to a label's score those of the labels it now answers for (multiclass), or take the greatest."""
    parts = split_columns(scores[None].copy(), [len(head.labels) for head in heads])
    for part, old, new in zip(parts, before, heads, strict=True):
        merge = np.add if new.kind == "multiclass" else np.maximum
        for label in new.merged.keys() - old.merged.keys():
            at, place = new.labels.index(label), new.labels.index(new.merged[label])
            if old.labels[at] not in old.merged:
                part[:, place] = merge(part[:, place], part[:, at])
    return np.asarray(np.concatenate(parts, axis=1)[0], np.float32)
