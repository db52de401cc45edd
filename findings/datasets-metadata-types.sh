#!/bin/sh
# datasets passes over a metadata.csv that stands above the folders train and test, and takes labels from folders instead.
#
# The guess: one metadata.csv at the top of an image folder, whose file_name holds the way down (train/a/0.png), is the table of all
#   pictures below, as it is where there are no such folders; or an error says that it is not used.
# What was seen (datasets 5.2.0, pillow 12.0.0, Python 3.11): without folders named train and test the columns of the table are there.
#   With them load_dataset("imagefolder") takes the same folder without a word, and the table is gone: no column of it is there, and
#   `label` is the number of the folder's name. A table in each of them works. But then types are guessed table by table, and where a column is
#   empty in one of them (nobody of the test set has an age), loading ends with "different features".
# Why it hurts: patients, ages and corrected labels are in the table. Without them a training runs, on the labels of folders.
# The way around: a metadata.jsonl in each of the folders, in which numbers are numbers and empty texts are "".
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pillow==12.0.0
cd "$folder"
HF_HUB_OFFLINE=1 HF_HOME="$folder/home" HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$folder/venv/bin/python" - <<'END'
from pathlib import Path

from datasets import load_dataset
from PIL import Image

HEAD = "file_name,label,patient,age\n"


def tree(name, parts):
    for number, part in enumerate(parts):
        path = Path(name, part, "by_folder", f"{number}.png")
        path.parent.mkdir(parents=True)
        Image.new("L", (4, 4)).save(path)
    return Path(name)


def columns(folder):
    return {part: rows.column_names for part, rows in load_dataset("imagefolder", data_dir=str(folder)).items()}


plain = tree("plain", ["one", "two"])
(plain / "metadata.csv").write_text(HEAD + "one/by_folder/0.png,right,p1,40\ntwo/by_folder/1.png,right,p2,50\n")
print("folders one and two, a table above them:  ", columns(plain))
assert columns(plain)["train"] == ["image", "label", "patient", "age"], "changed: a table above other folders"

above = tree("above", ["train", "test"])
(above / "metadata.csv").write_text(HEAD + "train/by_folder/0.png,right,p1,40\ntest/by_folder/1.png,right,p2,50\n")
print("folders train and test, a table above them:", columns(above))
assert "patient" not in columns(above)["train"], "mended: the table is read"

each = tree("each", ["train", "test"])
(each / "train" / "metadata.csv").write_text(HEAD + "by_folder/0.png,right,p1,40\n")
(each / "test" / "metadata.csv").write_text(HEAD + "by_folder/1.png,right,,50\n")
try:
    print("a table in each, no patient in one:        ", columns(each))
except ValueError as error:
    print("a table in each, no patient in one:        ", str(error)[-9:] and "refused: different features")
END
