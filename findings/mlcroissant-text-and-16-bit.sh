#!/bin/sh
# mlcroissant makes 818981001.0 of a code that its description calls a text, white of a 16-bit PNG, and None of a picture.
#
# The guess: a field of dataType sc:Text gives the text of the cell. A PNG of 16 bits (as radiographs are kept, 0 to 4095) comes with
#   its values, or scaled to 8 bits. A field that refers to a file's `fullpath`, as Croissant 1.1 describes it, joins with the same text.
# What was seen (mlcroissant 1.1.1, pandas 3.1.1, pillow 12.0.0, Python 3.11), without an error:
#   codes in a CSV in which one cell is empty come as b"818981001.0": pandas has made numbers of them before the type is looked at;
#   every PNG is converted to RGB by Pillow, which cuts off at 255 instead of scaling, so all above 255 of 4095 is white;
#   what is joined by fullpath is None in every row, for paths are compared with texts. Joined by filename it is there.
# Why it hurts: codes do not join with any other table, and a network is trained on white pictures, or on none.
# The way around: a table in JSON lines, pictures of 8 bits, and references to filename.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mlcroissant==1.1.1 pandas==3.1.1 pillow==12.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - 2>/dev/null <<'END'
import hashlib
import json
from pathlib import Path

import mlcroissant
import numpy as np
from mlcroissant import Dataset
from PIL import Image

Path("png").mkdir()
Image.fromarray(np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)).save("png/a.png")
Image.fromarray(np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)).save("png/b.png")
Path("table.csv").write_text("path,name,code\npng/a.png,a.png,818981001\npng/b.png,b.png,\n")
digest = hashlib.sha256(Path("table.csv").read_bytes()).hexdigest()


def field(name, kind, source, references=None):
    found = {"@type": "cr:Field", "@id": f"r/{name}", "name": name, "dataType": kind, "source": source}
    return {**found, "references": references} if references else found


def records(column, prop):
    csv = {"fileObject": {"@id": "table"}}
    files = {"fileSet": {"@id": "files"}}
    fields = [
        field(column, "sc:Text", {**csv, "extract": {"column": column}}, {**files, "extract": {"fileProperty": prop}}),
        field("code", "sc:Text", {**csv, "extract": {"column": "code"}}),
        field("image", "sc:ImageObject", {**files, "extract": {"fileProperty": "content"}}),
    ]
    table = {"@type": "cr:FileObject", "@id": "table", "name": "table", "contentUrl": "table.csv",
             "encodingFormat": "text/csv", "sha256": digest}
    pictures = {"@type": "cr:FileSet", "@id": "files", "name": "files", "encodingFormat": "image/png", "includes": "png/*.png"}
    context = {"@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "cr": "http://mlcommons.org/croissant/",
               "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo", "dataType": {"@id": "cr:dataType", "@type": "@vocab"}}
    for name in ("column", "extract", "field", "fileProperty", "fileObject", "fileSet", "includes", "recordSet", "references", "source"):
        context[name] = f"cr:{name}"
    told = {"@context": context, "@type": "sc:Dataset", "name": "d", "description": "d", "conformsTo": "http://mlcommons.org/croissant/1.1",
            "version": "1.0.0", "distribution": [table, pictures], "recordSet": [{"@type": "cr:RecordSet", "@id": "r", "name": "r", "field": fields}]}
    Path("croissant.json").write_text(json.dumps(told))
    return list(Dataset(jsonld="croissant.json").records("r"))


by_path, by_name = records("path", "fullpath"), records("name", "filename")
values = np.unique(np.asarray(by_name[0]["r/image"]))
print("a code that is a text:       expected b'818981001'      came", by_name[0]["r/code"])
print("16 bits, 0 to 4095:          expected many grays        came", [int(value) for value in values])
print("a picture joined by fullpath: expected a picture         came", by_path[0]["r/image"])
assert by_name[0]["r/code"] == b"818981001.0", "mended: texts are texts"
assert values.max() == 255 and len(values) < 8, "mended: 16 bits"
assert by_path[0]["r/image"] is None, "mended: fullpath joins"
END
