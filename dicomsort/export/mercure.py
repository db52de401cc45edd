"""A processing module of mercure: its settings, and the result that says where images go.

The contract is that of mercure-imaging.org, "Module Development" and "Rules": images and `task.json` lie in
one folder, images to pass on and `result.json` go into another. In the result, `__mercure_routing` names
targets, or asks to discard, where the rule has dynamic routing, and `__mercure_notification` tells people.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dicomsort import __version__
from dicomsort.errors import TargetError, UsageError
from dicomsort.manifest.reading import ManifestRow
from dicomsort.model.defaults import DEFAULT_MODELS
from dicomsort.outcome import REVIEW, TROUBLE, Status
from dicomsort.system.escaping import escape

TASK, RESULT = "task.json", "result.json"
DICOM = ".dcm"
ANY = "*"
"""Stands in `targets` for every answer that has no line of its own."""

_NOTIFY = ("review", "always", "never")
_TOLD_STATUSES = frozenset(Status) - {Status.SORTED, Status.REVIEW, Status.PLANNED, Status.EXCLUDED}


@dataclass(frozen=True, slots=True)
class ModuleSettings:
    """What a module is told by mercure: its own settings and those of the rule, merged.

    models: names or folders. targets: by answer, the targets of mercure; an answer is a label, `review`, or a
    status of the manifest such as `not_xray`; `*` is any other. discard: answers; if all images have one of
    them, nothing is dispatched. review_below: 0..1, None for the model's own. evidence: see
    `pipeline.SortSettings`. notify: `review` (if a person should look, or a file is in trouble), `always` or
    `never`. pass_on: whether the images are copied to where mercure takes them from.
    """

    models: tuple[str, ...] = DEFAULT_MODELS
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    discard: frozenset[str] = frozenset()
    review_below: float | None = None
    evidence: str = "header"
    notify: str = "review"
    pass_on: bool = True

    @classmethod
    def read(cls, folder: str) -> "ModuleSettings":
        """Read the task of a folder; without one all is as it is. Raises UsageError if it is damaged.

        What is not known here is left alone: of several modules of a rule each gets the settings of all.
        """
        path = os.path.join(folder, TASK)
        try:
            with open(path, encoding="utf-8") as file:
                process: Any = json.load(file).get("process") or {}
            one = process[0] if isinstance(process, list) else process
            return cls.of(dict(one.get("settings") or {}))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"'{escape(path)}' is not the task of a processing module") from error

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "ModuleSettings":
        """Return the settings as they stand in a task. Raises UsageError for a value of another kind."""
        targets = told.get("targets", {})
        if not isinstance(targets, dict):
            raise UsageError("setting 'targets' must be an object of answers and targets")
        below, notify = told.get("review_below"), told.get("notify", "review")
        if below is not None and (not isinstance(below, int | float) or not 0 <= below <= 1):
            raise UsageError("setting 'review_below' must be a number from 0 to 1")
        if notify not in _NOTIFY:
            raise UsageError(f"setting 'notify' must be one of {', '.join(_NOTIFY)}")
        models = _words("models", told.get("models", DEFAULT_MODELS))
        if not models:
            raise UsageError("setting 'models' must name at least one model")
        return cls(
            models,
            {answer: _words("targets", names) for answer, names in targets.items()},
            frozenset(_words("discard", told.get("discard", ()))),
            below,
            str(told.get("evidence", "header")),
            notify,
            told.get("pass_on", True) is not False,
        )

    def check(self, labels: Sequence[str]) -> None:
        """Raise UsageError unless every answer that is named can be given by a model with these labels."""
        known = {*labels, REVIEW, ANY, *(status.value for status in _TOLD_STATUSES)}
        if unknown := (set(self.targets) | self.discard) - known:
            raise UsageError(
                f"the settings name the answer '{escape(min(unknown))}', which nothing gives; "
                f"there are {', '.join(sorted(known))}"
            )


def _words(name: str, value: Any) -> tuple[str, ...]:
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) and word for word in words):
        raise UsageError(f"setting '{name}' must be a text or a list of texts")
    return tuple(words)


def answers_of(row: ManifestRow) -> tuple[str, ...]:
    """Return what an image counts as: its labels, `review`, or why it has none."""
    if row.status is Status.SORTED:
        return tuple(row.label.split("|"))
    return (row.status.value,)


def result_of(rows: Iterable[ManifestRow], settings: ModuleSettings) -> dict[str, Any]:
    """Return what goes into result.json: each image with its answer, the routing, and what is to be told."""
    images = sorted(rows, key=lambda row: row.path)
    counts = Counter(answer for row in images for answer in answers_of(row))
    models = sorted({row.model for row in images if row.model})
    result: dict[str, Any] = {
        "dicomsort": {
            "version": __version__,
            "model": models[0] if models else "",
            "answers": dict(sorted(counts.items())),
            "images": [_image(row) for row in images],
        }
    }
    if routing := routing_of(images, settings):
        result["__mercure_routing"] = routing
    if settings.notify != "never":
        text = ", ".join(f"{count} {answer}" for answer, count in counts.most_common())
        doubtful = any(row.status is Status.REVIEW or row.status in TROUBLE for row in images)
        requested = doubtful or settings.notify == "always"
        result["__mercure_notification"] = {"text": text, "requested": requested}
    return result


def routing_of(rows: Sequence[ManifestRow], settings: ModuleSettings) -> dict[str, Any]:
    """Return where all images go, for mercure dispatches them together: to the targets of every answer.

    Empty if no answer has a target: then the rule's own stands.
    """
    answers = list(dict.fromkeys(answer for row in rows for answer in answers_of(row)))
    if answers and settings.discard.issuperset(answers):
        return {"discard": True}
    kept = [answer for answer in answers if answer not in settings.discard]
    chosen = [settings.targets.get(answer, settings.targets.get(ANY, ())) for answer in kept]
    targets = list(dict.fromkeys(target for targets in chosen for target in targets))
    return {"target": targets} if targets else {}


def told_of(result: Mapping[str, Any]) -> str:
    """Return a result in one line, for the log that mercure keeps of a module."""
    answers = ", ".join(f"{count} {answer}" for answer, count in result["dicomsort"]["answers"].items())
    routing = result.get("__mercure_routing", {})
    where = "discarded" if routing.get("discard") else ", ".join(routing.get("target", ["as the rule says"]))
    return f"{answers}; to dispatch: {where}"


def _image(row: ManifestRow) -> dict[str, Any]:
    more = {name: answer.label for name, answer in row.further.items()}
    return {
        "file": os.path.basename(row.path),
        "sop_instance_uid": row.header.sop_instance_uid,
        "status": row.status.value,
        "reasons": list(row.reasons),
        "label": row.label,
        "confidence": row.confidence,
        **({"further": more} if more else {}),
    }


def write_result(folder: str, result: Mapping[str, Any]) -> None:
    """Write result.json. Raises TargetError."""
    path = os.path.join(folder, RESULT)
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(json.dumps(result, indent=2) + "\n")
    except OSError as error:
        raise TargetError(f"'{escape(path)}' cannot be written: {error.strerror}") from error


def pass_on(source: str, folder: str) -> int:
    """Copy the images as they came, and say how many they are. Raises TargetError."""
    names = sorted(entry.name for entry in os.scandir(source) if is_image(entry.name) and entry.is_file())
    try:
        for name in names:
            shutil.copyfile(os.path.join(source, name), os.path.join(folder, name))
    except OSError as error:
        raise TargetError(f"'{escape(folder)}' cannot be written: {error.strerror}") from error
    return len(names)


def is_image(name: str) -> bool:
    """Return whether mercure takes a file of this name for an image."""
    return name.endswith(DICOM)
