"""A processing module of mercure, against cases made by its published contract (mercure-imaging.org)."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from program import Ran, inside
from written import picture

from dicomsort.errors import UsageError
from dicomsort.export.mercure import ModuleSettings, result_of
from dicomsort.manifest.reading import ManifestRow
from dicomsort.outcome import Status

Write = Callable[..., Path]


def task(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """A task as mercure hands it to a module: its `Task`, with one processing step."""
    info = {
        "action": "both", "uid": "1.2.3", "uid_type": "series", "triggered_rules": {"route": True},
        "applied_rule": "route", "patient_name": "CANARY^NAME", "mrn": "CANARY-ID", "acc": "CANARY-ACC",
        "mercure_version": "0.4.0", "mercure_appliance": "master", "mercure_server": "main",
    }  # fmt: skip
    process = {
        "module_name": "dicomsort", "module_config": {"docker_tag": "dicomsort", "settings": {}},
        "settings": settings, "retain_input_images": False, "output": None,
    }  # fmt: skip
    dispatch: dict[str, Any] = {"target_name": "static", "status": {}, "retries": None, "series_uid": "1.2.3"}
    return {"info": info, "id": "4f3c", "dispatch": dispatch, "process": process, "study": {}}


def dispatched(result: Mapping[str, Any], allowed: frozenset[str], static: list[str]) -> list[str]:
    """Where mercure sends the images, by its rule for dynamic routing."""
    routing = result.get("__mercure_routing")
    if not isinstance(routing, dict):
        return static
    if routing.get("discard"):
        return []
    wanted = routing.get("target")
    names = [wanted] if isinstance(wanted, str) else wanted
    return names if isinstance(names, list) and names and set(names) <= allowed else static


@pytest.fixture
def series(tmp_path: Path, write_dicom: Write) -> Path:
    """A series as mercure names it, `series UID#file UID.dcm`, with tags and the task beside it."""
    folder = tmp_path / "in"
    for number in range(4):
        path = write_dicom(
            folder / f"1.2.3#1.2.3.{number}.dcm", picture(number), SOPInstanceUID=f"2.25.{number}"
        )
        path.with_suffix(".tags").write_text('{"PatientName": "CANARY^NAME"}')
    (tmp_path / "out").mkdir()
    return folder


@pytest.fixture
def module(
    series: Path,
    tmp_path: Path,
    small_model: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Ran]:
    """Run the module by its environment alone, as mercure does."""
    monkeypatch.setenv("MERCURE_IN_DIR", str(series))
    monkeypatch.setenv("MERCURE_OUT_DIR", str(tmp_path / "out"))

    def run(**settings: Any) -> Ran:
        (series / "task.json").write_text(json.dumps(task({"models": [str(small_model)], **settings})))
        return inside(capfd, "mercure", "--device", "cpu", "--workers", "1")

    return run


def result_in(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def test_images_are_passed_on_as_they_came_and_the_result_tells_of_each(
    module: Callable[..., Ran], series: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = module(review_below=0.0, unknown={"of another module": 1})
    assert (ran.code, ran.out) == (0, "")
    images = sorted(path.name for path in series.glob("*.dcm"))
    assert sorted(path.name for path in out.iterdir()) == [*images, "result.json"]
    assert all((out / name).read_bytes() == (series / name).read_bytes() for name in images)
    told = result_in(out)["dicomsort"]
    assert [image["file"] for image in told["images"]] == images
    assert [image["sop_instance_uid"] for image in told["images"]] == [f"2.25.{n}" for n in range(4)]
    assert {image["status"] for image in told["images"]} == {"sorted"}
    assert sum(told["answers"].values()) == 4
    assert "__mercure_routing" not in result_in(out)
    everything = (out / "result.json").read_text() + ran.err
    assert "CANARY" not in everything
    assert "2.25.3" not in ran.err


def test_what_a_person_should_look_at_goes_to_its_target_and_is_told(
    module: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = module(review_below=1.0, targets={"review": ["desk", "archive"], "*": "archive"}, pass_on=False)
    assert ran.code == 0
    out = tmp_path / "out"
    assert [path.name for path in out.iterdir()] == ["result.json"]
    result = result_in(out)
    assert dispatched(result, frozenset({"desk", "archive", "static"}), ["static"]) == ["desk", "archive"]
    assert result["__mercure_notification"] == {"text": "4 review", "requested": True}


def test_a_file_that_cannot_be_read_does_not_fail_the_task(
    module: Callable[..., Ran], series: Path, tmp_path: Path
) -> None:
    (series / "1.2.3#9.dcm").write_bytes((series / "1.2.3#1.2.3.0.dcm").read_bytes()[:-1000])
    ran = module(review_below=0.0, targets={"decode_error": "desk"})
    assert ran.code == 0
    result = result_in(tmp_path / "out")
    assert result["__mercure_routing"] == {"target": ["desk"]}
    assert result["__mercure_notification"]["requested"] is True
    assert result["dicomsort"]["answers"]["decode_error"] == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"targets": {"chset": "x"}}, "the answer 'chset', which nothing gives; there are "),
        ({"targets": ["x"]}, "'targets' must be an object"),
        ({"targets": {"review": [1]}}, "'targets' must be a text or a list"),
        ({"review_below": "high"}, "'review_below' must be a number"),
        ({"notify": "sometimes"}, "'notify' must be one of"),
        ({"models": []}, "model"),
        ({"models": ["nowhere"]}, "no model 'nowhere'"),
        ({"evidence": "tea leaves"}, "evidence"),
    ],
)
def test_settings_that_cannot_be_right_fail_the_task_with_one_line(
    settings: dict[str, Any], words: str, module: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = module(**settings)
    assert ran.code in (2, 6)
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_a_series_without_images_or_a_task_that_is_damaged_fails(
    module: Callable[..., Ran], series: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for damaged in ("{", '{"process":' + "[" * 100_000):
        (series / "task.json").write_text(damaged)
        assert inside(capfd, "mercure").code == 2
    for path in series.glob("*.dcm"):
        path.unlink()
    assert module().code == 4


def test_without_a_task_and_with_folders_by_hand_it_can_be_tried(
    series: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = inside(capfd, "mercure", "--in", series, "--out", tmp_path / "out", "--device", "cpu")
    assert ran.code == 0
    assert len(result_in(tmp_path / "out")["dicomsort"]["images"]) == 4
    assert inside(capfd, "mercure", "--in", tmp_path / "none", "--out", tmp_path / "out").code == 2


def rows(*answers: tuple[Status, str]) -> list[ManifestRow]:
    return [ManifestRow(f"/in/{at}.dcm", status, label=label) for at, (status, label) in enumerate(answers)]


CHEST, SPINE, HANDS = (Status.SORTED, "chest"), (Status.SORTED, "spine"), (Status.SORTED, "hand|wrist")
REVIEW, CT = (Status.REVIEW, "chest"), (Status.NOT_XRAY, "")
TARGETS = {"chest": "ai", "wrist": ["bones", "ai"], "review": "desk"}


@pytest.mark.parametrize(
    ("given", "changes", "where"),
    [
        ([CHEST, CHEST], {}, ["ai"]),
        ([SPINE], {}, ["static"]),
        ([CHEST, HANDS], {}, ["ai", "bones"]),
        ([REVIEW, CHEST], {}, ["desk", "ai"]),
        ([SPINE, CHEST], {"targets": {**TARGETS, "*": "rest"}}, ["rest", "ai"]),
        ([SPINE], {"discard": ["spine"]}, []),
        ([SPINE, CT], {"discard": ["spine", "not_xray"]}, []),
        ([SPINE, CHEST], {"discard": "spine"}, ["ai"]),
        ([SPINE, CHEST], {"discard": "spine", "targets": {"*": "rest"}}, ["rest"]),
        ([CHEST], {"targets": {"chest": "not configured"}}, ["static"]),
    ],
)
def test_all_images_go_to_the_targets_of_every_answer(
    given: list[tuple[Status, str]], changes: dict[str, Any], where: list[str]
) -> None:
    settings = ModuleSettings.of({"targets": TARGETS, **changes})
    result = json.loads(json.dumps(result_of(rows(*given), settings)))
    assert dispatched(result, frozenset({"ai", "bones", "desk", "rest", "static"}), ["static"]) == where


@pytest.mark.parametrize(
    ("notify", "given", "requested"),
    [
        ("review", [CHEST], False),
        ("review", [CHEST, REVIEW], True),
        ("review", [(Status.CRASH, "")], True),
        ("always", [CHEST], True),
        ("never", [REVIEW], None),
    ],
)
def test_people_are_notified_as_the_settings_say(
    notify: str, given: list[tuple[Status, str]], requested: bool | None
) -> None:
    result = result_of(rows(*given), ModuleSettings.of({"notify": notify}))
    assert result.get("__mercure_notification", {}).get("requested") is requested


def test_the_steps_of_another_module_do_not_matter() -> None:
    with pytest.raises(UsageError, match="which nothing gives"):
        ModuleSettings.of({"discard": ["chest"]}).check(["spine"])
    ModuleSettings.of({"discard": ["spine", "not_xray"], "targets": {"*": "x"}}).check(["spine"])
