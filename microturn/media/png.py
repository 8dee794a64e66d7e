"""A PNG that is written strip by strip, so that a picture of a long session never lies whole in memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_png(path: Path, width: int, dots_per_inch: int, strips: Iterable[NDArray[np.uint8]]) -> None:
    """Write ``strips`` (height, width, 3), each below the one before, as an 8-bit RGB PNG (ISO/IEC 15948).

    Raises ``OSError``.
    """
    deflate = zlib.compressobj(6)
    total_height = 0
    last = np.zeros((1, width, 3), np.uint8)
    with path.open("wb") as file:
        _write_head(file, width, total_height, dots_per_inch)
        for strip in strips:
            # Filter type 2: each row is kept as its difference from the one above, for drawings mostly zero.
            rows = np.full((len(strip), 1 + 3 * width), 2, np.uint8)
            rows[:, 1:] = (strip - np.concatenate([last, strip[:-1]])).reshape(len(strip), -1)
            last = strip[-1:].copy()
            total_height += len(strip)
            if compressed := deflate.compress(rows.tobytes()):
                _write_chunk(file, b"IDAT", compressed)
        _write_chunk(file, b"IDAT", deflate.flush())
        _write_chunk(file, b"IEND", b"")
        # The height is known now: the header is written a second time.
        file.seek(0)
        _write_head(file, width, total_height, dots_per_inch)


def _write_head(file: BinaryIO, width: int, height: int, dots_per_inch: int) -> None:
    dots_per_metre = round(dots_per_inch / 0.0254)
    file.write(SIGNATURE)
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    _write_chunk(file, b"pHYs", struct.pack(">IIB", dots_per_metre, dots_per_metre, 1))


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
