"""Imports that find less than is installed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """Let imports in the block not find these modules, unless they are loaded already."""
    hidden: list[str] = [name for name in modules if name not in sys.modules]
    loaded: dict[str, Any] = sys.modules
    loaded.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del loaded[name]
