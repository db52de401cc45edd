"""The state of a training after each epoch, so that a kill costs one epoch at most."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dicomsort.errors import ModelError, TargetError, UsageError
from dicomsort.system.atomic import replacing


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a training keeps its state. fingerprint: of all that must be the same when it goes on."""

    path: Path
    fingerprint: str

    def save(self, state: dict[str, Any]) -> None:
        """Write the state by atomic rename: tensors, numbers, texts, lists and dicts of these.

        Raises TargetError if it cannot be written.
        """
        content = io.BytesIO()  # torch.save does not tell why a disk refuses
        torch.save({"fingerprint": self.fingerprint, **state}, content)
        try:
            with replacing(self.path, "wb") as file:
                file.write(content.getbuffer())
        except OSError as error:
            raise TargetError(
                f"'{self.path}' cannot be written: {error.strerror}; --resume goes on when there is space"
            ) from error

    def load(self) -> dict[str, Any] | None:
        """Return the state, or None if there is none. Nothing but data is ever loaded (weights_only).

        Raises ModelError for a damaged file, UsageError for one of another training.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            fingerprint = state["fingerprint"]
        except Exception as error:  # (pickle, zip and torch each have errors of their own)
            raise ModelError(
                f"checkpoint '{self.path}' is damaged; remove it and start the training again"
            ) from error
        if fingerprint != self.fingerprint:
            raise UsageError(
                f"checkpoint '{self.path}' is of other data or settings; give the same ones, or another --out"
            )
        return state


def fingerprint(facts: Any) -> str:
    """Hash JSON values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
