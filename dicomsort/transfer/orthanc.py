"""Labels in an Orthanc, by its own REST interface; metadata where its version has no labels."""

import json
import re
from enum import StrEnum
from typing import Any

from dicomsort.errors import UsageError
from dicomsort.inputs.names import without_secrets
from dicomsort.inputs.pacs_requests import Response, Web, WebError
from dicomsort.inputs.store import RemoteSettings
from dicomsort.system.escaping import escape
from dicomsort.transfer.peer import PeerLostError

METADATA = 7310
"""The number of our metadata; those from 1024 on are for users."""

PREFIX = "dicomsort"
_MOST_JSON = 1 << 22
_FEWEST_TRIES = 2
_JSON = {"Accept": "application/json"}


class Level(StrEnum):
    """What is labeled: each instance, or each study with the labels of all its instances."""

    INSTANCE = "instance"
    STUDY = "study"


class Orthanc:
    """An Orthanc that is marked. has_labels: whether its version has them (1.12.0 and later)."""

    def __init__(self, root: str, settings: RemoteSettings) -> None:
        """Ask it what it is. Raises UsageError if it is none, or does not answer."""
        self.name = root.rstrip("/")
        self._web = Web(settings)
        try:
            system = self._web.get(f"{self.name}/system", _JSON, self._taken, _FEWEST_TRIES)
        except WebError:
            system = None
        if not isinstance(system, dict) or "ApiVersion" not in system:
            shown = escape(without_secrets(self.name))
            raise UsageError(
                f"'{shown}' is no Orthanc, or does not answer: name it with --orthanc http://host:8042"
            )
        self.has_labels = bool(system.get("HasLabels"))

    def stop(self) -> None:
        """Give up what is being asked, whichever thread does."""
        self._web.stop()

    def close(self) -> None:
        """Let go of connections."""
        self._web.close()

    def find(self, level: Level, uid: str) -> list[str]:
        """Return what Orthanc calls those with this UID; more than one if several patients have it."""
        found = self._asked("POST", "/tools/lookup", uid.encode())
        kind = level.value.capitalize()
        return [str(each["ID"]) for each in found or [] if each.get("Type") == kind]

    def marks(self, level: Level, name: str) -> set[str]:
        """Return the labels that are there; of metadata ours, whatever it says."""
        place = self._place(level, name)
        if self.has_labels:
            return {str(label) for label in self._asked("GET", f"{place}/labels") or []}
        text = self._text(f"{place}/metadata/{METADATA}")
        return set(text.split(",")) if text else set()

    def put(self, level: Level, name: str, marks: set[str], was: set[str]) -> int:
        """Put marks in the place of others of ours; returns the HTTP status of what failed, or 200."""
        place = self._place(level, name)
        if not self.has_labels:
            url = f"{place}/metadata/{METADATA}"
            return self._change("PUT", url, ",".join(sorted(marks)).encode()) if marks else self._gone(url)
        for mark in was - marks:
            if (status := self._gone(f"{place}/labels/{mark}")) != 200:
                return status
        for mark in marks - was:
            if (status := self._change("PUT", f"{place}/labels/{mark}")) != 200:
                return status
        return 200

    def _gone(self, url: str) -> int:
        status = self._change("DELETE", url)
        return 200 if status == 404 else status

    @staticmethod
    def _place(level: Level, name: str) -> str:
        return f"/{'studies' if level is Level.STUDY else 'instances'}/{name}"

    def _change(self, method: str, path: str, body: bytes = b"") -> int:
        try:
            return self._web.change(method, f"{self.name}{path}", body)
        except WebError as error:
            raise self._lost(error) from None

    def _text(self, path: str) -> str:
        try:
            return self._web.get(f"{self.name}{path}", {}, self._taken_text)
        except WebError as error:
            raise self._lost(error) from None

    def _asked(self, method: str, path: str, body: bytes = b"") -> Any:
        try:
            if method == "POST":
                return self._web.post(f"{self.name}{path}", _JSON, lambda: body, self._taken)
            return self._web.get(f"{self.name}{path}", _JSON, self._taken)
        except WebError as error:
            raise self._lost(error) from None

    def _taken(self, response: Response) -> Any:
        if response.status_code != 200:
            raise WebError(response.status_code)
        try:
            return json.loads(self._web.whole(response, _MOST_JSON))
        except ValueError:
            raise WebError(406) from None

    def _taken_text(self, response: Response) -> str:
        if response.status_code == 404:
            return ""
        if response.status_code != 200:
            raise WebError(response.status_code)
        return self._web.whole(response, _MOST_JSON).decode("utf-8", "replace")

    def _lost(self, error: WebError) -> PeerLostError:
        why = f"answers with HTTP {error.status}" if error.status > 0 else "does not answer any more"
        return PeerLostError(f"'{self.name}' {why}: see to it, and run the same command again")


def mark_of(label: str) -> str:
    """Return a label as Orthanc takes it: letters, digits, `_` and `-`, and ours to be seen."""
    return f"{PREFIX}-{re.sub(r'[^0-9A-Za-z_-]', '-', label)}"
