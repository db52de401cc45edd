"""The tags of a header as an audit takes them."""

from dicomsort.audit.tags import UNSHOWN, ViewTag, told_by_header
from dicomsort.audit.terms import Terms
from dicomsort.dicom.stated import Stated


def test_a_view_position_that_cannot_be_shown_is_there_and_unknown() -> None:
    assert told_by_header(Stated(view_filled=True), Terms.load()).views == (ViewTag(UNSHOWN, None),)
    assert told_by_header(Stated(), Terms.load()).views == ()
