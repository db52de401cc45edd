"""The pictures that are no radiographs of a person: always the same, never blank, no kind in both halves."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import negatives
import numpy as np
import pytest
from drawn import MAKERS
from drawn.basics import GREATEST


@pytest.mark.parametrize("kind", MAKERS)
def test_a_drawn_picture_is_always_the_same_and_never_blank(kind: str) -> None:
    drawn = [negatives.draw(kind, number) for number in range(6)]
    for number, image in enumerate(drawn):
        assert image.dtype == np.uint8
        assert min(image.shape) >= 32
        assert max(image.shape) <= GREATEST
        assert np.ptp(image) >= 8, number
    assert np.array_equal(drawn[3], negatives.draw(kind, 3))
    assert len({image.tobytes() for image in drawn}) == len(drawn)


def test_every_kind_has_one_half() -> None:
    assert set(negatives.HALF_OF) == {*negatives.REAL, *MAKERS}
    assert set(negatives.HALF_OF.values()) == set(negatives.HALVES)
    assert set(negatives.PACKAGED) <= set(negatives.REAL)


def test_no_owner_of_files_is_in_both_halves() -> None:
    halves: dict[str, set[str]] = defaultdict(set)
    for kind, patterns in negatives.REAL.items():
        for pattern in patterns:
            owner = pattern.split("/")[1].split("__")[0]
            assert "*" not in owner
            halves[owner].add(negatives.HALF_OF[kind])
    assert all(len(found) == 1 for found in halves.values()), halves


def test_files_are_rendered_whatever_they_are(tmp_path: Path, write_dicom: Callable[..., Path]) -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, (12 * 50, 40), np.uint16).cumsum(axis=0) % 4000
    folder = tmp_path / "in"
    write_dicom(
        folder / "other" / "dcm4che__x__jpeg-ls-Palette.dcm",
        pixels.astype(np.uint16), Rows=50, NumberOfFrames=12,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1", Modality="US",
    )  # fmt: skip
    write_dicom(
        folder / "other" / "grailbio__x__IM-0001-0001.dcm",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT", RescaleIntercept="-1000", RescaleSlope="1",
    )  # fmt: skip
    made = list(negatives.rendered(folder))
    of = {kind: [each for each in made if each.kind == kind] for kind in ("us_b", "ct_a")}
    assert [each.image.shape for each in of["us_b"]] == [(50, 40)] * 6, "six of twelve frames"
    assert 3 <= len(of["ct_a"]) <= 6
    assert {each.origin for each in of["us_b"]} == {"other/dcm4che__x__jpeg-ls-Palette.dcm"}


def test_the_table_tells_each_picture(tmp_path: Path) -> None:
    written = negatives.write(negatives.drawn(2), tmp_path)
    assert written == negatives.load(tmp_path / negatives.TABLE)
    assert len(written) == 2 * len(MAKERS)
    assert all(each.path.is_file() and each.half == negatives.HALF_OF[each.kind] for each in written)
    assert "| report | **all** | 14 | 14 |" in negatives.counts(written)
