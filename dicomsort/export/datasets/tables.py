"""What stands beside the samples of a data set: its table, what libraries look for, an index of shards."""

import csv
import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from dicomsort.export.datasets import croissant
from dicomsort.export.datasets.columns import is_number, typed
from dicomsort.export.datasets.journal import Entry, Journal
from dicomsort.export.datasets.settings import (
    CROISSANT,
    LINES,
    METADATA,
    PARTS,
    SAMPLES,
    DatasetSettings,
    Target,
)
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import cell

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def write(settings: DatasetSettings, columns: Sequence[str], journal: Journal) -> None:
    """Write the tables of all that is done, in place of those of an earlier run. Raises OSError."""
    shard = ["shard"] * settings.target.has_shards
    _write_table(os.path.join(settings.folder, SAMPLES), [*columns, *shard], journal.entries())
    if settings.target is Target.WEBDATASET:
        _write_index(settings, journal)
    if settings.target.has_shards:
        return
    _write_metadata(settings, columns, journal)
    if settings.target is Target.CROISSANT:
        _write_croissant(settings, columns, journal)


def _write_croissant(settings: DatasetSettings, columns: Sequence[str], journal: Journal) -> None:
    """Write the table again as JSON lines, and the description of both.

    Of a CSV mlcroissant guesses types, and makes `818981001.0` of a code where a cell is empty.
    """
    path = os.path.join(settings.folder, LINES)
    with replacing(path) as file:
        for entry in journal.entries():
            row = {name: typed(name, entry.get(name)) for name in columns}
            file.write(json.dumps(row | {croissant.NAME: os.path.basename(entry["file_name"])}) + "\n")
    with open(path, "rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    with replacing(os.path.join(settings.folder, CROISSANT)) as file:
        file.write(json.dumps(croissant.described(columns, digest), indent=2) + "\n")


def _write_metadata(settings: DatasetSettings, columns: Sequence[str], journal: Journal) -> None:
    """Write what the library datasets looks for: a table in the folder of each part.

    It passes over one above the parts. It guesses types part by part, and refuses what it has guessed
    otherwise in another part; so numbers that a part lacks, and texts that are all dates there, are left out.
    """
    told: dict[str, set[str]] = defaultdict(set)
    for entry in journal.entries():
        told[entry["part"]].update(name for name in columns if _tells_type(name, entry.get(name, "")))
    wanted = [name for name in columns if all(name in known for known in told.values())]
    with ExitStack() as stack:
        files = {
            part: stack.enter_context(replacing(os.path.join(settings.folder, part, METADATA)))
            for part in told
        }
        for entry in journal.entries():
            row = {name: typed(name, entry.get(name)) for name in wanted}
            row["file_name"] = entry["file_name"].removeprefix(f"{entry['part']}/")
            files[entry["part"]].write(json.dumps(row) + "\n")


def _tells_type(name: str, value: Any) -> bool:
    """Return whether a value tells a reader of JSON what its column holds: pyarrow takes dates for times."""
    return value != "" if is_number(name) else not _DATE.match(str(value))


def _write_table(path: str, columns: Sequence[str], entries: Iterable[Entry]) -> None:
    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for entry in entries:
            writer.writerow([cell(str(entry.get(name, ""))) for name in columns])


def _write_index(settings: DatasetSettings, journal: Journal) -> None:
    """Write which shards each part has, in the form of webdataset's `wids` (version 1)."""
    counts = Counter((entry["part"], entry["shard"]) for entry in journal.entries())
    for part in PARTS:
        shards = [
            {"url": name, "nsamples": count, "filesize": os.path.getsize(os.path.join(settings.folder, name))}
            for (of, name), count in sorted(counts.items())
            if of == part
        ]
        if shards:
            with replacing(os.path.join(settings.folder, f"index-{part}.json")) as file:
                head = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": part}
                file.write(json.dumps({**head, "shardlist": shards}, indent=2) + "\n")
