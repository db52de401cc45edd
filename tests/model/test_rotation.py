"""Turned films: seen by a rotation head, asked about again upright, and never turned themselves."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from outputs import check_places, rows, settings
from predictors import FixedPredictor
from program import command, inside
from written import write_dicom

from dicomsort import Model, read_manifest
from dicomsort.errors import ExitCode
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.inputs.named import Shard
from dicomsort.manifest.columns import columns
from dicomsort.model.bundle import Bundle, Reject
from dicomsort.model.graph import widened
from dicomsort.model.heads import Decision, Head
from dicomsort.model.model_set import ModelSet, columns_of
from dicomsort.model.rotation import Compass, compass_of, upright
from dicomsort.outcome import Header, ReadImage
from dicomsort.sorting import plan
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.timing import StageTimer

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]

ROTATION = Head("rotation", ("0", "90", "180", "270"), review_below=0.9)
VIEW = Head("view", ("frontal", "lateral"))
DEGREES = (0, 90, 180, 270)


def clockwise(pixels: NDArray[Any], degrees: int) -> NDArray[Any]:
    """Turn a picture: what was its left edge, read upwards, becomes its top edge, and so on."""
    for _ in range(degrees // 90):
        pixels = pixels[::-1].T
    return pixels


class Marked(FixedPredictor):
    """Looks for a bright mark in the upper left corner: other heads only answer rightly if it is there.

    The mark's own brightness is how sure it is of the rotation.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.shown: list[int] = []

    def logits(self, images: Images) -> Floats:
        self.shown.append(len(images))
        size = images.shape[1] // 4
        near, far = slice(None, size), slice(-size, None)
        corners = [(near, near), (near, far), (far, far), (far, near)]  # where it is at 0, 90, 180 and 270
        bright = np.stack([images[:, down, right].mean(axis=(1, 2)) for down, right in corners], axis=1)
        parts = [self.answers(head, bright) for head in self.bundle.heads]
        if self.bundle.reject is not None:
            parts.append(bright.argmax(axis=1)[:, None] * 10.0)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def answers(self, head: Head, bright: NDArray[np.float64]) -> NDArray[np.float64]:
        if head.name == "rotation":
            return bright / 10
        found = np.zeros((len(bright), head.width))
        found[:, 0] = np.where(bright.argmax(axis=1) == 0, 5.0, -5.0)
        return found


class Stubborn(Marked):
    """Sees everything turned by 90 degrees, also what has just been turned back."""

    def answers(self, head: Head, bright: NDArray[np.float64]) -> NDArray[np.float64]:
        turned = np.tile([0.0, 20.0, 0.0, 0.0], (len(bright), 1))
        return turned if head.name == "rotation" else super().answers(head, bright)


