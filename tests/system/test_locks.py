"""A lock that its owner has removed locks nothing, and whoever comes next takes a new one."""

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from dicomsort.errors import UsageError
from dicomsort.system import locks


def test_a_lock_that_was_removed_while_it_was_taken_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[bool] = []
    real = fcntl.flock

    def flock(file: Any, how: int) -> None:
        real(file, how)
        if not removed:  # as if its owner had ended between the opening and the locking
            locks.remove(str(tmp_path))
            removed.append(True)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locks.take(str(tmp_path)) as file:
        assert os.path.samestat((tmp_path / locks.LOCK).stat(), os.fstat(file.fileno()))
        with pytest.raises(UsageError, match="another dicomsort is writing into"):
            locks.take(str(tmp_path))


def test_a_folder_whose_lock_was_removed_can_be_taken_again(tmp_path: Path) -> None:
    with locks.take(str(tmp_path)):
        locks.remove(str(tmp_path))
    assert not list(tmp_path.iterdir())
    with locks.take(str(tmp_path), doing="training"), pytest.raises(UsageError, match="another training is"):
        locks.take(str(tmp_path), doing="training")
