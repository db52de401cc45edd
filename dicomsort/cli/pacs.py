"""How a PACS is asked, from what was typed and from the environment."""

import base64
import os
from collections.abc import Sequence
from typing import Annotated

import typer

from dicomsort.cli.shown import INPUT
from dicomsort.errors import UsageError
from dicomsort.inputs.names import is_pacs

TOKEN, USER, PASSWORD = "DICOMSORT_PACS_TOKEN", "DICOMSORT_PACS_USER", "DICOMSORT_PACS_PASSWORD"

Query = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Of a PACS: ask for this only, such as Modality=DX; may be repeated.",
        rich_help_panel=INPUT,
    ),
]


def query_of(words: Sequence[str] | None, inputs: Sequence[str] | None) -> dict[str, str]:
    """Return what a PACS is asked for. Raises UsageError if it is no query, or if there is no PACS."""
    if not words:
        return {}
    if not any(map(is_pacs, inputs or ())):
        raise UsageError("--query goes with a PACS: name one, such as dicomweb+http://host:8042/dicom-web")
    from dicomsort.dicom.query import parse_query  # noqa: PLC0415  (loads pydicom)

    return parse_query(words)


def authorization() -> str:
    """Return what a PACS is sent as `Authorization` (RFC 6750, RFC 7617), by the environment; or nothing.

    Raises UsageError, which shows none of it.
    """
    token, user, password = (os.environ.get(name, "") for name in (TOKEN, USER, PASSWORD))
    if token:
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise UsageError(f"{TOKEN} is no token: it has other characters than a token may have")
        return f"Bearer {token}"
    if user:
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    return ""
