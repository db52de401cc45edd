"""Write tests/long.txt: the tests that a quick look leaves out, by what each took when all were measured.

    .venv/bin/pytest --durations=0 --durations-min=0.005 > all.txt
    python tools/long_tests.py all.txt > tests/long.txt
    .venv/bin/pytest -m 'not slow and not long' --durations=0 --durations-min=0.005 > quick.txt
    python tools/long_tests.py all.txt quick.txt > tests/long.txt

A test of many cases is long where its cases took more than LONG seconds each, on average, by any report. The
second one shows who pays for a fixture once those who paid for it before are left out.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

LONG = 0.2
"""Seconds, on two cores."""

_LINE = re.compile(r"([0-9.]+)s (?:call|setup|teardown) +(tests/\S+?::\w+)(\[.*\])?\s*")


def long_tests(report: str, limit: float = LONG) -> list[str]:
    """Return the tests (`tests/room/test_this.py::test_that`) whose cases took longer than so many seconds.

    report: what pytest has printed with `--durations=0`.
    """
    seconds, cases = defaultdict[str, float](float), defaultdict[str, set[str]](set)
    for found in filter(None, map(_LINE.fullmatch, report.splitlines())):
        seconds[found[2]] += float(found[1])
        cases[found[2]].add(found[3] or "")
    return sorted(name for name in seconds if seconds[name] / len(cases[name]) > limit)


if __name__ == "__main__":
    reports = [long_tests(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]
    sys.stdout.writelines(f"{name}\n" for name in sorted(set().union(*reports)))
