"""Fitting a picture to the canvas."""

import numpy as np
import pytest

from dicomsort.preprocess import Preprocessing, fit, fitted_shape, shrink


def area_average(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Average over exact areas, fractions of pixels included."""

    def weights(source: int, target: int) -> np.ndarray:
        edges = np.linspace(0, source, target + 1)
        starts, ends = edges[:-1, None], edges[1:, None]
        pixels = np.arange(source)[None]
        overlap = np.clip(np.minimum(ends, pixels + 1) - np.maximum(starts, pixels), 0, 1)
        return np.asarray(overlap / overlap.sum(axis=1, keepdims=True))

    return np.asarray(weights(image.shape[0], height) @ image @ weights(image.shape[1], width).T)


@pytest.mark.parametrize("shape", [(500, 400), (61, 300), (1000, 1000), (225, 223)])
def test_shrinking_is_close_to_the_exact_area_average(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    smooth = np.add.outer(np.sin(np.arange(shape[0]) / 20), np.cos(np.arange(shape[1]) / 15)) * 60 + 128
    image = (smooth + generator.normal(0, 5, shape)).astype(np.float32)
    got = shrink(image, fitted_shape(*shape, 224))
    assert max(got.shape) == 224
    assert np.abs(got - area_average(image, *got.shape)).mean() < 1.0


def test_the_aspect_ratio_is_kept_and_the_rest_is_filled() -> None:
    canvas = fit(np.full((100, 50), 200, np.float32), Preprocessing(size=64, fill=9))
    assert canvas.shape == (64, 64)
    assert canvas.dtype == np.uint8
    assert (canvas[:, 16:48] == 200).all()
    assert (canvas[:, :16] == 9).all()
    assert (canvas[:, 48:] == 9).all()


def test_small_images_grow() -> None:
    canvas = fit(np.array([[0, 255], [255, 0]], np.float32), Preprocessing(size=64))
    assert canvas[0, 0] == 0
    assert canvas[0, -1] == 255


@pytest.mark.parametrize(
    ("rows", "columns", "aspect", "wanted"),
    [
        (100, 100, 1.0, (64, 64)),
        (200, 100, 1.0, (64, 32)),
        (100, 100, 0.5, (32, 64)),
        (1, 5000, 1.0, (1, 64)),
    ],
)
def test_fitted_shape(rows: int, columns: int, aspect: float, wanted: tuple[int, int]) -> None:
    assert fitted_shape(rows, columns, 64, aspect) == wanted


@pytest.mark.parametrize("size", [0, 31, 1025])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="canvas size"):
        Preprocessing(size=size)
