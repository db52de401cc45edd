"""To whom files are sent: a DICOMweb service or an application entity."""

import re
from dataclasses import dataclass
from typing import Protocol

from dicomsort.dicom.whole import Whole
from dicomsort.errors import TargetError, UsageError
from dicomsort.inputs.names import is_pacs, without_secrets
from dicomsort.inputs.store import RemoteSettings
from dicomsort.system.escaping import escape
from dicomsort.transfer.answers import Answer, Left

_ENTITY = re.compile(
    r"(?P<title>[^@:/\\\s]{1,16})@(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:/\s]+):(?P<port>[0-9]{1,5})"
)


class PeerLostError(TargetError):
    """A PACS that does not answer any more, or wants nothing from us: nothing else can be sent."""


class Peer(Protocol):
    """A PACS that takes files, from several threads at a time. name: as the journal calls it."""

    name: str

    def send(self, path: str, what: Whole) -> Answer | Left:
        """Send a file as it is. Raises PeerLostError, or OSError of the file."""

    def stop(self) -> None:
        """Give up what is being sent, whichever thread does."""

    def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True, slots=True)
class Entity:
    """An application entity (PS3.8 9.3.2): its title, and where it listens."""

    title: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """As it is typed."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.title}@{host}:{self.port}"


def entity_of(to: str) -> Entity | None:
    """Read `TITLE@host:port`; None if it is no such name."""
    found = _ENTITY.fullmatch(to)
    if found is None or not 0 < int(found["port"]) < 65536:
        return None
    return Entity(found["title"], found["host"].strip("[]"), int(found["port"]))


def peer_of(to: str, settings: RemoteSettings, title: str) -> Peer:
    """Return the PACS of a name. title: what we are called there. Raises UsageError, MissingLibraryError."""
    if is_pacs(to):
        from dicomsort.transfer.stow import Stow  # noqa: PLC0415

        return Stow(to, settings)
    entity = entity_of(to)
    if entity is None:
        raise UsageError(
            f"--to '{escape(without_secrets(to))}' is no PACS: give dicomweb+http://host:8042/dicom-web, or "
            "an AE title such as ORTHANC@host:4242"
        )
    from dicomsort.transfer.c_store import CStore  # noqa: PLC0415

    return CStore(entity, settings, title)
