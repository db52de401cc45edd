"""Nodes of one run have the same versions of what can change a result, or a person has let them differ."""

from pathlib import Path
from typing import Any

import pytest
from outputs import rows, settings
from predictors import FixedPredictor

from dicomsort.errors import UsageError
from dicomsort.inputs.named import Shard
from dicomsort.sorting import facts, versions
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.system import notices
from dicomsort.system.pool_settings import PoolSettings

OURS = {"dicomsort": "1.0", "numpy": "2.0", "openvino": "2025.1", "torch": "2.8", "pyjpegls": "1.5"}
POOL = PoolSettings(2)


@pytest.mark.parametrize(
    ("changes", "engine", "found"),
    [
        ({}, "openvino", []),
        ({"dicomsort": "0.9"}, "openvino", ["dicomsort 0.9 there, 1.0 here"]),
        ({"torch": "2.9"}, "openvino", []),
        ({"torch": "2.9"}, "torch", ["torch 2.9 there, 2.8 here"]),
        ({"torch": "2.9"}, "auto", ["torch 2.9 there, 2.8 here"]),
        ({"torch": None}, "auto", []),
        ({"torch": None}, "torch", ["torch none there, 2.8 here"]),
        ({"openvino": "2024.6"}, "openvino", ["openvino 2024.6 there, 2025.1 here"]),
        ({"pyjpegls": None, "python-gdcm": "3.0"}, "torch", [
            "python-gdcm 3.0 there, none here", "pyjpegls none there, 1.5 here",
        ]),
    ],
)  # fmt: skip
def test_what_differs_is_what_can_change_a_result(
    changes: dict[str, str | None], engine: str, found: list[str]
) -> None:
    told = {**OURS, **changes}
    theirs = {package: version for package, version in told.items() if version is not None}
    assert sorted(versions.differences(theirs, OURS, engine)) == sorted(found)


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this a machine with another dicomsort."""

    def change() -> None:
        monkeypatch.setattr(facts, "installed", lambda: {**versions.installed(), "dicomsort": "99.0"})

    return change


def test_a_shard_with_other_versions_is_refused_or_told(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, newer: Any
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, shard=Shard(1, 2)), predictor)
    newer()
    with pytest.raises(
        UsageError, match=r"had other versions: dicomsort .* there, 99.0 here; install the same"
    ):
        sort(settings(inbox, out, shard=Shard(2, 2)), predictor)
    said: list[str] = []
    with notices.heard(said.append):
        sort(settings(inbox, out, shard=Shard(2, 2), any_versions=True), predictor)
    assert len(said) == 1
    assert said[0].startswith("goes on with other versions than the first node of this run: dicomsort ")
    assert merge(str(out), POOL).missing == []
    assert len(rows(out)) == 14


def test_so_is_one_that_is_done_after_a_merge(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, newer: Any
) -> None:
    out = tmp_path / "out"
    sort(settings(inbox, out, shard=Shard(1, 2)), predictor)
    assert merge(str(out), POOL).missing == ["2/2"]
    newer()
    with pytest.raises(UsageError, match="install the same on all, or give --allow-other-versions"):
        sort(settings(inbox, out, shard=Shard(2, 2)), predictor)
    assert merge(str(out), POOL).missing == ["2/2"]


def test_between_nightly_runs_versions_may_change(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor, newer: Any
) -> None:
    out = tmp_path / "out"
    for number in (1, 2):
        sort(settings(inbox, out, shard=Shard(number, 2)), predictor)
    assert merge(str(out), POOL).missing == []
    newer()
    (inbox / "new.dcm").write_bytes((inbox / "s0" / "0.dcm").read_bytes())
    for number in (1, 2):
        sort(settings(inbox, out, shard=Shard(number, 2)), predictor)
    assert merge(str(out), POOL).rows == 15
