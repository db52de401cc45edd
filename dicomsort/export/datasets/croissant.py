"""A data set described in Croissant 1.1 (MLCommons), so that tools find its table and its pictures."""

from collections.abc import Sequence
from typing import Any

from dicomsort.export.datasets.columns import is_confidence, is_number
from dicomsort.export.datasets.settings import LINES, PARTS

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


NAME = "picture"
"""A field for a picture's name without folders: mlcroissant joins a `fullpath` with no text, silently."""


_PICTURE = {
    "@type": "cr:Field",
    "@id": "samples/image",
    "name": "image",
    "dataType": "sc:ImageObject",
    "source": {"fileSet": {"@id": "pictures"}, "extract": {"fileProperty": "content"}},
}


def described(columns: Sequence[str], digest: str) -> dict[str, Any]:
    """Return the description as JSON values. columns: of the table. digest: its SHA-256 in hex."""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": "radiographs",
        "description": "Radiographs sorted by dicomsort: pictures, their labels and what is known of each, "
        "by patients divided into train, validation and test.",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "version": "1.0.0",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "table",
                "name": "table",
                "contentUrl": LINES,
                "encodingFormat": "application/jsonlines",
                "sha256": digest,
            },
            {
                "@type": "cr:FileSet",
                "@id": "pictures",
                "name": "pictures",
                "encodingFormat": "image/png",
                "includes": [f"{part}/*/*.png" for part in PARTS],
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "samples",
                "name": "samples",
                "key": {"@id": "samples/file_name"},
                "field": [*(_field(name) for name in (*columns, NAME)), _PICTURE],
            }
        ],
    }


def _field(name: str) -> dict[str, Any]:
    """Return what tells of a column of the table; the names of files lead to the pictures."""
    kind = "sc:Float" if is_confidence(name) else "sc:Integer" if is_number(name) else "sc:Text"
    field = {
        "@type": "cr:Field",
        "@id": f"samples/{name}",
        "name": name,
        "dataType": kind,
        "source": {"fileObject": {"@id": "table"}, "extract": {"column": name}},
    }
    if name == NAME:
        field["references"] = {"fileSet": {"@id": "pictures"}, "extract": {"fileProperty": "filename"}}
    return field
