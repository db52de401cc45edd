"""Shards: tar files as webdataset reads them, or Parquet with the pictures inside, of a bounded size."""

import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from dicomsort.errors import TargetError
from dicomsort.export.datasets.columns import DECIDED, is_confidence, typed
from dicomsort.export.datasets.journal import Entry, Journal
from dicomsort.export.datasets.settings import DATA, DatasetSettings, Target
from dicomsort.system import durable
from dicomsort.system.atomic import TEMPORARY, publish, temporary_for
from dicomsort.system.escaping import escape

_GROUP = 100


class _Shard(Protocol):
    """A shard that is being written."""

    def add(self, entry: Entry, content: bytes) -> None:
        """Write a sample into it."""

    def close(self) -> None:
        """Write what is left."""


class TarShard:
    """A tar file with `KEY.png` (or `KEY.dcm`), `KEY.json` and `KEY.txt`, the label, for each sample in turn.

    webdataset groups by the name before the first dot, so a key must not hold one.
    """

    def __init__(self, path: str) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def add(self, entry: Entry, content: bytes) -> None:
        """Write a sample into it."""
        table = {name: typed(name, value) for name, value in entry.items()}
        extension = entry["file_name"].rpartition(".")[2]
        members = {extension: content, "json": json.dumps(table).encode(), "txt": entry["label"].encode()}
        for name, data in members.items():
            member = tarfile.TarInfo(f"{entry['sample']}.{name}")
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))

    def close(self) -> None:
        """Write what is left."""
        self._tar.close()


class ParquetShard:
    """Parquet with a column `image` of bytes and name, as the library datasets reads it, and the table's."""

    def __init__(self, path: str, columns: Sequence[str], is_picture: bool) -> None:
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415

        image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        kinds = {"rows": pa.int32(), "columns": pa.int32()}
        kinds |= {DECIDED: pa.bool_()}
        kinds |= {name: pa.float64() for name in columns if is_confidence(name)}
        of = {name: kinds.get(name, pa.string()) for name in columns}
        features = {name: _feature(kind) for name, kind in of.items()}
        hub = {"info": {"features": {"image": {"_type": "Image"}, **features}}}
        self._schema = pa.schema(
            [("image", image), *of.items()], {"huggingface": json.dumps(hub)} if is_picture else None
        )
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd", use_dictionary=list(of))
        self._waiting: list[Mapping[str, Any]] = []

    def add(self, entry: Entry, content: bytes) -> None:
        """Write a sample into it."""
        told = {name: typed(name, entry.get(name)) for name in self._schema.names[1:]}
        self._waiting.append({"image": {"bytes": content, "path": entry["file_name"]}, **told})
        if len(self._waiting) == _GROUP:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa  # noqa: PLC0415

        self._writer.write_table(pa.Table.from_pylist(self._waiting, self._schema))
        self._waiting = []

    def close(self) -> None:
        """Write what is left."""
        if self._waiting:
            self._write()
        self._writer.close()


def _feature(kind: Any) -> dict[str, str]:
    names = {"double": "float64", "int32": "int32", "bool": "bool"}
    return {"dtype": names.get(str(kind), "string"), "_type": "Value"}


class Shards:
    """Writes samples into shards, one part's beside the others', and makes each known once it is whole."""

    def __init__(self, settings: DatasetSettings, columns: Sequence[str], journal: Journal) -> None:
        self._settings, self._columns, self._journal = settings, columns, journal
        self._open: dict[str, _Open] = {}

    def add(self, part: str, entry: Entry, content: bytes) -> None:
        """Write a sample. Raises TargetError."""
        try:
            if part not in self._open:
                self._open[part] = self._begun(part)
            shard = self._open[part]
            shard.shard.add(entry, content)
            shard.entries.append({**entry, "shard": shard.name})
            shard.size += len(content)
            if shard.size >= self._settings.shard_bytes:
                self._end(part)
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> "Shards":
        """Clear away what a run that was killed has left."""
        for folder in (self._settings.folder, os.path.join(self._settings.folder, DATA)):
            _clear(folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Make what is open known too, unless the block ends with an exception. Raises TargetError."""
        try:
            while self._open and kind is None:
                self._end(next(iter(self._open)))
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            for one in self._open.values():
                one.abandon()

    def _unwritable(self, error: OSError) -> TargetError:
        folder = escape(self._settings.folder)
        return TargetError(f"'{folder}' cannot be written: {error.strerror}; the same command goes on")

    def _begun(self, part: str) -> "_Open":
        is_tar = self._settings.target is Target.WEBDATASET
        pattern = f"{part}-{{:06d}}.tar" if is_tar else os.path.join(DATA, f"{part}-{{:06d}}.parquet")
        number = 0
        while os.path.lexists(os.path.join(self._settings.folder, name := pattern.format(number))):
            number += 1
        target = os.path.join(self._settings.folder, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = temporary_for(target)
        is_picture = self._settings.picture.extension == "png"
        shard = TarShard(temporary) if is_tar else ParquetShard(temporary, self._columns, is_picture)
        return _Open(name, temporary, shard)

    def _end(self, part: str) -> None:
        """First the shard is whole on the disk, then the journal says what it holds, then it has its name."""
        done = self._open[part]
        done.shard.close()
        target = os.path.join(self._settings.folder, done.name)
        durable.sync([done.temporary], [done.temporary], self._settings.folder)
        self._journal.append(done.entries)
        publish(done.temporary, target)
        with suppress(FileNotFoundError):
            os.unlink(done.temporary)
        durable.sync([], [target], self._settings.folder)
        del self._open[part]


def _clear(folder: str) -> None:
    """Remove shards that a run that was killed has not brought to their end."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if name.startswith(TEMPORARY) and name.endswith(".part"):
                os.unlink(os.path.join(folder, name))


class _Open:
    """A shard that is being written. name: relative to the data set. size: of its pictures, in bytes."""

    def __init__(self, name: str, temporary: str, shard: _Shard) -> None:
        self.name, self.temporary, self.shard = name, temporary, shard
        self.entries: list[Entry] = []
        self.size = 0

    def abandon(self) -> None:
        """Close it and take it away: its samples are done again."""
        with suppress(Exception):  # another error is on its way
            self.shard.close()
        with suppress(OSError):
            os.unlink(self.temporary)
