"""Which engine runs a network, and that both say the same."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from program import command, inside

from dicomsort.errors import ExitCode, ModelError, UsageError
from dicomsort.model import features
from dicomsort.model.bundle import Bundle, load, locate
from dicomsort.model.engines import devices, selection
from dicomsort.model.engines import openvino as engine
from dicomsort.model.engines.openvino import OpenVinoClassifier
from dicomsort.model.engines.selection import Choice, choose_engine
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.load import predictors_for


@pytest.fixture(scope="module")
def router5() -> Bundle:
    return load(locate("router5"))


@pytest.fixture
def noise(small_bundle: Bundle) -> NDArray[np.uint8]:
    size = small_bundle.preprocessing.size
    return np.random.default_rng(0).integers(0, 256, (9, size, size), dtype=np.uint8)


@pytest.mark.parametrize("has_gpu", [True, False])
def test_auto_goes_by_the_device_alone(
    has_gpu: bool, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "has_gpu", lambda: has_gpu)
    assert choose_engine("auto", "cpu", [small_bundle]) == Choice("openvino", "cpu")
    for device in ("cuda", "cuda:1", "cuda:0,cuda:1", "cuda:all", "mps"):
        assert choose_engine("auto", device, [small_bundle]) == Choice("torch", device)
    on_auto = Choice("torch", "auto") if has_gpu else Choice("openvino", "cpu")
    assert choose_engine("auto", "auto", [small_bundle]) == on_auto
    assert choose_engine("openvino", "auto", [small_bundle]) == Choice("openvino", "cpu")
    assert choose_engine("torch", "cpu", [small_bundle]) == Choice("torch", "cpu")


def test_one_model_without_a_graph_puts_all_on_torch(small_bundle: Bundle) -> None:
    bare = replace(small_bundle, name="bare", graph=None)
    assert choose_engine("auto", "cpu", [small_bundle, bare]) == Choice("torch", "cpu")
    with pytest.raises(UsageError, match=r"'bare' has no graph .* `dicomsort model export` adds one"):
        choose_engine("openvino", "cpu", [small_bundle, bare])


def test_without_openvino_a_processor_takes_torch(
    small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "is_installed", lambda library: library != "openvino")
    assert choose_engine("auto", "cpu", [small_bundle]) == Choice("torch", "cpu")


def test_without_torch_no_gpu_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_cuda_devices", lambda: 2)
    assert selection.gpu_in_sight()
    monkeypatch.setattr(selection, "is_installed", lambda library: library != "torch")
    assert not selection.gpu_in_sight()
    assert selection.visible_gpus() == []


def test_a_driver_without_a_gpu_for_torch_is_no_gpu(
    small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_cuda_devices", lambda: 1)
    monkeypatch.setattr(devices, "_cuda_devices", lambda: 0)
    assert not selection.has_gpu()
    assert choose_engine("auto", "auto", [small_bundle]) == Choice("openvino", "cpu")


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("tensorrt", "auto", "--engine 'tensorrt' is unknown: use auto, openvino or torch"),
        ("openvino", "cuda:0", "openvino runs on the processor; for --device cuda:0 use --engine torch"),
    ],
)  # fmt: skip
def test_an_impossible_engine_is_refused(name: str, device: str, message: str, small_bundle: Bundle) -> None:
    with pytest.raises(UsageError, match=message):
        choose_engine(name, device, [small_bundle])


def test_both_engines_give_the_same_logits(small_bundle: Bundle, noise: NDArray[np.uint8]) -> None:
    wanted = TorchClassifier(small_bundle, "cpu", "float32").logits(noise)
    found = OpenVinoClassifier(small_bundle, "float32").logits(noise)
    assert found.dtype == np.float32
    assert found == pytest.approx(wanted, abs=1e-3 * float(np.abs(wanted).max()))


def test_both_engines_give_the_same_reject_score_and_decisions(router5: Bundle) -> None:
    """In half precision, too: the last layer and the score are computed in float32 by both."""
    images = np.random.default_rng(1).integers(0, 256, (6, 160, 160), dtype=np.uint8)
    images[1:] //= np.array([2, 3, 4, 5, 6], np.uint8)[:, None, None]
    for precision, far in (("float32", 1e-3), ("auto", 0.05)):
        ours = OpenVinoClassifier(router5, precision)
        theirs = TorchClassifier(router5, "cpu", ours.precision)
        found, wanted = ours.logits(images), theirs.logits(images)
        assert found.shape == (6, router5.width)
        assert found == pytest.approx(wanted, abs=far * float(np.abs(wanted).max()))
        labels = [[decision.label for decision in router5.decisions(each)] for each in (found, wanted)]
        assert labels[0] == labels[1]


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_an_answer_does_not_depend_on_its_batch(
    precision: str, small_bundle: Bundle, noise: NDArray[np.uint8]
) -> None:
    classifier = OpenVinoClassifier(small_bundle, precision)
    whole = classifier.logits(noise)
    assert len(whole) == 9
    for some in (noise[3:4], noise[2:7], noise[:8]):
        start = int(np.flatnonzero((noise == some[0]).all(axis=(1, 2)))[0])
        assert np.array_equal(classifier.logits(some), whole[start : start + len(some)])


def test_pytorch_computes_the_last_few_images_as_it_does_more(
    small_bundle: Bundle, noise: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = TorchClassifier(small_bundle, "cpu", "float32")
    whole, network, seen = classifier.logits(noise[:4]), classifier._network, list[int]()

    def noted(batch: Any) -> Any:
        seen.append(len(batch))
        return network(batch)

    monkeypatch.setattr(classifier, "_network", noted)
    for count in (1, 2, 3):
        assert np.array_equal(classifier.logits(noise[:count]), whole[:count])
    assert seen == [4, 4, 4]


def test_many_threads_may_ask_at_a_time(small_bundle: Bundle, noise: NDArray[np.uint8]) -> None:
    classifier = OpenVinoClassifier(small_bundle, "float32")
    wanted = classifier.logits(noise)
    wrong: list[int] = []

    def ask() -> None:
        wrong.extend(0 for _ in range(10) if not np.array_equal(classifier.logits(noise), wanted))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_features_are_those_of_the_network(small_bundle: Bundle, noise: NDArray[np.uint8]) -> None:
    import torch

    wanted = features.FeatureExtractor(small_bundle, torch.device("cpu")).features(noise)
    found = OpenVinoClassifier(small_bundle).features(noise)
    assert found == pytest.approx(wanted, abs=1e-3 * float(np.abs(wanted).max()))


@pytest.mark.parametrize(
    ("capabilities", "precision"), [(["FP32", "BF16"], "bfloat16"), (["FP32", "INT8"], "float32")]
)
def test_the_precision_goes_by_the_processor(capabilities: list[str], precision: str) -> None:
    assert engine.choose_precision("auto", capabilities) == precision
    assert engine.choose_precision("float32", capabilities) == "float32"
    with pytest.raises(UsageError, match="this processor does not compute in it; use auto or --engine torch"):
        engine.choose_precision("float16", capabilities)
    with pytest.raises(UsageError, match="'int8' is unknown: use auto, float32"):
        engine.choose_precision("int8", capabilities)


def test_what_half_precision_cannot_hold_is_computed_again(
    small_bundle: Bundle, noise: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = OpenVinoClassifier(small_bundle, "float32").logits(noise)
    classifier = OpenVinoClassifier(small_bundle)
    classifier.precision = "float16"
    network = classifier._network.result()
    spoiled = network.run(noise)
    spoiled[4] = np.inf
    monkeypatch.setattr(network, "run", lambda _: spoiled.copy())
    found = classifier.logits(noise)
    assert found[4] == pytest.approx(exact[4], abs=1e-4)
    assert np.array_equal(found[:4], spoiled[:4])


def test_damaged_weights_are_refused_before_anything_is_done(small_bundle: Bundle) -> None:
    """OpenVINO 2026.4 makes 0 of them in ReLU, and gives plausible scores."""
    weights = dict(small_bundle.weights)
    weights["conv_stem.weight"] = np.full_like(weights["conv_stem.weight"], np.nan)
    with pytest.raises(ModelError, match="no usable scores: its weights are damaged"):
        OpenVinoClassifier(replace(small_bundle, weights=weights))
    weights = dict(small_bundle.weights)
    weights["bn1.running_var"] = -1 - np.abs(weights["bn1.running_var"])
    with pytest.raises(ModelError, match="no usable scores: its weights are damaged"):
        OpenVinoClassifier(replace(small_bundle, weights=weights))


def test_a_graph_with_other_outputs_than_its_heads_is_refused(small_bundle: Bundle) -> None:
    head = replace(small_bundle.head, labels=small_bundle.head.labels[:-1])
    with pytest.raises(ModelError, match="numbers instead of"):
        OpenVinoClassifier(replace(small_bundle, head=head))


def test_several_models_run_on_one_engine(small_bundle: Bundle) -> None:
    bare = replace(small_bundle, name="bare", graph=None)
    with predictors_for([small_bundle, bare], "cpu", "float32") as predictors:
        assert [each.engine for each in predictors] == ["torch", "torch"]
    with predictors_for([small_bundle, small_bundle], "cpu", "float32") as predictors:
        assert [each.engine for each in predictors] == ["openvino", "openvino"]


def test_a_folder_goes_on_with_the_engine_that_filled_it(
    small_model: Path, inbox: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Folders of earlier versions, which did not write it down, were filled by torch."""
    out = tmp_path / "out"
    words = ("classify", inbox, "--out", out, "--model", small_model, "--device", "cpu", "--quiet")
    assert inside(capfd, *words).code == 0
    run = json.loads((out / "run.json").read_text())
    assert run["fixed"]["engine"] == "openvino"
    assert {"openvino", "torch"} <= set(run["runs"][-1]["versions"])
    other = inside(capfd, *words, "--engine", "torch")
    assert other.code == ExitCode.USAGE
    assert (
        "filled with another engine (openvino, now torch); use another --out, or --engine openvino"
        in other.err
    )
    assert inside(capfd, *words).code == 0

    del run["fixed"]["engine"]
    (out / "run.json").write_text(json.dumps(run))
    (inbox / "another.dcm").write_bytes(next(inbox.glob("*.dcm")).read_bytes() + b"\0\0")
    refused = inside(capfd, *words)
    assert refused.code == ExitCode.USAGE
    assert "(torch, now openvino); use another --out, or --engine torch" in refused.err
    assert inside(capfd, *words, "--engine", "torch").code == 0


def test_a_signal_finds_its_handler_after_another_thread_has_dropped_a_classifier(small_model: Path) -> None:
    """OpenVINO 2026.4 left the first thread a stack for signal handlers that was no longer there."""
    script = f"""
import gc, signal, threading
from pathlib import Path
import numpy as np
from dicomsort.model.bundle import load
from dicomsort.model.engines.openvino import OpenVinoClassifier
held = [OpenVinoClassifier(load(Path({str(small_model)!r})))]
held[0].logits(np.zeros((1, 64, 64), np.uint8))
thread = threading.Thread(target=lambda: (held.clear(), gc.collect()))
thread.start()
thread.join()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n")


def test_no_engine_reports_who_uses_it(small_model: Path, inbox: Path, tmp_path: Path) -> None:
    """An import of OpenVINO 2026.4 asks for www.google-analytics.com, and leaves an id in the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(home)}
    words = (
        "classify",
        inbox,
        "--out",
        tmp_path / "out",
        "--model",
        small_model,
        "--device",
        "cpu",
        "--quiet",
    )
    assert command(*words, env=environment).code == 0
    assert not list(home.iterdir())
    script = "import sys; import dicomsort.model.engines.openvino; print('openvino_telemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
