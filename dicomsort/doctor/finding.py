"""What was looked at, how it is, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How something is. note: nothing is wrong, and nothing is needed of it."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination.

    name: what was looked at. told: how it is. advice: what to do, if there is anything.
    """

    name: str
    state: State
    told: str
    advice: str = ""


def ok(name: str, told: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(name, State.OK, told)


def note(name: str, told: str, advice: str = "") -> Finding:
    """Return what a bug report should tell, or what is not there and need not be."""
    return Finding(name, State.NOTE, told, advice)


def warning(name: str, told: str, advice: str) -> Finding:
    """Return what works, and may surprise."""
    return Finding(name, State.WARNING, told, advice)


def problem(name: str, told: str, advice: str) -> Finding:
    """Return what does not work."""
    return Finding(name, State.PROBLEM, told, advice)
