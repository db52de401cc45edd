"""dicomsort as a Python user has it: names, models, sorting, training, measuring, and the manifest."""

import csv
import inspect
import json
import math
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import typer.main
from outputs import rows
from predictors import ROUTER_LABELS
from program import inside
from written import picture

import dicomsort
from dicomsort import Model, SortSummary, Status
from dicomsort.cli.classify import How
from dicomsort.cli.main import app
from dicomsort.library import sorting, training
from dicomsort.model.bundle import Bundle, load, locate
from dicomsort.model.defaults import DEFAULT_MODELS
from dicomsort.outcome import FileStamp, Reason
from dicomsort.system.escaping import unescape
from dicomsort.training.recipe import Recipe
from dicomsort.training.run import SilentTraining

Write = Callable[..., Path]

NAMES = [
    "Action", "Decision", "DicomsortError", "EvaluationResult", "ExitCode", "Exported", "InternalError",
    "ManifestRow",
    "MissingLibraryError", "Model", "ModelError", "NothingFoundError", "Preprocessing", "Progress",
    "ReadSettings",
    "Reason", "SortSummary", "Status", "TargetError", "TrainingResult", "UnreadableError", "UsageError",
    "__version__", "evaluate", "export_dataset", "load_model", "read_image", "read_manifest",
    "sort", "status",
    "train",
]  # fmt: skip
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def model(small_model: Path) -> Model:
    return dicomsort.load_model(small_model, "cpu", "float32")


@pytest.fixture
def files(tmp_path: Path, write_dicom: Write) -> list[Path]:
    return [write_dicom(tmp_path / "x" / f"{number}.dcm", picture(number)) for number in range(20)]


# --- names


def test_the_public_names_are_these() -> None:
    assert dicomsort.__all__ == NAMES
    assert set(NAMES) <= set(dir(dicomsort))
    for name in NAMES:
        assert getattr(dicomsort, name) is not None


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'classify'"):
        _ = dicomsort.classify


def test_importing_dicomsort_loads_none_of_its_modules() -> None:
    code = "import sys, dicomsort; dir(dicomsort); print(*(n for n in sys.modules if 'dicomsort.' in n))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "\n"
    )


def test_a_script_that_imports_sort_does_not_load_torch_into_its_workers() -> None:
    code = "from dicomsort import read_image, read_manifest, sort; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_error_is_a_dicomsort_error_with_an_exit_code() -> None:
    for name in NAMES:
        if name.endswith("Error"):
            assert issubclass(getattr(dicomsort, name), dicomsort.DicomsortError)
    assert dicomsort.ModelError.exit_code is dicomsort.ExitCode.MODEL


def test_the_page_of_the_docs_names_everything() -> None:
    page = (EXAMPLES.parent / "docs" / "reference" / "python-api.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", page))))
    assert set(NAMES) - {"__version__"} <= words
    for function in (dicomsort.sort, dicomsort.train, dicomsort.evaluate, dicomsort.load_model):
        assert set(inspect.signature(function).parameters) - {"settings"} <= words
    members = {name for name in vars(Model) if not name.startswith("_")}
    assert members | {field.name for field in fields(dicomsort.ManifestRow)} <= words


def test_the_command_and_python_ask_the_same_models_unless_told() -> None:
    asked = How(None, "cpu", "auto", "auto", None, quiet=True, verbose=False).names
    assert inspect.signature(dicomsort.sort).parameters["models"].default == asked == DEFAULT_MODELS
    assert [load(locate(name)).name for name in DEFAULT_MODELS] == list(DEFAULT_MODELS)
    page = (EXAMPLES.parent / "docs" / "how-to" / "sort.md").read_text(encoding="utf-8")
    [line] = [line for line in page.splitlines() if line.startswith("| `--model ")]
    default = line.partition("default ")[2].partition(".")[0]
    assert tuple(re.findall(r"`(\w+)`", default)) == DEFAULT_MODELS


# --- models


def test_a_model_tells_what_it_is(model: Model, small_bundle: Bundle) -> None:
    assert model.labels == ROUTER_LABELS
    assert model.tag == small_bundle.tag
    assert model.canvas == dicomsort.Preprocessing(size=64)
    assert [head.name for head in model.heads] == ["label"]
    assert repr(model) == f"<dicomsort.Model {small_bundle.tag} on cpu in float32>"


