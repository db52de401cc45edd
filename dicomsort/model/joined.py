"""Models that share a network but for its last layer, computed as one."""

import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_tensors

from dicomsort.model.batching import Predictor
from dicomsort.model.bundle import WEIGHTS, Bundle, Weights

_REJECT = "reject."
_WEIGHT, _BIAS = ".weight", ".bias"

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Part:
    """One of several models that are computed as one: a predictor whose answers are columns of the whole's.

    Only the first one gives its reject score; see `Bundle.decisions`.
    """

    def __init__(self, bundle: Bundle, whole: Predictor, columns: Sequence[int]) -> None:
        self.bundle, self.whole, self._columns = bundle, whole, list(columns)
        self.engine, self.name, self.precision = whole.engine, whole.name, whole.precision
        self.concurrency, self.batch_size = whole.concurrency, whole.batch_size

    def logits(self, images: Images) -> Floats:
        """Ask the whole, and return this part's columns."""
        return self.of(self.whole.logits(images))

    def of(self, outputs: Floats) -> Floats:
        """Return this part's columns of the whole's outputs (n, width)."""
        return outputs[:, self._columns]


def outputs_of(predictors: Sequence[Predictor], ask: Callable[[Predictor], Floats]) -> list[Floats]:
    """Return what each predictor says; `ask` is called once for each network."""
    networks = [each.whole if isinstance(each, Part) else each for each in predictors]
    answers = {network: ask(network) for network in dict.fromkeys(networks)}
    return [
        each.of(answers[network]) if isinstance(each, Part) else answers[network]
        for each, network in zip(predictors, networks, strict=True)
    ]


def ready(
    bundles: Sequence[Bundle], make: Callable[[Bundle], Predictor], with_graph: bool
) -> list[Predictor]:
    """Return a predictor for each bundle; `make` is called once for those that share all but the last layer.

    with_graph: whether `make` needs the graph of a bundle that has one.
    """
    found: dict[int, Predictor] = {}
    for members in _groups(bundles):
        some = [bundles[member] for member in members]
        whole = joined(some, with_graph)
        parts = [make(each) for each in some] if whole is None else _parts(make(whole), some)
        found |= zip(members, parts, strict=True)
    return [found[place] for place in range(len(bundles))]


def joined(bundles: Sequence[Bundle], with_graph: bool = True) -> Bundle | None:
    """Return one bundle with the heads of several, in their order, and the reject score of the first.

    with_graph: whether it needs a graph. None for one bundle alone, or several that differ in more than the
    rows of the last layer, or whose graph does not show it. Its heads are called by their numbers.
    """
    first, *others = bundles
    layer = _last_layer(first)
    if not others or layer is None or len({_shared(each) for each in bundles}) > 1:
        return None
    names = (layer + _WEIGHT, layer + _BIAS)
    rows = {name: np.concatenate([each.weights[name] for each in bundles]) for name in names}
    weights = {**first.weights, **rows}
    try:
        graph = _graph(first, weights, layer) if with_graph else None
    except ValueError:
        return None
    heads = [head for each in bundles for head in each.heads]
    head, *further = (replace(head, name=str(number)) for number, head in enumerate(heads))
    name = "+".join(each.name for each in bundles)
    return replace(first, name=name, head=head, further=tuple(further), weights=weights, graph=graph)


def _graph(first: Bundle, weights: Weights, layer: str) -> bytes:
    from dicomsort.model.graph import widened  # noqa: PLC0415  (onnx is not needed on a GPU)

    if first.graph is None:
        raise ValueError("there is no graph")
    return widened(first.graph, first.weights, weights, layer, WEIGHTS)


def _groups(bundles: Sequence[Bundle]) -> list[list[int]]:
    """Return the places of bundles that may be joined; each place stands in one group."""
    groups: dict[Hashable, list[int]] = {}
    for place, bundle in enumerate(bundles):
        shared = _shared(bundle) if len(bundles) > 1 else None
        groups.setdefault(place if shared is None else shared, []).append(place)
    return list(groups.values())


def _shared(bundle: Bundle) -> str | None:
    """Return a hash over all that bundles must share to be joined; None if the last layer is not plain."""
    layer = _last_layer(bundle)
    if layer is None:
        return None
    weight, bias = (bundle.weights[layer + end] for end in (_WEIGHT, _BIAS))
    own = {layer + _WEIGHT, layer + _BIAS}
    body = {
        name: value
        for name, value in bundle.weights.items()
        if name not in own and not name.startswith(_REJECT)
    }
    facts = [bundle.network.as_dict(), asdict(bundle.preprocessing), layer, weight.shape[1]]
    described = json.dumps([*facts, str(weight.dtype), str(bias.dtype)], sort_keys=True)
    return hashlib.sha256(save_tensors(body) + described.encode()).hexdigest()


def _last_layer(bundle: Bundle) -> str | None:
    """Name the layer that gives the outputs: the only one with a row and a bias for each; None if not one."""
    weights, outputs = bundle.weights, bundle.outputs
    layers = [name.removesuffix(_WEIGHT) for name, value in weights.items()
              if name.endswith(_WEIGHT) and value.ndim == 2 and len(value) == outputs]  # fmt: skip
    plain = [layer for layer in layers if (layer + _BIAS) in weights
             and weights[layer + _BIAS].shape == (outputs,)]  # fmt: skip
    return plain[0] if len(plain) == 1 else None


def _parts(whole: Predictor, bundles: Sequence[Bundle]) -> list[Predictor]:
    """Divide a joined predictor's columns; its reject score is the first one's."""
    starts = accumulate((each.outputs for each in bundles), initial=0)
    columns = [[*range(start, start + each.outputs)] for start, each in zip(starts, bundles, strict=False)]
    if whole.bundle.reject is not None:
        columns[0].append(whole.bundle.outputs)
    return [Part(each, whole, own) for each, own in zip(bundles, columns, strict=True)]
