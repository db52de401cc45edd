"""Whole groups to parts: as near to the shares as can be, which small cases let one count out."""

import time
from collections import Counter

import numpy as np
import pytest

from dicomsort.data.assignment import assign

SHARES = (0.7, 0.15, 0.15)


def groups_of(*classes: list[int]) -> list[Counter[int]]:
    """Groups of one class each: their numbers of images, class by class."""
    return [Counter({-1: size, at: size}) for at, sizes in enumerate(classes) for size in sizes]


def counted(groups: list[Counter[int]], parts: list[int], column: int) -> list[int]:
    return [sum(g[column] for g, own in zip(groups, parts, strict=True) if own == part) for part in range(3)]


def cost(groups: list[Counter[int]], parts: list[int], classes: int) -> tuple[int, float]:
    """Absent classes, and squared deviations: those of all images as heavy as those of all classes."""
    absent, squares = 0, 0.0
    for column in range(-1, classes):
        found = counted(groups, parts, column)
        absent += found.count(0) if column >= 0 else 0
        weight = classes if column < 0 else 1
        squares += weight * sum((n / sum(found) - share) ** 2 for n, share in zip(found, SHARES, strict=True))
    return absent, squares


def least(groups: list[Counter[int]], classes: int) -> tuple[int, float]:
    """The lowest cost of all assignments there are."""
    content = np.array([[group[column] for column in range(-1, classes)] for group in groups], float)
    every = np.indices((3,) * len(groups)).reshape(len(groups), -1)
    found = np.stack([(every == part).T @ content for part in range(3)])
    absent = (found[:, :, 1:] == 0).sum(axis=(0, 2))
    off = (found / content.sum(axis=0) - np.array(SHARES)[:, None, None]) ** 2
    squares = (off.sum(axis=0) * ([classes] + [1] * classes)).sum(axis=1)
    return int(absent.min()), float(squares[absent == absent.min()].min())


@pytest.mark.parametrize(
    "sizes",
    [
        ([1] * 3, [1] * 4),
        ([4, 1, 1], [2, 2, 1, 1]),
        ([9], [3, 2, 1, 1, 1]),
        ([5, 4, 3, 2, 1], [2, 1, 1]),
        ([6, 5, 1, 1], [7, 1, 1, 1]),
        ([1, 1], [1, 1, 1], [1, 2, 3]),
    ],
)
def test_no_assignment_at_all_is_better_than_the_one_found(sizes: tuple[list[int], ...]) -> None:
    groups = groups_of(*sizes)
    absent, squares = least(groups, len(sizes))
    found = assign(groups, len(sizes), SHARES, seed=0)
    assert found.missing == absent
    missing, got = cost(groups, found.parts.tolist(), len(sizes))
    assert missing == absent
    assert got == pytest.approx(squares)


def test_images_of_several_classes_are_divided_as_well_as_can_be() -> None:
    rng = np.random.default_rng(5)
    for _ in range(5):
        groups = []
        for _ in range(8):
            held = rng.integers(0, 3, 3)
            groups.append(
                Counter({-1: int(held.sum() + 1), **{at: int(n) for at, n in enumerate(held) if n}})
            )
        absent, squares = least(groups, 3)
        found = assign(groups, 3, SHARES, seed=0)
        missing, got = cost(groups, found.parts.tolist(), 3)
        assert missing == absent == found.missing
        assert got <= squares * 1.05 + 1e-9


def test_twenty_single_images_of_each_class_are_divided_to_the_image() -> None:
    groups = groups_of([1] * 20, [1] * 40)
    parts = assign(groups, 2, SHARES, seed=3).parts.tolist()
    assert counted(groups, parts, 0) == [14, 3, 3]
    assert counted(groups, parts, 1) == [28, 6, 6]


def test_a_patient_with_a_third_of_a_class_costs_nothing_if_the_others_can_make_up_for_it() -> None:
    groups = groups_of([40] + [2] * 40, [2] * 60)
    parts = assign(groups, 2, SHARES, seed=0).parts.tolist()
    assert counted(groups, parts, 0) == [84, 18, 18]
    assert counted(groups, parts, -1) == [168, 36, 36]
    assert parts[0] == 0, "the large patient is trained on"


def test_a_class_of_as_many_groups_as_parts_is_in_each_whatever_else_its_groups_hold() -> None:
    rare = [Counter({-1: 30, 0: 1, 1: 29}), Counter({-1: 1, 0: 1}), Counter({-1: 5, 0: 2, 2: 3})]
    groups = [*rare, *(Counter({-1: 2, 1 + n % 2: 2}) for n in range(60))]
    for seed in range(5):
        found = assign(groups, 3, SHARES, seed)
        assert found.missing == 0
        assert sorted(found.parts[:3].tolist()) == [0, 1, 2]
    assert assign(groups_of([1] * 2, [1] * 30), 2, SHARES, seed=0).missing == 1


def test_the_seed_decides_between_what_is_alike_and_nothing_else() -> None:
    groups = groups_of([1] * 30, [3] * 20)
    one, again, other = (assign(groups, 2, SHARES, seed).parts.tolist() for seed in (1, 1, 2))
    assert one == again != other
    assert counted(groups, one, -1) == counted(groups, other, -1) == [63, 13, 14] or (
        sorted(counted(groups, one, -1)) == sorted(counted(groups, other, -1))
    )


def test_very_many_groups_are_divided_at_once_and_exactly() -> None:
    rng = np.random.default_rng(0)
    groups = groups_of(*(rng.integers(1, 6, count).tolist() for count in (20000, 9000, 900, 80, 20)))
    before = time.process_time()
    parts = assign(groups, 5, SHARES, seed=0).parts
    assert time.process_time() - before < 5
    for column in range(-1, 5):
        held = np.array([group[column] for group in groups])
        shares = np.bincount(parts, held, 3) / held.sum()
        assert np.abs(shares - SHARES).max() < (0.001 if held.sum() > 1000 else 0.02)
