#!/bin/sh
# imagecodecs.ljpeg_decode takes no notice of restart intervals and of separate scans, and returns what comes out.
#
# The guess: a decoder that does not know DRI and RST markers, or a scan for each color, raises an error, as it does for
#   other streams it cannot read; and pieces before the first marker are right.
# What was seen (imagecodecs 2026.3.6): an array of the right shape and type. With restart intervals of 16 rows in 64 three
#   quarters of the pixels are wrong, from the first marker on; of RGB in three scans 99 %, the first scan included, since
#   its samples are taken for interleaved ones. jpegsof3_decode refuses restart intervals and is silent about scans.
#   jpeg8_decode, which knows lossless streams too, is right on both.
# Why it hurts: 16 bits hold the interval, so large radiographs of encoders that restart are lost nearly whole; ljpeg_decode
#   is the fast one that one picks for lossless JPEG.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'EOF'
import imagecodecs
import numpy as np


def words(*values):
    return b"".join(value.to_bytes(2, "big") for value in values)


def coded(plane):  # predictor 1; every category has the code of its own number in 5 bits
    before = np.full_like(plane, 128)
    before[:, 1:], before[1:, 0] = plane[:, :-1], plane[:-1, 0]
    bits = ""
    for value in (plane - before).ravel().tolist():
        size = abs(value).bit_length()
        extra = value if value > 0 else value + (1 << size) - 1
        bits += f"{size:05b}" + (f"{extra:0{size}b}" if size else "")
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def stream(planes, interval):
    rows, columns = planes[0].shape
    numbers = range(1, len(planes) + 1)
    parts = [b"\xff\xd8\xff\xc3", words(8 + 3 * len(planes)), b"\x08", words(rows, columns), bytes([len(planes)])]
    parts += [bytes([number, 0x11, 0]) for number in numbers]
    parts.append(b"\xff\xc4" + words(36) + bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)]))
    parts.append(b"\xff\xdd" + words(4, interval * columns) if interval else b"")
    for number, plane in zip(numbers, planes):
        parts.append(b"\xff\xda" + words(8) + bytes([1, number, 0, 1, 0, 0]))
        step = interval or rows
        parts += [
            (bytes([0xFF, 0xD0 + (row // step - 1) % 8]) if row else b"") + coded(plane[row : row + step])
            for row in range(0, rows, step)
        ]
    return b"".join(parts) + b"\xff\xd9"


across, down = np.meshgrid(np.arange(64), np.arange(64))
gray = (across * 3 + down * down // 16) % 256
color = [gray, gray.T, gray[::-1]]
for name, planes, interval in (("restarts", [gray], 16), ("three scans", color, 0)):
    data = stream(planes, interval)
    right = planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)
    found = imagecodecs.ljpeg_decode(data)
    wrong = float((found != right).mean())
    print(f"{name}: ljpeg_decode {found.shape} {found.dtype}, wrong: {wrong:.0%}")
    assert found.shape == right.shape and wrong > 0.5, "changed: ljpeg_decode"
    assert (imagecodecs.jpeg8_decode(data) == right).all(), "jpeg8_decode is no longer right"
EOF
