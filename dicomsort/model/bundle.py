"""A model on disk: weights with everything needed to use them."""

import csv
import hashlib
import json
import math
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from dicomsort.errors import ModelError, TargetError, did_you_mean
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model import anatomy, shipped, studies
from dicomsort.model.anatomy import Anatomy, Coded
from dicomsort.model.evidence import Evidence, decide_with, evidence_of
from dicomsort.model.heads import Decision, Head, decide_all, split_columns, with_rejection
from dicomsort.model.size import Size, size_of
from dicomsort.model.spec import NetworkSpec, network_of
from dicomsort.model.studies import StudyRule
from dicomsort.outcome import Facts
from dicomsort.system.atomic import replacing
from dicomsort.system.telling import listed

FORMAT = 1
MOST_GRAPH = 16 << 20
"""How many bytes a graph may have; those of the networks in `networks.ALIASES` take 30 to 140 kB."""

WEIGHTS, GRAPH, CONFIG, SPLIT = "model.safetensors", "graph.onnx", shipped.CONFIG, "split.csv"
shipped_models, shipped_names = shipped.shipped_models, shipped.shipped_names

_KEYS = {
    "format", "name", "network", "preprocessing", "heads", "weights_sha256", "graph_sha256",
    "training", "metrics", "reject", "evidence", "anatomy", "study",
}  # fmt: skip
_ANEW = "`dicomsort model export` writes it anew"
_MOST_CONFIG = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Reject:
    """The reject score above which an image is unlike the training data; higher is less like them."""

    threshold: float

    def __post_init__(self) -> None:
        if not isinstance(self.threshold, int | float) or not math.isfinite(self.threshold):
            raise ValueError("the threshold of the reject score must be a finite number")


