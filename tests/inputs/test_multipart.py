"""The first part of an answer of several, however it is cut."""

import random
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from itertools import repeat

import pytest

from dicomsort.inputs.multipart import NoPartError, boundary_of, first_part, media_type


def wrapped(content: bytes, boundary: bytes = b"edge", preamble: bytes = b"") -> bytes:
    head = b"--%s\r\nContent-Type: application/dicom\r\nMIME-Version: 1.0\r\n\r\n" % boundary
    return preamble + head + content + b"\r\n--%s--\r\n" % boundary


def cut(content: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(content[at : at + size])
        at += size
    return [*pieces, content[at:]]


def test_the_part_is_the_same_however_the_answer_is_cut() -> None:
    content = b"DICM\r\n--edg\r\n--edgy\r\n\r\n--" + bytes(range(256)) * 3 + b"\r\n"
    content = content.replace(b"--edgy", b"--eagy")
    answer = wrapped(content)
    lots = random.Random(0)
    for most in (1, 2, 7, 40, 5000):
        pieces = cut(answer, [lots.randint(1, most) for _ in range(len(answer))])
        assert b"".join(first_part(iter(pieces), b"edge")) == content


@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"This is a message in MIME.\r\n"])
def test_what_stands_before_the_first_part_is_passed_over(preamble: bytes) -> None:
    assert b"".join(first_part(iter([wrapped(b"x" * 10, preamble=preamble)]), b"edge")) == b"x" * 10


def test_of_several_parts_the_first_one_is_taken() -> None:
    message = MIMEMultipart("related", boundary="a=b;c")
    for text in (b"first", b"second"):
        message.attach(MIMEApplication(text, "dicom", lambda part: None))
    parts = [part.get_payload() for part in message.get_payload()]  # type: ignore[union-attr]
    assert parts == ["first", "second"]
    answer = message.as_bytes().partition(b"\n\n")[2].replace(b"\n", b"\r\n")
    assert b"".join(first_part(iter([answer]), boundary_of(message["Content-Type"]))) == b"first"


@pytest.mark.parametrize("kept", [0, 5, 30, 80, 200])
def test_an_answer_that_is_cut_off_is_no_shorter_part(kept: int) -> None:
    answer = wrapped(b"x" * 300)[:kept]
    with pytest.raises(NoPartError):
        b"".join(first_part(iter([answer] if answer else []), b"edge"))


def test_a_head_without_end_is_not_held() -> None:
    with pytest.raises(NoPartError):
        next(first_part(repeat(b"x" * 1000), b"edge"))


def test_the_boundary_is_read_as_servers_write_it() -> None:
    for text in ('multipart/related; type="application/dicom"; boundary=a-b',
                 'Multipart/Related; boundary="a-b"; type="application/dicom"'):  # fmt: skip
        assert boundary_of(text) == b"a-b"
        assert media_type(text) == "multipart/related"
    with pytest.raises(NoPartError):
        boundary_of("multipart/related")