def test_paths_and_images_have_the_same_decisions_and_scores_in_their_order(
    model: Model, files: list[Path]
) -> None:
    images = np.stack([dicomsort.read_image(path, model.canvas) for path in files])
    decisions = model.predict(files)
    assert decisions == model.predict(images) == model.predict(iter(images)) == model.predict(map(str, files))
    assert len({decision.scores for decision in decisions}) == len(files)
    scores = model.scores(files)
    assert scores.dtype == np.float32
    assert scores.shape == (20, 5)
    assert np.allclose(scores, [decision.scores for decision in decisions], atol=1e-6)
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert [ROUTER_LABELS[at] for at in scores.argmax(axis=1)] == [one.label for one in decisions]
    assert np.array_equal(model.scores(images, "label"), scores)


def test_features_are_what_the_last_layer_turns_into_scores(
    model: Model, small_bundle: Bundle, files: list[Path]
) -> None:
    features = model.features(files)
    assert features.dtype == np.float32
    assert features.shape == (20, 1024)
    weight, bias = (
        small_bundle.weights[f"classifier.{name}"].astype(np.float32) for name in ("weight", "bias")
    )
    logits = features @ weight.T + bias
    assert np.allclose(small_bundle.head.scores(logits), model.scores(files), atol=1e-4)


def test_one_image_makes_a_list_of_one_and_none_an_empty_one(model: Model, files: list[Path]) -> None:
    image = dicomsort.read_image(files[0], model.canvas)
    assert model.predict(files[0]) == model.predict(str(files[0])) == model.predict(image)
    assert len(model.predict(image)) == 1
    assert model.predict([]) == []
    assert model.scores([]).shape == (0, 5)
    assert model.features([]).shape == (0, 1024)


def test_who_says_when_to_review_is_obeyed(model: Model, files: list[Path]) -> None:
    assert not any(decision.review for decision in model.predict(files, review_below=0.0))
    assert all(decision.folder == "review" for decision in model.predict(files, review_below=1.0))
    with pytest.raises(dicomsort.UsageError, match="review_below=2 must lie between 0 and 1"):
        model.predict(files, review_below=2)


def test_a_file_that_cannot_be_read_is_raised_or_stands_in_its_place(
    model: Model, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("no picture")
    several = [files[0], tmp_path / "notes", files[1]]
    with pytest.raises(dicomsort.UnreadableError, match="not_dicom: not a DICOM file") as raised:
        model.predict(several)
    assert raised.value.__notes__ == ["this is image 1 of those that were given, counted from 0"]
    for ask in (model.scores, model.features):
        with pytest.raises(dicomsort.UnreadableError):
            ask(several)
    first, odd, last = model.predict(several, unreadable="return")
    assert isinstance(odd, dicomsort.UnreadableError)
    assert (odd.status, odd.reason) == (Status.NOT_DICOM, Reason.NO_DICOM)
    assert [first, last] == model.predict(files[:2])


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((64, 64), np.float32), r"not float32 \(64, 64\)"),
        (np.zeros((3, 32, 64), np.uint8), r"not uint8 \(32, 64\)"),
        ([None], "not NoneType"),
    ],
)
def test_an_image_of_another_kind_is_refused(model: Model, image: Any, found: str) -> None:
    with pytest.raises(dicomsort.UsageError, match=r"an image must be uint8 \(64, 64\).*" + found):
        model.predict(image)


def test_a_model_that_is_not_there_is_named(model: Model) -> None:
    with pytest.raises(dicomsort.ModelError, match="no model 'nowhere'"):
        dicomsort.load_model("nowhere")
    with pytest.raises(dicomsort.UsageError, match="device"):
        dicomsort.load_model("router5", device="toaster")
    with pytest.raises(dicomsort.UsageError, match="no head 'view'; its heads are: label"):
        model.scores([], "view")
    with pytest.raises(dicomsort.UsageError, match="use raise or return"):
        model.predict([], unreadable="ignore")  # type: ignore[call-overload]


# --- sorting and the manifest


