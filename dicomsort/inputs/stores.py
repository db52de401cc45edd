"""Which store a name belongs to; what talks to it is loaded then, and not before."""

from dicomsort.errors import UsageError
from dicomsort.inputs.names import without_secrets
from dicomsort.inputs.store import RemoteSettings, Store
from dicomsort.system.escaping import escape

_OBJECTS = ("s3", "gs", "az")
_WEB = ("http", "https")
_PACS = ("dicomweb+http", "dicomweb+https")


def store_of(url: str, settings: RemoteSettings) -> Store:
    """Return what fetches from a root such as `s3://bucket/folder/`, or from the place of one of its files.

    Raises UsageError for a scheme that is not known, MissingLibraryError if an extra is not installed.
    """
    scheme = url.partition("://")[0]
    if scheme in _PACS:
        from dicomsort.inputs.dicomweb import DicomWeb  # noqa: PLC0415

        return DicomWeb(url, settings)
    if scheme in _OBJECTS:
        from dicomsort.inputs.objects import ObjectStore  # noqa: PLC0415

        return ObjectStore(url, settings)
    if scheme in _WEB:
        from dicomsort.inputs.web_folder import WebFolder  # noqa: PLC0415

        return WebFolder(url, settings)
    known = ", ".join(f"{each}://" for each in (*_OBJECTS, *_WEB, *_PACS))
    raise UsageError(f"'{escape(without_secrets(url))}' is no address of a store: known are {known}")
