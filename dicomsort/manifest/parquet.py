"""manifest.parquet: the rows of the manifest once more, typed, for those who ask it questions."""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort import __version__
from dicomsort.errors import MissingLibraryError, TargetError, UsageError, check_installed, is_installed
from dicomsort.manifest.columns import DIGEST, REJECT, ROTATION, answers_of
from dicomsort.manifest.history import DAMAGE, damaged, last_rows
from dicomsort.manifest.names import MANIFEST, PARQUET, SHARDS
from dicomsort.manifest.reading import labels_by_head
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.spill import scratch
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import escape

SCHEMA = 1
"""Version of the columns and their types; it stands in the file as `dicomsort.schema`."""

_BLOCK = 1 << 20
_ROW_GROUP = 122_880
_WHOLE = {"rows": 32, "columns": 32, "frames": 32, ROTATION: 16, "size": 64, "mtime_ns": 64}
_NUMBERS = ("confidence", "pixel_confidence", REJECT)
_TEXTS = ("path", "destination", "duplicate_of", "etag", "sha256", "reviewed_at", DIGEST)
_UIDS = ("sop_instance_uid", "study_instance_uid", "series_instance_uid")
_BETWEEN, _GUARD, _TIME = "; ", "'", "%Y-%m-%dT%H:%M:%SZ"


def is_wanted(formats: str | None) -> bool | None:
    """Return whether a list of formats names Parquet; None if there is no list. Raises UsageError."""
    if formats is None:
        return None
    found = [name.strip() for name in formats.split(",")]
    if "csv" not in found or not set(found) <= {"csv", "parquet"}:
        raise UsageError(
            f"--manifest-format '{formats}' is unknown: use csv, or csv,parquet (the CSV is always written)"
        )
    if "parquet" in found:
        check_installed("--manifest-format parquet", "pyarrow")
    return "parquet" in found


def begin(folder: str, run_file: RunFile, wanted: bool | None) -> None:
    """Write down whether a folder has Parquet from now on; None: as before.

    Raises MissingLibraryError if it has, and the library is not there.
    """
    if wanted is not None and wanted != (run_file.parquet is not None):
        run_file.parquet = [] if wanted else None
    if wanted is False:
        drop(folder)
    if run_file.parquet is not None and not is_installed("pyarrow"):
        raise MissingLibraryError.of(["pyarrow"], f"{PARQUET}, unless --manifest-format csv ends it,")


def drop(folder: str) -> None:
    """Remove the Parquet file of a folder whose rows change. Raises TargetError if that cannot be done."""
    try:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, PARQUET))
    except OSError as error:
        raise TargetError(f"'{escape(folder)}/{PARQUET}' cannot be removed: {error.strerror}") from error


def renew(folder: str, run_file: RunFile) -> None:
    """Write the Parquet file of a folder again if it is wanted there and not of these rows.

    Raises MissingLibraryError if the library is not there: then there is no file, and the next run that has
    the library writes it.
    """
    if run_file.parquet is None or _is_of_a_shard(folder):
        return
    source, target = os.path.join(folder, MANIFEST), os.path.join(folder, PARQUET)
    facts = os.stat(source)
    stamp = [facts.st_size, facts.st_mtime_ns]
    if os.path.exists(target) and run_file.parquet == stamp:
        return
    if not is_installed("pyarrow"):
        drop(folder)
        raise MissingLibraryError.of(["pyarrow"], f"all rows are written, but {PARQUET}")
    write(source, target)
    run_file.parquet = stamp


def _is_of_a_shard(folder: str) -> bool:
    return os.path.basename(os.path.dirname(os.path.abspath(folder))) == SHARDS


def write(manifest: str, target: str) -> None:
    """Write the rows of a manifest.csv that count as Parquet, by atomic rename, a few thousand at a time.

    Raises UsageError if the manifest is damaged, MissingLibraryError, TargetError.
    """
    check_installed(PARQUET, "pyarrow")
    try:
        with scratch(os.path.dirname(target)) as spilt:
            last = last_rows(manifest, spilt)
        counts = None if last.all() else last
        try:
            with replacing(target, "wb") as file:
                _write(manifest, file, counts)
        except DAMAGE:  # or a header's number or a file's time is too great for its type
            with replacing(target, "wb") as file:
                _write(manifest, file, counts, is_wild=True)
    except DAMAGE as error:
        raise damaged(manifest) from error
    except OSError as error:
        raise TargetError(f"'{escape(target)}' cannot be written: {error.strerror}") from error