def test_sort_does_what_classify_does(
    inbox: Path, tmp_path: Path, small_model: Path, model: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    """A loaded model, or its folder, or the command: the same manifest, but for times that copies have."""
    seen: list[int] = []
    by_name = dicomsort.sort(
        inbox, tmp_path / "a", models=small_model, device="cpu", precision="float32", workers=2,
        progress=lambda summary: seen.append(summary.ended),
    )  # fmt: skip
    loaded = dicomsort.sort([str(inbox)], str(tmp_path / "b"), models=[model], workers=2)
    ran = inside(
        capfd, "classify", inbox, "--out", tmp_path / "c", "--model", small_model, "--device", "cpu",
        "--precision", "float32", "--workers", "2",
    )  # fmt: skip
    assert ran.code == int(by_name.exit_code) == int(loaded.exit_code) == 0
    assert isinstance(by_name, SortSummary)
    assert (by_name.found, by_name.ended, by_name.statuses[Status.NOT_DICOM]) == (14, 14, 1)
    assert seen == list(range(1, 15))
    assert rows(tmp_path / "a") == rows(tmp_path / "b") == rows(tmp_path / "c")
    assert by_name.labels == loaded.labels


def test_sort_goes_on_after_an_exception_and_after_ctrl_c(inbox: Path, tmp_path: Path, model: Model) -> None:
    out, after = tmp_path / "out", iter([KeyboardInterrupt, ZeroDivisionError])

    def stop(summary: SortSummary) -> None:
        if summary.ended - summary.already_done == 3:
            raise next(after)

    for error in (KeyboardInterrupt, ZeroDivisionError):
        with pytest.raises(error):
            dicomsort.sort(inbox, out, models=model, workers=2, batch_size=1, progress=stop)
    summary = dicomsort.sort(inbox, out, models=model, workers=2)
    assert 0 < summary.already_done < summary.found == summary.ended == 14
    assert dicomsort.sort(inbox, out, models=model, workers=2).already_done == 14
    assert len(rows(out)) == 14


def test_sort_works_in_another_thread(inbox: Path, tmp_path: Path, model: Model) -> None:
    """As in a server or a notebook with a window; only the main thread may be told of signals."""
    summaries: list[SortSummary] = []
    work = threading.Thread(
        target=lambda: summaries.append(dicomsort.sort(inbox, tmp_path / "out", models=model, workers=1))
    )
    work.start()
    work.join()
    assert summaries[0].ended == 14


def test_sort_can_be_called_without_a_main_module_as_in_a_notebook(
    inbox: Path, tmp_path: Path, small_model: Path
) -> None:
    arguments = f"{str(inbox)!r}, {str(tmp_path / 'out')!r}, models={str(small_model)!r}"
    code = f"import dicomsort; dicomsort.sort({arguments})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(rows(tmp_path / "out")) == 14


def test_a_script_without_a_guard_is_told_what_it_lacks(
    inbox: Path, tmp_path: Path, small_model: Path
) -> None:
    script = tmp_path / "script.py"
    arguments = f"{str(inbox)!r}, {str(tmp_path / 'out')!r}, models={str(small_model)!r}, workers=1"
    script.write_text(f"import dicomsort\ndicomsort.sort({arguments})\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "put what calls dicomsort under `if __name__ == '__main__':`" in done.stderr


def test_sort_refuses_what_the_command_refuses(inbox: Path, tmp_path: Path, model: Model) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"action": "shift"}, "action='shift' is unknown: use none, copy, move, symlink, hardlink, reflink"),
        ({"review_below": 1.5}, "review_below=1.5 must lie between 0 and 1"),
        ({"workers": 0}, "workers=0 must lie between 1"),
        ({"shard": "1/2", "restart": True}, "restart does not go with shard"),
        ({"models": []}, "name at least one model"),
        ({"models": [model, model]}, "two models have the name 'small'"),
        ({"inputs": []}, "name the folders or files to sort"),
        ({"inputs": tmp_path / "nowhere"}, "there is no"),
    ]
    for options, message in wrong:
        with pytest.raises(dicomsort.UsageError, match=message):
            dicomsort.sort(**{"inputs": inbox, "out": tmp_path / "out", "models": model, **options})
    assert not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(dicomsort.NothingFoundError):
        dicomsort.sort(tmp_path / "empty", tmp_path / "out", models=model)


