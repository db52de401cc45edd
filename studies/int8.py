"""Whether a model in 8-bit integers is worth its loss on processors that have no bfloat16.

    python studies/int8.py labels.csv --target group --keep FOLDER [--model router5] [--images 300]
    ONEDNN_MAX_CPU_ISA=AVX2 python studies/int8.py labels.csv --target group --keep FOLDER

Needs nncf beside dicomsort. Quantizes the body of the model's graph in the ways of WAYS, calibrated on
images of the training part, as OpenVINO models into FOLDER, which are used again; the last layer and the
reject score stay in float32. Prints tables: what an image costs, all ways in turn; the figures of each on the
test part against float32, with the model's own temperature and thresholds and with those fitted anew to the
validation part; and with `--negatives negatives.csv` (see studies/negatives.py) how many pictures that are no
radiographs are rejected. The second line makes OpenVINO pass over instructions that older processors lack.
"""

import argparse
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import openvino
from negatives import load as load_negatives
from numpy.typing import NDArray
from openvino._offline_transformations import apply_moc_transformations

from dicomsort.data import dataset
from dicomsort.data.dataset import Sample
from dicomsort.dicom import reader
from dicomsort.evaluation import calibrate, metrics
from dicomsort.evaluation.metrics import Predictions
from dicomsort.model import bundle as bundles
from dicomsort.model.bundle import WEIGHTS, Bundle, Reject
from dicomsort.model.graph import FEATURES, IMAGES, OUTPUTS, resolved
from dicomsort.outcome import Failure, Reason
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.threads import processors
from dicomsort.training.finish import FALSE_REJECTIONS

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
Lane = Callable[[Images], Floats]

BATCH = 4
LIMIT = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
_FIGURES = ("accuracy", "recall_macro", "precision_macro", "f1_macro", "ece")
_CALLS = 8  # of a batch, in each lane, in each turn


@dataclass(frozen=True, slots=True)
class Way:
    """How to quantize. preset, fast: nncf's preset and fast_bias_correction.

    first, last: how many convolutions at either end stay in float32. half: whether weights take half the
    range, so that sums of two products fit 16 bits on processors without VNNI.
    """

    preset: str = "mixed"
    fast: bool = True
    first: int = 0
    last: int = 0
    half: bool = False


