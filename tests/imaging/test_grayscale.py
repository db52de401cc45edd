"""Stored values to gray levels, against values computed by hand from the standard's formulas."""

import numpy as np
import pytest

from dicomsort.imaging.grayscale import ConstantImageError, GrayscaleTransform, LookUpTable, Window, render

RAMP = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)


def gray(scale: GrayscaleTransform, stored: np.ndarray = RAMP) -> np.ndarray:
    return render(stored, scale, (64, 64))[0]


def test_linear_window_follows_the_standard() -> None:
    # PS3.3 C.11.2.1.2.1: c - 0.5 - (w - 1) / 2 is black, c - 0.5 + (w - 1) / 2 is white.
    values = np.array([[0, 1000, 1024, 2047, 3070, 4095]] * 6, np.uint16)
    got = render(values, GrayscaleTransform(window=Window(2048, 2048)), (6, 6))[0][0]
    wanted = np.clip(((np.array([0, 1000, 1024, 2047, 3070, 4095]) - 2047.5) / 2047 + 0.5) * 255, 0, 255)
    assert np.allclose(got, wanted, atol=0.01)


def test_linear_exact_window() -> None:
    got = gray(GrayscaleTransform(window=Window(2048, 2048, "LINEAR_EXACT")))
    assert np.allclose(got, np.clip((RAMP.astype(float) - 1024) / 2048 * 255, 0, 255), atol=0.01)


def test_sigmoid_window() -> None:
    got = gray(GrayscaleTransform(window=Window(2000, 500, "SIGMOID")))
    assert np.allclose(got, 255 / (1 + np.exp(-4 * (RAMP.astype(float) - 2000) / 500)), atol=0.01)


def test_rescale_comes_before_the_window() -> None:
    got = gray(GrayscaleTransform(slope=2.0, intercept=-100.0, window=Window(2000, 1000, "LINEAR_EXACT")))
    assert np.allclose(got, np.clip((RAMP * 2.0 - 100 - 1500) / 1000 * 255, 0, 255), atol=0.05)


def test_inverse_is_applied_once_and_last() -> None:
    window = Window(2048, 2048)
    assert np.allclose(
        gray(GrayscaleTransform(window=window, inverse=True)), 255 - gray(GrayscaleTransform(window=window))
    )


def test_without_a_window_the_percentiles_are_black_and_white() -> None:
    spoiled = RAMP.copy()
    spoiled[0, 0], spoiled[-1, -1] = 0, 65535
    got = gray(GrayscaleTransform(), spoiled)
    assert got.min() == 0
    assert got.max() == 255
    assert 120 < np.median(got) < 135


@pytest.mark.parametrize(
    "window",
    [Window(100000, 50), Window(-9000, 100), Window(2000, 0), Window(2000, -5), Window(float("nan"), 10)],
)
def test_an_unusable_window_gives_way_to_percentiles(window: Window) -> None:
    image, window_used = render(RAMP, GrayscaleTransform(window=window), (64, 64))
    assert not window_used
    assert np.array_equal(image, gray(GrayscaleTransform()))


def test_voi_lut_takes_values_at_its_ends_beyond_them() -> None:
    table = LookUpTable(1000, np.array([0, 50, 100, 255], np.uint16))
    values = np.array([[0, 1000, 1001], [1002, 1003, 4000]], np.uint16)
    got = render(values, GrayscaleTransform(voi_lut=table), (2, 3))[0]
    assert got.tolist() == [[0, 0, 50], [100, 255, 255]]


def test_modality_lut_replaces_the_rescale() -> None:
    table = LookUpTable(0, (np.arange(4096) // 2).astype(np.uint16))
    got = gray(
        GrayscaleTransform(
            slope=100, intercept=7, modality_lut=table, window=Window(1024, 2048, "LINEAR_EXACT")
        )
    )
    assert np.allclose(got, RAMP // 2 / 2048 * 255, atol=0.2)


@pytest.mark.parametrize(
    "scale", [GrayscaleTransform(), GrayscaleTransform(voi_lut=LookUpTable(0, np.array([7, 7], np.uint16)))]
)
def test_a_constant_image_is_refused(scale: GrayscaleTransform) -> None:
    with pytest.raises(ConstantImageError):
        render(np.full((9, 9), 77, np.uint16), scale, (9, 9))


@pytest.mark.parametrize("shape", [(350, 300), (70, 50)], ids=["full", "averaged in strips"])
@pytest.mark.parametrize(
    "scale",
    [
        GrayscaleTransform(),
        GrayscaleTransform(padding=(0, 400)),
        GrayscaleTransform(voi_lut=LookUpTable(0, np.arange(4096, dtype=np.uint16), 12)),
    ],
    ids=["plain", "with padding", "with a table"],
)
def test_bits_above_those_that_count_change_nothing(
    shape: tuple[int, int], scale: GrayscaleTransform
) -> None:
    clean = np.linspace(0, 4095, 700 * 600).reshape(700, 600).astype(np.uint16)
    drawn_over = clean.copy()
    drawn_over[:100] |= 1 << 12
    drawn_over[-1, -1] |= 1 << 15
    wanted = render(clean, scale, shape)[0]
    assert np.array_equal(wanted, render(drawn_over, scale, shape, bits=12)[0])
    assert not np.array_equal(wanted, render(drawn_over, scale, shape)[0])