def test_the_manifest_comes_back_as_typed_rows(inbox: Path, tmp_path: Path, model: Model) -> None:
    odd = inbox / "odd \\ name\udce4, \n.dcm"
    (inbox / "s0" / "0.dcm").rename(odd)
    dicomsort.sort(inbox, tmp_path / "out", models=model, workers=2)
    found = {row.path: row for row in dicomsort.read_manifest(tmp_path / "out")}
    texts = rows(tmp_path / "out")
    assert found.keys() == {unescape(path) for path in texts} >= {str(odd)}
    for path, text in texts.items():
        row = found[unescape(path)]
        assert (row.status.value, "; ".join(row.reasons), row.label) == (
            text["status"], text["reason"], text["label"],
        )  # fmt: skip
        assert row.stamp == FileStamp(int(text["size"]), int(text["mtime_ns"]))
        assert row.version == dicomsort.__version__
    row = found[str(odd)]
    assert row.status is Status.SORTED
    assert (tmp_path / "out" / row.destination).read_bytes() == odd.read_bytes()
    assert list(row.scores) == list(ROUTER_LABELS)
    assert row.confidence == pytest.approx(max(row.scores.values()))
    assert row.label == max(row.scores, key=lambda label: row.scores[label])
    assert (row.header.rows, row.header.columns, row.header.modality) == (40, 30, "DX")
    assert (row.model, row.action, row.further, row.reject_score) == (model.tag, "copy", {}, None)
    (other,) = (row for row in found.values() if row.status is Status.NOT_DICOM)
    assert (other.confidence, other.scores, other.destination, other.header.rows) == (None, {}, "", None)


def test_further_models_stand_in_the_manifest_under_their_names(
    inbox: Path, tmp_path: Path, small_model: Path
) -> None:
    dicomsort.sort(inbox, tmp_path / "out", models=[small_model, "router5"], workers=2, dry_run=True)
    found = [row for row in dicomsort.read_manifest(str(tmp_path / "out" / "manifest.csv")) if row.label]
    router = dicomsort.load_model("router5")
    alone = router.predict([row.path for row in found])
    for row, decision in zip(found, alone, strict=True):
        assert row.status is Status.PLANNED
        assert list(row.further) == ["router5"]
        assert row.further["router5"].label == decision.label
        assert list(row.further["router5"].scores) == list(router.labels)
        assert list(row.further["router5"].scores.values()) == pytest.approx(decision.scores, abs=0.01)