WAYS = {
    "mixed": Way(),
    "performance": Way("performance"),
    "mixed, bias": Way(fast=False),
    "mixed, bias, ends float32": Way(fast=False, first=1, last=2),
    "mixed, bias, half range": Way(fast=False, half=True),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the split: its samples, and their images, uint8 (n, size, size)."""

    samples: tuple[Sample, ...]
    images: Images


@dataclass(frozen=True, slots=True)
class Network:
    """A body, and the last layer and reject score behind it, compiled."""

    body: Any
    tail: Any

    def lane(self) -> Lane:
        """Return what one thread calls with a batch, uint8 (BATCH, size, size), to have (BATCH, width)."""
        first, second = self.body.create_infer_request(), self.tail.create_infer_request()

        def run(images: Images) -> Floats:
            first.infer([images], share_inputs=True)
            second.infer([first.get_output_tensor(0).data], share_inputs=True)
            return np.array(second.get_output_tensor(0).data, np.float32)

        return run

    def outputs(self, images: Images) -> Floats:
        """Return logits and reject scores (n, width)."""
        short = -len(images) % BATCH
        padded = np.concatenate([images, np.zeros((short, *images.shape[1:]), np.uint8)])
        lane = self.lane()
        rows = [lane(padded[at : at + BATCH]) for at in range(0, len(padded), BATCH)]
        return np.concatenate(rows)[: len(images)]


def cut(core: Any, bundle: Bundle) -> tuple[Any, Any]:
    """Return the body, with all that is constant computed, and the tail, as dicomsort's engine cuts them."""
    if bundle.graph is None:
        raise SystemExit(f"{bundle.name} has no graph: run `dicomsort model export`")
    size = bundle.preprocessing.size
    model = core.read_model(resolved(bundle.graph, bundle.weights, WEIGHTS))
    model.reshape({IMAGES: [BATCH, size, size]})
    features = model.output(FEATURES).get_node().input_value(0)
    body = openvino.Model([features], model.get_parameters(), "body")
    given = openvino.opset13.parameter(features.get_partial_shape(), features.get_element_type(), FEATURES)
    for user in features.get_target_inputs():
        if user.get_node().get_type_name() != "Result":
            user.replace_source_output(given.output(0))
    tail = openvino.Model([model.output(OUTPUTS).get_node()], [given], "tail")
    apply_moc_transformations(body, cf=True)
    return body, tail


def quantized(body: Any, way: Way, images: Images) -> Any:
    """Return a body in 8 bits, calibrated on images."""
    import nncf  # noqa: PLC0415 - no dependency of dicomsort

    layers = [node for node in body.get_ordered_ops() if node.get_type_name().endswith("Convolution")]
    kept = [*layers[: way.first], *layers[len(layers) - way.last :]]
    batches = [images[at : at + BATCH] for at in range(0, len(images) - BATCH + 1, BATCH)]
    overflow = nncf.OverflowFix.ENABLE if way.half else nncf.OverflowFix.DISABLE
    return nncf.quantize(
        body.clone(),
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset(way.preset),
        subset_size=len(batches),
        fast_bias_correction=way.fast,
        ignored_scope=nncf.IgnoredScope(names=[node.get_friendly_name() for node in kept], validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=overflow),
    )


def bodies(core: Any, body: Any, ways: Sequence[str], keep: Path, images: Images) -> dict[str, Any]:
    """Return the body in float32 and in some of WAYS, made now unless it is kept."""
    found = {"float32": body}
    for name in ways:
        path = keep / f"{name.replace(', ', '-').replace(' ', '_')}.xml"
        if not path.exists():
            openvino.save_model(quantized(body, WAYS[name], images), path, compress_to_fp16=False)
        found[name] = core.read_model(path)
    return found


def compiled(core: Any, body: Any, tail: Any, precision: str) -> Network:
    """Compile for as many lanes as processors; the body in f32, which leaves 8 bits as they are, or bf16."""
    lanes = {"NUM_STREAMS": processors(), "INFERENCE_NUM_THREADS": processors(), "ENABLE_CPU_PINNING": False}
    return Network(
        core.compile_model(body, "CPU", lanes | {"INFERENCE_PRECISION_HINT": precision}),
        core.compile_model(tail, "CPU", lanes | {"INFERENCE_PRECISION_HINT": "f32"}),
    )


def all_compiled(core: Any, found: dict[str, Any], tail: Any) -> dict[str, Network]:
    """Compile every body and, where the processor has it, the one in float32 in bfloat16: a yardstick.

    Not under a limit of instructions, of which OpenVINO's answer to what the processor has knows nothing.
    """
    networks = {name: compiled(core, body, tail, "f32") for name, body in found.items()}
    if not LIMIT and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        networks["bfloat16"] = compiled(core, found["float32"], tail, "bf16")
    return networks


def kernels(network: Network) -> str:
    """Return what computes the convolutions, in OpenVINO's words."""
    nodes = network.body.get_runtime_model().get_ordered_ops()
    facts = [node.get_rt_info() for node in nodes]
    words = {str(fact["primitiveType"].astype(str)) for fact in facts
             if "Convolution" in str(fact["layerType"].astype(str))}  # fmt: skip
    return ", ".join(sorted(words))


def read(samples: Sequence[Sample], bundle: Bundle) -> Part:
    """Read what can be read, in the order of the names."""
    readings = dataset.read_all(samples, bundle.preprocessing, PoolSettings())
    good = [(sample, reading.image) for sample, reading in readings if not isinstance(reading, Failure)]
    good.sort(key=lambda pair: pair[0].name)
    return Part(tuple(sample for sample, _ in good), np.stack([image for _, image in good]))


def refitted(bundle: Bundle, target: str, given: Floats, part: Part) -> Bundle:
    """Fit temperature and thresholds to outputs (n, width) of the validation part, as training does."""
    logits = calibrate.Logits(part.samples, bundle.logits(given), ())
    fitted, _ = calibrate.calibrate(bundle, (target,), logits, calibrate.CalibrationSettings())
    if bundle.reject is None:
        return fitted
    return replace(fitted, reject=Reject(round(float(np.quantile(given[:, -1], 1 - FALSE_REJECTIONS)), 4)))


def predictions(bundle: Bundle, given: Floats, part: Part) -> Predictions:
    """Return what outputs (n, width) say in the first head, and the truth."""
    head = bundle.head
    scores = bundle.scores(given)[:, : len(head.labels)]
    truth = np.array([head.labels.index(sample.targets[0]) for sample in part.samples])
    return Predictions(head.kind, head.labels, truth, head.chosen(scores), scores.astype(np.float64))


def figures(bundle: Bundle, given: Floats, part: Part) -> list[str]:
    """Return accuracy, macro recall, precision, F1, and calibration error of the first head."""
    overall = metrics.measure(predictions(bundle, given, part), bootstrap=0).overall
    return [f"{overall[name].value:.4f}" for name in _FIGURES]


def differences(ours: Predictions, theirs: Predictions) -> list[str]:
    """Return the differences ours - theirs with their intervals, images resampled."""
    found = metrics.differences(theirs, ours)
    each = [found[name] for name in ("recall_macro", "precision_macro", "f1_macro")]
    return [f"{one.value:+.4f} ({one.low:+.4f} to {one.high:+.4f})" for one in each]


def decided(bundle: Bundle, given: Floats, part: Part) -> list[str]:
    """Return the share in review, that of what is unlike, and what is right of all that is not in review."""
    decisions = bundle.decisions(given)
    sure = [(one.label == sample.targets[0]) for one, sample in zip(decisions, part.samples, strict=True)
            if not one.review]  # fmt: skip
    unlike = np.mean([Reason.UNLIKE in one.why for one in decisions])
    return [f"{1 - len(sure) / len(decisions):.2%}", f"{unlike:.2%}", f"{np.mean(sure):.2%}"]


def agreement(ours: tuple[Bundle, Floats], theirs: tuple[Bundle, Floats]) -> list[str]:
    """Return how many labels and decisions differ, and how far probabilities and reject scores lie apart."""
    pairs = list(zip(*(bundle.decisions(given) for bundle, given in (ours, theirs)), strict=True))
    labels = sum(one.label != other.label for one, other in pairs)
    review = sum(one.review != other.review for one, other in pairs)
    far = np.abs(ours[0].scores(ours[1]) - theirs[0].scores(theirs[1])).max(axis=1)
    shift = ours[1][:, -1] - theirs[1][:, -1]
    return [
        str(labels),
        str(review),
        f"{far.mean():.4f}",
        f"{shift.mean():+.3f}",
        f"{np.abs(shift).max():.2f}",
    ]


def costs(networks: dict[str, Network], images: Images, turns: int) -> dict[str, tuple[float, float]]:
    """Return processor milliseconds an image and images a second of each: medians of turns, all in turn."""
    lanes = {name: [network.lane() for _ in range(processors())] for name, network in networks.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in networks}
    with ThreadPoolExecutor(processors()) as threads:
        for _ in range(turns + 1):
            for name, own in lanes.items():
                found[name].append(_turn(threads, own, images))
    return {
        name: (median(c for c, _ in each[1:]), median(r for _, r in each[1:])) for name, each in found.items()
    }


def _turn(threads: ThreadPoolExecutor, lanes: Sequence[Lane], images: Images) -> tuple[float, float]:
    def several(lane: Lane) -> None:
        for _ in range(_CALLS):
            lane(images)

    done = len(lanes) * _CALLS * len(images)
    wall, spent = time.perf_counter(), time.process_time()
    list(threads.map(several, lanes))
    return 1e3 * (time.process_time() - spent) / done, done / (time.perf_counter() - wall)


def table(columns: str, rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns: names with `|` between them."""
    print(f"\n| {columns} |\n{'| --- ' * len(columns.split('|'))}|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def show_figures(bundle: Bundle, target: str, networks: dict[str, Network], parts: tuple[Part, Part]) -> None:
    """Print what each network says of the test part, by the model's own thresholds and by new ones."""
    validation, test = parts
    answers = {name: network.outputs(test.images) for name, network in networks.items()}
    fitted = {
        name: refitted(bundle, target, network.outputs(validation.images), validation)
        for name, network in networks.items()
    }
    for title, judges in (("own", dict.fromkeys(networks, bundle)), ("fitted anew", fitted)):
        base = judges["float32"], answers["float32"]
        table(
            f"thresholds: {title} | accuracy | recall | precision | F1 | ECE | in review | unlike | right of "
            "others | other label | other decision | probability apart | reject score shift | greatest",
            [
                [
                    *(name, *figures(judges[name], given, test), *decided(judges[name], given, test)),
                    *agreement((judges[name], given), base),
                ]
                for name, given in answers.items()
            ],
        )
    said = {name: predictions(bundle, given, test) for name, given in answers.items()}
    rows = [[name, *differences(each, said["float32"])] for name, each in said.items() if name != "float32"]
    table("against float32 | recall | precision | F1", rows)
    for name, judge in fitted.items():
        threshold = "none" if judge.reject is None else judge.reject.threshold
        print(f"{name}: temperature {judge.head.temperature}, review below {judge.head.review_below}, "
              f"reject above {threshold}")  # fmt: skip


def show_costs(networks: dict[str, Network], images: Images, turns: int) -> None:
    """Print what an image costs."""
    found = costs(networks, images, turns)
    base = found["float32"][0]
    table(
        "network | processor ms an image | images/s | float32 / this | convolutions",
        [
            [name, f"{spent:.2f}", f"{rate:.0f}", f"{base / spent:.2f}", kernels(networks[name])]
            for name, (spent, rate) in found.items()
        ],
    )


def show_rejected(bundle: Bundle, networks: dict[str, Network], negatives: Path) -> None:
    """Print which share of what is no radiograph the model's own thresholds reject, and send to review."""
    readings = [reader.read_any(str(one.path), bundle.preprocessing) for one in load_negatives(negatives)]
    images = np.stack([reading.image for reading in readings if not isinstance(reading, Failure)])
    rows = []
    for name, network in networks.items():
        decisions = bundle.decisions(network.outputs(images))
        unlike = np.mean([Reason.UNLIKE in one.why for one in decisions])
        rows.append([name, f"{unlike:.1%}", f"{np.mean([one.review for one in decisions]):.1%}"])
    table(f"{len(images)} pictures | rejected | in review", rows)


def main() -> None:
    """Quantize, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--model", default="router5")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--negatives", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--turns", type=int, default=25)
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    bundle = bundles.load(bundles.locate(given.model))
    samples = dataset.load(given.data, dataset.Columns((given.target,))).samples
    trained = dataset.listed(samples, bundle.split, "train")
    seen = read(random.Random(given.seed).sample(trained, given.images), bundle)
    parts = [read(dataset.listed(samples, bundle.split, part), bundle) for part in ("validation", "test")]
    core = openvino.Core()
    body, tail = cut(core, bundle)
    found = bodies(core, body, given.ways, given.keep, seen.images)
    networks = all_compiled(core, found, tail)
    print(f"{bundle.tag}: calibrated on {len(seen.samples)} images; {len(parts[1].samples)} of test; "
          f"{processors()} lanes; instructions {LIMIT or 'all'}")  # fmt: skip
    show_costs(networks, parts[1].images[:BATCH], given.turns)
    show_figures(bundle, given.target, networks, (parts[0], parts[1]))
    if given.negatives:
        show_rejected(bundle, networks, given.negatives)


if __name__ == "__main__":
    main()
