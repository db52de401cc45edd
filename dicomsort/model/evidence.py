"""What a header says of a label, weighed against the pixels: few rules, each of them stated in the bundle.

The header only ever speaks against labels, and moves probability only between those that the pixels find
possible. What the pixels alone would have filed it never moves: it asks a person to look instead.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import UsageError
from dicomsort.model.heads import Decision, Floats, Head, decide
from dicomsort.outcome import FACTS, Facts, Reason

HEADER, PIXELS = "header", "pixels"
SOURCES = (HEADER, PIXELS)
"""What a label may rest on: the pixels and the header, or the pixels alone."""

POSSIBLE = 0.01
"""The usual pixel probability from which a label is possible."""

_RULED_AGAINST = math.log(10)
_MOST = 20.0  # logarithm of a likelihood ratio
_LONGEST = 200  # characters of a basis


def check_source(evidence: str) -> None:
    """Raise UsageError unless it is one of SOURCES."""
    if evidence not in SOURCES:
        raise UsageError(f"--evidence '{evidence}' is unknown: use {', '.join(SOURCES)}")


@dataclass(frozen=True, slots=True)
class Rule:
    """What one fact says of labels.

    fact: one of `outcome.FACTS`. log_ratios: by label the natural logarithm of a likelihood ratio: how much
    less often the fact comes with this label than with the others that are named; 0 or less, and 0 for at
    least one. Probability moves between the named labels alone. basis: what it rests on, in words. images:
    how many images it was fitted to, 0 if it is stated.
    """

    fact: str
    log_ratios: Mapping[str, float]
    basis: str
    images: int = 0

    def __post_init__(self) -> None:
        if self.fact not in FACTS:
            raise ValueError(f"evidence: a rule is for an unknown fact (known are {', '.join(FACTS)})")
        ratios = self.log_ratios.values()
        if 0 not in ratios or not all(map(_is_ratio, ratios)):
            told = f"numbers from -{_MOST:g} to 0, and 0 for one"
            raise ValueError(f"evidence: the ratios of '{self.fact}' are not {told}")
        if not isinstance(self.images, int) or isinstance(self.images, bool) or self.images < 0:
            raise ValueError(f"evidence: the images of '{self.fact}' are no whole number")
        if not isinstance(self.basis, str) or not self.basis.isprintable() or len(self.basis) > _LONGEST:
            raise ValueError(f"evidence: the basis of '{self.fact}' is no text of at most {_LONGEST} letters")


def _is_ratio(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -_MOST <= float(value) <= 0  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The rules of a model's first head, which is of kind multiclass.

    possible: the pixel probability, 0..1, from which a label is possible.
    """

    rules: tuple[Rule, ...]
    possible: float = POSSIBLE

    def __post_init__(self) -> None:
        if not isinstance(self.possible, int | float) or not 0 < self.possible < 1:
            raise ValueError("evidence: 'possible' is no number between 0 and 1")
        if len({rule.fact for rule in self.rules}) < len(self.rules):
            raise ValueError("evidence: two rules are for one fact")

    def check(self, head: Head) -> None:
        """Raise ValueError unless the rules are for this head."""
        if head.kind != "multiclass":
            raise ValueError(f"evidence: head '{head.name}' is not multiclass")
        if any(label not in head.labels for rule in self.rules for label in rule.log_ratios):
            raise ValueError(f"evidence: a rule names a label that head '{head.name}' does not have")

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def used(self, facts: Facts) -> Facts:
        """Return those of a header's facts for which there is a rule."""
        return tuple(rule.fact for rule in self.rules if rule.fact in facts)

    def against(self, facts: Facts, labels: Sequence[str]) -> NDArray[np.bool_]:
        """Return which labels the facts speak against, by 10 to 1 or more: (labels,)."""
        told = [rule.log_ratios for rule in self.rules if rule.fact in facts]
        return np.array([any(ratios.get(label, 0) <= -_RULED_AGAINST for ratios in told) for label in labels])


@dataclass(frozen=True, slots=True)
class Weighed:
    """The scores of the first head with the evidence: (labels,), adding up to 1.

    used: the facts. contradicts: whether the header speaks against a label that stays.
    """

    scores: Floats
    used: Facts = ()
    contradicts: bool = False


def evidence_of(values: Any, head: Head) -> Evidence:
    """Read evidence as a bundle holds it. Raises ValueError, TypeError or KeyError where it is none."""
    rules = tuple(Rule(**{**rule, "log_ratios": dict(rule["log_ratios"])}) for rule in values["rules"])
    evidence = Evidence(**{**values, "rules": rules})
    evidence.check(head)
    return evidence


def weigh(evidence: Evidence, scores: Floats, facts: Facts, head: Head, surely: float) -> Weighed:
    """Weigh a header's facts against the pixels' scores (labels,), 0..1.

    surely: the confidence from which the pixels alone would file the image: their scores then stay. Otherwise
    one rule after the other turns the scores of the possible labels that it names into score x ratio, whose
    sum stays (Bayes' rule); all other scores stay as they are.
    """
    if not (used := evidence.used(facts)):
        return Weighed(scores)
    against = evidence.against(used, head.labels)
    weighed = np.asarray(scores, np.float64)
    if weighed.max() < surely:
        weighed = _posterior(evidence, weighed, used, head.labels)
    return Weighed(weighed, used, contradicts=bool(against[int(weighed.argmax())]))


def _posterior(
    evidence: Evidence, pixels: NDArray[np.float64], used: Facts, labels: Sequence[str]
) -> NDArray[np.float64]:
    weighed = pixels.copy()
    for ratios in (rule.log_ratios for rule in evidence.rules if rule.fact in used):
        concerned = np.array([label in ratios for label in labels]) & (pixels >= evidence.possible)
        if concerned.any():
            factors = np.exp([ratios.get(label, 0.0) for label in labels])[concerned]
            told = weighed[concerned] * factors
            weighed[concerned] = told * (weighed[concerned].sum() / told.sum())
    return weighed


def decide_with(
    evidence: Evidence, decision: Decision, facts: Facts, head: Head, review_below: float | None = None
) -> Decision:
    """Decide again what the pixels alone have decided by the first head, with what the header says.

    review_below: overrides the head's own threshold. Returns the same decision where there is no rule for the
    facts; otherwise one that keeps the pixels' own in `pixels`.
    """
    surely = head.review_below if review_below is None else review_below
    weighed = weigh(evidence, np.asarray(decision.scores), facts, head, surely)
    if not weighed.used:
        return decision
    again = decide(weighed.scores, head, review_below)
    why = (*again.why, Reason.CONTRADICTION) if weighed.contradicts else again.why
    return replace(
        decision, label=again.label, confidence=again.confidence, scores=again.scores, why=why,
        evidence=weighed.used, pixels=decision,
    )  # fmt: skip
