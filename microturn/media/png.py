"""A PNG that is written strip by strip, so that a picture of a long session never lies whole in memory."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"


class PngWriter:
    """An 8-bit RGB PNG (ISO/IEC 15948) of ``width`` pixels; use as a context manager.

    Its height is known once the last strip is written; the header is completed then. Raises ``OSError``.
    """

    def __init__(self, path: Path, width: int, dots_per_inch: int) -> None:
        self._path = path
        self._width = width
        self._height = 0
        self._dots_per_metre = round(dots_per_inch / 0.0254)
        self._deflate = zlib.compressobj(6)
        self._last: NDArray[np.uint8] = np.zeros((1, width, 3), np.uint8)

    def __enter__(self) -> PngWriter:
        self._file = self._path.open("wb")
        self._head()
        return self

    def write(self, strip: NDArray[np.uint8]) -> None:
        """Append ``strip`` (height, width, 3) below what is there."""
        assert strip.shape[1:] == (self._width, 3) and strip.dtype == np.uint8
        # Filter type 2: each row is kept as its difference from the one above, which for drawings is mostly zero.
        above = np.concatenate([self._last, strip[:-1]])
        rows = np.full((len(strip), 1 + 3 * self._width), 2, np.uint8)
        rows[:, 1:] = (strip - above).reshape(len(strip), -1)
        self._last = strip[-1:].copy()
        self._height += len(strip)
        self._chunk(b"IDAT", self._deflate.compress(rows.tobytes()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._chunk(b"IDAT", self._deflate.flush())
                self._chunk(b"IEND", b"")
                self._file.seek(0)
                self._head()

    def _head(self) -> None:
        self._file.write(SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", self._width, self._height, 8, 2, 0, 0, 0))
        self._chunk(b"pHYs", struct.pack(">IIB", self._dots_per_metre, self._dots_per_metre, 1))

    def _chunk(self, kind: bytes, data: bytes) -> None:
        if data or kind == b"IEND":
            checksum = zlib.crc32(kind + data)
            self._file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum))
