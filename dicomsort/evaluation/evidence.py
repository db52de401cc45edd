"""Rules of evidence: fitted to labeled images where labels name an age, stated where an apparatus tells.

What is fitted is a ratio of observed to expected counts, each with one image more (as in the shrinkage of
disproportionality measures, DuMouchel 1999): a handful of images can never rule anything out.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dicomsort.model.evidence import Evidence, Rule
from dicomsort.model.heads import Head
from dicomsort.outcome import FACTS, Facts

Known = tuple[str, Facts]
"""A label, and what the header or the table says of an image with it."""

AGE_WORDS = frozenset(
    {
        "adult", "adults", "geriatric", "pediatric", "paediatric", "pediatrics", "paediatrics", "child",
        "children", "kid", "kids", "teenager", "teenagers", "adolescent", "adolescents", "infant", "infants",
        "baby", "babies", "toddler", "toddlers", "newborn", "newborns", "neonate", "neonates", "neonatal",
    }
)  # fmt: skip
"""Words of labels that name an age. Only for such labels an age means something by definition; that all hands
of a data set are children's is a matter of the data set."""

TRUNK = frozenset({"chest", "thorax", "lung", "lungs", "abdomen", "abdominal", "spine", "pelvis"})
CHEST = frozenset({"chest", "thorax", "lung", "lungs"})

_DENTAL = "definition: dental apparatus shows teeth and jaws (PS3.3 C.7.3.1.1.1)"
_ANGIOGRAPHY = "stated: an angiogram is no plain film of the chest; most are of heart, brain and limbs"

STATED: Mapping[str, tuple[Mapping[str, float], str]] = {
    **dict.fromkeys(
        ("sop_class=intra-oral", "modality=IO", "modality=PX"),
        (dict.fromkeys(sorted(TRUNK), 1000.0), _DENTAL),
    ),
    **dict.fromkeys(
        ("sop_class=angiography", "modality=XA"),
        ({**dict.fromkeys(sorted(TRUNK - CHEST), 5.0), **dict.fromkeys(sorted(CHEST), 20.0)}, _ANGIOGRAPHY),
    ),
}
"""By fact: how many times less likely than others it makes labels with these words, and why."""


def fitted(head: Head, known: Iterable[Known]) -> Evidence | None:
    """Return the rules for a head: those that are stated, and those that labeled images bear out.

    known: of the training images, or of others that were labeled. None if there is no rule: for other kinds
    of heads than multiclass, and for labels that say nothing of ages or of the trunk.
    """
    if head.kind != "multiclass":
        return None
    rules = [*age_rules(head.labels, known), *stated_rules(head.labels)]
    return Evidence(tuple(rules)) if rules else None


def stated_rules(labels: Sequence[str]) -> Iterator[Rule]:
    """Yield the rules that hold by definition of the apparatus, for labels whose words are known.

    A head of which every label, or none, is ruled out gets no rule.
    """
    for fact, (factors, basis) in STATED.items():
        against = {label: _factor(label, factors) for label in labels}
        if max(against.values()) > 1 and min(against.values()) == 1:
            ratios = {label: round(-math.log(factor), 4) + 0.0 for label, factor in against.items()}
            yield Rule(fact, ratios, basis)


def age_rules(labels: Sequence[str], known: Iterable[Known]) -> Iterator[Rule]:
    """Yield the rules that the ages of images bear out, for labels that name an age."""
    concerned = [label for label in labels if words_of(label) & AGE_WORDS]
    counts = Counter((label, fact) for label, facts in known for fact in facts
                     if fact.startswith("age=") and label in concerned)  # fmt: skip
    for fact in (fact for fact in FACTS if fact.startswith("age=")):
        ratios = {label: _ratio(counts, label, fact) for label in concerned}
        seen = sum(count for (_, one), count in counts.items() if one == fact)
        if seen and min(ratios.values()) < 0:
            basis = f"fitted: {seen} images of this age, {_told(counts)}"
            yield Rule(fact, ratios, basis, counts.total())


def _told(counts: Counter[tuple[str, str]]) -> str:
    labels = Counter[str]()
    for (label, _), count in counts.items():
        labels[label] += count
    text = ", ".join(f"{count} {label}" for label, count in sorted(labels.items()))
    return text if len(text) < 120 else f"{labels.total()} with an age"


def _ratio(counts: Counter[tuple[str, str]], label: str, fact: str) -> float:
    """Return the logarithm of observed over expected counts, each plus one; at most 0."""
    of_label = sum(count for (one, _), count in counts.items() if one == label)
    of_fact = sum(count for (_, one), count in counts.items() if one == fact)
    expected = of_label * of_fact / max(counts.total(), 1)
    return min(round(math.log((counts[label, fact] + 1) / (expected + 1)), 4), 0.0)


def _factor(label: str, factors: Mapping[str, float]) -> float:
    return max((factors[word] for word in words_of(label) if word in factors), default=1.0)


def words_of(label: str) -> set[str]:
    """Return the words of a label in lower case."""
    return set(re.split(r"[_.\-]+", label.casefold()))
