"""Means of two models' weights: what fits, what does not."""

from dataclasses import replace

import average_weights
import numpy as np
import pytest

from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model.bundle import Bundle


def shifted(bundle: Bundle, by: float) -> Bundle:
    weights = {name: (value + by).astype(value.dtype) for name, value in bundle.weights.items()}
    return replace(bundle, weights=weights)


def test_the_mean_lies_in_the_middle_and_keeps_its_kind(small_bundle: Bundle) -> None:
    mean = average_weights.averaged(small_bundle, shifted(small_bundle, 0.5))
    assert mean.keys() == small_bundle.weights.keys()
    for name, value in mean.items():
        assert value.dtype == small_bundle.weights[name].dtype
        middle = small_bundle.weights[name].astype(np.float64) + 0.25
        assert np.allclose(value.astype(np.float64), middle, atol=2e-3 * (1 + np.abs(middle)))
    assert all(
        np.array_equal(average_weights.averaged(small_bundle, small_bundle)[name], value)
        for name, value in small_bundle.weights.items()
    )


def test_models_that_do_not_fit_are_refused(small_bundle: Bundle) -> None:
    larger = replace(small_bundle, preprocessing=Preprocessing(size=96))
    with pytest.raises(ValueError, match="canvas"):
        average_weights.averaged(small_bundle, larger)
    labels = replace(small_bundle.head, labels=(*small_bundle.head.labels[:-1], "skull"))
    with pytest.raises(ValueError, match="questions"):
        average_weights.averaged(small_bundle, replace(small_bundle, head=labels))


def test_nobody_is_judged_by_what_the_other_has_seen(small_bundle: Bundle) -> None:
    one = replace(small_bundle, split={"a": "train", "b": "train"})
    assert average_weights.averaged(one, replace(one, split={"a": "train"}))
    with pytest.raises(ValueError, match="trained on images"):
        average_weights.averaged(one, replace(one, split={"a": "train", "b": "test"}))
