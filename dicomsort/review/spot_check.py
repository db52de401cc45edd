"""A spot check: how often the model was right in this very archive, by a person who looks at some files."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dicomsort.errors import TargetError, UsageError
from dicomsort.evaluation.binomial import interval
from dicomsort.manifest.names import SPOT_CHECK
from dicomsort.outcome import UNSURE, Status
from dicomsort.review.index import Index
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import escape

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class SpotCheck:
    """Files drawn from those that the model sorted. files: their numbers in the index. of: by label."""

    seed: int
    files: tuple[int, ...]
    of: dict[str, int]

    def figures(self, index: Index) -> dict[str, Any]:
        """Return what is known by now, as review.json holds it; see docs/reference/manifest.md.

        An answer `unsure` counts as none, `excluded` as wrong. The interval is that of Clopper and Pearson:
        exact for files drawn alike, on the safe side for files drawn by class (Hoeffding 1956, On the
        Distribution of the Number of Successes in Independent Trials).
        """
        drawn, answered, right, unsure = Counter[str](), Counter[str](), Counter[str](), 0
        for at in self.files:
            label, reviewed = index.label.text(at), index.reviewed.text(at)
            drawn[label] += 1
            unsure += reviewed == UNSURE
            answered[label] += reviewed not in ("", UNSURE)
            right[label] += reviewed == label
        labels = {
            label: {"drawn": drawn[label], "of": of, **_share(right[label], answered[label])}
            for label, of in sorted(self.of.items())
        }
        whole: dict[str, Any] = {
            "drawn": len(self.files),
            "of": sum(self.of.values()),
            "seed": self.seed,
            "unsure": unsure,
        }
        whole |= _share(right.total(), answered.total())
        return {**whole, "confidence": _CONFIDENCE, "labels": labels}

    def save(self, index: Index, out: str) -> None:
        """Write review.json. Raises TargetError."""
        path = os.path.join(out, SPOT_CHECK)
        files = [index.paths[at] for at in self.files]
        try:
            with replacing(path) as file:
                json.dump({"sample": {**self.figures(index), "files": files}}, file, indent=1)
        except OSError as error:
            raise TargetError(f"'{escape(path)}' cannot be written: {error.strerror}") from error


def _share(right: int, answered: int) -> dict[str, float | None]:
    low, high = interval(right, answered, _CONFIDENCE)
    precision = right / answered if answered else None
    return {"answered": answered, "right": right, "precision": precision, "low": low, "high": high}


def begin(index: Index, out: str, count: int, seed: int) -> SpotCheck:
    """Return the spot check of this size and seed that was begun in an output, or draw a new one.

    Raises UsageError if there is nothing to draw from.
    """
    if (begun := _begun(index, out, count, seed)) is not None:
        return begun
    able = np.flatnonzero(index.status.is_one_of([Status.SORTED]) & index.reviewed.is_one_of([""]))
    if not len(able):
        raise UsageError(f"'{escape(out)}' holds no file that the model has sorted: nothing to draw from")
    by_label = Counter(index.label.text(at) for at in able.tolist())
    return SpotCheck(seed, _drawn(index, able.tolist(), count, seed), dict(by_label))


def _drawn(index: Index, able: Sequence[int], count: int, seed: int) -> tuple[int, ...]:
    """Draw at equal steps from files in the order of their labels, and in any order within one.

    So each file has the same chance, and each label its share.
    """
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(np.asarray(able))
    ordered = sorted(shuffled.tolist(), key=index.label.text)
    count = min(count, len(ordered))
    steps = (np.arange(count) + generator.random()) * (len(ordered) / count)
    return tuple(ordered[min(int(step), len(ordered) - 1)] for step in steps)


def _begun(index: Index, out: str, count: int, seed: int) -> SpotCheck | None:
    try:
        with open(os.path.join(out, SPOT_CHECK), encoding="utf-8") as file:
            held = json.load(file)["sample"]
        names, of = held["files"], {label: int(one["of"]) for label, one in held["labels"].items()}
        same = held["seed"] == seed and len(names) == min(count, sum(of.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    places = {path: at for at, path in enumerate(index.paths)}
    if not same or not all(name in places for name in names):
        return None
    return SpotCheck(seed, tuple(places[name] for name in names), of)
