"""What of a data set is done, on disk: so that the same command goes on after a kill, and no other does."""

import glob
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

from dicomsort.errors import TargetError, UsageError
from dicomsort.export.datasets.settings import OWN, PARTS, DatasetSettings
from dicomsort.manifest.mending import cut_torn_line
from dicomsort.system import durable, locks
from dicomsort.system.atomic import TEMPORARY, replacing
from dicomsort.system.escaping import escape

_SETTINGS, _SAMPLES = "settings.json", "samples.jsonl"
_WRITTEN = re.compile(rf"(?P<sample>i[0-9a-f]{{16}})\.(png|dcm)|{re.escape(TEMPORARY)}[0-9a-f]+\.part")
_SECONDS, _MOST_WAITING = 1.0, 500

Entry = dict[str, Any]
"""A row of the table, with `shard` where samples have none of their own file."""


class Journal:
    """The samples of a data set that are done. Use `opened`.

    A sample counts once its file, or its shard, is there: of a shard the journal is written first, so that a
    line without its shard is one of a run that was killed, and is left out.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = os.path.join(folder, OWN, _SAMPLES)
        self._waiting: list[Entry] = []
        self._written = time.monotonic()

    def entries(self) -> Iterator[Entry]:
        """Yield what is done, in the order in which it was."""
        if not os.path.exists(self._path):
            return
        with open(self._path, encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)

    def tidy(self) -> None:
        """Leave out samples whose file or shard is not there, and remove files that no line speaks of."""
        cut_torn_line(self._path)
        self._remove_unknown()
        there: dict[str, bool] = {}

        def is_there(entry: Entry) -> bool:
            file = entry.get("shard") or entry["file_name"]
            if "shard" not in entry:
                return os.path.exists(os.path.join(self._folder, file))
            if file not in there:
                there[file] = os.path.exists(os.path.join(self._folder, file))
            return there[file]

        if all(is_there(entry) for entry in self.entries()):
            return
        with replacing(self._path) as file:
            file.writelines(_line(entry) for entry in self.entries() if is_there(entry))

    def _remove_unknown(self) -> None:
        """Remove what a run that was killed has written last; its label may be another one by now."""
        known = {entry["sample"] for entry in self.entries()}
        every = (os.path.join(glob.escape(self._folder), part, "*", "*") for part in PARTS)
        for path in chain.from_iterable(glob.iglob(pattern, include_hidden=True) for pattern in every):
            name = _WRITTEN.fullmatch(os.path.basename(path))
            if name is not None and name["sample"] not in known:
                os.unlink(path)

    def add(self, entry: Entry) -> None:
        """Take a sample whose file is written; within a second both are on the disk."""
        self._waiting.append(entry)
        if len(self._waiting) >= _MOST_WAITING or time.monotonic() - self._written > _SECONDS:
            self.write()

    def write(self) -> None:
        """Sync the files that wait, and write their lines."""
        waiting, self._waiting, self._written = self._waiting, [], time.monotonic()
        files = [os.path.join(self._folder, entry["file_name"]) for entry in waiting]
        durable.sync(files, files, self._folder)
        self.append(waiting)

    def append(self, entries: Iterable[Entry]) -> None:
        """Append lines, and wait until they are on the disk. Raises TargetError."""
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.writelines(map(_line, entries))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TargetError(f"'{escape(self._path)}' cannot be written: {error.strerror}") from error


def _line(entry: Entry) -> str:
    return json.dumps(entry) + "\n"


@contextmanager
def opened(settings: DatasetSettings) -> Iterator[Journal]:
    """Lock the folder of a data set and open its journal; a new one is made.

    Raises UsageError if the folder holds anything else, or was filled with other settings; TargetError.
    """
    folder = settings.folder
    own = os.path.join(folder, OWN)
    try:
        os.makedirs(folder, exist_ok=True)
        _check_empty(folder, own)
        os.makedirs(own, exist_ok=True)
        with locks.take(own, doing="export"):
            agree(settings)
            journal = Journal(folder)
            journal.tidy()
            try:
                yield journal
            finally:
                journal.write()
    except OSError as error:
        raise TargetError(f"'{escape(folder)}' cannot be written: {error.strerror}") from error
    except (ValueError, KeyError) as error:
        raise UsageError(f"'{escape(own)}' is damaged: export into another folder") from error


def _check_empty(folder: str, own: str) -> None:
    if not os.path.isdir(own) and os.listdir(folder):
        raise UsageError(f"--out '{escape(folder)}' is not empty: name a new folder for the data set")


def _typed(value: object) -> str:
    """Return a setting as the command line takes it."""
    if isinstance(value, list):
        is_shares = all(isinstance(one, float) for one in value)
        return ("/" if is_shares else ",").join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def agree(settings: DatasetSettings) -> None:
    """Raise UsageError unless the folder is new, or was filled with the same settings."""
    path = os.path.join(settings.folder, OWN, _SETTINGS)
    with suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        found = json.load(file)
        for name, value in settings.fixed.items():
            if found.get(name) != value:
                raise UsageError(
                    f"--out '{escape(settings.folder)}' was made with another --{name} "
                    f"({_typed(found.get(name))}, now {_typed(value)}): repeat its options, "
                    "or name another folder"
                )
        return
    if not settings.dry_run:
        with replacing(path) as writing:
            writing.write(json.dumps(settings.fixed, indent=2) + "\n")
