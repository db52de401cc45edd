"""The cache of labelled pictures: read once, as they are read elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainings import prepared_from

from dicomsort.data.cache import NAME as CACHE
from dicomsort.data.cache import Cache
from dicomsort.errors import TargetError
from dicomsort.imaging.canvas import Preprocessing


def test_pictures_are_read_once(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared_from(pictures, tmp_path)
    (pictures.parent / "none").touch()

    def fail(*_: object) -> Any:
        raise AssertionError

    monkeypatch.setattr("dicomsort.data.cache.read_all", lambda *_: iter(()))
    monkeypatch.setattr("dicomsort.data.cache.content_hash", fail)
    again = prepared_from(pictures, tmp_path)
    assert again.train.keys == first.train.keys
    assert torch.equal(next(again.train.batches()), next(first.train.batches()))
    other = Cache(tmp_path, Preprocessing(size=48))
    with pytest.raises(KeyError):
        other.pixels(first.train.keys[0])
    (tmp_path / CACHE).write_bytes(b"no database, but long enough to be taken for one" * 100)
    with pytest.raises(TargetError, match="remove it, or give another --cache"):
        Cache(tmp_path, Preprocessing(size=32))


def test_what_the_cache_holds_is_what_is_read(pictures: Path, tmp_path: Path) -> None:
    from dicomsort.dicom.reader import read_any

    prepared = prepared_from(pictures, tmp_path)
    of_key = {sample.sha256: sample for sample in prepared.samples}
    for index, key in enumerate(prepared.validation.keys):
        reading = read_any(str(of_key[key].path), Preprocessing(size=32))
        assert np.array_equal(prepared.validation.pixels(index).numpy(), reading.image)  # type: ignore[union-attr]


def test_a_damaged_cache_ends_with_5_and_advice(pictures: Path, tmp_path: Path) -> None:
    import sqlite3

    prepared_from(pictures, tmp_path)
    with sqlite3.connect(tmp_path / CACHE) as connection:
        connection.execute("UPDATE pixels SET image = substr(image, 1, 10)")
    connection.close()
    prepared = prepared_from(pictures, tmp_path)
    with pytest.raises(TargetError, match="a picture is cut short"):
        prepared.train.pixels(0)
    assert (tmp_path / CACHE).stat().st_mode & 0o077 == 0
