"""Classes too rare for a split: refused, left out, or merged into one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dicomsort.data.dataset import Sample
from dicomsort.errors import UsageError
from dicomsort.model.heads import Head, check_label
from dicomsort.system.telling import counted

REFUSE, LEAVE_OUT, MERGE = "refuse", "leave-out", "merge"

RENAMED = "rare"
"""Under which name the training of a bundle keeps what became of them."""

Label = tuple[str, str]
"""A head's name, and what stands in a cell."""

Renamed = dict[str, dict[str, str]]
"""By head what labels have become, empty where they were left out; as a bundle keeps it."""


class RareClassError(UsageError):
    """A split cannot have these classes on every side. labels: by head, as they stand in cells."""

    def __init__(self, message: str, labels: Iterable[Label]) -> None:
        super().__init__(message)
        self.labels = tuple(labels)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.labels)


@dataclass(frozen=True, slots=True)
class RareRule:
    """What becomes of classes too rare for a split. name: that into which they are merged."""

    how: str = REFUSE
    name: str = ""

    @classmethod
    def of(cls, how: str | None, name: str | None) -> "RareRule":
        """Read --rare and --merge-rare; a name alone means to merge. Raises UsageError."""
        if how not in (None, REFUSE, LEAVE_OUT, MERGE):
            raise UsageError(f"--rare '{how}' is unknown: use {REFUSE}, {LEAVE_OUT} or {MERGE}")
        if how == MERGE and name is None:
            raise UsageError("--rare merge: say into which class, with --merge-rare NAME")
        if name is not None and how not in (None, MERGE):
            raise UsageError(f"--merge-rare and --rare {how} exclude each other; give one")
        if name is not None:
            try:
                check_label(name)
            except ValueError as error:
                raise UsageError(f"--merge-rare: {error}") from error
        return cls(how or REFUSE) if name is None else cls(MERGE, name)

    def renamed(self, error: RareClassError, heads: Sequence[Head]) -> Renamed:
        """Return what rare classes become. Raises the error where it does not help, or may not."""
        kinds = {head.name: head.kind for head in heads}
        labels = [(head, label) for head, label in error.labels if label != self.name]
        if self.how == REFUSE or not labels or any(kinds[head] == "binary" for head, _ in labels):
            raise error
        found: Renamed = {}
        for head, label in labels:
            found.setdefault(head, {})[label] = self.name
        return found


def applied(
    samples: Iterable[Sample], heads: Sequence[str], renamed: Mapping[str, Mapping[str, str]]
) -> list[Sample]:
    """Return samples with their labels renamed; one without any label left is left out.

    heads: the names of those that the targets belong to, in their order.
    """
    columns = [renamed.get(name, {}) for name in heads]
    changed = []
    for sample in samples:
        pairs = zip(sample.targets, columns, strict=True)
        targets = tuple(_cell(cell, becomes) if becomes else cell for cell, becomes in pairs)
        touched = targets != sample.targets
        if not touched or any(
            cell for cell, becomes in zip(targets, columns, strict=True) if cell or not becomes
        ):
            changed.append(replace(sample, targets=targets) if touched else sample)
    return changed


def _cell(cell: str, becomes: Mapping[str, str]) -> str:
    return "|".join(sorted({becomes.get(label, label) for label in cell.split("|")} - {""}))


def reduced(head: Head, renamed: Mapping[str, Mapping[str, str]]) -> Head:
    """Return a head without the labels that are no more. Raises UsageError if fewer than two are left."""
    becomes = renamed.get(head.name, {})
    labels = tuple(sorted({becomes.get(label, label) for label in head.labels} - {""}))
    if len(labels) < 2:
        gone = ", ".join(sorted(becomes))
        raise UsageError(
            f"'{head.name}' has fewer than two classes without those too rare for a split ({gone})"
        )
    try:
        return replace(head, labels=labels) if labels != head.labels else head
    except ValueError as error:
        raise UsageError(f"--merge-rare: {error}") from error


def chained(before: Mapping[str, Mapping[str, str]], later: Mapping[str, Mapping[str, str]]) -> Renamed:
    """Return two renamings, one after the other, as one."""
    found: Renamed = {}
    for name in (*before, *later):
        then = later.get(name, {})
        found[name] = {**then, **{was: then.get(now, now) for was, now in before.get(name, {}).items()}}
    return found


def lines_of(
    renamed: Mapping[str, Mapping[str, str]], samples: Sequence[Sample], heads: Sequence[str]
) -> list[str]:
    """Report what became of rare classes. samples: as they were before."""
    lines = []
    for at, name in enumerate(heads):
        for label, now in sorted(renamed.get(name, {}).items()):
            images = sum(label in sample.targets[at].split("|") for sample in samples)
            what = f"merged into '{now}'" if now else "left out"
            lines.append(
                f"class '{label}' of '{name}' is too rare for the split ({counted(images, 'image')}): {what}"
            )
    return lines
