"""What the markers of a JPEG 2000 stream say of its size and its tiles."""

import struct

SIZ = b"\xff\x4f\xff\x51"
"""How a code stream begins: SOC and SIZ (ITU-T T.800 A.4.1, A.5.1)."""

_SOT = b"\xff\x90\0\x0a"


def jpeg_2000_size(frame: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG 2000 stream, bare or in a JP2 file (ITU-T T.800 A.5.1, I.5.4)."""
    start = 0 if frame.startswith(SIZ) else frame.find(b"jp2c" + SIZ) + 4
    if not frame.startswith(SIZ, start) or len(frame) < start + 24:
        return None
    right, down, left, up = struct.unpack_from(">4I", frame, start + 8)
    return down - up, right - left


def has_all_tiles(frame: bytes) -> bool:
    """Return whether every tile has its tile-parts, and these their lengths (ITU-T T.800 A.4.2, B.3).

    Decoders leave a tile black that they do not find, and HTJ2K ones leave it coarse where it is cut off.
    """
    siz = frame.find(SIZ)
    right, down, _, _, width, height, left, top = struct.unpack_from(">8I", frame, siz + 8)
    if not width or not height:
        return False
    tiles = -(-(right - left) // width) * -(-(down - top) // height)
    parts, counts = _tile_parts(frame, siz)
    in_order = all(found == set(range(len(found))) for found in parts.values())
    return len(parts) == tiles and in_order and all(len(parts[tile]) >= counts[tile] for tile in parts)


def _tile_parts(frame: bytes, start: int) -> tuple[dict[int, set[int]], dict[int, int]]:
    """Return by tile the numbers of the tile-parts that are whole, and how many it says there are."""
    parts: dict[int, set[int]] = {}
    counts: dict[int, int] = {}
    at = frame.find(_SOT, start)
    while at >= 0 and frame.startswith(_SOT, at) and at + 14 <= len(frame):
        tile, length, part, count = struct.unpack_from(">HIBB", frame, at + 4)
        at += length or len(frame) - at  # 0 says that it is the last one, up to the end
        if 0 < length < 14 or at > len(frame):
            break
        parts.setdefault(tile, set()).add(part)
        counts[tile] = max(counts.get(tile, 0), count)
    return parts, counts
