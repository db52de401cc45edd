"""How the reject score is measured: thresholds, means over kinds, and what the model was asked."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asking
import numpy as np
import pytest
import reject
from asking import Asked, Group, Said
from negatives import Negative
from PIL import Image
from predictors import FixedPredictor

from dicomsort.data.dataset import Sample
from dicomsort.imaging.canvas import Canvas
from dicomsort.model.bundle import Bundle, Reject

HUNDRED = tuple(float(each) for each in range(1, 101))


def said_of(items: Sequence[Any], scores: Sequence[float]) -> Said[Any]:
    values = np.array(scores)[:, None]
    return Said(tuple(items), values, values <= 2, ())


def samples(count: int) -> list[Sample]:
    return [
        Sample(f"{at}.png", f"{at}.png", ("spine",), f"patient {at}", f"{at:016}", "north")
        for at in range(count)
    ]


def negative(kind: str, half: str, origin: str) -> Negative:
    return Negative(Path(f"{origin}.png"), kind, half, origin)


@pytest.fixture
def asked(small_bundle: Bundle) -> Asked:
    kinds = [negative("ct_a", "tune", f"ct {at}") for at in range(4)]
    kinds += [negative("scene", "tune", "scene"), negative("form", "report", "form")]
    parts = {"validation": said_of(samples(2), (1, 99.5)), "test": said_of(samples(100), HUNDRED)}
    return Asked(
        bundle=replace(small_bundle, reject=Reject(90.0)),
        negatives=said_of(kinds, (80, 92, 97, 99.2, 200, 1)),
        parts=parts,
        changed=Said(
            parts["test"].items, np.tile(parts["test"].scores, 10), np.ones((100, 10), np.bool_), ()
        ),
        dicom=said_of([Path("a.dcm"), Path("b.dcm")], (50, 95)),
    )


@pytest.mark.parametrize(("false", "rejected"), [(0.0, 0), (0.005, 0), (0.01, 1), (0.07, 7), (0.29, 29)])
def test_a_threshold_rejects_the_share_of_radiographs_that_it_should(false: float, rejected: int) -> None:
    scores = np.random.default_rng(0).permutation(HUNDRED)
    assert (scores > reject.threshold_for(scores, false)).sum() == rejected


def test_the_table_of_thresholds(asked: Asked) -> None:
    own, *_ = steps = reject.ladder(asked)
    assert len(steps) == 1 + len(reject.LADDER)
    assert (own.threshold, own.test, own.validation, own.dicom) == (90, 0.1, 0.5, 0.5)
    assert own.negatives == {"tune": (0.75 + 1) / 2, "report": 0.0}
    one = next(step for step in steps if step.name.startswith("1.0 %"))
    assert (one.threshold, one.test, one.dicom) == (99, 0.01, 0.0)
    assert one.negatives == {"tune": (0.25 + 1) / 2, "report": 0.0}


def test_kinds_count_alike_whatever_their_pictures() -> None:
    rejected = np.array([1, 1, 1, 0, 0], np.bool_)
    of_kinds, of_images = reject.over_kinds(rejected, list("aaaab"), list("1234x"), 300)
    assert (of_kinds.value, of_images.value) == (0.375, 0.6)
    assert of_kinds.high <= 0.5, "the other kind has one origin, which is not rejected"
    assert 0 < of_kinds.low < 0.375


def test_auc_counts_ties_half() -> None:
    def group(*scores: float) -> Group:
        return Group(
            np.array(scores), np.ones(len(scores), np.bool_), np.array(list("abcdef"[: len(scores)]))
        )

    assert reject.auc(group(2, 4), group(1, 2, 3)).value == pytest.approx((1.5 + 3) / 6)
    assert reject.auc(group(7), group(1, 2)).value == 1


def test_every_table_is_written(asked: Asked) -> None:
    report = reject.report_on(replace(asked, dicom=None), None, 20)
    text = reject.report_text(report)
    assert "| tune | ct_a | 4 | 4 |" in text
    assert [row.name for row in report.radiographs["test"]] == ["all", "spine", "north"]
    assert report.radiographs["test"][0].rejected.value == 0.1
    assert report.radiographs["test"][0].review.value == 0.98
    assert [row.name for row in report.changed] == list(asking.conditions())


class Brightness(FixedPredictor):
    """The reject score is the mean brightness."""

    def logits(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        bright = images.reshape(len(images), -1).mean(axis=1, keepdims=True)
        return np.concatenate([super().logits(images), bright], axis=1).astype(np.float32)


def test_pictures_are_asked_in_their_order(small_bundle: Bundle, tmp_path: Path) -> None:
    greys = [int(each) for each in np.random.default_rng(0).permutation(21)]
    for at, gray in enumerate(greys):
        Image.new("L", (64, 64), 10 * gray).save(tmp_path / f"{at}.png")
    items = [negative("scene", "tune", "one") for _ in greys]
    items = [replace(each, path=tmp_path / f"{at}.png") for at, each in enumerate(items)]
    broken = replace(items[0], path=tmp_path / "none.png")
    predictor = Brightness(replace(small_bundle, reject=Reject(99.0)))

    def read(item: Negative) -> Canvas:
        return asking.read_picture(item, small_bundle.preprocessing)

    (tmp_path / "none.png").write_text("no picture")
    said = asking.ask(predictor, [*items[:5], broken, *items[5:]], read)
    assert said.scores[:, 0].tolist() == [10 * gray for gray in greys]
    assert said.unread == (broken,)
    assert list(said.items) == items
    assert not said.filed[said.scores > 99].any()


def test_the_conditions_keep_a_radiograph_one(small_bundle: Bundle, tmp_path: Path) -> None:
    gray = (np.add.outer(np.arange(60), 2 * np.arange(50)) % 200).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "0.png")
    sample = replace(samples(1)[0], file=str(tmp_path / "0.png"))
    changes = asking.conditions()
    canvases = asking.read_changed(sample, small_bundle.preprocessing, tuple(changes.values()))
    assert canvases.shape == (len(changes), 64, 64)
    of = dict(zip(changes, canvases, strict=True))
    assert np.array_equal(of["PNG"], of[asking.AS_IS])
    assert np.array_equal(of[asking.AS_IS], asking.read_picture(sample, small_bundle.preprocessing)[0])
    assert len({canvas.tobytes() for canvas in canvases}) == len(changes) - 1
