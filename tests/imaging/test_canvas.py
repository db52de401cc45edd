"""Fitting a picture to the canvas."""

import numpy as np
import pytest
from scipy import ndimage

from dicomsort.imaging.canvas import Preprocessing, _average, fit, fitted_shape, shrink, to_canvas


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


@pytest.mark.parametrize("kind", ["u1", "u2", ">u2", "i2", "i1", "i4", "f4"])
@pytest.mark.parametrize("bits", [None, 12, 1], ids=["all bits", "12 bits", "1 bit"])
@pytest.mark.parametrize("shape", [(301, 240), (7, 900), (130, 131)])
def test_squares_are_averaged_exactly(kind: str, bits: int | None, shape: tuple[int, int]) -> None:
    """Sums are made in narrow types; none may overflow, at the edges neither."""
    image = _extremes(kind, bits, shape)
    unsigned_bits = bits if "u" in kind else None
    for factor in (2, 3, 5, 9, 16, 17, 130, 200):
        sides = [np.arange(0, side, factor) for side in shape]
        sums = np.add.reduceat(np.add.reduceat(image.astype(np.float64), sides[0], axis=0), sides[1], axis=1)
        counts = np.outer(*(np.diff([*starts, side]) for starts, side in zip(sides, shape, strict=True)))
        means = _average(image, factor, unsigned_bits)
        assert np.allclose(means, sums / counts, rtol=1e-5, atol=1e-3)
        assert kind == "f4" or (means == (sums / counts).astype(np.float32)).all()


def _extremes(kind: str, bits: int | None, shape: tuple[int, int]) -> np.ndarray:
    """Return random values of a type, of so many bits, and rows of the lowest and the highest of them."""
    random = np.random.default_rng(0)
    if kind == "f4":
        return random.normal(0, 1000, shape).astype(kind)
    limits = np.iinfo(kind)
    low, high = (
        (max(limits.min, 1 - (1 << bits)), min(limits.max, (1 << bits) - 1))
        if bits
        else (limits.min, limits.max)
    )
    image = random.integers(low, high, shape, np.int64, endpoint=True)
    image[: shape[0] // 2] = high
    image[-shape[0] // 4 :] = low
    return image.astype(kind)


def test_a_very_long_image_of_the_highest_value_stays_white() -> None:
    assert (shrink(np.full((546, 65535), 65535, np.uint16), (1, 60)) == 65535).all()


def test_filters_of_the_canvas_are_those_of_scipy() -> None:
    noise = np.random.default_rng(0).normal(128, 40, (64, 64)).clip(0, 255).astype(np.float32)
    plain = to_canvas(noise, Preprocessing(size=64))
    inside = np.s_[4:-4, 4:-4]  # edges are continued in different ways
    median = to_canvas(noise, Preprocessing(size=64, smooth="median"))
    assert np.array_equal(median[inside], ndimage.median_filter(plain, 3)[inside])
    gaussian = to_canvas(noise, Preprocessing(size=64, smooth="gaussian"))
    wanted = ndimage.gaussian_filter(plain.astype(float), 1)
    assert np.abs(gaussian[inside] - wanted[inside]).mean() < 2
    assert np.abs(plain[inside] - wanted[inside]).mean() > 20
