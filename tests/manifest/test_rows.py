"""Rows of the manifest: what is written comes back, and what changes a row keeps the rest."""

import pytest

from dicomsort.errors import UsageError
from dicomsort.manifest.columns import columns, join_reasons, split_reasons
from dicomsort.manifest.records import Record
from dicomsort.manifest.rows import Row
from dicomsort.outcome import Action, FileStamp, Placement, Reason, Status

STAMP = FileStamp(9, 8)


def record(**row: object) -> Record:
    """A row as it comes back from the manifest."""
    written = Row(**{"path": "/in/a", "status": Status.PLANNED, "stamp": STAMP, **row})  # type: ignore[arg-type]
    return Record(zip(columns(("score_a", "score_b")), written.cells(2, False, "m@1"), strict=True))


@pytest.mark.parametrize("reasons", [(), (Reason.UNLIKE,), (Reason.UNLIKE, Reason.POLARITY)])
def test_reasons_come_back_in_their_order(reasons: tuple[Reason, ...]) -> None:
    assert split_reasons(join_reasons(reasons)) == reasons


def test_no_reason_holds_what_stands_between_reasons() -> None:
    assert all(split_reasons(reason.value) == (reason,) for reason in Reason if reason)


def test_a_row_comes_back_as_it_was_written() -> None:
    read = record(path="/in/a\n\xe4", destination="hand/=1", label="hand", reasons=(Reason.POLARITY,))
    assert (read.path, read.destination, read.label) == ("/in/a\n\xe4", "hand/=1", "hand")
    assert (read.status, read.reasons, read.stamp) == (Status.PLANNED, (Reason.POLARITY,), STAMP)
    assert read.is_planned
    assert not read.is_placed


def test_a_placed_file_goes_to_review_if_a_reason_asks_for_a_person() -> None:
    plain = record(destination="hand/a").placed(Action.COPY, "ab")
    assert (plain.status, plain.placement) == (Status.SORTED, Placement("hand/a", "copy", STAMP, "ab"))
    assert record(reasons=(Reason.BELOW_THRESHOLD,)).placed(Action.COPY).status is Status.REVIEW


def test_what_was_refused_can_be_placed_later() -> None:
    placed = record(destination="hand/a", reasons=(Reason.PADDING_MEANT,)).placed(Action.COPY, "ab")
    refused = placed.refused()
    assert refused.is_refused
    assert refused.reasons == (Reason.DESTINATION_TAKEN, Reason.PADDING_MEANT)
    assert refused.without_reason(Reason.DESTINATION_TAKEN).placed(Action.COPY, "ab") == placed


def test_a_reason_stands_once() -> None:
    assert record().with_reason(Reason.SAME_UID).with_reason(Reason.SAME_UID).reasons == (Reason.SAME_UID,)


@pytest.mark.parametrize(("column", "text"), [("status", "done"), ("size", "1.7e9"), ("destination", "../a")])
def test_a_row_that_was_changed_is_told_of(column: str, text: str) -> None:
    changed = Record({**record(destination="hand/a"), column: text})
    with pytest.raises(UsageError, match="has been changed"):
        _ = changed.status, changed.stamp, changed.placement


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("IM1.dcm", "IM1~12345678.dcm"),
        ("IM1", "IM1~12345678"),
        ("n" * 251 + ".dcm", "n" * 242 + "~12345678.dcm"),
        ("\u00fc" * 125 + ".dcm", "\u00fc" * 121 + "~12345678.dcm"),
        ("caf\udce9.dcm", "caf\udce9~12345678.dcm"),
    ],
)
def test_the_other_name_of_a_moved_file_is_one_that_a_file_system_takes(name: str, renamed: str) -> None:
    row = record(path=f"/in/{name}", sha256="123456789a").renamed()
    assert row.path == f"/in/{renamed}"


def test_a_reject_score_has_the_digits_that_are_the_same_in_every_run() -> None:
    names = columns(("score_a", "score_b"), rejects=True)
    row = Row("/in/a", Status.SORTED, confidence=0.98765432, reject_score=10.123449, stamp=STAMP)
    told = Record(zip(names, row.cells(2, True, "m@1"), strict=True))
    assert (told["confidence"], told["reject_score"]) == ("0.987654", "10.1234")
