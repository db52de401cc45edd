"""Holds the lock of a folder until its input ends, as a process of its own, as if on a machine of its own.

    python tests/support/hold_lock.py FOLDER [BOOT [alone | none] [slow]]

Prints `held` once it has it. BOOT: the id of the machine's start that it gives itself. alone: locks are seen
by this process only, as on a file system that does not share them; none: there are none. slow: with the real
heartbeat instead of a quick one, and watched for as long as that. Exits with 2 and a line if it is refused.
"""

import errno
import fcntl
import socket
import sys
from typing import Any

from dicomsort.errors import UsageError
from dicomsort.system import locks, notices, owners


def no_lock(*_: Any) -> None:
    """See no lock of others."""


def none_here(*_: Any) -> None:
    """Have no locks at all."""
    raise OSError(errno.ENOLCK, "No locks available")


def say(line: object) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def elsewhere(boot: str) -> None:
    """Be another machine from now on."""
    vars(owners)["boot_id"] = lambda: boot
    vars(socket)["gethostname"] = lambda: f"node-{boot}"


def main() -> int:
    """Take the lock, wait, and let it go."""
    folder, *more = sys.argv[1:]
    if more:
        elsewhere(more[0])
    if "slow" not in more:
        owners.BEAT_SECONDS, owners.WATCH_SECONDS = 0.3, 60.0
    if "alone" in more:
        vars(fcntl)["flock"] = no_lock
    if "none" in more:
        vars(fcntl)["flock"] = none_here
    try:
        with notices.heard(say), locks.take(folder, beats=True):
            say("held")
            sys.stdin.read()
    except UsageError as error:
        say(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
