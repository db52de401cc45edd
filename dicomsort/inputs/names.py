"""The names of sources that are no plain files: in archives, in object stores, in a PACS.

A file in an archive is `outer.zip!/inner/name.dcm`; the second one of that name in the same archive is
`outer.zip!2/inner/name.dcm`. In an archive within an archive it is `outer.zip!/inner.tar!/name.dcm`. Objects
are `s3://bucket/key`, instances `dicomweb+https://host/base/studies/1.2/series/1.3/instances/1.4`.
"""

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_MARK = re.compile(r"!([1-9][0-9]*)?/")
_IN_PACS = re.compile(r"/studies/([^/]+)(?:/series/([^/]+)(?:/instances/([^/]+))?)?/?$")
_UP = "__"
"""What stands in a member's name for a step out of its folder."""


def is_remote(path: str) -> bool:
    """Return whether a name is that of an object or an instance on another machine."""
    return "://" in path and _REMOTE.match(path) is not None


def is_pacs(path: str) -> bool:
    """Return whether a name is that of a PACS, or of an instance there."""
    return path.startswith(("dicomweb+http://", "dicomweb+https://"))


def is_web(path: str) -> bool:
    """Return whether a name is an address on a web server, in which `%20` stands for a space."""
    return path.startswith(("http://", "https://"))


def place_in_pacs(path: str) -> str:
    """Return where an instance, a series or a study of a PACS goes: `STUDY/SERIES/INSTANCE.dcm`, by UIDs.

    Empty if the name is of none of them.
    """
    found = _IN_PACS.search(path)
    if found is None:
        return ""
    uids = [re.sub(r"[^0-9A-Za-z._-]", "_", unquote(uid)) for uid in found.groups() if uid]
    safe = ["__" if not uid.strip(".") else uid for uid in uids]
    return "/".join(safe) + ".dcm" * (len(safe) == 3)


def is_plain(path: str) -> bool:
    """Return whether a name can only be that of a file on this machine, which is opened as it is."""
    return "!" not in path and not is_remote(path)


def member(archive: str, name: str, number: int = 1) -> str:
    """Return the name of a member of an archive. number: 2 for the second one of that name, and so on."""
    return f"{archive}!{number if number > 1 else ''}/{name}"


def clean(name: str) -> str:
    """Return a member's name as a relative path that stays where it is: no root, no steps up, no empty parts.

    Backslashes separate where there is no slash, as some programs for Windows write them.
    """
    if "/" not in name:
        name = name.replace("\\", "/")
    parts = [part for part in name.replace("\0", "_").split("/") if part not in ("", ".")]
    return "/".join(_UP if part == ".." else part for part in parts) or "_"


def splits(path: str) -> Iterator[tuple[str, str, int]]:
    """Yield each way to take a name apart, from the front: (archive, member's name, its number)."""
    for mark in _MARK.finditer(path):
        if mark.start() > 0 and mark.end() < len(path):
            yield path[: mark.start()], path[mark.end() :], int(mark[1] or 1)


def without_secrets(path: str) -> str:
    """Return a remote name without user, password, query and fragment, for tables and messages."""
    if not is_remote(path):
        return path
    parts = urlsplit(path)
    host = parts.netloc.rpartition("@")[2]
    return f"{path.partition('://')[0]}://{host}{parts.path}"


def base_name(path: str) -> str:
    """Return the last part of a name."""
    return os.path.basename(path.rstrip("/"))
