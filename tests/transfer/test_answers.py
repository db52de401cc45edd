"""What a PACS says of a file that it was sent."""

import pytest

from dicomsort.transfer.answers import Answer


@pytest.mark.parametrize("code", [0x0000, 0xB000, 0xB006, 0xB007, 0x0111])
def test_what_is_there_in_the_end_is_stored(code: int) -> None:
    assert Answer(code).is_stored


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(0xA700), "refused by the PACS: out of resources (A700)"),
        (Answer(0xA900), "refused by the PACS: data set does not match its SOP class (A900)"),
        (Answer(0xC001), "refused by the PACS: it cannot understand the data set (C001)"),
        (Answer(0x0110), "refused by the PACS: processing failure (0110)"),
        (Answer(0x0122), "refused by the PACS: SOP class not supported (0122)"),
        (Answer(0x0124), "refused by the PACS: not authorized (0124)"),
        (Answer(0x1234), "refused by the PACS: failure (1234)"),
        (Answer(http=415), "refused by the PACS: HTTP 415"),
    ],
)
def test_what_is_refused_says_why(answer: Answer, text: str) -> None:
    assert not answer.is_stored
    assert answer.text == text
