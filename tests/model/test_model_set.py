"""Several models in one pass: each says what it says alone, and no file is read twice."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from outputs import check_places, rows, settings, tree
from predictors import FixedPredictor
from program import inside

from dicomsort.data.dataset import Sample
from dicomsort.dicom import isolation, reader
from dicomsort.dicom.pixel_data import ImagePixelDescription
from dicomsort.errors import ExitCode, ModelError, UsageError
from dicomsort.evaluation.calibrate import CalibrationSettings, calibrate, logits_of, store
from dicomsort.evaluation.predictions import EvalSettings, predict_samples
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.manifest.columns import columns
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle, Reject
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.heads import Head
from dicomsort.model.model_set import ModelSet, columns_of
from dicomsort.outcome import FOR_REVIEW, Failure, ReadImage, Reason
from dicomsort.sorting import plan
from dicomsort.sorting.pipeline import sort
from dicomsort.system.pool_settings import PoolSettings

ONE_BY_ONE = PoolSettings(workers=1)
SIGNS = Head("signs", ("x", "y"), kind="multilabel", thresholds=(0.5, 0.99))
METAL = Head("metal", ("no_metal", "metal"), kind="binary")


def drawn_bundle(name: str, seed: int, *heads: Head, size: int = 64) -> Bundle:
    """A network of random weights whose answers differ from image to image."""
    torch.manual_seed(seed)
    spec = networks.spec_for("mobilenet_v1")
    network = networks.Network(spec, sum(head.width for head in heads))
    weights = networks.weights_of(network)
    weights["classifier.weight"] = weights["classifier.weight"] * 300
    first, *further = heads
    return Bundle(name, spec, Preprocessing(size=size), first, weights, further=tuple(further))


@pytest.fixture(scope="module")
def trio(small_bundle: Bundle) -> tuple[Bundle, Bundle, Bundle]:
    """One answer, several answers, and a single yes or no."""
    return (
        drawn_bundle("small", 0, small_bundle.head, replace(METAL, name="ill")),
        drawn_bundle("parts", 1, SIGNS, METAL),
        drawn_bundle("hardware", 2, METAL),
    )


@pytest.fixture(scope="module")
def one_pass(archive: Path, trio: tuple[Bundle, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("panel") / "out"
    first, *further = (TorchClassifier(bundle, "cpu", "float32") for bundle in trio)
    sort(settings(archive, out, pool=ONE_BY_ONE), first, further=further)
    return out


def test_each_model_says_what_it_says_alone(
    one_pass: Path, archive: Path, trio: tuple[Bundle, ...], tmp_path: Path
) -> None:
    together, seen = rows(one_pass), Counter[str]()
    for place, bundle in enumerate(trio):
        out = tmp_path / bundle.name
        sort(settings(archive, out, pool=ONE_BY_ONE), TorchClassifier(bundle, "cpu", "float32"))
        alone = rows(out)
        assert alone.keys() == together.keys()
        columns = ["label", "confidence", *(name for name in next(iter(alone.values()))
                                            if "score_" in name or "." in name)]  # fmt: skip
        for path, row in alone.items():
            if row["status"] == "duplicate":
                continue
            for name in columns:
                there = f"{bundle.name}.{name}" if place else name
                assert together[path][there] == row[name], (path, there)
                seen[there] += bool(row[name])
    assert {*seen} == {"label", "confidence", *(name for name in columns_of(trio))}
    assert min(seen.values()) > 30
    scores = {row["hardware.score_metal"] for row in together.values()}
    assert len(scores) > 20, "a network that answers everything alike shows nothing"


def test_the_first_model_alone_makes_the_folders(
    one_pass: Path, archive: Path, trio: tuple[Bundle, ...], tmp_path: Path
) -> None:
    sort(settings(archive, tmp_path / "out", pool=ONE_BY_ONE), TorchClassifier(trio[0], "cpu", "float32"))
    skipped = {"manifest.csv", "run.json"}
    trees = [{k: v for k, v in tree(out).items() if k not in skipped} for out in (one_pass, tmp_path / "out")]
    assert trees[0] == trees[1]
    for path, row in rows(tmp_path / "out").items():
        same = {name for name in row if name not in ("model", "path")}
        assert {name: rows(one_pass)[path][name] for name in same} == {name: row[name] for name in same}
    tags = "+".join(bundle.tag for bundle in trio)
    assert {row["model"] for row in rows(one_pass).values()} == {tags}
    assert json.loads((one_pass / "run.json").read_text())["fixed"]["model"] == tags


def test_columns_have_the_names_of_models_and_heads(trio: tuple[Bundle, ...], one_pass: Path) -> None:
    labels = trio[0].head.labels
    assert columns_of(trio) == [
        *(f"score_{label}" for label in labels),
        *("ill.label", "ill.confidence", "ill.score_no_metal", "ill.score_metal"),
        *("parts.label", "parts.confidence", "parts.score_x", "parts.score_y"),
        *("parts.metal.label", "parts.metal.confidence"),
        *("parts.metal.score_no_metal", "parts.metal.score_metal"),
        *("hardware.label", "hardware.confidence", "hardware.score_no_metal", "hardware.score_metal"),
    ]
    assert list(next(iter(rows(one_pass).values()))) == columns(columns_of(trio))


def test_equal_names_are_refused(trio: tuple[Bundle, ...]) -> None:
    small, parts, hardware = trio
    for pair in ((small, small), (small, parts, replace(hardware, name="Small"))):
        with pytest.raises(UsageError, match=r"two models have the name '[Ss]mall'"):
            columns_of(pair)
    with pytest.raises(UsageError, match=r"two columns would have the name 'ill\.label'"):
        columns_of((small, replace(hardware, name="ill")))
    with pytest.raises(UsageError, match=r"'parts\.metal\.label'"):
        columns_of((small, parts, replace(hardware, name="parts.metal")))


class Counted:
    """Reads in this process, and counts how often pixels are decoded and files are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded, self.read = Counter[str](), Counter[str]()
        stored_values, read_dicom = ImagePixelDescription.stored_values, reader.read_dicom

        def count_decoded(
            layout: ImagePixelDescription, source: Any, frame: int, enough: tuple[int, int]
        ) -> Any:
            self.decoded[source._stream.name] += 1
            return stored_values(layout, source, frame, enough)

        def count_read(path: str, *arguments: Any) -> ReadImage | Failure:
            self.read[path] += 1
            return read_dicom(path, *arguments)

        def read_all(read: Callable[[Any], Any], items: Iterable[Any], *_: object) -> Iterator[Any]:
            return ((item, read(item)) for item in items)

        monkeypatch.setattr(ImagePixelDescription, "stored_values", count_decoded)
        monkeypatch.setattr(reader, "read_dicom", count_read)
        monkeypatch.setattr(isolation, "read_all", read_all)


