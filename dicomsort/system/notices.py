"""What a person must know of a run, said by whoever finds it out and told by whoever listens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tell = Callable[[str], None]

_listeners: list[tuple[Tell, set[str]]] = []


@contextmanager
def heard(tell: Tell) -> Iterator[None]:
    """Let `tell` take each line that is said while the block runs, once; the innermost listener does."""
    listener = (tell, set[str]())
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def say(line: str) -> None:
    """Say a line, from any thread; nobody may be there to hear it."""
    for tell, said in _listeners[-1:]:
        if line not in said:
            said.add(line)
            tell(line)