def test_of_a_file_that_was_done_again_the_last_row_counts_and_half_a_line_does_not(
    inbox: Path, tmp_path: Path, model: Model
) -> None:
    dicomsort.sort(inbox, tmp_path / "out", models=model, workers=2)
    path = tmp_path / "out" / "manifest.csv"
    header, *others = path.read_text().splitlines(keepends=True)
    first = next(line for line in others if ",sorted," in line)
    changed = first.replace(",sorted,", ",review,")
    path.write_text("".join([header, *others, changed, others[0][:-9]]))
    found = list(dicomsort.read_manifest(path))
    assert len(found) == 14
    assert (found[-1].path, found[-1].status) == (first.split(",")[0], Status.REVIEW)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "there is no manifest"), ("file,label\n", "is no manifest.csv"), ("", "is no manifest.csv")],
)
def test_what_is_no_manifest_is_refused_at_once(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(dicomsort.UsageError, match=message):
        dicomsort.read_manifest(tmp_path / "manifest.csv")


def test_a_damaged_manifest_is_named_as_such(inbox: Path, tmp_path: Path, model: Model) -> None:
    dicomsort.sort(inbox, tmp_path / "out", models=model, workers=2)
    path = tmp_path / "out" / "manifest.csv"
    path.write_text(path.read_text().replace(",sorted,", ",filed,"))
    with pytest.raises(dicomsort.UsageError, match="restore it"):
        list(dicomsort.read_manifest(path))


# --- training and measuring


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark and bright pictures of twenty patients each."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("data")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "light", "patient"])
        for number in range(40):
            generator, bright = np.random.default_rng(number), number % 2
            gray = generator.integers(0, 60, (48, 48)) + 180 * bright
            Image.fromarray(gray.astype(np.uint8)).save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", ("dark", "bright")[bright], f"p{number}"])
    return folder / "labels.csv"


SMALL: training.RecipeSettings = {
    "size": 32, "epochs": 2, "batch_size": 8, "augment": "none", "learning_rate": 1e-3,
}  # fmt: skip


class Listening(SilentTraining):
    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.lines: list[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)

    def epoch(self, epoch: Any) -> None:
        self.epochs.append(epoch.number)


@pytest.fixture(scope="module")
def trained(data: Path) -> tuple[dicomsort.TrainingResult, Listening]:
    heard = Listening()
    out = data.parent.parent / f"{data.parent.name}-models" / "light"
    result = dicomsort.train(
        data, out, target="light", device="cpu", workers=1, reporter=heard, graph=False, **SMALL
    )
    return result, heard


def test_train_writes_a_model_and_tells_how_it_goes(trained: tuple[Any, Listening]) -> None:
    result, heard = trained
    model = dicomsort.load_model(result.out, device="cpu")
    assert result.model == model.tag
    assert (model.labels, model.canvas.size) == (("bright", "dark"), 32)
    assert (result.unread, heard.epochs, result.facts["recipe"]["epochs"]) == (0, [1, 2], 2)
    assert heard.lines[-1].startswith(f"wrote {result.out}")


def test_evaluate_measures_a_model_and_writes_only_when_it_is_asked_to(
    data: Path, tmp_path: Path, trained: tuple[Any, Listening]
) -> None:
    model = dicomsort.load_model(trained[0].out, device="cpu")
    result = dicomsort.evaluate(data, model, target="light", part="all", bootstrap=20, workers=1)
    figure = result.metrics["light"].overall["accuracy"]
    assert list(tmp_path.iterdir()) == []
    result.save(tmp_path / "figures")
    assert (tmp_path / "figures" / "report.html").exists()
    with data.open(newline="") as file:
        truth = {row["file"]: row["light"] for row in csv.DictReader(file)}
    with (tmp_path / "figures" / "predictions.csv").open(newline="") as file:
        answers = {row["file"]: row["label"] for row in csv.DictReader(file)}
    assert figure.value == pytest.approx(sum(answers[name] == truth[name] for name in truth) / 40)
    assert figure.low <= figure.value <= figure.high
    assert (result.comparison, result.unread) == ({}, {})
    with pytest.raises(dicomsort.UsageError, match="where the data lie"):
        result.save(data.parent)


def test_evaluate_compares_models_and_baselines_as_the_command_does(
    data: Path, trained: tuple[Any, Listening], capfd: pytest.CaptureFixture[str]
) -> None:
    first = trained[0]
    settings: training.RecipeSettings = {**SMALL, "epochs": 1}
    other = dicomsort.train(
        data, first.out.parent / "other", target="light", device="cpu", workers=1, **settings
    )
    result = dicomsort.evaluate(
        data, [first.out, other.out], target="light", bootstrap=20, workers=1, device="cpu"
    )
    names = [one.name for one in result.comparison["light"]]
    assert names[:2] == [first.model, other.model]
    assert len(names) > 2
    ran = inside(
        capfd, "eval", data, "--target", "light", "--model", first.out, "--model", other.out,
        "--bootstrap", "20", "--workers", "1", "--device", "cpu", "--json",
    )  # fmt: skip
    said = json.loads(json.dumps(result.as_dict()))
    assert said["comparison"] == ran.json["comparison"]
    assert said["heads"] == ran.json["heads"]
    assert said["remarks"] == ran.json["remarks"]


def test_cross_validation_leaves_figures_and_no_model(data: Path, tmp_path: Path) -> None:
    settings: training.RecipeSettings = {**SMALL, "epochs": 1}
    found = dicomsort.train(
        data, tmp_path / "cv", target="light", folds=2, device="cpu", workers=1, **settings
    )
    assert found.model is None
    assert "light" in found.facts["figures"]


def test_train_refuses_what_the_command_refuses(data: Path, tmp_path: Path) -> None:
    with pytest.raises(dicomsort.UsageError, match="epochs=0 must lie between"):
        dicomsort.train(data, tmp_path / "x", epochs=0)
    with pytest.raises(TypeError, match="epoch"):
        dicomsort.train(data, tmp_path / "x", epoch=3)  # type: ignore[call-arg]
    with pytest.raises(dicomsort.UsageError, match="exclude each other"):
        dicomsort.train(data, tmp_path / "x", split="a.csv", hold_out="a=b")
    assert not (tmp_path / "x").exists()
    with pytest.raises(dicomsort.UsageError, match="'half' is unknown"):
        dicomsort.evaluate(data, part="half")


def test_every_setting_of_a_recipe_may_be_given() -> None:
    assert get_type_hints(training.RecipeSettings) == get_type_hints(Recipe)


@pytest.mark.parametrize(("name", "module"), [("classify", sorting), ("train", training)])
def test_numbers_have_the_ranges_that_the_command_has(name: str, module: Any) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    parameters = inspect.signature(command.callback).parameters
    for option, (least, most) in module._RANGES.items():
        parameter = parameters["balance_power" if option == "balance" else option]
        limits = parameter.annotation.__metadata__[0]
        assert limits.min == least, option
        assert limits.max == (None if most == math.inf else most), option


# --- examples


@pytest.mark.parametrize("example", ["ask_a_model.py", "sort_an_archive.py"])
def test_the_examples_run(example: str, archive: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / example, archive / "2019", tmp_path / "out"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "spine" in done.stdout
