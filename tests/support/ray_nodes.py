"""A ray cluster of several nodes on this machine, told by standard input what happens to it.

`join` starts a node, `kill` kills the one that joined first, `head` the head; its end ends all.
"""

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    joined = []
    print("address", cluster.address, flush=True)  # noqa: T201
    try:
        for line in sys.stdin:
            if line == "join\n":
                joined.append(cluster.add_node(num_cpus=1))
            elif line == "kill\n":
                cluster.remove_node(joined.pop(0), allow_graceful=False)
            elif line == "head\n":
                cluster.remove_node(cluster.head_node, allow_graceful=False)
            print("did", line, end="", flush=True)  # noqa: T201
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
