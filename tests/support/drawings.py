"""Draws pictures for the review page, but does what a file's name says; workers import it by its name."""

import os
import signal
import time

import held_time

from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.review import thumbnails
from dicomsort.review.picture_cache import Answer
from dicomsort.review.thumbnails import _Wanted

_draw = thumbnails._draw


def misbehaving(wanted: _Wanted, settings: ReadSettings) -> Answer:
    """Draw a picture, but for files that are called segfault or hang; one called gate waits for `go`.

    Where files lie, `drawn.txt` lists them in the order in which they are begun.
    """
    folder, name = os.path.split(wanted.path)
    with open(os.path.join(folder, "drawn.txt"), "a", encoding="utf-8") as file:
        file.write(f"{name}\n")
    if name == "segfault.dcm":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "hang.dcm":
        held_time.hang()
    while name == "gate.dcm" and not os.path.exists(os.path.join(folder, "go")):
        time.sleep(0.01)
    return _draw(wanted, settings)
