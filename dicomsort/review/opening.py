"""An output folder is opened for a person: alone, if that can be, and after what was begun is finished."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from dicomsort.errors import TargetError, UsageError
from dicomsort.manifest.decisions import Decisions
from dicomsort.manifest.names import MANIFEST
from dicomsort.manifest.reading import answers_in
from dicomsort.manifest.table import Manifest
from dicomsort.review.desk import Desk, Writing
from dicomsort.sorting import by_hand, shards
from dicomsort.sorting.reviewing import Carrier, Places, choices, finish
from dicomsort.system.escaping import escape
from dicomsort.system.locks import BusyError
from dicomsort.system.people import check_name

_BUSY = (
    "another dicomsort is working in this folder, so you can only look: "
    "end it, then start this one again to decide"
)
_LOCKED = "this folder cannot be written to, so you can only look"


@contextmanager
def opened(out: str, by: str, further: Sequence[str] = ()) -> Iterator[Desk]:
    """Open an output folder for a person.

    What was decided before and is not carried out yet is done first, and what somebody has moved by hand is
    recognized. If another program writes there, or nobody can, the desk is read-only. further: classes
    besides those of the model. Raises UsageError if `out` is no output folder or a class or the name of who
    decides is impossible, TargetError.
    """
    _check(out)
    check_name(by)
    with ExitStack() as stack:
        writing, read_only = None, ""
        try:
            writing = stack.enter_context(_writing(out))
        except BusyError:
            read_only = _BUSY
        except TargetError:
            if os.access(out, os.W_OK):
                raise
            read_only = _LOCKED
        answers = writing.manifest.answers if writing else answers_in(os.path.join(out, MANIFEST))
        labels = choices(answers, writing.decisions if writing else Decisions(out), further)
        desk = Desk(out, by, writing, read_only, labels)
        stack.callback(desk.close)
        desk.start()
        yield desk


def _check(out: str) -> None:
    if not os.path.isfile(os.path.join(out, MANIFEST)):
        raise UsageError(f"there is no {MANIFEST} in '{escape(out)}': name the --out folder of classify")
    shards.check_merged(out)


@contextmanager
def _writing(out: str) -> Iterator[Writing]:
    with Manifest.open_existing(os.path.join(out, MANIFEST)) as manifest:
        decisions = Decisions(out)
        finished = finish(manifest, out, decisions)
        by_hand.recognize(manifest, out, decisions)
        with decisions.appending() as journal:
            carrier = Carrier(manifest, Places.of(out, manifest.run_file), journal)
            yield Writing(manifest, decisions, journal, carrier, finished.refused)
