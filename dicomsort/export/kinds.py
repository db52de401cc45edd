"""What can be written of an output, and what can be wrong with a tag."""

from enum import StrEnum

ANNOTATIONS = "annotations.csv"
"""The journal in a folder of copies or reports."""


class Kind(StrEnum):
    """What is written: a corrected copy of each file that needs one, or a report of each study."""

    INSTANCES = "instances"
    SR = "sr"


class Flaw(StrEnum):
    """What is wrong with a tag."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    WRONG = "wrong"
