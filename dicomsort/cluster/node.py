"""The program on a node: `python -m dicomsort.cluster.node`, told its tasks by its stdin.

It holds next to nothing, for every reading process loads it anew; `staying` does the work.
"""

import sys


def main() -> int:
    """Do tasks until there are no more; returns the exit code."""
    from dicomsort.system import streams  # noqa: PLC0415  (see above)

    streams.prepare()
    from dicomsort.system.starting import warm_up  # noqa: PLC0415

    warm_up()
    from dicomsort.cluster import staying  # noqa: PLC0415

    return staying.work()


if __name__ == "__main__":
    sys.exit(main())
