"""The program, but it waits for ever at one of its rows: a test finds it there, however late it looks.

python tests/support/held_program.py ROW WORDS…
"""

import sys
import time
from itertools import count
from typing import Any

from dicomsort.__main__ import main
from dicomsort.manifest.journal import Journal


def hold(row: int) -> None:
    """Wait in this process before it takes down that row, from 1 on."""
    write, numbers = Journal.write, count(1)

    def held(journal: Journal, *one: Any) -> None:
        if next(numbers) == row:
            time.sleep(600)
        write(journal, *one)

    Journal.write = held  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    hold(int(sys.argv.pop(1)))
    main()
