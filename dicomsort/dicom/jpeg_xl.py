"""What the head of a JPEG XL stream says of its size."""


def jpeg_xl_size(frame: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG XL stream, bare or in boxes (ISO/IEC 18181-1 D.2, 18181-2 9)."""
    start = 0 if frame.startswith(b"\xff\x0a") else frame.find(b"\xff\x0a", 0, 4096)
    if start < 0:
        return None
    bits = int.from_bytes(frame[start + 2 : start + 12], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    def side(small: bool) -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = bool(take(1))
    rows, ratio = side(small), take(3)
    over, under = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    return rows, rows * over // under if ratio else side(small)
