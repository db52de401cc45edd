"""Programs of others: a test that lacks one is skipped where a person tests, but in CI it must run."""

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str, packages: str) -> str:
    """Return where a program is. packages: of Debian that bring it."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") or missing(name, f"Debian: {packages}")


def missing(what: str, where_from: str) -> NoReturn:
    """Skip this test; in CI let it fail."""
    line = f"{what} is missing ({where_from})"
    if os.environ.get("CI"):
        pytest.fail(line)
    pytest.skip(line)
