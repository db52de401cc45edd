"""Decisions that come in a table: a spreadsheet of a curator, an export of a RIS."""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from dicomsort.errors import ExitCode, UsageError
from dicomsort.manifest import history
from dicomsort.manifest.decisions import Decision, Decisions, now
from dicomsort.manifest.names import MANIFEST
from dicomsort.manifest.records import Record
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import EXCLUDED, UNSURE, Reason, Reviewed
from dicomsort.sorting import by_hand, shards
from dicomsort.sorting.reviewing import Carrier, Places, choices, finish, in_groups, refusal
from dicomsort.system.escaping import escape
from dicomsort.system.people import check_name

_PATH, _UID, _LABEL, _REVIEWED = "path", "sop_instance_uid", "label", "reviewed_label"
_NAMED = 5

Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: its number, what names the file (a path or a UID), and what it is called."""

    number: int
    path: str
    uid: str
    label: str


@dataclass(slots=True)
class Corrected:
    """What became of a table.

    unchanged: lines that say what is decided already. empty: lines without a label. taken_back: earlier
    decisions that could not be carried out. refused: where, and why.
    """

    decided: int = 0
    unchanged: int = 0
    empty: int = 0
    taken_back: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """DONE, or SOME_FAILED if a line was refused or an earlier decision taken back."""
        return ExitCode.SOME_FAILED if self.refused or self.taken_back else ExitCode.DONE


def correct(
    out: str,
    table: str,
    by: str,
    dry_run: bool = False,
    further: Sequence[str] = (),
    step: Step = lambda: None,
) -> Corrected:
    """Decide on the files of an output as a table says, all of a line or nothing.

    table: see `read`. by: who decides. dry_run: look only; what would be refused is told. further: classes
    besides those of the model. Raises UsageError for what is no table or no output, or an impossible class or
    name, TargetError.
    """
    out, lines = os.path.abspath(out), read(table)
    check_name(by)
    shards.check_merged(out)
    with Manifest.open_existing(os.path.join(out, MANIFEST)) as manifest:
        decisions, places = Decisions(out), Places.of(out, manifest.run_file)
        done = Corrected()
        if not dry_run:
            done.taken_back = len(finish(manifest, out, decisions).refused)
            by_hand.recognize(manifest, out, decisions)
        classes = choices(manifest.answers, decisions, further)
        reviewed_at = now()
        wanted = _Wanted(lines, Known(classes, _is_multilabel(out)), done)
        given = (
            (line, Decision(_written_down(record, decisions), Reviewed(label, by, reviewed_at)))
            for record in manifest.records()
            for line, label in wanted.of(record, places)
        )
        able = _able(given, places, done, step)
        if dry_run:
            done.decided = sum(1 for _ in able)
        else:
            _carry_out(able, manifest, places, decisions, done)
        wanted.tell_missing()
    done.refused.sort(key=lambda one: int(one[0].split()[1]))
    return done


def _is_multilabel(out: str) -> bool:
    return any("|" in label for (label,) in history.cells(os.path.join(out, MANIFEST), "label"))


def _written_down(record: Record, decisions: Decisions) -> Record:
    """Return a row without a decision that stands nowhere but in it: somebody has filled it in here."""
    known = record.reviewed is None or decisions.of(record.path, record.stamp) == record.reviewed
    return record if known else record.decided(None, record.destination)


def _able(
    given: Iterable[tuple[Line, Decision]], places: Places, done: Corrected, step: Step
) -> Iterator[tuple[Line, Decision]]:
    """Pass on what can be carried out, as far as can be seen; count the rest."""
    for line, decision in given:
        step()
        before, wanted = decision.record.reviewed, decision.reviewed
        if before is not None and wanted is not None and before.label == wanted.label:
            done.unchanged += 1
        elif (why := refusal(decision, places)) is not None:
            done.refused.append((f"line {line.number}", why.value))
        else:
            yield line, decision


def _carry_out(
    able: Iterable[tuple[Line, Decision]],
    manifest: Manifest,
    places: Places,
    decisions: Decisions,
    done: Corrected,
) -> None:
    everything = list(able)  # before rows are appended to what is being read
    with decisions.appending() as journal:
        carrier = Carrier(manifest, places, journal)
        for group in in_groups(everything):
            ended = carrier.decide([decision for _, decision in group])
            done.decided += len(ended.rows)
            numbers = {decision.record.key: line.number for line, decision in group}
            done.refused += [(f"line {numbers[one.record.key]}", why.value) for one, why in ended.refused]
    manifest.compact()
    manifest.run_file.note_decisions(decisions.size, decisions.digest)


@dataclass(frozen=True, slots=True)
class Known:
    """The classes that there are. multilabel: whether several of them may come together."""

    classes: Sequence[str]
    multilabel: bool

    def label(self, text: str) -> str | None:
        """Return a label as it is written here, in a table it may be in any case and order; None for none."""
        if "|" not in text:
            return self._one_of(text, (*self.classes, EXCLUDED, UNSURE))
        parts = {self._one_of(part.strip(), self.classes) for part in text.split("|")}
        if None in parts or not self.multilabel:
            return None
        return "|".join(label for label in self.classes if label in parts)

    def _one_of(self, text: str, labels: Sequence[str]) -> str | None:
        alike = [text] if text in labels else [one for one in labels if one.casefold() == text.casefold()]
        return alike[0] if len(alike) == 1 else None


class _Wanted:
    """The lines of a table by what they name; what is wrong with a line by itself is refused at once."""

    def __init__(self, lines: Iterable[Line], known: Known, done: Corrected) -> None:
        self._done, self._met, self._doubtful = done, set[int](), set[int]()
        self._by_path: dict[str, list[tuple[Line, str]]] = defaultdict(list)
        self._by_uid: dict[str, list[tuple[Line, str]]] = defaultdict(list)
        self._lines: list[Line] = []
        for line in lines:
            label = known.label(line.label)
            if not line.label:
                done.empty += 1
            elif label is None:
                why = (
                    f"there is no class '{escape(line.label)}' ({', '.join(known.classes)}; --label adds one)"
                )
                done.refused.append((f"line {line.number}", why))
            else:
                self._lines.append(line)
                named = self._by_path[line.path] if line.path else self._by_uid[line.uid]
                named.append((line, label))

    def of(self, record: Record, places: Places) -> list[tuple[Line, str]]:
        """Return the line that names a row's file, and its label; of several the first, if they agree."""
        names = {record.key, record.path}
        if record.is_placed:
            names |= {record.destination, places.target(record.destination)}
        found = [line for name in sorted(names) for line in self._by_path.get(name, ())]
        if record.sop_instance_uid and not record.is_duplicate:  # the UID names the first
            named = self._by_uid.get(record.sop_instance_uid, ())
            if named and Reason.SAME_UID in record.reasons:
                self._doubtful.update(line.number for line, _ in named)
                named = ()
            found += named
        self._met.update(line.number for line, _ in found)
        if len({label for _, label in found}) > 1:
            some = ", ".join(str(line.number) for line, _ in found[:_NAMED])
            numbers = some + ", ..." * (len(found) > _NAMED)
            why = f"lines {numbers} say different things of one file"
            self._done.refused += [(f"line {line.number}", why) for line, _ in found]
            return []
        return found[:1]

    def tell_missing(self) -> None:
        """Refuse the lines that name no file of the manifest, or several images."""
        why = "several images have this UID: name the file by its path"
        self._done.refused += [(f"line {number}", why) for number in self._doubtful - self._met]
        named = self._met | self._doubtful
        missing = [line for line in self._lines if line.number not in named]
        self._done.refused += [
            (f"line {line.number}", "no file of the manifest has that name") for line in missing
        ]


