"""What numbers are called in messages."""

import pytest

from dicomsort.system.telling import size_told


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (1049, "1.0 kB"),
        (99_900, "99.9 kB"), (99_960, "100 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"),
        (32_000_000, "32.0 MB"), (1_234_567_890, "1.2 GB"), (312e9, "312 GB"), (5e15, "5,000 TB"),
    ],
)  # fmt: skip
def test_a_size_is_told_in_the_unit_that_suits_it(size: float, told: str) -> None:
    assert size_told(size) == told
