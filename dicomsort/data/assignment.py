"""Whole groups to parts, so that the parts get their shares of all images and of each class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_TRIES = 8
_MOST_STEPS = 300
_MOST_MOVED, _MOST_SWAPPED = 4000, 400  # kinds of groups among which a better place is looked for
_GOOD = 1e-5  # a cost at which nothing better is looked for: deviations of about 0.001
_LEAST_GAIN = 1e-12


class Assignment(NamedTuple):
    """The part of each group: (n,). missing: how many classes are in not all parts, each part counted."""

    parts: NDArray[np.int64]
    missing: int


@dataclass(slots=True)
class _Problem:
    """Kinds of groups, of which each holds the same numbers of images.

    content: images by kind and column, all of them in column 0, then by class: (kinds, columns). number: of
    groups of a kind: (kinds,). weight: of the square of
    a deviation in images: (columns,).
    """

    content: Numbers
    number: NDArray[np.int64]
    shares: Numbers
    weight: Numbers = field(init=False)
    holds: Numbers = field(init=False)
    absent: float = field(init=False)

    def __post_init__(self) -> None:
        totals = self.number @ self.content
        self.weight = 1 / np.maximum(totals, 1) ** 2
        self.weight[0] *= max(1, len(totals) - 1)
        self.holds = (self.content[:, 1:] > 0).astype(np.float64)
        self.absent = 100.0 * len(totals)


def assign(
    groups: Sequence[Mapping[int, int]], columns: int, shares: Sequence[float], seed: int
) -> Assignment:
    """Give each group to a part, whole.

    groups: how many images of each class (0 to `columns` - 1) a group holds, `-1` for all its images. First
    of all every class gets into every part, where that can be found; then the sum of the squared deviations
    from the shares is made small, that over all images weighing as much as those of all classes together.

    Groups that hold the same are divided by their number; what is left over is given away one by one, groups
    of rare classes and large ones first, where it fits best (as in Sechidis et al. 2011, "On the
    stratification of multi-label data"); then groups move or change places while that helps. The best of a
    few tries counts. seed: decides between what is alike. The same arguments give the same answer.
    """
    kinds: dict[tuple[tuple[int, int], ...], int] = {}
    kind = np.array([kinds.setdefault(tuple(sorted(one.items())), len(kinds)) for one in groups], np.int64)
    content = np.zeros((len(kinds), columns + 1))
    for at, held in enumerate(kinds):
        for column, images in held:
            content[at, column + 1] = images
    problem = _Problem(content, np.bincount(kind, minlength=len(kinds)), np.array(shares, np.float64))
    best = min(_tries(problem, seed), key=lambda search: (search.missing(), round(search.cost(), 9)))
    return Assignment(_dealt(kind, best.given, np.random.default_rng(seed)), best.missing())


def _tries(problem: _Problem, seed: int) -> "Iterator[_Search]":
    """Yield tries of a search, up to the first that is good."""
    for number in range(_TRIES if len(problem.number) <= _MOST_MOVED else 1):
        search = _Search(problem, np.random.default_rng((seed, number)))
        search.run()
        yield search
        if search.cost() < _GOOD:
            return


def _dealt(
    kind: NDArray[np.int64], given: NDArray[np.int64], chance: np.random.Generator
) -> NDArray[np.int64]:
    """Draw which groups of each kind go to which part. given: how many do, (parts, kinds)."""
    parts = np.zeros(len(kind), np.int64)
    order = chance.permutation(len(kind))
    order = order[np.argsort(kind[order], kind="stable")]
    turns = np.repeat(np.tile(np.arange(len(given)), given.shape[1]), given.T.ravel())
    parts[order] = turns
    return parts


class _Search:
    """One try. given: how many groups of each kind every part has, (parts, kinds)."""

    def __init__(self, problem: _Problem, chance: np.random.Generator) -> None:
        self.problem = problem
        self.given = np.floor(np.outer(problem.shares, problem.number) + 1e-9).astype(np.int64)
        in_all = self.given.sum(axis=0) @ problem.content
        self._over = self.given @ problem.content - np.outer(problem.shares, in_all)  # of what is given
        self._held = self.given @ problem.holds  # groups by part and class
        self._chance = chance
        self._pairs = [(a, b) for a in range(len(self.given)) for b in range(len(self.given)) if a != b]

    def cost(self) -> float:
        """Return what is to be small: absent classes first, then the squared deviations."""
        squares = float((self._over**2 * self.problem.weight).sum())
        return self.problem.absent * self.missing() + squares

    def missing(self) -> int:
        """Count the classes that a part does not have, over all parts."""
        return int((self._held == 0).sum())

    def run(self) -> None:
        """Give away what is left over, then move and swap groups while that helps."""
        self._give_the_rest()
        content = self.problem.content[:, 0]
        order = np.lexsort((self._chance.random(len(content)), content))
        movable, swappable = np.sort(order[:_MOST_MOVED]), np.sort(order[:_MOST_SWAPPED])
        for _ in range(_MOST_STEPS):
            if self.cost() < _GOOD or not (self._moved(movable) or self._swapped(swappable)):
                return

    def _give_the_rest(self) -> None:
        problem = self.problem
        left = problem.number - self.given.sum(axis=0)
        rest = np.repeat(np.arange(len(left)), left)
        groups = problem.number @ problem.holds
        rarest = np.where(problem.holds > 0, groups, np.inf).min(axis=1, initial=np.inf)
        order = np.lexsort((self._chance.random(len(rest)), -problem.content[rest, 0], rarest[rest]))
        coming = problem.holds[rest].sum(axis=0)
        for kind in rest[order].tolist():
            self._put(kind, self._best_part(kind, coming), 1)
            self._over -= np.outer(problem.shares, problem.content[kind])
            coming -= problem.holds[kind]

    def _best_part(self, kind: int, coming: Numbers) -> int:
        """Return the part where a group fits best. coming: groups of each class that are not given yet."""
        problem, content = self.problem, self.problem.content[kind]
        costs = 2 * self._over @ (problem.weight * content)
        costs += (1 - 2 * problem.shares) * (content**2 @ problem.weight)
        lacking = self._held == 0
        urgent = (lacking.sum(axis=0) >= coming) & (problem.holds[kind] > 0)
        return int((costs - problem.absent * lacking[:, urgent].sum(axis=1)).argmin())

    def _put(self, kind: int, part: int, groups: int) -> None:
        self.given[part, kind] += groups
        self._over[part] += groups * self.problem.content[kind]
        self._held[part] += groups * self.problem.holds[kind]

    def _slopes(self, kinds: NDArray[np.int64], one: int, other: int) -> Numbers:
        """Return what moving an infinitely small share of each kind from one part to the other costs."""
        slope: Numbers = self.problem.content[kinds] @ (
            self.problem.weight * (self._over[other] - self._over[one])
        )
        return slope

    def _moved(self, kinds: NDArray[np.int64]) -> bool:
        """Move the group from one part to another that helps most; return whether there is any."""
        problem, best = self.problem, (-_LEAST_GAIN, -1, 0, 0)
        squares = problem.content[kinds] ** 2 @ problem.weight
        holds = problem.holds[kinds]
        for one, other in self._pairs:
            costs = 2 * (self._slopes(kinds, one, other) + squares)
            costs += problem.absent * (holds @ (self._held[one] == 1) - holds @ (self._held[other] == 0))
            costs[self.given[one, kinds] == 0] = np.inf
            at = int(costs.argmin())
            best = min(best, (float(costs[at]), int(kinds[at]), one, other))
        _, kind, one, other = best
        if kind < 0:
            return False
        self._put(kind, one, -1)
        self._put(kind, other, 1)
        return True

    def _swapped(self, kinds: NDArray[np.int64]) -> bool:
        """Let the two groups change places that help most; return whether there are any."""
        problem, best = self.problem, (-_LEAST_GAIN, -1, -1, 0, 0)
        weighted = problem.content[kinds] * problem.weight
        inner = weighted @ problem.content[kinds].T
        squares = np.diag(inner)
        apart = squares[:, None] + squares[None] - 2 * inner
        for one, other in (pair for pair in self._pairs if pair[0] < pair[1]):
            slopes = self._slopes(kinds, one, other)
            costs = 2 * (slopes[:, None] - slopes[None] + apart)
            costs += problem.absent * (self._lost(kinds, one, other) + self._lost(kinds, other, one).T)
            costs[self.given[one, kinds] == 0] = np.inf
            costs[:, self.given[other, kinds] == 0] = np.inf
            first, second = np.unravel_index(int(costs.argmin()), costs.shape)
            found = (float(costs[first, second]), int(kinds[first]), int(kinds[second]), one, other)
            best = min(best, found)
        _, kind, in_turn, one, other = best
        if kind < 0:
            return False
        for each, source, target in ((kind, one, other), (in_turn, other, one)):
            self._put(each, source, -1)
            self._put(each, target, 1)
        return True

    def _lost(self, kinds: NDArray[np.int64], one: int, other: int) -> Numbers:
        """Count the classes that are absent from then on, but for those that no longer are.

        For each kind that goes from one part to the other, in turn for each kind: (kinds, kinds).
        """
        holds = self.problem.holds[kinds]
        change = (self._held[one] == 1).astype(np.float64) - (self._held[other] == 0)
        lost: Numbers = (holds * change) @ (1 - holds).T
        return lost
