"""Ports for programs that must be told a number: nobody else gets it while a test keeps it reserved."""

import itertools
import os
import random
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_FIRST, _MOST = 1024, 10_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def first_ephemeral() -> int:
    """Return the first of the ports that this machine gives to connections and to whoever asks for any."""
    try:
        return int(_EPHEMERAL.read_text().split()[0])
    except OSError:
        return 49152  # of RFC 6335, and of most systems but Linux


def _tried() -> Iterator[int]:
    """Yield all ports that may be reserved, in turn; each process begins elsewhere."""
    end = first_ephemeral()
    if end <= _FIRST + _MOST:  # a machine that gives away nearly all: what is held is safe from that as well
        end = 49152
    ports = range(max(end - _MOST, _FIRST), end)
    start = random.Random(os.getpid()).randrange(len(ports))
    yield from itertools.islice(itertools.cycle(ports), start, None)


_NEXT = _tried()


@contextmanager
def reserved(count: int = 1) -> Iterator[tuple[int, ...]]:
    """Yield ports of 127.0.0.1 for servers that set SO_REUSEADDR, and keep them while the block runs.

    They lie below those that the system gives away by itself, so that no outgoing connection has one of
    them, not even that of a client that asks whether its server is there. On Linux each stays bound, and
    does not listen: another that reserves ports passes it by, whichever process it is in, and a server that
    is started again finds it free.
    """
    with ExitStack() as stack:
        yield tuple(_bound(stack) for _ in range(count))


def _bound(stack: ExitStack) -> int:
    for port in itertools.islice(_NEXT, _MOST):
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            one.close()
            continue
        if sys.platform == "linux":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # from now on, for servers alone
            stack.enter_context(one)
        else:
            one.close()
        return port
    raise OSError("no port of this machine is free")