def _write(manifest: str, file: Any, last: NDArray[np.bool_] | None, is_wild: bool = False) -> None:
    """Write the rows. is_wild: whether whole numbers are read one by one, those too great as none."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    names = _names(manifest)
    kinds, schema = _kinds(names), schema_of(names)
    encodings = {
        name: "DELTA_BYTE_ARRAY" for name in (*_TEXTS, *_UIDS) if name != "reviewed_at" and name in names
    }
    encodings |= {"size": "DELTA_BINARY_PACKED", "mtime": "DELTA_BINARY_PACKED"}
    with parquet.ParquetWriter(
        file, schema, compression="zstd", write_page_index=True,
        use_dictionary=[name for name in schema.names if name not in encodings], column_encoding=encodings,
    ) as writer:  # fmt: skip
        read = kinds | {name: pa.string() for name in kinds if is_wild and name in _WHOLE}
        batches = (_typed(batch, schema) for batch in _counting(_batches(manifest, read), last))
        for group in _in_groups(batches):
            writer.write_table(pa.Table.from_batches(group, schema).unify_dictionaries(), _ROW_GROUP)
            group.clear()
            pa.default_memory_pool().release_unused()


def _names(manifest: str) -> list[str]:
    with open(manifest, encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])


def schema_of(names: Sequence[str]) -> Any:
    """Return the Arrow schema for a manifest with these columns."""
    import pyarrow as pa  # noqa: PLC0415

    changed = {
        "mtime_ns": [("mtime", pa.timestamp("ns", "UTC"))],
        "reviewed_at": [("reviewed_at", pa.timestamp("s", "UTC"))],
        "reason": [("reason", _word()), ("reasons", pa.list_(_word()))],
    }
    fields = [field for name, kind in _kinds(names).items() for field in changed.get(name, [(name, kind)])]
    return pa.schema(fields, {"dicomsort.schema": str(SCHEMA), "dicomsort.version": __version__})


def _word() -> Any:
    import pyarrow as pa  # noqa: PLC0415

    return pa.dictionary(pa.int32(), pa.string())


def _kinds(names: Sequence[str]) -> dict[str, Any]:
    """Return the type as which each column's cells are read."""
    import pyarrow as pa  # noqa: PLC0415

    answers = answers_of(names)
    heads = [head for head in labels_by_head(answers) if head]
    words = {f"{head}.label" for head in heads}
    numbers = {*_NUMBERS, *(set(answers) - words)}
    whole = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}

    def kind(name: str) -> Any:
        if name in _WHOLE:
            return whole[_WHOLE[name]]
        if name in numbers:
            return pa.float64()
        return pa.string() if name in (*_TEXTS, *_UIDS) else _word()

    return {name: kind(name) for name in names}


def _batches(manifest: str, kinds: Mapping[str, Any]) -> Iterator[Any]:
    from pyarrow import csv as table  # noqa: PLC0415

    yield from table.open_csv(
        manifest,
        table.ReadOptions(block_size=_BLOCK),
        convert_options=table.ConvertOptions(
            column_types=kinds, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=True
        ),
    )


def _counting(batches: Iterable[Any], last: NDArray[np.bool_] | None) -> Iterator[Any]:
    """Yield the rows that are the last of their file. Raises ValueError if there are more or fewer."""
    import pyarrow as pa  # noqa: PLC0415

    start = 0
    for batch in batches:
        stop = start + batch.num_rows
        yield batch if last is None else batch.filter(pa.array(last[start:stop]))
        start = stop
    if last is not None and start != len(last):
        raise ValueError


def _in_groups(batches: Iterable[Any]) -> Iterator[list[Any]]:
    """Put batches together to about as many rows as a row group has."""
    group: list[Any] = []
    rows = 0
    for batch in batches:
        group.append(batch)
        rows += batch.num_rows
        if rows >= _ROW_GROUP:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _typed(batch: Any, schema: Any) -> Any:
    """Return a batch as it is written: without a spreadsheet's guards, with times as times."""
    import pyarrow as pa  # noqa: PLC0415

    columns = dict(zip(batch.schema.names, map(_unguarded, batch.columns), strict=True))
    columns |= {
        name: _whole(columns[name], bits)
        for name, bits in _WHOLE.items()
        if name in columns and pa.types.is_string(columns[name].type)
    }
    columns["mtime"] = columns.pop("mtime_ns").cast(schema.field("mtime").type)
    columns["reviewed_at"] = _times(columns["reviewed_at"])
    columns["reasons"] = _listed(columns["reason"])
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _unguarded(column: Any) -> Any:
    """Take away what `escaping.cell` has put in front of texts; see `escaping.uncell`."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, _unguarded(column.dictionary))
    if not pa.types.is_string(column.type) or not compute.any(compute.starts_with(column, _GUARD)).as_py():
        return column
    return compute.replace_substring_regex(column, f"^{_GUARD}", "")


def _whole(texts: Any, bits: int) -> Any:
    """Return whole numbers, and none for those that so many bits do not hold. Raises ValueError."""
    import pyarrow as pa  # noqa: PLC0415

    limit = 1 << (bits - 1)
    numbers = [None if text is None else int(text) for text in texts.to_pylist()]
    held = [number if number is not None and -limit <= number < limit else None for number in numbers]
    return pa.array(held, getattr(pa, f"int{bits}")())


def _times(texts: Any) -> Any:
    """Return when people decided; what is no time any more, as a person wrote it, is none."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    return compute.strptime(texts, _TIME, "s", error_is_null=True).cast(pa.timestamp("s", "UTC"))


def _listed(reasons: Any) -> Any:
    """Return the reasons of each row as a list; without any an empty one."""
    import pyarrow as pa  # noqa: PLC0415

    told = [text.split(_BETWEEN) for text in reasons.dictionary.to_pylist()]
    lists = pa.array([*told, []], pa.list_(_word()))
    return lists.take(reasons.indices.fill_null(len(told)))
