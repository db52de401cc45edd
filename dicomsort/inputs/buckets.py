"""Buckets of object stores: what is in them, and their bytes, which obstore moves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from obstore import exceptions, store

from dicomsort.errors import UsageError
from dicomsort.inputs.s3 import Account
from dicomsort.inputs.store import FetchError, RemoteSettings
from dicomsort.inputs.transfer import (
    Answer,
    Ask,
    ChangedError,
    Entry,
    PassingError,
    condition,
    stamp_of,
    time_for_piece,
)
from dicomsort.inputs.web import Web
from dicomsort.outcome import FileStamp, Reason
from dicomsort.system.escaping import escape

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Credential

_CHUNK = 1 << 20
_NOT_FOUND = "404 Not Found"
_BEYOND_END = "416 Range Not Satisfiable"
_NO_CREDENTIALS = "Error performing token request"
_KEPT = timedelta(minutes=5)
"""How long obstore keeps credentials before it asks again; botocore renews those that end."""
_CONNECT = timedelta(seconds=5)
_REFUSED = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
_DENIED = "access is denied: check the credentials and their permission to list"
_ODD_KEY = "a key with an empty part, '.' or '..' lies there, which only s3:// can name: name other folders"
_NO_SUCH_BUCKET = "there is no such bucket"
_NO_LIST = "no list is to be had: check address, network and credentials"


class Bucket(Protocol):
    """A bucket of some store."""

    def at(self, key: str) -> Iterator[Entry]:
        """Yield the object with a key, if there is one. Raises UsageError."""

    def below(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects whose keys begin so, page by page. Raises UsageError."""

    def ask(self, key: str) -> Ask:
        """Return what asks for bytes of an object."""

    def close(self) -> None:
        """Let go of connections."""


def bucket_of(scheme: str, name: str, settings: RemoteSettings) -> Bucket:
    """Return a bucket, for whom the usual places say. Raises UsageError."""
    return S3Bucket(name, settings) if scheme == "s3" else CloudBucket(scheme, name, settings)


class S3Bucket:
    """A bucket of S3 or of a store that speaks like it."""

    def __init__(self, name: str, settings: RemoteSettings) -> None:
        self._account = account = Account(name, settings)
        self._web = Web(settings, account.certificates)
        self._store = store.S3Store(
            name,
            endpoint=account.endpoint,
            region=account.region,
            credential_provider=None if account.is_public else partial(_credentials, account),
            skip_signature=account.is_public,
            client_options=_client(settings, account.certificates),
            retry_config=_no_retries(),
        )
        self.below = account.entries

    def at(self, key: str) -> Iterator[Entry]:
        """Yield the object with a key; of all that begin so it is the first."""
        return (entry for entry in self._account.entries(key, most=1) if entry.key == key)

    def ask(self, key: str) -> Ask:
        """Return what asks for bytes: of a key that obstore cannot say, by a signed address."""
        if is_path(key):
            return partial(_ask, self._store, key)
        return partial(self._ask_by_link, key)

    def _ask_by_link(self, key: str, start: int, stop: int, etag: str) -> Answer:
        return self._web.ask(self._account.link_to(key))(start, stop, etag)

    def close(self) -> None:
        """Let go of connections."""
        self._account.close()
        self._web.close()


def _credentials(account: Account) -> "S3Credential":
    access, secret, token = account.keys()
    ends = datetime.now(UTC) + _KEPT
    return {"access_key_id": access, "secret_access_key": secret, "token": token, "expires_at": ends}


_STORES: dict[str, Callable[..., Any]] = {"gs": store.GCSStore, "az": store.AzureStore}


