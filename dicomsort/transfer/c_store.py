"""Files sent to an application entity, in the transfer syntax that they have (C-STORE: PS3.4 annex B)."""

import socket
import threading
from typing import Any

from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association

from dicomsort.dicom.whole import Whole
from dicomsort.inputs.store import RemoteSettings
from dicomsort.transfer.answers import Answer, Left
from dicomsort.transfer.peer import Entity, PeerLostError

_MOST_CONTEXTS = 128  # PS3.8 9.3.2.2
_CONNECT, _FIRST_PAUSE = 10.0, 0.25  # seconds

_config.STORE_SEND_CHUNKED_DATASET = True  # the bytes of the file, not what pydicom would make of them
_AGAIN = "see to it, and run the same command again"
Context = tuple[str, str]


class CStore:
    """An application entity that takes files; a `Peer`. Each thread has an association of its own."""

    def __init__(self, entity: Entity, settings: RemoteSettings, title: str) -> None:
        self.name = entity.name
        self._entity, self._settings, self._title = entity, settings, title
        self._own = threading.local()
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._is_there = False
        self._wanted: dict[Context, None] = {}
        self._open: list[Association] = []

    def stop(self) -> None:
        """Give up what is being sent, whichever thread does."""
        self._closed.set()
        with self._lock:
            for association in self._open:
                if association.is_established:
                    association.abort()

    def close(self) -> None:
        """Release all associations."""
        self._closed.set()
        with self._lock:
            for association in self._open:
                if association.is_established:
                    association.release()
            self._open.clear()

    def send(self, path: str, what: Whole) -> Answer | Left:
        """Send a file as it is; see `Peer`."""
        context, why = (what.sop_class, what.syntax), ""
        self._check_is_there()
        for pause in (_FIRST_PAUSE * 2**number for number in range(self._settings.tries)):
            if self._closed.is_set():
                break
            association = self._association(context)
            if not association.is_established:
                if association.rejected_contexts:
                    return Left.NO_CONTEXT
                why = self._refuses if association.is_rejected else "does not answer"
            elif not _takes(association, context):
                return Left.NO_CONTEXT
            else:
                status = association.send_c_store(path)
                if "Status" in status:
                    return Answer(int(status.Status))
                why = "does not answer any more"
            self._drop(association)
            self._closed.wait(pause)
        raise PeerLostError(f"'{self.name}' {why}: {_AGAIN}")

    def _check_is_there(self) -> None:
        """Raise PeerLostError unless something listens there, once; pynetdicom leaves sockets open if not."""
        with self._lock:
            if self._is_there:
                return
            try:
                address = self._entity.host, self._entity.port
                socket.create_connection(address, min(self._settings.timeout, _CONNECT)).close()
            except OSError:
                raise PeerLostError(f"'{self.name}' does not answer: {_AGAIN}") from None
            self._is_there = True

    @property
    def _refuses(self) -> str:
        return f"refuses us; it has to know {self._title}, and {self._entity.title} has to be its own title"

    def _association(self, context: Context) -> Association:
        """Return this thread's association; a new one if it was not asked for what is to be sent now."""
        held: Association | None = getattr(self._own, "association", None)
        with self._lock:
            self._wanted[context] = None
            wanted = list(self._wanted)[-_MOST_CONTEXTS:]
        if held is not None and held.is_established:
            if context in self._own.asked:
                return held
            held.release()
        association = self._associated(wanted)
        self._own.association, self._own.asked = association, set(wanted)
        return association

    def _associated(self, wanted: list[Context]) -> Association:
        entity = AE(self._title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self._settings.timeout
        entity.connection_timeout = min(self._settings.timeout, _CONNECT)
        entity.requested_contexts = [build_context(*context) for context in wanted]
        association = entity.associate(self._entity.host, self._entity.port, ae_title=self._entity.title)
        with self._lock:
            self._open = [each for each in self._open if each.is_established] + [association]
        return association

    def _drop(self, association: Association) -> None:
        if association.is_established:
            association.abort()
        self._own.association = None


def _takes(association: Any, context: Context) -> bool:
    return any(
        (each.abstract_syntax, each.transfer_syntax[0]) == context for each in association.accepted_contexts
    )
