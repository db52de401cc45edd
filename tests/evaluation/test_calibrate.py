"""Temperature, thresholds and review: fitted to data, stored in a bundle, and told."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import LEVELS, POOL, Several, draw, samples_of, write_csv
from numpy.typing import NDArray
from predictors import ROUTER_LABELS
from program import Ran, inside

from dicomsort.data.dataset import Sample
from dicomsort.errors import ExitCode, TargetError, UsageError
from dicomsort.evaluation.calibrate import CalibrationSettings, Logits, calibrate, logits_of, store
from dicomsort.evaluation.guarantee import lines_of
from dicomsort.evaluation.thresholds import fit_temperature, fitted_head, review_threshold, right
from dicomsort.model import bundle as bundles
from dicomsort.model import load
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head

LABELS = ("a", "b", "c")


def drawn(
    kind: str, images: int = 400, sharpness: float = 3.0
) -> tuple[Head, NDArray[np.float32], NDArray[np.float32]]:
    """Logits that are `sharpness` times what they ought to be, and truth as `encode` gives it."""
    generator = np.random.default_rng(0)
    head = Head("h", LABELS[:2] if kind == "binary" else LABELS, kind=kind)
    logits = generator.normal(0, 2, (images, head.width))
    truth: NDArray[Any]
    if kind == "multiclass":
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        truth = np.stack([generator.multinomial(1, chance) for chance in chances])
    else:
        truth = generator.random(logits.shape) < 1 / (1 + np.exp(-logits))
    return head, (sharpness * logits).astype(np.float32), truth.astype(np.float32)


def log_loss(head: Head, logits: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    scores = head.scores(logits).astype(np.float64)[:, -head.width :]
    given = np.clip(np.where(truth > 0.5, scores, 1 - scores), 1e-12, 1)
    return float(-np.log(given[truth > 0.5] if head.kind == "multiclass" else given).mean())


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_the_temperature_has_the_lowest_log_loss(kind: str) -> None:
    head, logits, truth = drawn(kind)
    temperature = fit_temperature(kind, logits, truth)
    assert temperature == pytest.approx(3, rel=0.3)
    best = log_loss(replace(head, temperature=temperature), logits, truth)
    for other in (*np.linspace(0.5, 6, 56), 0.98 * temperature, 1.02 * temperature):
        assert best <= log_loss(replace(head, temperature=float(other)), logits, truth) + 1e-6
    unknown = np.vstack([truth, np.full((1, truth.shape[1]), np.nan, np.float32)])
    more = np.vstack([logits, logits[:1]])
    assert fit_temperature(kind, more, unknown) == temperature


def test_temperatures_stay_in_bounds() -> None:
    truth = np.eye(3, dtype=np.float32)
    assert 0.05 <= fit_temperature("multiclass", truth, truth) < 1
    assert fit_temperature("multiclass", -truth, truth) == 20
    assert fit_temperature("multiclass", truth[:0], truth[:0]) == 1


def test_labels_have_thresholds_of_their_own() -> None:
    head, logits, truth = drawn("multilabel")
    logits -= np.array([0, 12, -12], np.float32)
    fitted = fitted_head(head, logits, truth)
    assert len(set(fitted.thresholds)) == 3
    before, after = (right(each, each.scores(logits), truth).mean() for each in (head, fitted))
    assert after > before


@pytest.mark.parametrize("precision", [0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_the_threshold_keeps_its_promise(kind: str, precision: float, small_bundle: Bundle) -> None:
    head, logits, truth = drawn(kind)
    cells = cells_of(head, truth)
    samples = tuple(Sample("x", str(index), (cell,), str(index // 2), "") for index, cell in enumerate(cells))
    kept = np.array([bool(cell) for cell in cells])
    bundle = replace(small_bundle, head=head)
    changed, (done,) = calibrate(bundle, (), Logits(samples, logits, ()), CalibrationSettings(precision))
    new = changed.head
    assert done.log_loss < done.log_loss_before
    assert done.ece < done.ece_before
    scores = new.scores(logits[kept])
    above = new.confidence(scores) >= new.review_below
    assert right(new, scores, truth[kept])[above].mean() >= precision
    assert done.coverage == pytest.approx(above.mean())
    assert (done.precision or 0) >= precision
    assert changed.metrics["calibration"]["target_precision"] == precision
    promise = done.guarantee
    assert (promise.images, promise.threshold) == (above.sum(), new.review_below)
    assert promise.wrong == (~right(new, scores, truth[kept])[above]).sum()
    assert promise.lower_bound >= precision or not promise.guaranteed
    assert promise.guaranteed or precision > 0.5
    assert precision < 1 or not promise.guaranteed
    assert promise.patients == len(set(np.flatnonzero(kept)[above] // 2))
    (line, *_) = lines_of(changed.metrics)
    assert ("WITHOUT GUARANTEE" in line) != promise.guaranteed
    assert changed.digest != bundle.digest


def cells_of(head: Head, truth: NDArray[np.float32]) -> list[str]:
    """Write truth as a CSV would."""
    if head.kind == "binary":
        return [str(int(row[0])) for row in truth]
    return ["|".join(label for label, so in zip(head.labels, row, strict=True) if so) for row in truth]


def test_rounding_loses_no_answer_that_is_sure_enough() -> None:
    sure = np.array([0.99999, 0.99998, 0.6])
    threshold = review_threshold(sure, np.array([True, True, False]), 1.0)
    assert threshold == 0.99998
    assert review_threshold(np.array([0.81234, 0.6]), np.array([True, False]), 1.0) == 0.81234
    assert review_threshold(np.array([0.91, 0.8123, 0.6]), np.array([True, True, False]), 1.0) == 0.8123
    assert review_threshold(sure, np.array([True, True, True]), 1.0) == 0
    assert review_threshold(sure, np.array([False, True, True]), 1.0) > sure.max()


def test_a_precision_out_of_reach_is_said(small_bundle: Bundle) -> None:
    logits = np.array([[5, 0, 0, 0, 0], [0, 4, 0, 0, 0]], np.float32)
    samples = tuple(Sample("x", "x", (label,), "", "") for label in ("spine", "others"))
    with pytest.raises(UsageError, match="use a lower --target-precision"):
        calibrate(small_bundle, (), Logits(samples, logits, ()), CalibrationSettings())
    with pytest.raises(UsageError, match="'my column': even the surest of 2 answers"):
        calibrate(small_bundle, ("my column",), Logits(samples, logits, ()), CalibrationSettings())
    further = Head("second", ROUTER_LABELS, review_below=0.25)
    twice = replace(small_bundle, further=(further,))
    both = np.concatenate([logits, logits], axis=1)
    changed, (done,) = calibrate(twice, ("second",), Logits(samples, both, ()), CalibrationSettings())
    assert not done.reached
    assert changed.further[0].review_below == 0.25
    assert changed.head == twice.head
    nobody = tuple(replace(sample, targets=("",)) for sample in samples)
    with pytest.raises(UsageError, match="no image that can be read has a label"):
        calibrate(small_bundle, (), Logits(nobody, logits, ()), CalibrationSettings())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rows = tmp_path_factory.mktemp("data"), []
    for number in range(20):
        draw(folder / f"{number}.png", LEVELS[number % 5], seed=number)
        label = ROUTER_LABELS[(number + (number == 7)) % 5]
        rows.append(
            {
                "file": f"{number}.png",
                "group": label,
                "ill": number % 2,
                "signs": "x|y" if number % 3 else "x",
            }
        )
    return write_csv(folder / "labels.csv", rows)  # fmt: skip


@pytest.fixture
def model(small_bundle: Bundle, data: Path, tmp_path: Path) -> Path:
    signs = Head("signs", ("x", "y"), kind="multilabel")
    bundle = replace(small_bundle, further=(signs, Head("ill", ("no_ill", "ill"), kind="binary")))
    hashes = [sample.sha256 for sample in samples_of(data, "group")]
    split = {one: "train" if number < 4 else "validation" for number, one in enumerate(hashes)}
    replace(bundle, split=split).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def predictor_for(bundle: Bundle, device: str, precision: str, engine: str = "auto") -> Any:
        yield Several(bundle)

    monkeypatch.setattr(load, "predictor_for", predictor_for)

    def calibrate(*words: str | Path) -> Ran:
        return inside(capfd, "calibrate", *words, "--workers", "1")

    return calibrate


def test_logits_come_as_the_network_gave_them(model: Path, data: Path) -> None:
    bundle = bundles.load(model)
    cold = replace(bundle, head=replace(bundle.head, temperature=7.0))
    samples = samples_of(data, "group")
    one, two = (logits_of(Several(each), samples, CalibrationSettings(pool=POOL)) for each in (bundle, cold))
    assert np.array_equal(one.values, two.values)
    assert one.values.shape == (20, 8)
    assert [sample.name for sample in one.samples] == [sample.name for sample in samples]


def test_calibrate_changes_the_heads_and_nothing_else(run: Any, model: Path, data: Path) -> None:
    before, weights = bundles.load(model), (model / "model.safetensors").read_bytes()
    words = ("--target", "group", "--target", "ill", "--target-precision", "0.8")
    ran = run(model, data, *words, "--json")
    assert ran.code == 0, ran.err
    after = bundles.load(model)
    assert ran.json["model"] == after.tag != before.tag
    assert (model / "model.safetensors").read_bytes() == weights
    assert after.head.temperature != before.head.temperature
    assert after.head.review_below == ran.json["heads"][0]["review_below"]
    assert after.further[0] == before.further[0], "not asked for"
    assert after.split == before.split
    assert after.training == before.training
    assert [head["images"] for head in ran.json["heads"]] == [16, 16]
    assert {path.name for path in model.iterdir()} == {
        "model.safetensors", "graph.onnx", "config.json", "split.csv",
    }  # fmt: skip


def test_calibrate_can_leave_the_model_alone(run: Any, model: Path, data: Path, tmp_path: Path) -> None:
    config = (model / "config.json").read_bytes()
    out = tmp_path / "copy"
    words = ("--target", "group", "--target", "signs", "--target-precision", "0.5", "--part", "all")
    ran = run(model, data, *words, "--out", out)
    assert ran.code == 0, ran.err
    assert "warning: 4 of these files are in the train part" in ran.err
    assert "calibration of copy@" in ran.out
    assert "'label', review threshold" in ran.err
    assert "WITHOUT GUARANTEE" in ran.err, "of 20 images"
    assert "thresholds of 'signs'" in ran.err
    assert (model / "config.json").read_bytes() == config
    copy = bundles.load(out)
    assert len(copy.further[0].thresholds) == 2
    assert (out / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert run(model, data, "--target", "group", "--out", out).code == ExitCode.USAGE


def test_unsuitable_input_has_one_clear_line(run: Any, model: Path, data: Path, tmp_path: Path) -> None:
    config = (model / "config.json").read_bytes()
    wrong = [
        ((model, data, "--target", "ill", "--part", "test"), ExitCode.USAGE, "is in the test part"),
        ((model, data), ExitCode.USAGE, "--target COLUMN"),
        ((model, data, "--target", "nope"), ExitCode.USAGE, "no column 'nope'"),
        ((model, data.parent / "no.csv"), ExitCode.USAGE, "no data at"),
        ((tmp_path, data, "--target", "group"), ExitCode.MODEL, "no model"),
        (("router5", data, "--target", "group"), ExitCode.USAGE, "--out FOLDER makes a calibrated copy"),
    ]
    for words, code, message in wrong:
        ran = run(*words)
        assert (ran.code, len(ran.err.splitlines())) == (code, 1), ran.err
        assert message in ran.err
    assert (model / "config.json").read_bytes() == config


def test_what_cannot_be_stored_is_said(small_bundle: Bundle, small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot be written"):
        store(small_bundle, tmp_path / "nowhere")
    assert json.loads((small_model / "config.json").read_text())["heads"][0]["name"] == "label"