def read(table: str) -> list[Line]:
    """Read a table: CSV with a column `path` or `sop_instance_uid`, and `label`, in any case and order.

    Cells may be separated by commas, semicolons or tabs; Windows line ends and a byte order mark are read. A
    path is that of the source, or of what was placed. A manifest that was saved elsewhere is such a table:
    there `reviewed_label` counts, for its `label` is what the model said. Raises UsageError.
    """
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except OSError as error:
        raise UsageError(f"'{escape(table)}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"'{escape(table)}' is not in UTF-8: save it as CSV UTF-8") from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise UsageError(f"'{escape(table)}' is no CSV: {error}") from error
    names = [name.strip().casefold() for name in (rows[0] if rows else [])]
    label = _REVIEWED if _REVIEWED in names else _LABEL
    if label not in names or not {_PATH, _UID} & set(names):
        raise UsageError(
            f"'{escape(table)}' must have a column '{_LABEL}', and '{_PATH}' or '{_UID}', in its first line"
        )
    for name in {label, _PATH, _UID}:
        if names.count(name) > 1:
            raise UsageError(f"'{escape(table)}' has several columns '{name}': leave one")
    lines = [_line(number, dict(zip(names, cells, strict=False)), label) for number, cells in _filled(rows)]
    if not any(line.label for line in lines):
        raise UsageError(f"'{escape(table)}' says nothing: its column '{label}' is empty")
    return lines


def _filled(rows: list[list[str]]) -> Iterator[tuple[int, list[str]]]:
    return ((number, cells) for number, cells in enumerate(rows[1:], 2) if any(map(str.strip, cells)))


def _line(number: int, cells: dict[str, str], label: str) -> Line:
    path, uid = cells.get(_PATH, ""), cells.get(_UID, "").strip()
    if path and os.path.exists(path):  # perhaps relative to where the command is given
        path = os.path.abspath(path)
    return Line(number, path, "" if path else uid, cells.get(label, "").strip())
