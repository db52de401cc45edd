"""part.log: when, where and by whom a part of a manifest was worked on, and how that ended.

A line has a time in UTC, a word (`start`, `model`, `end`) and facts as `name=value`. No path of a source, and
nothing of a header, is ever written there.
"""

import faulthandler
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dicomsort.manifest.names import PART_LOG, PARTS_LOG, STDERR_LOG, shard_folder
from dicomsort.system.batch_jobs import job_id

START, MODEL, END = "start", "model", "end"
DONE, FAILED, INTERRUPTED = "done", "failed", "interrupted"

_FACT = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')
_PLAIN = re.compile(r"[\w.:@/+-]+")
_QUOTED = re.compile(r"'.*'")
_READ_BACK, _CRASH_BACK = 8192, 1 << 18
_CRASH = re.compile(
    r"Fatal Python error: ([\w ]+)\n(?:(?!Fatal Python error).*\n)*?"
    r'Current thread .*\n  File "(?:[^"\n]*/)?([\w.-]+)", line (\d+) in ([\w<>]+)'
)
_STDERR = 2


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log. time: UTC, ISO 8601, to the second; word: what it tells of; facts: by name."""

    time: str
    word: str
    facts: dict[str, str]


def host() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def now() -> str:
    """Return the time as it stands in a log."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def line(word: str, **facts: Any) -> str:
    """Return a line of a log, of now."""
    told = (f"{name}={_written(str(value))}" for name, value in facts.items() if value != "")
    return " ".join([now(), word, *told]) + "\n"


def _written(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value)


def without_paths(message: str) -> str:
    """Return a message without what stands in it between quotes, which may be a path with a name in it."""
    return _QUOTED.sub("'...'", message)


def read(folder: str) -> list[Line]:
    """Return the latest lines of the log of a part, the oldest first; none if there is no log."""
    try:
        with open(os.path.join(folder, PART_LOG), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _READ_BACK))
            *whole, _ = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return []
    return [found for text in whole if (found := _parsed(text)) is not None]


def _parsed(text: str) -> Line | None:
    words = text.split(" ", 2)
    if len(words) < 2 or words[1] not in (START, MODEL, END):
        return None
    facts = _FACT.findall(words[2]) if len(words) > 2 else []
    return Line(words[0], words[1], {name: _meant(value) for name, value in facts})


def _meant(value: str) -> str:
    with suppress(ValueError):
        return str(json.loads(value)) if value.startswith('"') else value
    return value


@contextmanager
def keeping_stderr(folder: str) -> Iterator[None]:
    """Have what this process, and what it starts, writes to standard error kept in a part's folder meanwhile.

    Also where native code ends the process, and where it was then. An empty file is not kept.
    """
    path, before = os.path.join(folder, STDERR_LOG), os.dup(_STDERR)
    try:
        with suppress(OSError), open(path, "ab", buffering=0) as file:
            os.dup2(file.fileno(), _STDERR)
            faulthandler.enable(_STDERR)
        yield
    finally:
        os.dup2(before, _STDERR)
        os.close(before)
        with suppress(OSError):
            if not os.path.getsize(path):
                os.unlink(path)


def crash_in(folder: str) -> str:
    """Say how and where native code has ended the program of a part; empty if none has.

    That is what Python itself writes; whatever else stands there may quote a header.
    """
    with suppress(OSError), open(os.path.join(folder, STDERR_LOG), "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _CRASH_BACK))
        if found := _CRASH.findall(file.read().decode("utf-8", "replace")):
            what, module, number, function = found[-1]
            return f"{what} in {function} ({module}:{number})"
    return ""


def note_failed(folder: str, name: str, error: str, exit_code: int) -> None:
    """Note that a part came to nothing, if its log does not say so yet: it ended before a run had begun."""
    told = without_paths(error)
    last = next(iter(read(folder)[::-1]), None)
    is_told = last is not None and last.word == END and last.facts.get("how") != DONE
    if error and not is_told:
        with suppress(OSError), open(os.path.join(folder, PART_LOG), "a", encoding="utf-8") as file:
            file.write(line(START, part=name, host=host(), job=job_id(), pid=os.getpid(), rows=0))
            file.write(line(END, part=name, how=FAILED, exit_code=exit_code, error=told))


def keep(out: str, name: str) -> None:
    """Append the log of a part that is merged to that of the output; what cannot be written is let go."""
    folder = shard_folder(out, name)
    with suppress(OSError), open(os.path.join(out, PARTS_LOG), "ab") as file:
        for found in (PART_LOG, STDERR_LOG):
            with suppress(FileNotFoundError), open(os.path.join(folder, found), "rb") as log:
                text = log.read()
                told = line("stderr", part=name, lines=len(text.splitlines())).encode()
                file.write(text if found == PART_LOG else told)
