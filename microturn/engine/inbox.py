"""What has arrived for a session and was not yet taken in: filled by any thread, emptied once a turn by the engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import Lock

import numpy as np

from microturn.engine.sound import SoundQueue
from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Frame, Pcm, TextIn, TurnInput

MAX_WAITING_TEXT_BYTES = 256 * 1024
Told = Callable[[Sequence[TextIn], bool], None]
"""Who keeps pieces of text, and whether the session is muted."""
PIECE_BYTES = 128
"""Long text goes to the model in pieces: it keeps only so many tokens waiting."""


class Inbox:
    """Sound, the newest picture and texts of one session."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sound = SoundQueue()
        self._muted = False
        self._frame: Frame | None = None
        self._frame_at_ms = -1
        self._pieces: deque[TextIn] = deque()
        self._text_bytes = 0
        self._told: Told = lambda texts, muted: None

    def follow(self, told: Told, *, from_now: bool = False) -> None:
        """``told`` learns of everything that is promised to be taken in, before any turn can take it: of what waits
        already too, unless ``from_now``. It must not hold up whoever calls."""
        with self._lock:
            self._told = told
            if not from_now:
                told(tuple(self._pieces), self._muted)

    def restore(self, pieces: Sequence[TextIn], muted: bool) -> None:
        """Begin with what waited in the inbox of a killed server."""
        with self._lock:
            self._pieces.extend(pieces)
            self._text_bytes += sum(_most_tokens(piece) for piece in pieces)
            self._muted = muted

    @property
    def waiting_ms(self) -> int:
        """Sound that waits for the next turns."""
        return self._sound.waiting_samples * 1000 // SAMPLE_RATE_HZ

    @property
    def has_text(self) -> bool:
        """Whether text waits for the next turns."""
        return bool(self._pieces)

    @property
    def trimmed_ms(self) -> int:
        """Sound that was left out to catch up, since the session began."""
        return self._sound.trimmed_samples * 1000 // SAMPLE_RATE_HZ

    def push_sound(self, pcm: Pcm) -> bool:
        """Sound of any length at 16 kHz; ``False`` if it was refused, because more would wait than is allowed."""
        with self._lock:
            return self._muted or self._sound.push(pcm)

    def push_picture(self, frame: Frame, at_ms: int) -> None:
        """A picture taken at ``at_ms``; left out if a newer one is there. The next turn takes the newest."""
        with self._lock:
            if at_ms > self._frame_at_ms:
                self._frame, self._frame_at_ms = frame, at_ms

    def push_text(self, text: TextIn) -> bool:
        """Text of any length; ``False`` if it was refused, because more would wait than is allowed."""
        if self._text_bytes + len(text.text) > MAX_WAITING_TEXT_BYTES:
            return False
        pieces = [TextIn(text.source, piece) for piece in pieces_of(text.text)]
        size = sum(_most_tokens(piece) for piece in pieces)
        with self._lock:
            if self._text_bytes + size > MAX_WAITING_TEXT_BYTES:
                return False
            self._told(pieces, self._muted)
            self._pieces.extend(pieces)
            self._text_bytes += size
            return True

    def mute(self, muted: bool) -> None:
        """While muted, turns are silent (not gaps) and sound that arrives is thrown away."""
        with self._lock:
            self._told((), muted)
            self._muted = muted
            self._sound.clear()

    def drop_sound(self) -> None:
        """Throw away the sound that waits."""
        with self._lock:
            self._sound.clear()

    def take(self, room_tokens: int) -> TurnInput:
        """The input of the next turn, with as much text as surely fits into ``room_tokens``."""
        with self._lock:
            audio = np.zeros(TURN_SAMPLES, np.float32) if self._muted else self._sound.take()
            frame, self._frame = self._frame, None
            texts = []
            while self._pieces and _most_tokens(self._pieces[0]) <= room_tokens:
                texts.append(self._pieces.popleft())
                room_tokens -= _most_tokens(texts[-1])
                self._text_bytes -= _most_tokens(texts[-1])
        return TurnInput(audio=audio, frame=frame, texts=tuple(texts))


def _most_tokens(piece: TextIn) -> int:
    """More tokens than this it cannot be: one a byte, and one for the space before a word."""
    return len(piece.text.encode()) + 1


def pieces_of(text: str, most_bytes: int = PIECE_BYTES) -> Iterator[str]:
    """``text`` in pieces of whole words; a word that is longer than a quarter of a piece is cut."""
    piece = ""
    for word in text.split():
        for start in range(0, len(word), most_bytes // 4):
            part = word[start : start + most_bytes // 4]
            joined = f"{piece} {part}" if piece else part
            if len(joined.encode()) > most_bytes:
                yield piece
                joined = part
            piece = joined
    if piece:
        yield piece