@pytest.mark.parametrize("sizes", [(64, 64, 64), (64, 96, 32)])
def test_every_file_is_read_and_decoded_once(
    sizes: tuple[int, ...],
    inbox: Path,
    tmp_path: Path,
    small_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = Counted(monkeypatch)
    first, *further = (
        FixedPredictor(replace(small_bundle, name=f"m{place}", preprocessing=Preprocessing(size=size)))
        for place, size in enumerate(sizes)
    )
    sort(settings(inbox, tmp_path / "out", keep_duplicates=True), first, further=further)
    assert len(counted.decoded) == 12
    assert set(counted.decoded.values()) == set(counted.read.values()) == {1}
    assert len(counted.read) == 14


def test_models_of_one_canvas_share_it(small_bundle: Bundle) -> None:
    shared = ModelSet(tuple(FixedPredictor(replace(small_bundle, name=name)) for name in "abc"))
    assert shared.canvases == (small_bundle.preprocessing,)
    smooth = replace(small_bundle, preprocessing=Preprocessing(size=64, smooth="median"))
    large = replace(small_bundle, preprocessing=Preprocessing(size=96))
    mixed = ModelSet(tuple(FixedPredictor(each) for each in (large, smooth, small_bundle, large)))
    assert [(canvas.size, canvas.smooth) for canvas in mixed.canvases] == [
        (96, "none"), (64, "median"), (64, "none"),
    ]  # fmt: skip


def test_further_canvases_are_those_of_a_reading_of_their_own(archive: Path) -> None:
    """To the last bit where all pixels are decoded or the size is the same, else nearly."""
    first, *further = (
        Preprocessing(size=64), Preprocessing(size=64, smooth="gaussian"), Preprocessing(size=160),
    )  # fmt: skip
    largest = far = near = 0
    for path in sorted(path for path in archive.rglob("*") if path.is_file()):
        reading = reader.read_dicom(str(path), first, further=further)
        if isinstance(reading, Failure):
            continue
        assert [image.shape[0] for image in reading.further] == [64, 160]
        alone = [reader.read_dicom(str(path), canvas) for canvas in (first, *further)]
        for image, other in zip((reading.image, *reading.further), alone, strict=True):
            assert isinstance(other, ReadImage)
            difference = np.abs(image.astype(int) - other.image.astype(int))
            assert difference.mean() < 4, path
            far, near = far + (difference.max() > 0), near + (difference.max() == 0)
        assert isinstance(alone[2], ReadImage)
        largest += np.array_equal(reading.further[1], alone[2].image)
    assert largest > 30, "the largest canvas is what it would be alone"
    assert near > 3 * far


class Seeing(FixedPredictor):
    """Notes the size of what it is shown."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.sizes = set[int]()

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.sizes |= set(images.shape[1:])
        return super().logits(images)


def test_every_model_sees_its_own_canvas(inbox: Path, tmp_path: Path, small_bundle: Bundle) -> None:
    sizes = {"a": 64, "b": 96, "c": 64, "d": 32}
    first, *further = (
        Seeing(replace(small_bundle, name=name, preprocessing=Preprocessing(size=size)))
        for name, size in sizes.items()
    )
    sort(settings(inbox, tmp_path / "out"), first, further=further)
    assert [each.sizes for each in (first, *further)] == [{64}, {96}, {64}, {32}]


def test_a_run_goes_on_with_the_same_models_only(inbox: Path, tmp_path: Path, small_bundle: Bundle) -> None:
    out = tmp_path / "out"
    a, b, c = (FixedPredictor(replace(small_bundle, name=name)) for name in "abc")
    path = inbox / "s0" / "0.dcm"
    data = path.read_bytes()
    path.write_bytes(data[:-500])
    assert sort(settings(inbox, out), a, further=[b, c]).exit_code is ExitCode.SOME_FAILED
    again = sort(settings(inbox, out), a, further=[b, c])
    assert again.already_done == again.found == 14
    retried = sort(settings(inbox, out, retry_failed=True), a, further=[b, c])
    assert retried.already_done == 13
    path.write_bytes(data)
    assert sort(settings(inbox, out), a, further=[b, c]).already_done == 13
    check_places(inbox, out)
    before = tree(out)
    for others in ([], [b], [c, b], [b, c, FixedPredictor(replace(small_bundle, name="d"))]):
        with pytest.raises(UsageError, match="was filled with another model"):
            sort(settings(inbox, out), a, further=others)
    with pytest.raises(UsageError, match="was filled with another model"):
        sort(settings(inbox, out), b, further=[a, c])
    assert tree(out) == before


def test_a_plan_of_several_models_is_applied_and_undone(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    out, other = tmp_path / "planned", tmp_path / "sorted"
    first, *further = (FixedPredictor(replace(small_bundle, name=name)) for name in "abc")
    sort(settings(inbox, out, dry_run=True), first, further=further)
    assert plan.apply(str(out / "manifest.csv")).done == 12
    sort(settings(inbox, other), first, further=further)
    assert rows(out) == rows(other)
    assert plan.undo(str(out / "manifest.csv")).done == 12
    assert set(tree(out)) == {"manifest.csv", "run.json"}
    assert sort(settings(inbox, out), first, further=further).already_done == 2


def test_the_program_takes_several_models(
    archive: Path, trio: tuple[Bundle, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for bundle in trio:
        bundle.save(tmp_path / bundle.name)
    words: list[str | Path] = [
        "classify",
        archive / "2019" / "ABD",
        "--out",
        tmp_path / "out",
        "--workers",
        "1",
    ]
    named = [word for bundle in trio for word in ("--model", tmp_path / bundle.name)]
    ran = inside(capfd, *words, *named, "--json", "-v")
    assert ran.code == ExitCode.DONE, ran.err
    tag = "+".join(bundle.tag for bundle in trio)
    assert ran.json["model"] == tag
    assert f"model {tag} on " in ran.err
    assert inside(capfd, *words, *named[:4]).code == ExitCode.USAGE
    before = tree(tmp_path / "out")
    for wrong in ([*named, *named[:2]], ["--model", "router5", "--model", "router5"]):
        ran = inside(capfd, *words[:2], "--out", tmp_path / "fresh", *wrong)
        assert (ran.code, len(ran.err.splitlines())) == (ExitCode.USAGE, 1), ran.err
        assert "two models have the name" in ran.err
    assert not (tmp_path / "fresh").exists()
    assert tree(tmp_path / "out") == before


class Rejecting(FixedPredictor):
    """A network that knows how unlike its training data an image is: the brighter, the more."""

    def __init__(self, bundle: Bundle, threshold: float = 100.0) -> None:
        super().__init__(replace(bundle, reject=Reject(threshold)))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        bright = images.reshape(len(images), -1).mean(axis=1, keepdims=True)
        return np.concatenate([super().logits(images), bright - 60], axis=1).astype(np.float32)


@pytest.fixture
def brightness(inbox: Path, small_bundle: Bundle) -> dict[str, float]:
    """What `Rejecting` says of each radiograph."""
    canvas = small_bundle.preprocessing
    readings = {str(path): reader.read_dicom(str(path), canvas) for path in inbox.rglob("*.dcm")}
    return {
        path: float(reading.image.mean()) - 60
        for path, reading in readings.items()
        if isinstance(reading, ReadImage)
    }


def test_what_is_unlike_the_training_data_goes_to_review(
    inbox: Path, tmp_path: Path, small_bundle: Bundle, brightness: dict[str, float]
) -> None:
    out, middle = tmp_path / "out", float(np.median(list(brightness.values())))
    sort(settings(inbox, out, review_below=0.0), Rejecting(small_bundle, middle))
    found = rows(out)
    assert list(next(iter(found.values())))[4:7] == ["confidence", "reject_score", "pixel_label"]
    assert list(next(iter(found.values()))) == columns(columns_of([small_bundle]), rejects=True)
    for path, row in found.items():
        if path not in brightness:
            assert row["reject_score"] == ""
            continue
        assert float(row["reject_score"]) == pytest.approx(brightness[path], abs=1e-3)
        unlike = brightness[path] > middle
        assert row["status"] == ("review" if unlike else "sorted")
        assert row["reason"] == (Reason.UNLIKE.value if unlike else "")
    assert {row["status"] for row in found.values()} >= {"review", "sorted"}
    assert min(brightness.values()) < 0, "a number below 0 stands in its cell as it is"
    check_places(inbox, out)


def test_the_reasons_of_a_review_stand_in_their_order(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, review_below=1.0), Rejecting(small_bundle, -1000.0))
    reasons = {row["reason"] for row in rows(out).values() if row["status"] == "review"}
    assert reasons == {"unlike the training data; confidence below the review threshold"}
    assert not [reason for reason in Reason if "; " in reason.value]


def test_a_plan_and_a_second_run_keep_what_is_unlike(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    out, other, predictor = tmp_path / "planned", tmp_path / "sorted", Rejecting(small_bundle, 10.0)
    sort(settings(inbox, out, dry_run=True, review_below=0.0), predictor)
    plan.apply(str(out / "manifest.csv"))
    sort(settings(inbox, other, review_below=0.0), predictor)
    assert rows(out) == rows(other)
    assert 2 < sum(row["status"] == "review" for row in rows(out).values()) < 12
    assert sort(settings(inbox, out, review_below=0.0), predictor).already_done == 14
    assert plan.undo(str(out / "manifest.csv")).done == 12
    check_places(inbox, other)
    with pytest.raises(UsageError, match="was filled with another model"):
        sort(settings(inbox, out, review_below=0.0), Rejecting(small_bundle, 11.0))
    with pytest.raises(UsageError, match="was filled with another model"):
        sort(settings(inbox, out, review_below=0.0), FixedPredictor(small_bundle))


def test_a_plan_without_a_label_is_placed_for_review(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    out = tmp_path / "out"
    nothing = Head("label", small_bundle.head.labels, kind="multilabel", thresholds=(0.99,) * 5)
    sort(settings(inbox, out, dry_run=True), FixedPredictor(replace(small_bundle, head=nothing)))
    plan.apply(str(out / "manifest.csv"))
    assert {row["status"] for row in rows(out).values() if row["action"]} == {"review"}
    assert Reason.NO_LABEL in FOR_REVIEW


def test_the_reject_score_of_a_further_model_does_not_count(
    inbox: Path, tmp_path: Path, small_bundle: Bundle
) -> None:
    first, further = FixedPredictor(small_bundle), Rejecting(replace(small_bundle, name="b"), -1000.0)
    sort(settings(inbox, tmp_path / "out", review_below=0.0), first, further=[further])
    found = rows(tmp_path / "out")
    assert not [row for row in found.values() if row["status"] == "review"]
    assert list(next(iter(found.values()))) == columns(columns_of([first.bundle, further.bundle]))
    both = Rejecting(small_bundle, 1000.0)
    sort(settings(inbox, tmp_path / "both", review_below=0.0), both, further=[further])
    for path, row in rows(tmp_path / "both").items():
        assert {name: row[name] for name in found[path] if name != "model"} == {
            name: value for name, value in found[path].items() if name != "model"
        }


def test_an_infinite_doubt_is_a_doubt(small_bundle: Bundle) -> None:
    bundle = replace(small_bundle, reject=Reject(1.0))
    outputs = np.zeros((3, 6), np.float32)
    outputs[:, 5] = (1.0, 1.5, np.nan)
    assert [Reason.UNLIKE in one.why for one in bundle.decisions(outputs, 0.0)] == [False, True, True]


def test_a_bundle_keeps_its_reject_score(small_bundle: Bundle, tmp_path: Path) -> None:
    bundle = replace(small_bundle, reject=Reject(12.5))
    assert (bundle.outputs, bundle.width, small_bundle.width) == (5, 6, 5)
    bundle.save(tmp_path / "with")
    loaded = bundles.load(tmp_path / "with")
    assert (loaded.reject, loaded.digest) == (Reject(12.5), bundle.digest)
    assert len({small_bundle.digest, bundle.digest, replace(bundle, reject=Reject(12.6)).digest}) == 3
    small_bundle.save(tmp_path / "without")
    config = json.loads((tmp_path / "without" / "config.json").read_text())
    assert "reject" not in config
    for wrong in ({"threshold": float("inf")}, {"threshold": "1"}, {}, {"threshold": 1, "odd": 2}, [1]):
        (tmp_path / "without" / "config.json").write_text(json.dumps({**config, "reject": wrong}))
        with pytest.raises(ModelError, match="is damaged"):
            bundles.load(tmp_path / "without")
    (tmp_path / "without" / "config.json").write_text(json.dumps({**config, "reject": None}))
    assert bundles.load(tmp_path / "without").digest == small_bundle.digest


def test_a_network_must_give_as_many_numbers_as_its_bundle_says(
    small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TorchClassifier._run

    def with_one_more(*arguments: Any) -> NDArray[np.float32]:
        logits = run(*arguments)
        return np.concatenate([logits, logits[:, :1]], axis=1)

    monkeypatch.setattr(TorchClassifier, "_run", with_one_more)
    with pytest.raises(ModelError, match="no usable scores"):
        TorchClassifier(small_bundle, "cpu", "float32")
    with pytest.raises(ModelError, match="the reject score has the weights"):
        TorchClassifier(replace(small_bundle, reject=Reject(0.0)), "cpu", "float32")


@pytest.fixture
def samples(inbox: Path, small_bundle: Bundle) -> list[Sample]:
    labels = small_bundle.head.labels
    paths = sorted(map(str, inbox.rglob("[0-9]*.dcm")))
    return [Sample(path, str(number), (labels[number % 5],), "", "") for number, path in enumerate(paths)]


def test_eval_measures_the_logits_only(samples: list[Sample], small_bundle: Bundle) -> None:
    fast = EvalSettings(bootstrap=0, pool=ONE_BY_ONE)
    with_it, without = (
        predict_samples(one, samples, fast) for one in (Rejecting(small_bundle), FixedPredictor(small_bundle))
    )
    for one, other in zip(with_it.predictions, without.predictions, strict=True):
        assert np.array_equal(one.scores, other.scores)


def test_calibrate_fits_the_logits_and_keeps_the_reject_score(
    samples: list[Sample], small_bundle: Bundle, tmp_path: Path
) -> None:
    predictor = Rejecting(small_bundle)
    logits = logits_of(predictor, samples, CalibrationSettings(pool=ONE_BY_ONE))
    assert logits.values.shape == (12, 5)
    changed, _ = calibrate(predictor.bundle, (), logits, CalibrationSettings(target_precision=0.01))
    assert changed.reject == Reject(100.0)
    predictor.bundle.save(tmp_path / "model")
    store(changed, tmp_path / "model")
    assert bundles.load(tmp_path / "model").digest == changed.digest
