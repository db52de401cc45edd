"""Files of a folder in, files in a PACS out: only whole ones, and each once."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dicomsort.dicom import isolation
from dicomsort.dicom.whole import Whole, whole
from dicomsort.errors import ExitCode
from dicomsort.outcome import Failure, Reason, Status
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.transfer.answers import Answer, Left
from dicomsort.transfer.candidates import Candidate, Chosen, candidates
from dicomsort.transfer.journal import STORED, Entry, Journal, journal
from dicomsort.transfer.peer import Peer
from dicomsort.transfer.several import several

Step = Callable[[], None]
_LOST = {Status.CRASH: Left.WORKER_DIED, Status.TIMEOUT: Left.TOO_SLOW}


@dataclass(frozen=True, slots=True)
class SendSettings:
    """What is sent of a folder, and how. connections: how many files at a time."""

    folder: str
    chosen: Chosen = field(default_factory=Chosen)
    connections: int = 4
    dry_run: bool = False
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass(slots=True)
class Sent:
    """How it went. sent: files that are there now. there: sent by an earlier run. left: not sent."""

    sent: int = 0
    there: int = 0
    left: Counter[str] = field(default_factory=Counter)

    @property
    def exit_code(self) -> ExitCode:
        """DONE, or SOME_FAILED if anything was left."""
        return ExitCode.SOME_FAILED if self.left else ExitCode.DONE

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"sent": self.sent, "already_sent": self.there, "left": dict(self.left)}


def send(peer: Peer, settings: SendSettings, step: Step = lambda: None) -> Sent:
    """Send the files of a folder that a PACS does not have by its journal; what is damaged is never sent.

    step: called once for each file. Raises UsageError, TargetError, PeerLostError; the same call goes on.
    """
    done = Sent()
    with journal(settings.folder, peer.name, settings.dry_run) as entries:
        found = _new(candidates(settings.folder, settings.chosen, done.left), entries, done, step)
        with closing(isolation.read_all(_judged, found, settings.pool)) as judged:
            answered = partial(_answered, peer=peer, dry_run=settings.dry_run)
            for (candidate, _), outcome in several(answered, judged, settings.connections, peer.stop):
                step()
                _take(candidate, outcome, entries, done)
    return done


def _new(found: Iterator[Candidate], entries: Journal, done: Sent, step: Step) -> Iterator[Candidate]:
    for candidate in found:
        if entries.has(candidate.name, candidate.stamp):
            done.there += 1
            step()
        else:
            yield candidate


def _judged(candidate: Candidate) -> Whole | Failure:
    return whole(candidate.path)


Judged = tuple[Candidate, Whole | Failure]
Outcome = tuple[Whole, Answer | Left] | Left | None


def _answered(one: Judged, peer: Peer, dry_run: bool) -> Outcome:
    """Send a file if it is whole; None in a dry run."""
    candidate, what = one
    if isinstance(what, Failure):
        return _why_not(what)
    if what.stamp != candidate.stamp:
        return Left.CHANGED
    if dry_run:
        return None
    try:
        return what, peer.send(candidate.path, what)
    except FileNotFoundError:
        return Left.NOT_HERE


def _why_not(failure: Failure) -> Left:
    if failure.reason in (Reason.VANISHED, Reason.UNREADABLE):
        return Left.NOT_HERE
    return _LOST.get(failure.status, Left.NOT_WHOLE)


def _take(candidate: Candidate, outcome: Outcome, entries: Journal, done: Sent) -> None:
    """Count what became of a file, and write down what the PACS has said."""
    if outcome is None:
        done.sent += 1
    elif isinstance(outcome, Left):
        done.left[outcome] += 1
    else:
        what, answer = outcome
        stored = isinstance(answer, Answer) and answer.is_stored
        text = answer.value if isinstance(answer, Left) else answer.text
        code = f"{answer.code:04X}" if isinstance(answer, Answer) and not answer.http else ""
        entry = Entry(candidate.name, STORED if stored else text, code, what.sop_instance, candidate.stamp)
        entries.add(entry)
        done.sent += stored
        if not stored:
            done.left[text] += 1
