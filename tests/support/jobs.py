"""What worker processes are given to do: they import it by name, so it lies in no test module."""

import os
import signal
import time
from pathlib import Path

import held_time


def behave(item: str) -> str:
    """Do what the item says."""
    kind = item.split(":", 1)[0]
    if kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "abort":
        os.abort()
    elif kind == "hang":
        held_time.hang()
    elif kind == "hog":
        return str(len(bytearray(64 << 30)))
    elif kind == "raise":
        raise StopIteration("PATIENT^NAME")
    elif kind == "slow":
        time.sleep(0.3)
    return f"done {item}"


def process_id(item: int) -> int:
    return os.getpid()


def met(folder: str) -> int:
    """Return this process once another one is here as well, so that none does all the work."""
    Path(folder, str(os.getpid())).touch()
    until = time.monotonic() + 60
    while len(os.listdir(folder)) < 2 and time.monotonic() < until:
        time.sleep(0.005)
    return os.getpid()


def pid_after_a_while(item: int) -> int:
    time.sleep(0.002)
    return os.getpid()


def corrupting(item: int) -> int:
    """Come back from item 0, but leave a process that dies at the next."""
    if corrupting.__dict__.get("spoiled"):
        os.kill(os.getpid(), signal.SIGSEGV)
    corrupting.__dict__["spoiled"] = item == 0
    return item


class Unsendable:
    """What cannot travel."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        raise MemoryError


def unsendable(item: int) -> object:
    return Unsendable() if item == 3 else item


def large(item: bytes) -> bytes:
    return bytes(50_000)