def marked(bright: int = 250, size: int = 64) -> Images:
    picture = np.random.default_rng(bright).integers(0, 30, (size, size), dtype=np.uint8)
    picture[: size // 4, : size // 4] = bright
    return picture


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Three films in each of four directions, and one that is turned but has a faint mark."""
    folder = tmp_path / "films"
    window: dict[str, Any] = {"WindowCenter": 128, "WindowWidth": 256}
    for number in range(12):
        degrees = DEGREES[number % 4]
        pixels = clockwise(marked(240 + number, 48)[:, :40], degrees)
        write_dicom(folder / f"s{number // 4}" / f"{degrees}.dcm", np.ascontiguousarray(pixels), **window,
                    SOPInstanceUID=f"2.25.{number + 1}")  # fmt: skip
    faint = np.ascontiguousarray(clockwise(marked(42, 48), 180))
    write_dicom(folder / "faint.dcm", faint, **window, SOPInstanceUID="2.25.99")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def router(small_bundle: Bundle) -> Bundle:
    return replace(small_bundle, name="router", reject=Reject(5.0))


@pytest.fixture
def view(small_bundle: Bundle) -> Bundle:
    return replace(small_bundle, name="view", head=VIEW, further=(ROTATION,))


def true_rotation(path: str) -> str:
    return "" if path.endswith("faint.dcm") else Path(path).stem


def test_a_picture_that_is_turned_clockwise_is_turned_back() -> None:
    """A quarter turn clockwise: the letters A B over C D read C A over D B then."""
    assert clockwise(np.array([["A", "B"], ["C", "D"]]), 90).tolist() == [["C", "A"], ["D", "B"]]
    images = [marked(size=size) for size in (32, 64)]
    for degrees in DEGREES:
        first, other = (clockwise(image, degrees) for image in images)
        header = Header(modality="DX")
        turned = ReadImage(first, header, remarks=("retired transfer syntax",), further=(other,))
        found = upright(turned, degrees)
        assert np.array_equal(found.image, images[0])
        assert np.array_equal(found.further[0], images[1])
        assert (found.header, found.remarks) == (header, turned.remarks)


def test_turned_films_get_the_answers_of_upright_ones(
    films: Path, tmp_path: Path, router: Bundle, view: Bundle
) -> None:
    out = tmp_path / "out"
    sort(settings(films, out), Marked(router), further=[Marked(view)])
    found = {path: row for path, row in rows(out).items() if row["label"]}
    assert len(found) == 13
    for path, row in found.items():
        rotation = true_rotation(path)
        assert row["rotation"] == rotation
        seen = "180" if path.endswith("faint.dcm") else rotation
        assert row["view.rotation.label"] == seen, "what was seen first"
        is_right = bool(rotation)
        assert row["label"] == ("abdominal" if is_right else "adult_chest")
        assert row["view.label"] == ("frontal" if is_right else "lateral")
        assert float(row["reject_score"]) == (0 if is_right else 20)
        assert row["status"] == ("sorted" if is_right else "review")
        assert float(row["score_abdominal"]) == pytest.approx(0.974 if is_right else 0.0017, abs=1e-3)
    sure = {float(row["view.rotation.confidence"]) > 0.9 for row in found.values() if row["rotation"]}
    assert sure == {True}
    check_places(films, out)


def test_only_what_is_surely_turned_is_asked_about_again(router: Bundle, view: Bundle) -> None:
    shown = [(250, 0), (250, 90), (42, 90), (42, 0), (250, 270), (250, 0)]
    pictures = [ReadImage(clockwise(marked(bright), degrees)) for bright, degrees in shown]
    first, further = Marked(router), Marked(view)
    decided = ModelSet((first, further)).decisions(pictures, None, StageTimer())
    assert [one.rotation for one in decided] == [0, 90, None, None, 270, 0]
    assert first.shown == further.shown == [6, 2]
    upright_ones = [pictures[0], pictures[3]]
    ModelSet((first, further)).decisions(upright_ones, None, StageTimer())
    assert first.shown == [6, 2, 2], "nothing to ask again"


def test_what_does_not_look_upright_then_keeps_its_first_answers(router: Bundle, view: Bundle) -> None:
    pictures = [ReadImage(clockwise(marked(), degrees)) for degrees in DEGREES]
    judge = Stubborn(view)
    decided = ModelSet((Marked(router), judge)).decisions(pictures, None, StageTimer())
    assert judge.shown == [4, 4]
    assert [one.rotation for one in decided] == [None] * 4
    assert [one.label for one in decided] == ["abdominal", *["adult_chest"] * 3]
    assert [one.reject_score for one in decided] == [0, 10, 20, 30]
    assert {one.further[1].label for one in decided} == {"90"}


def test_every_canvas_is_turned(films: Path, tmp_path: Path, router: Bundle, view: Bundle) -> None:
    large = replace(view, preprocessing=Preprocessing(size=96))
    third = replace(router, name="third", reject=None, preprocessing=Preprocessing(size=32))
    models = [Marked(large), Marked(third)]
    sort(settings(films, tmp_path / "out"), Marked(router), further=models)
    for path, row in rows(tmp_path / "out").items():
        if true_rotation(path).isdecimal():
            assert row["rotation"] == true_rotation(path)
            assert {row["label"], row["third.label"]} == {"abdominal"}
            assert row["view.label"] == "frontal"


def test_the_column_stands_behind_the_reject_score_if_a_model_can_tell(
    films: Path, tmp_path: Path, router: Bundle, view: Bundle
) -> None:
    plain = replace(router, reject=None)
    for name, first, told in (("both", router, ["reject_score", "rotation"]), ("one", plain, ["rotation"])):
        sort(settings(films, tmp_path / name), Marked(first), further=[Marked(view)])
        names = list(next(iter(rows(tmp_path / name).values())))
        start = names.index("confidence") + 1
        assert names[start : start + len(told)] == told
        assert names == columns(columns_of([first, view]), first.reject is not None, rotates=True)
    sort(settings(films, tmp_path / "none"), Marked(router))
    assert "rotation" not in next(iter(rows(tmp_path / "none").values()))


def test_a_run_goes_on_and_a_plan_is_applied(
    films: Path, tmp_path: Path, router: Bundle, view: Bundle
) -> None:
    out, planned = tmp_path / "out", tmp_path / "planned"
    first, further = Marked(router), [Marked(view)]
    sort(settings(films, out), first, further=further)
    assert sort(settings(films, out), first, further=further).already_done == 14
    write_dicom(films / "s9" / "90.dcm", clockwise(marked(), 90), SOPInstanceUID="2.25.77")
    assert sort(settings(films, out), first, further=further).already_done == 14
    assert rows(out)[str(films / "s9" / "90.dcm")]["rotation"] == "90"
    sort(settings(films, planned, dry_run=True), first, further=further)
    plan.apply(str(planned / "manifest.csv"))
    assert rows(planned) == rows(out)
    typed = {row.path: row.rotation for row in read_manifest(out)}
    wanted = {path: true_rotation(path) for path in typed if path.endswith(".dcm")}
    assert {path: "" if typed[path] is None else str(typed[path]) for path in wanted} == wanted
    assert typed[str(films / "notes.txt")] is None
    assert plan.undo(str(out / "manifest.csv")).done == 14


def test_shards_keep_the_column(films: Path, tmp_path: Path, router: Bundle, view: Bundle) -> None:
    first, further = Marked(router), [Marked(view)]
    sort(settings(films, tmp_path / "out"), first, further=further)
    for number in (1, 2):
        sort(settings(films, tmp_path / "shards", shard=Shard(number, 2)), first, further=further)
    merge(str(tmp_path / "shards"), PoolSettings(1))
    assert rows(tmp_path / "shards") == rows(tmp_path / "out")
    assert {row["rotation"] for row in rows(tmp_path / "out").values()} == {"", *map(str, DEGREES)}


def test_nodes_keep_the_column(
    inbox: Path, tmp_path: Path, small_bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    """By networks of random weights, whose rotation head finds everything upright."""
    draw, old = np.random.default_rng(0), small_bundle.weights
    own = draw.normal(0, 1, (6, old["classifier.weight"].shape[1])).astype(np.float16)
    own[2:] = 0
    bias = np.array([0, 0, 9, 0, 0, 0], np.float32)
    weights = {**old, "classifier.weight": own, "classifier.bias": bias}
    assert small_bundle.graph is not None
    graph = widened(small_bundle.graph, old, weights, "classifier", "model.safetensors")
    any_view = Bundle("view", small_bundle.network, small_bundle.preprocessing, VIEW, weights,
                      further=(ROTATION,), graph=graph)  # fmt: skip
    small_bundle.save(tmp_path / "small")
    any_view.save(tmp_path / "view")
    words = ("classify", inbox, "--model", tmp_path / "small", "--model", tmp_path / "view", "--workers", "1")
    assert inside(capfd, *words, "--out", tmp_path / "here").code == ExitCode.DONE
    ran = command(*words, "--out", tmp_path / "there", "--backend", "loky", "--tasks", "1")
    assert ran.code == ExitCode.DONE, ran.err
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    told = {(bool(row["label"]), row["rotation"]) for row in rows(tmp_path / "there").values()}
    assert told == {(True, "0"), (False, "")}


def test_a_rotation_head_has_the_four_labels(small_bundle: Bundle) -> None:
    mixed = Head("rotation", ("270", "0", "180", "90"))
    assert compass_of([VIEW, mixed]) == Compass(mixed, 1)
    assert compass_of([VIEW, ROTATION, mixed]) == Compass(ROTATION, 1), "the first that there is"
    several = Head("rotation", ("0", "90", "180", "270"), kind="multilabel")
    for other in (Head("rotation", ("0", "90")), several, replace(ROTATION, name="turned")):
        assert compass_of([VIEW, other]) is None
    picture = ReadImage(clockwise(marked(), 90))
    odd = replace(small_bundle, name="odd", further=(Head("rotation", ("left", "right")),))
    [decided] = ModelSet((Marked(odd),)).decisions([picture], None, StageTimer())
    assert decided.rotation is None


def test_a_rotation_head_that_decides_files_by_what_was_seen_first(view: Bundle) -> None:
    turner = replace(view, head=ROTATION, further=(VIEW,))
    pictures = [ReadImage(clockwise(marked(), degrees)) for degrees in DEGREES]
    decided = ModelSet((Marked(turner),)).decisions(pictures, None, StageTimer())
    assert [(one.label, one.rotation) for one in decided] == [(str(each), each) for each in DEGREES]
    assert [one.further[0].label for one in decided] == ["frontal"] * 4
    assert Decision("hand", 0.5, (0.5,)).rotation is None


def test_one_model_that_python_asks_looks_again_too(view: Bundle) -> None:
    model = Model(view, Marked(view))  # type: ignore[arg-type]
    decided = model.predict([clockwise(marked(), degrees) for degrees in DEGREES])
    assert [(one.label, one.rotation) for one in decided] == [("frontal", each) for each in DEGREES]