class CloudBucket:
    """A bucket of Google Cloud Storage, or a container of Azure Blob Storage."""

    def __init__(self, scheme: str, name: str, settings: RemoteSettings) -> None:
        self._place, self._in_order = f"{scheme}://{name}", scheme == "gs"
        self._told = partial(_told, self._place)
        make = partial(_STORES[scheme], name, client_options=_client(settings))
        with self._told():
            public = _is_public(make(retry_config=_no_retries()))
            self._store = make(retry_config=_no_retries(), skip_signature=public)
            self._listed = make(retry_config=_retries(settings), skip_signature=public)

    def at(self, key: str) -> Iterator[Entry]:
        """Yield the object with a key, if there is one."""
        try:
            with self._told():
                yield _entry(self._listed.head(key))
        except FileNotFoundError:
            return

    def below(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects below a folder.

        obstore lists `x/` and `/x` as `x` (findings/obstore-leading-slash.sh). The one is most often the
        marker of a folder, which is passed over; the other shows in Google's store by the order of keys.
        """
        last = ""
        for entry in self._entries(prefix):
            if entry.size == 0 and (entry.key == last or not any(self.at(entry.key))):
                continue
            if self._in_order and entry.key <= last:
                raise UsageError(f"{escape(self._place)}: {_ODD_KEY}")
            last = entry.key
            yield entry

    def _entries(self, prefix: str) -> Iterator[Entry]:
        with self._told():
            for page in self._listed.list(prefix or None, chunk_size=1000):
                yield from map(_entry, page)

    def ask(self, key: str) -> Ask:
        """Return what asks for bytes of an object."""
        return partial(_ask, self._store, key)

    def close(self) -> None:
        """Do nothing: obstore closes its connections when nobody knows it any more."""


def _is_public(objects: "store.ObjectStore") -> bool:
    """Return whether nobody's credentials are found: then the store may answer all the same."""
    try:
        next(iter(objects.list(chunk_size=1)), None)
    except exceptions.GenericError as error:
        return _NO_CREDENTIALS in str(error)
    except exceptions.BaseError:
        return False
    return False


def is_path(key: str) -> bool:
    """Return whether obstore can ask for a key: no part is empty, `.` or `..`, and nothing controls."""
    return not {"", ".", ".."} & set(key.split("/")) and not any(char < " " or char == "\x7f" for char in key)


def _client(settings: RemoteSettings, certificates: str | None = None) -> "ClientConfig":
    most = timedelta(seconds=settings.timeout)
    options: ClientConfig = {
        "allow_http": True,
        "connect_timeout": min(most, _CONNECT),
        "read_timeout": most,
        "timeout": timedelta(seconds=time_for_piece(settings)),
        "pool_max_idle_per_host": str(settings.connections),
    }
    if certificates:
        with open(certificates, "rb") as file:
            options["root_certificate"] = file.read()
    return options


def _no_retries() -> "RetryConfig":
    """`transfer` tries again, from the byte where it stopped."""
    return {"max_retries": 0}


def _retries(settings: RemoteSettings) -> "RetryConfig":
    return {
        "max_retries": settings.tries - 1,
        "retry_timeout": timedelta(seconds=settings.timeout * settings.tries),
    }


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Say in words why a store does not list. Its own message may quote a header or a token."""
    try:
        yield
    except _REFUSED:
        raise UsageError(f"{escape(place)}: {_DENIED}") from None
    except exceptions.InvalidPathError:
        raise UsageError(f"{escape(place)}: {_ODD_KEY}") from None
    except exceptions.BaseError as error:
        why = _NO_SUCH_BUCKET if _NOT_FOUND in str(error) else _NO_LIST
        raise UsageError(f"{escape(place)}: {why}") from None


def _entry(found: "ObjectMeta") -> Entry:
    return Entry(found["path"], found["size"], found["last_modified"].timestamp(), found["e_tag"] or "")


def _ask(objects: "store.ObjectStore", key: str, start: int, stop: int, etag: str) -> Answer:
    with _sorted_errors():
        try:
            got = objects.get(key, options=_options(start, stop, etag))
        except exceptions.GenericError as error:
            if _BEYOND_END not in str(error):
                raise
            return Answer(_stamp(objects.head(key)), iter(()))
    return Answer(_stamp(got.meta), _chunks(got))


def _options(start: int, stop: int, etag: str) -> "GetOptions":
    options: GetOptions = {"range": (start, stop)}
    if match := condition(etag):
        options["if_match"] = match
    return options


def _chunks(got: "GetResult") -> Iterator[bytes]:
    with _sorted_errors():
        yield from got.stream(min_chunk_size=_CHUNK)


def _stamp(meta: "ObjectMeta") -> FileStamp:
    return stamp_of(meta["size"], meta["last_modified"].timestamp(), meta["e_tag"])


@contextmanager
def _sorted_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise FetchError(Reason.VANISHED) from None
    except exceptions.PreconditionError:
        raise ChangedError from None
    except exceptions.GenericError:
        raise PassingError from None
    except (exceptions.BaseError, ValueError):
        raise FetchError(Reason.REMOTE) from None
