"""Films that lie on their side or head: how a model tells, and a second look at them upright."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dicomsort.model.heads import Decision, Head
from dicomsort.outcome import ReadImage

ROTATION = "rotation"
"""The name of a head that tells by how many degrees a picture is turned."""

DEGREES = ("0", "90", "180", "270")
"""Its labels: the picture is seen turned clockwise by so many degrees from upright."""

Ask = Callable[[Sequence[ReadImage]], list[Decision]]


@dataclass(frozen=True, slots=True)
class Compass:
    """A rotation head, and its place among all heads of the models that are asked."""

    head: Head
    place: int

    def looked_again(
        self, pictures: Sequence[ReadImage], decided: list[Decision], ask: Ask
    ) -> list[Decision]:
        """Return the decisions about pictures, of those that are surely turned as they are seen upright.

        decided: what was said of the pictures as they lie. ask: asks all models; called once, with the turned
        ones alone, if there are any. Each decision tells its `rotation` if that is sure. A picture that does
        not look upright on the second look either keeps its first decision, and tells none.
        """
        degrees = [self._degrees(one) for one in decided]
        turned = [place for place, each in enumerate(degrees) if each]
        again = ask([upright(pictures[place], degrees[place] or 0) for place in turned]) if turned else []
        told = [replace(one, rotation=each) for one, each in zip(decided, degrees, strict=True)]
        for place, second in zip(turned, again, strict=True):
            is_upright = self._seen(second).label == DEGREES[0]
            told[place] = self._settled(told[place], second) if is_upright else decided[place]
        return told

    def _seen(self, decision: Decision) -> Decision:
        return decision.further[self.place - 1] if self.place else decision

    def _degrees(self, decision: Decision) -> int | None:
        """Return by how much a picture is turned; None if the head is not sure."""
        seen = self._seen(decision)
        return int(seen.label) if seen.confidence >= self.head.review_below else None

    def _settled(self, first: Decision, second: Decision) -> Decision:
        """Return what is said of the upright picture; of the rotation, what was seen first.

        If that decides where a file goes, so does what was seen first.
        """
        if self.place == 0:
            return replace(first, further=second.further)
        further = list(second.further)
        further[self.place - 1] = self._seen(first)
        return replace(second, further=tuple(further), rotation=first.rotation)


def compass_of(heads: Sequence[Head]) -> Compass | None:
    """Return the first rotation head among all heads of the models, if there is one.

    It is a multiclass head of that name whose labels are the four `DEGREES`, in any order.
    """
    found = (
        Compass(head, place)
        for place, head in enumerate(heads)
        if head.name == ROTATION and head.kind == "multiclass" and set(head.labels) == set(DEGREES)
    )
    return next(found, None)


def upright(picture: ReadImage, degrees: int) -> ReadImage:
    """Turn a picture back that is seen turned clockwise by so many degrees, on all its canvases.

    np.rot90 turns counterclockwise. Everything else of the picture stays, and so does the file.
    """
    quarters = degrees // 90
    further = tuple(np.rot90(image, quarters) for image in picture.further)
    return replace(picture, image=np.rot90(picture.image, quarters), further=further)
