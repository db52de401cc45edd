"""A tree of labels from its file into the bundle, and what the program says of it."""

from pathlib import Path

import numpy as np
import pytest
from program import inside
from trainings import SMALL, table

import dicomsort
from dicomsort.data.targets import encode
from dicomsort.errors import ExitCode, UsageError
from dicomsort.model import bundle as bundles
from dicomsort.model.heads import Head
from dicomsort.training.label_tree import lines_of, read_tree, with_tree

BODY_PARTS = Path(__file__).parents[2] / "models" / "body-parts.csv"
PARTS = Head("part", ("arm", "finger", "hand", "nail"), kind="multilabel")


def truth_of(*cells: str) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.stack([encode(cell, PARTS) for cell in cells])


def test_labels_with_fewer_than_20_training_images_are_rare() -> None:
    truth = truth_of(*["hand|finger"] * 19, *["hand"] * 10, *["arm"] * 20, "nail", "")
    (head,) = with_tree([PARTS], (("finger", "hand"),), truth)
    assert head.rare == ("finger", "nail")
    assert head.merged == {"finger": "hand"}
    assert list(lines_of([head])) == [
        "'part': fewer than 20 training images: finger (answered as hand), nail"
    ]
    enough = truth_of(*["hand|finger|nail|arm"] * 20)
    (head,) = with_tree([PARTS], (("finger", "hand"),), enough)
    assert (head.rare, head.merged, list(lines_of([head]))) == ((), {}, [])


def test_each_head_takes_its_part_of_the_tree() -> None:
    metal = Head("metal", ("no_metal", "metal"), kind="binary")
    truth = np.concatenate([truth_of(*["hand"] * 30), np.ones((30, 1), np.float32)], axis=1)
    parts, other = with_tree([PARTS, metal], (("finger", "hand"),), truth)
    assert (parts.parents, other.parents, other.rare) == ({"finger": "hand"}, {}, ("no_metal",))
    with pytest.raises(UsageError, match="no target has both labels 'finger' and 'metal'"):
        with_tree([PARTS, metal], (("finger", "metal"),), truth)
    with pytest.raises(UsageError, match="circle"):
        with_tree([PARTS], (("finger", "hand"), ("hand", "finger")), truth[:, :4])


def test_the_tree_of_body_parts_fits_the_shipped_model() -> None:
    labels = bundles.load(bundles.locate("bodypart"), with_graph=False).head.labels
    tree = dict(read_tree(BODY_PARTS))
    head = Head("body_parts", labels, kind="multilabel", parents=tree, rare=("finger", "clavicle", "sinus"))
    assert head.merged == {"finger": "hand", "clavicle": "shoulder", "sinus": "skull"}


WRONG = {
    "label,parent\na,b\na,c\n": "two parents",
    "child,parent\na,b\n": "columns label,parent",
    "label,parent\na\n": "columns label,parent",
    "": "columns label,parent",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_a_file_that_is_no_tree_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "tree.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_tree(tmp_path / "tree.csv")


def test_train_takes_a_tree_and_eval_says_what_counts_as_what(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shades = ["white", "black", "white", "black", "white", "gray"]
    data = table(tmp_path / "data", 96, shade=shades, patient=[str(number) for number in range(96)])
    (tmp_path / "tree.csv").write_text("label,parent\ngray,black\n")
    words = ("train", data, "--target", "shade", "--tree", tmp_path / "tree.csv", *SMALL, "--epochs", "2")
    ran = inside(capfd, *words, "--out", tmp_path / "m")
    assert ran.code == 0, ran.err
    assert "gray (answered as black)" in ran.err
    assert "gray (answered as black)" in (tmp_path / "m" / "README.md").read_text()
    bundle = bundles.load(tmp_path / "m")
    assert (bundle.head.parents, bundle.head.merged) == ({"gray": "black"}, {"gray": "black"})
    assert bundle.training["recipe"]["tree"] == [["gray", "black"]]
    told = inside(capfd, *words, "--out", tmp_path / "m", "--resume")
    assert "holds the finished model already" in told.err
    found = dicomsort.evaluate(
        data, tmp_path / "m", target="shade", part="all", bootstrap=10, workers=1, device="cpu"
    )
    figures = found.as_dict()["heads"]["shade"]
    assert (figures["labels"], figures["merged"]) == (["black", "white"], {"gray": "black"})
    assert figures["support"] == {"black": 48, "white": 48}
    assert any("count as others: gray as black" in line for line in found.remarks)


def test_a_tree_is_for_one_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path / "data")
    (tmp_path / "tree.csv").write_text("label,parent\nbright,dark\n")
    words = ("train", data, "--target", "light", "--tree", tmp_path / "tree.csv", "--out", tmp_path / "m")
    ran = inside(capfd, *words, *SMALL, "--folds", "2")
    assert ran.code == ExitCode.USAGE
    assert "leave one of them away" in ran.err
