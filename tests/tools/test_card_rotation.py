"""How well rotations are told: which pictures are shown, and what the second look makes of the answers."""

from dataclasses import replace
from pathlib import Path

import card_rotation
import numpy as np
import pytest
from card_rotation import Turned
from numpy.typing import NDArray
from PIL import Image
from predictors import FixedPredictor

from dicomsort.data.dataset import Sample
from dicomsort.evaluation.evaluate import Measured
from dicomsort.evaluation.metrics import Metrics, Predictions, measure
from dicomsort.evaluation.predictions import Prediction, Question
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head
from dicomsort.outcome import Header
from dicomsort.system.pool_settings import PoolSettings

VIEW = Head("view", ("frontal", "lateral"))
ROTATION = Head("rotation", ("90", "0", "270", "180"), review_below=0.8)
"""Its labels are not in the order of the angles on purpose."""


class BrightSide(FixedPredictor):
    """Takes the side that is bright for the top, and what is bright at the top for frontal."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        half = images.shape[1] // 2
        sides = {"0": images[:, :half], "90": images[:, :, half:], "180": images[:, half:],
                 "270": images[:, :, :half]}  # fmt: skip
        means = {name: side.mean(axis=(1, 2)) for name, side in sides.items()}
        columns = [means["0"] - 99, 99 - means["0"], *(means[label] for label in ROTATION.labels)]
        return np.stack(columns, axis=1).astype(np.float32)


def scores_of(*told: tuple[str, float]) -> NDArray[np.float32]:
    """One image: what is said in each position, and how sure it is; lateral of all of them but the first."""
    rows = []
    for at, (label, sure) in enumerate(told):
        rest = dict.fromkeys(ROTATION.labels, (1 - sure) / 3) | {label: sure}
        rows.append([float(at == 0), float(at > 0), *rest.values()])
    return np.array([rows], np.float32)


def turned(*told: tuple[str, float]) -> Turned:
    return Turned(ROTATION, (VIEW, ROTATION), scores_of(*told), ("a.png",), np.zeros(1, np.int64))


def few(predictions: Predictions) -> Metrics:
    return measure(predictions, 20, 0)


@pytest.fixture
def bundle(small_bundle: Bundle) -> Bundle:
    return replace(small_bundle, head=VIEW, further=(ROTATION,), reject=None)


def test_every_image_is_shown_in_four_positions(tmp_path: Path, bundle: Bundle) -> None:
    pixels = np.full((40, 40), 5, np.uint8)
    pixels[:20] = 230
    samples = []
    for name in ("b.png", "a.png"):
        Image.fromarray(pixels).save(tmp_path / name)
        samples.append(Sample(str(tmp_path / name), name, (), name, "0" * 16))
    found = card_rotation.turned_of(BrightSide(bundle), samples, PoolSettings(workers=1))
    assert found is not None
    assert found.names == ("a.png", "b.png")
    assert found.seen.tolist() == [[0, 1, 2, 3]] * 2
    assert found.sure.all()
    assert (found.settled == 0).all()


def test_a_model_without_such_a_head_is_not_asked(bundle: Bundle) -> None:
    plain = replace(bundle, further=())
    assert card_rotation.turned_of(BrightSide(plain), [], PoolSettings(workers=1)) is None


@pytest.mark.parametrize(
    ("told", "settled"),
    [
        ((("0", 0.9), ("90", 0.9), ("180", 0.9), ("270", 0.9)), [0, 0, 0, 0]),
        ((("0", 0.9), ("90", 0.7), ("180", 0.9), ("270", 0.9)), [0, 1, 0, 0]),  # not sure: stays
        ((("90", 0.9), ("90", 0.9), ("180", 0.9), ("270", 0.9)), [0, 1, 2, 3]),  # never looks upright
        ((("90", 0.9), ("0", 0.9), ("0", 0.9), ("0", 0.9)), [3, 1, 2, 3]),  # upright is made wrong
    ],
)
def test_the_second_look_decides_how_a_picture_lies_in_the_end(
    told: tuple[tuple[str, float], ...], settled: list[int]
) -> None:
    assert turned(*told).settled.tolist() == [settled]


def test_the_table_counts_what_is_made_wrong_and_the_answers_after_the_second_look() -> None:
    found = turned(("0", 0.9), ("90", 0.9), ("180", 0.7), ("270", 0.9))
    sample = Sample("a.png", "a.png", ("frontal",), "a", "0" * 16)
    known = (Prediction(sample, Header(), np.array([1, 0], np.float32)),)
    one = Predictions("multiclass", VIEW.labels, np.array([0]), np.array([0]), np.array([[1.0, 0.0]]))
    measured = Measured(Question("view", 0, 0, VIEW), known, one, few(one), {})
    text = " ".join("\n".join(card_rotation.rotation_text(found, measured, few)).split())
    assert "| 0° | 1 | 1.000 | 1.000 | 1.000 | 1.000 | 0 |" in text
    assert "| 180° | 1 | 1.000 | 0.000 | - | 0.000 | 0 |" in text
    assert "it is right in 0.000 as they lie, and in 0.667 once the sure ones are turned back" in text
    assert "Accuracy 1.000" in text
    upset = turned(("90", 0.9), ("0", 0.9), ("0", 0.9), ("0", 0.9))
    assert "| 0° | 1 | 0.000 | 1.000 | 0.000 | 0.000 | 1 |" in "\n".join(
        card_rotation.rotation_text(upset, measured, few)
    )
