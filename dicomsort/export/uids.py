"""UIDs of what is written: the same content gets the same one again, so nothing is ever stored twice."""

import uuid

_ROOT = uuid.UUID("9d66d8f5-1c0c-47f4-8c05-dd3a0f4f15a9")


def uid_of(*parts: str) -> str:
    """Return a UID that stands for these texts and no others (PS3.5 B.2, RFC 4122 version 5)."""
    name = "\0".join(parts)
    return f"2.25.{uuid.uuid5(_ROOT, name).int}"
