"""What the structure of a file tells about its completeness, where FFmpeg stays silent.

FFmpeg plays a cut WAV or Ogg file to wherever it stops and reports the shorter length as if it were the true one; it
leaves out damaged Ogg pages, and what follows moves up; a cut MP4 it refuses only after everything before the cut has
been played, or without saying why.
"""

from __future__ import annotations

import zlib
from pathlib import Path

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
        size = path.stat().st_size
        if size == 0:
            raise MediaError(f"{path}: is empty")
        with path.open("rb") as file:
            head = file.read(24)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        _check_wav(path, size)
    elif head[:4] == b"OggS":
        _check_ogg(path, size)
    elif head[4:8] == b"ftyp":
        _check_mp4(path, size)
    elif head[:8] == PNG_SIGNATURE and len(head) == 24:
        width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        if 0 in (width, height):
            raise MediaError(f"{path}: picture is {width}x{height} pixels")


def _check_wav(path: Path, size: int) -> None:
    """Walk the chunks (RIFF: four letters, a little-endian size, padded to even) up to the samples."""
    with path.open("rb") as file:
        position = 12
        while position + 8 <= size:
            file.seek(position)
            header = file.read(8)
            chunk_size = int.from_bytes(header[4:8], "little")
            if header[:4] == b"data":
                missing = position + 8 + chunk_size - size
                if chunk_size not in (0, UNKNOWN_SIZE) and missing > 0:
                    raise MediaError(f"{path}: is truncated: {missing} of {chunk_size} bytes of sound are missing")
                return
            position += 8 + chunk_size + chunk_size % 2
    raise MediaError(f"{path}: is truncated: it ends before its sound begins")


def _check_ogg(path: Path, size: int) -> None:
    """Walk the pages (RFC 3533, section 6): each lies whole in the file and has the checksum that it states."""
    with path.open("rb") as file:
        position = 0
        while position < size:
            header = file.read(27)
            sizes = file.read(header[26]) if len(header) == 27 else b""
            if header[:4] != b"OggS"[: len(header)]:
                raise MediaError(f"{path}: is damaged at byte {position}: no Ogg page begins there")
            page_size = 27 + len(sizes) + sum(sizes)
            page = header + sizes + file.read(sum(sizes))
            if len(header) < 27 or len(sizes) < header[26] or len(page) < page_size:
                raise MediaError(f"{path}: is truncated: its last Ogg page is incomplete")
            if ogg_checksum(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little"):
                raise MediaError(f"{path}: is damaged at byte {position}: the checksum of an Ogg page is wrong")
            position += page_size


def ogg_checksum(data: bytes) -> int:
    """CRC-32 as Ogg computes it: the polynomial of zlib's, with bits in the other order and nothing inverted."""
    mirrored = zlib.crc32(data.translate(MIRRORED_BYTES), ALL_ONES) ^ ALL_ONES
    return int(f"{mirrored:032b}"[::-1], 2)


def _check_mp4(path: Path, size: int) -> None:
    """Walk the top-level boxes (ISO 14496-12, section 4.2): each lies whole in the file, one of them is the index."""
    kinds = set()
    with path.open("rb") as file:
        position = 0
        while position + 8 <= size:
            file.seek(position)
            header = file.read(16)
            box_size = int.from_bytes(header[:4], "big")
            if box_size == 1:
                box_size = int.from_bytes(header[8:16], "big")
            elif box_size == 0:
                box_size = size - position
            if box_size < 8:
                break
            kinds.add(header[4:8])
            position += box_size
    if position > size:
        raise MediaError(f"{path}: is truncated: {position - size} bytes are missing at its end")
    if b"moov" not in kinds:
        raise MediaError(f"{path}: is truncated or damaged: its index (moov box) is missing")


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