@dataclass(frozen=True)
class Bundle:
    """A trained model. `digest` (sha256, hex) covers all that changes its outputs.

    head: the one that decides where a file goes; further: others, which answer in columns of their own.
    reject: set if the network gives a reject score, one more column after the logits.
    graph: the network as `graph.resolved` takes it; None for one that runs on PyTorch alone. It adds nothing
    to the digest: it is the network and the weights once more. evidence: what a header may say of the first
    head's labels; None for a model that looks at pixels alone. anatomy: by head what its labels mean, where
    that is not told by their names; it changes no output, and adds nothing to the digest. study: how the
    images of a study become one; None for a model of single images.
    """

    name: str
    network: NetworkSpec
    preprocessing: Preprocessing
    head: Head
    weights: Weights
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    split: dict[str, str] = field(default_factory=dict)
    further: tuple[Head, ...] = ()
    reject: Reject | None = None
    graph: bytes | None = None
    evidence: Evidence | None = None
    anatomy: Anatomy = field(default_factory=dict)
    study: StudyRule | None = None

    def __post_init__(self) -> None:
        if len({head.name.casefold() for head in self.heads}) < len(self.heads):
            raise ValueError("two heads have one name")
        if self.evidence is not None:
            self.evidence.check(self.head)

    @property
    def heads(self) -> tuple[Head, ...]:
        """All heads, in the order of the network's outputs."""
        return (self.head, *self.further)

    def coded(self, head: Head) -> Coded:
        """Return the regions of the body that a head's labels mean, in SNOMED CT."""
        told = self.anatomy.get(head.name)
        if told is None:
            return anatomy.coded(head.labels)
        return {label: region for label, region in told.items() if label in head.labels}

    @property
    def outputs(self) -> int:
        """How many logits the network gives."""
        return sum(head.width for head in self.heads)

    @property
    def width(self) -> int:
        """How many numbers the network gives: the logits, and the reject score if there is one."""
        return self.outputs + (self.reject is not None)

    @property
    def size(self) -> Size:
        """How large its weights are."""
        return size_of(self.weights)

    @property
    def concat_by(self) -> str | None:
        """The column of studies whose images were put on one canvas in training, if any."""
        return None if self.study is None else self.study.column

    def logits(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (n, outputs) of a network's outputs (n, width), without the reject score."""
        return outputs[:, : self.outputs]

    def scores(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn outputs (n, width) into the scores of all heads in a row (n, labels of all heads)."""
        parts = split_columns(self.logits(outputs), [head.width for head in self.heads])
        return np.concatenate(
            [head.scores(part) for head, part in zip(self.heads, parts, strict=True)], axis=1
        )

    def decisions(
        self,
        outputs: NDArray[np.float32],
        review_below: float | None = None,
        facts: Sequence[Facts] | None = None,
    ) -> list[Decision]:
        """Turn outputs into decisions; `review_below` overrides the first head's own.

        outputs: (n, width), or (n, outputs) without the reject score, which then plays no part.
        facts: what the header of each image says, as evidence for the first head; None for pixels alone.
        """
        decided = [decide_all(scores, self.heads, review_below) for scores in self.scores(outputs)]
        if facts is not None and self.evidence is not None:
            decided = [
                decide_with(self.evidence, one, said, self.head, review_below)
                for one, said in zip(decided, facts, strict=True)
            ]
        if self.reject is None or outputs.shape[1] == self.outputs:
            return decided
        threshold = self.reject.threshold
        return [
            with_rejection(one, float(row[-1]), threshold) for one, row in zip(decided, outputs, strict=True)
        ]

    @cached_property
    def digest(self) -> str:
        """Sha256 (hex) over all that changes outputs: equal digests give equal outputs."""
        parts = [self.network.as_dict(), asdict(self.preprocessing), *(head.as_dict() for head in self.heads)]
        if self.reject is not None:
            parts.append({"reject": asdict(self.reject)})
        if self.evidence is not None:
            parts.append({"evidence": self.evidence.as_dict()})
        if told := studies.told(self.study):
            parts.append(told)
        described = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(save_tensors(dict(self.weights)) + described.encode()).hexdigest()

    @property
    def tag(self) -> str:
        """The `model` column of the manifest: name@sha256[:12]."""
        return f"{self.name}@{self.digest[:12]}"

    def save(self, folder: Path) -> None:
        """Write the bundle into `folder`, which is made. Raises TargetError if it cannot be written."""
        weights = save_tensors(dict(self.weights))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / WEIGHTS).write_bytes(weights)
            if self.graph is not None:
                (folder / GRAPH).write_bytes(self.graph)
            (folder / CONFIG).write_text(json.dumps(self._config(weights), indent=2) + "\n", encoding="utf-8")
            with (folder / SPLIT).open("w", encoding="utf-8", newline="") as file:
                write_split(self.split, file)
        except OSError as error:
            raise TargetError(f"'{folder}' cannot be written: {error.strerror}") from error

    def save_graph(self, folder: Path) -> None:
        """Add the graph to the bundle in `folder`; all else there stays. Raises TargetError."""
        if self.graph is None:
            raise ValueError("there is no graph to save")
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            config["graph_sha256"] = hashlib.sha256(self.graph).hexdigest()
            with replacing(folder / GRAPH, "wb") as file:
                file.write(self.graph)
            with replacing(folder / CONFIG) as file:
                file.write(json.dumps(config, indent=2) + "\n")
        except OSError as error:
            raise TargetError(f"'{folder}' cannot be written: {error.strerror}") from error

    def save_evidence(self, folder: Path) -> None:
        """Put the evidence into the bundle in `folder`; all else there stays. Raises TargetError."""
        self._save(folder, evidence=None if self.evidence is None else self.evidence.as_dict())

    def save_anatomy(self, folder: Path) -> None:
        """Put what the labels mean into the bundle in `folder`; all else there stays. Raises TargetError."""
        self._save(folder, anatomy=self.told_anatomy)

    def _save(self, folder: Path, **values: Any) -> None:
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8")) | values
            with replacing(folder / CONFIG) as file:
                file.write(json.dumps(config, indent=2) + "\n")
        except OSError as error:
            raise TargetError(f"'{folder}' cannot be written: {error.strerror}") from error

    @property
    def told_anatomy(self) -> dict[str, Any]:
        """What the labels mean, as the bundle tells it: by head and label code, meaning and parent."""
        by_head = {head.name: self.coded(head) for head in self.heads}
        return anatomy.as_json({name: labels for name, labels in by_head.items() if labels})

    def _config(self, weights: bytes) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "network": self.network.as_dict(),
            "preprocessing": self.preprocessing.as_dict(),
            "heads": [head.as_dict() for head in self.heads],
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            **({} if self.graph is None else {"graph_sha256": hashlib.sha256(self.graph).hexdigest()}),
            "training": self.training,
            "metrics": self.metrics,
            **({} if self.reject is None else {"reject": asdict(self.reject)}),
            **({} if self.evidence is None else {"evidence": self.evidence.as_dict()}),
            **({"anatomy": told} if (told := self.told_anatomy) else {}),
            **studies.told(self.study),
        }


def locate(name_or_folder: str) -> Path:
    """Find a bundle: a folder, or the name of a shipped model.

    Raises ModelError, naming the shipped models, if there is none.
    """
    ours = shipped_models()
    if _NAME.fullmatch(name_or_folder) and (ours / name_or_folder / CONFIG).is_file():
        return ours / name_or_folder
    folder = Path(name_or_folder)
    with suppress(OSError, ValueError):  # a name that no file system takes
        if (folder / CONFIG).is_file():
            return folder
    names = sorted(shipped_names())
    guess = did_you_mean(name_or_folder, names)
    advice = f": give a folder with {CONFIG}, or a shipped model ({', '.join(names) or 'none'})"
    raise ModelError(f"no model '{name_or_folder}'{guess or advice}")


def load(folder: Path, with_graph: bool = True) -> Bundle:
    """Read a bundle and check it against its own hashes.

    with_graph: whether to read its graph, if it has one.
    Raises ModelError for a missing or damaged file, an unknown format or key, or a wrong hash.
    """
    try:
        config = json.loads(_content(folder / CONFIG, _MOST_CONFIG))
        weights = _content(folder / WEIGHTS)
        graph = _graph(folder) if with_graph and "graph_sha256" in config else None
        return _assemble(config, weights, graph, _load_split(folder / SPLIT))
    except OSError as error:
        raise ModelError(f"model '{folder}' cannot be read: {error.strerror}: {error.filename}") from error
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
        csv.Error,
        SafetensorError,
    ) as error:
        raise ModelError(f"model '{folder}' is damaged: {error}. Restore it, or train it again") from error


def _content(path: Path, most: int | None = None) -> bytes:
    """Read a file of a bundle. Raises OSError, or ValueError for another kind of file or one too large."""
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError(f"{path.name} is no ordinary file")
    if most is not None and facts.st_size > most:
        raise ValueError(f"{path.name} has {facts.st_size} bytes, and may have {most}")
    return path.read_bytes()


def _graph(folder: Path) -> bytes:
    """Read a bundle's graph, which can be written anew. Raises ValueError if it cannot be."""
    try:
        return _content(folder / GRAPH, MOST_GRAPH)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{GRAPH} cannot be read: {why} ({_ANEW})") from error


def _assemble(config: dict[str, Any], weights: bytes, graph: bytes | None, split: dict[str, str]) -> Bundle:
    if config.get("format") != FORMAT:
        raise ValueError(f"format {config.get('format')} is unknown to this version (it knows {FORMAT})")
    if unknown := set(config) - _KEYS:
        raise ValueError(f"unknown keys: {listed(sorted(unknown))}")
    if hashlib.sha256(weights).hexdigest() != config["weights_sha256"]:
        raise ValueError(f"{WEIGHTS} does not have the hash that {CONFIG} records")
    if graph is not None and hashlib.sha256(graph).hexdigest() != config["graph_sha256"]:
        raise ValueError(f"{GRAPH} does not have the hash that {CONFIG} records ({_ANEW})")
    check_name(str(config["name"]))
    if not config["heads"]:
        raise ValueError("it needs at least one head")
    first, *further = (_head(values) for values in config["heads"])
    return Bundle(
        name=str(config["name"]),
        network=network_of(config["network"]),
        preprocessing=Preprocessing(**config["preprocessing"]),
        head=first,
        weights=load_tensors(weights),
        training=config["training"],
        metrics=config["metrics"],
        split=split,
        further=tuple(further),
        reject=None if config.get("reject") is None else Reject(**config["reject"]),
        graph=graph,
        evidence=None if config.get("evidence") is None else evidence_of(config["evidence"], first),
        anatomy=anatomy.from_json(config.get("anatomy", {})),
        study=studies.rule_of(config),
    )


def _head(values: dict[str, Any]) -> Head:
    lists: dict[str, Any] = {
        name: tuple(values[name]) for name in ("labels", "thresholds", "rare") if name in values
    }
    return Head(**{**values, **lists})


def check_name(name: str) -> None:
    """Raise ValueError unless a model's name can stand in a manifest and be a folder."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"'{name}' cannot be a model's name: use at most 64 letters, digits, '_', '-' and '.'"
        )


def _load_split(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return read_split(file)


def read_split(lines: Any) -> dict[str, str]:
    """Read a split file: CSV with `sha256` (first 16 hex digits of a file's content hash) and `part`.

    Raises ValueError for other columns or a part that is not train, validation or test.
    """
    reader = csv.DictReader(lines)
    if reader.fieldnames != ["sha256", "part"]:
        raise ValueError("a split file has the columns sha256,part")
    split = {row["sha256"]: row["part"] for row in reader}
    if unknown := set(split.values()) - {"train", "validation", "test"}:
        raise ValueError(f"unknown part '{next(iter(unknown))}' in the split (train, validation or test)")
    return split


def write_split(split: Mapping[str, str], file: Any) -> None:
    """Write a split, ordered by hash, so that the same split is the same file."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["sha256", "part"])
    writer.writerows(sorted(split.items()))


def compact(weights: Weights) -> dict[str, NDArray[Any]]:
    """Round convolution and linear weights to float16; batch norm, biases and the rest keep their type."""
    return {
        name: value.astype(np.float16) if value.ndim > 1 and value.dtype == np.float32 else value
        for name, value in weights.items()
    }
