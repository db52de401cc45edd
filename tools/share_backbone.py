"""Divide a model of several heads into models of one network: equal but for their last layers.

    python tools/share_backbone.py labels.csv RUN --corrections models/corrections.csv --out models \
        --model router5=group --model view=view,rotation --model bodypart=body_parts

RUN is what `dicomsort train` has made of several targets. Each new model has some of its heads, with the
temperatures and thresholds that they have there; a reject score of its own, fitted to the training part of
the split, with a threshold from the validation part; and a graph. The rules of evidence are of RUN's first
head, and go where that decides. In one run they are computed once.
"""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dicomsort.data import corrections
from dicomsort.data.cache import Cache
from dicomsort.data.dataset import TRAIN, VALIDATION, Columns, listed
from dicomsort.errors import UsageError
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle
from dicomsort.model.export import with_graph
from dicomsort.model.ood import PREFIX
from dicomsort.model.rotation import ROTATION
from dicomsort.system.pool_settings import pool_settings
from dicomsort.training.finish import Seen, with_reject_score
from dicomsort.training.loader import images_of
from dicomsort.training.trainer import features_of


@dataclass(frozen=True)
class Part:
    """A model to make: its name, and the heads that it gets, the one that decides first."""

    name: str
    heads: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read `view=view,rotation`. Raises UsageError."""
        name, equals, heads = text.partition("=")
        if not name or not equals or not heads:
            raise UsageError(f"--model '{text}': write NAME=HEAD or NAME=HEAD,HEAD")
        return cls(name, tuple(heads.split(",")))


def part_of(whole: Bundle, part: Part) -> tuple[Bundle, list[int]]:
    """Return a bundle of some of a model's heads, without reject score, and where its outputs stand."""
    names = [head.name for head in whole.heads]
    if unknown := set(part.heads) - set(names):
        raise UsageError(f"--model {part.name}: the run has no head '{min(unknown)}', but {', '.join(names)}")
    columns = np.split(np.arange(whole.outputs), np.cumsum([head.width for head in whole.heads])[:-1])
    taken = np.concatenate([columns[names.index(name)] for name in part.heads])
    classifier = networks.build(replace(whole, reject=None)).body.pretrained_cfg["classifier"]
    weights = {
        name: np.ascontiguousarray(value[taken]) if name.startswith(f"{classifier}.") else value
        for name, value in whole.weights.items()
        if not name.startswith(PREFIX)
    }
    first, *further = (whole.heads[names.index(name)] for name in part.heads)
    made = replace(
        whole, name=part.name, head=first, further=tuple(further), weights=weights, reject=None, graph=None,
        metrics=_of_heads(whole.metrics, part.heads),
        evidence=whole.evidence if first.name == whole.head.name else None,
    )  # fmt: skip
    return made, taken.tolist()


def _of_heads(metrics: dict[str, object], heads: tuple[str, ...]) -> dict[str, object]:
    """Return what was measured of some heads; facts without a head's name stay."""

    def own(fact: object) -> bool:
        return not isinstance(fact, dict) or fact.get("head") in (None, *heads)

    return {
        name: [fact for fact in facts if own(fact)] if isinstance(facts, list) else facts
        for name, facts in metrics.items()
    }


def seen_by(whole: Bundle, data: Path, right: Path | None) -> tuple[Seen, Seen]:
    """Return what the network makes of the images of its training and of its validation part."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder), whole.preprocessing)
        heads = [head for head in whole.heads if head.name != ROTATION]
        asked = Columns(tuple(head.name for head in heads))
        found, _ = corrections.load(data, asked, right, cache.hash_of)
        network = networks.build(replace(whole, reject=None))
        parts = []
        for part in (TRAIN, VALIDATION):
            samples = listed(found.samples, whole.split, part)
            cache.fill(samples, pool_settings())
            parts.append(features_of(network, images_of(samples, heads, cache)))
    return parts[0], parts[1]


def main() -> None:
    """Divide, fit and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--corrections", type=Path)
    parser.add_argument("--model", action="append", type=Part.parse, required=True, metavar="NAME=HEADS")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    whole = bundles.load(given.run)
    known, unseen = seen_by(whole, given.data, given.corrections)
    for part in given.model:
        made, columns = part_of(whole, part)
        own = [(features, logits[:, columns]) for features, logits in (known, unseen)]
        with_graph(with_reject_score(made, own[0], own[1])).save(given.out / part.name)
        print(f"wrote {given.out / part.name}")


if __name__ == "__main__":
    main()
