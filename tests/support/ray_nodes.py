"""A ray cluster of several nodes on this machine, told by standard input what happens to it.

`join` starts a node, `kill` kills the one that joined first, `head` the head; its end ends all.
"""

import sys
from collections.abc import Callable
from typing import Any

from ray.cluster_utils import Cluster


def main() -> None:
    """Do what is said, and say when it is done."""
    cluster = Cluster()
    head = patiently(lambda: cluster.add_node(num_cpus=1, include_dashboard=False))
    joined = []
    tell("address", cluster.address)
    try:
        for line in sys.stdin:
            if line == "join\n":
                joined.append(patiently(lambda: cluster.add_node(num_cpus=1)))
            elif line == "kill\n":
                cluster.remove_node(joined.pop(0), allow_graceful=False)
            elif line == "head\n":
                cluster.remove_node(head, allow_graceful=False)
            tell("did", line.strip())
    finally:
        cluster.shutdown()


def patiently(start: Callable[[], Any]) -> Any:
    """Start a node; ray gives one half a minute to come up, which a busy machine may not do at once."""
    for _ in range(3):
        try:
            return start()
        except Exception:  # noqa: BLE001, S112  (ray raises plain ones)
            continue
    return start()


def tell(*words: str) -> None:
    """Answer in a line."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
