"""What the structure of a file tells about its completeness, where FFmpeg stays silent.

FFmpeg plays a cut WAV or Ogg file to wherever it stops and reports the shorter length as if it were the true one; it
leaves out damaged Ogg pages, and what follows moves up; a cut MP4 it refuses only after everything before the cut has
been played, or without saying why.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from microturn.errors import MediaError

UNKNOWN_SIZE = 0xFFFFFFFF
"""A WAV written to a pipe states this size (or 0): its length is not known."""
ALL_ONES = 0xFFFFFFFF
MIRRORED_BYTES = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
EXACT_FORMATS = frozenset({"mov", "mp4", "matroska", "webm", "flac", "wav"})
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check_complete(path: Path) -> None:
    """Raise ``MediaError`` naming ``path`` and the cause if it is missing, unreadable, empty, or visibly cut."""
    if not path.exists():
        raise MediaError(f"{path}: no such file or folder")
    if not path.is_file():
        raise MediaError(f"{path}: is not a regular file")
    try:
        with path.open("rb") as file:
            problem = _problem(file, path.stat().st_size)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if problem:
        raise MediaError(f"{path}: {problem}")


def _problem(file: BinaryIO, size: int) -> str | None:
    """What is wrong with a file of ``size`` bytes, as far as its structure tells."""
    head = file.read(24)
    file.seek(0)
    if not head:
        return "is empty"
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _wav_problem(file, size)
    if head[:4] == b"OggS":
        return _ogg_problem(file)
    if head[4:8] == b"ftyp":
        return _mp4_problem(file, size)
    if head[:8] == PNG_SIGNATURE and len(head) == 24:
        width, height = struct.unpack(">II", head[16:])
        if 0 in (width, height):
            return f"picture is {width}x{height} pixels"
    return None


def _wav_problem(file: BinaryIO, size: int) -> str | None:
    """Walk the chunks (RIFF: four letters, a little-endian size, padded to even) up to the samples."""
    position = 12
    while position + 8 <= size:
        file.seek(position)
        kind, chunk_size = struct.unpack("<4sI", file.read(8))
        position += 8 + chunk_size
        if kind == b"data":
            if chunk_size == UNKNOWN_SIZE or position <= size:
                return None
            return f"is truncated: {position - size} of {chunk_size} bytes of sound are missing"
        position += chunk_size % 2
    return "is truncated: it ends before its sound begins"


def _ogg_problem(file: BinaryIO) -> str | None:
    """Walk the pages (RFC 3533, section 6): each lies whole in the file and has the checksum that it states."""
    position = 0
    while header := file.read(27):
        if not b"OggS".startswith(header[:4]):
            return f"is damaged at byte {position}: no Ogg page begins there"
        sizes = file.read(header[26]) if len(header) == 27 else b""
        body = file.read(sum(sizes))
        if len(header) < 27 or len(sizes) < header[26] or len(body) < sum(sizes):
            return "is truncated: its last Ogg page is incomplete"
        if ogg_checksum(header[:22] + bytes(4) + header[26:] + sizes + body) != int.from_bytes(header[22:26], "little"):
            return f"is damaged at byte {position}: the checksum of an Ogg page is wrong"
        position = file.tell()
    return None


def ogg_checksum(data: bytes) -> int:
    """CRC-32 as Ogg computes it: the polynomial of zlib's, with bits in the other order and nothing inverted."""
    mirrored = zlib.crc32(data.translate(MIRRORED_BYTES), ALL_ONES) ^ ALL_ONES
    return int(f"{mirrored:032b}"[::-1], 2)


def _mp4_problem(file: BinaryIO, size: int) -> str | None:
    """Walk the top-level boxes (ISO 14496-12, section 4.2): each lies whole in the file, one of them is the index."""
    kinds = set()
    position = 0
    while position + 8 <= size:
        file.seek(position)
        box_size, kind = struct.unpack(">I4s", file.read(8))
        if box_size == 1:
            box_size = int.from_bytes(file.read(8), "big")
        elif box_size == 0:
            box_size = size - position
        if box_size < 8:
            break
        kinds.add(kind)
        position += box_size
    if position > size:
        return f"is truncated: {position - size} bytes are missing at its end"
    return None if b"moov" in kinds else "is truncated or damaged: its index (moov box) is missing"


def duration_is_exact(path: Path, format_name: str) -> bool:
    """Whether the length that FFmpeg reports for a file of this format is stated in it rather than guessed."""
    if EXACT_FORMATS & set(format_name.split(",")):
        return True
    if format_name != "mp3":
        return False
    with path.open("rb") as file:
        head = file.read(10)
        skip = 0
        if head[:3] == b"ID3" and len(head) == 10:
            # ID3v2 sizes hold seven bits a byte (id3.org, ID3v2.4.0 section 3.1).
            skip = 10 + sum(byte << (7 * (3 - place)) for place, byte in enumerate(head[6:10]))
        file.seek(skip)
        first_frame = file.read(256)
    # Encoders state the number of frames in the first one, under either name.
    return b"Xing" in first_frame or b"Info" in first_frame
