"""The model's voice as a track that keeps time itself: 20 ms at a time, silence where nothing is said."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from microturn.turn import SAMPLE_RATE_HZ, Pcm

FRAME_MS = 20
FRAME_SAMPLES = SAMPLE_RATE_HZ * FRAME_MS // 1000
CUSHION_MS = 60
"""The first sound after silence waits so long, for the next turn may come so much later than this one."""
MAX_QUEUED_MS = 1_500
"""After a stall of the server the oldest is left out."""
FADE_SAMPLES = SAMPLE_RATE_HZ * 4 // 1000
LATE_MS = 200
"""Further behind the clock than this, the track does not hurry after it."""


@dataclass
class Piece:
    """Sound, and its place on the session's clock."""

    samples: NDArray[np.int16]
    start_ms: float
    end_ms: float
    taken: int = 0

    @property
    def left(self) -> int:
        return len(self.samples) - self.taken

    @property
    def taken_until_ms(self) -> float:
        return self.start_ms + (self.end_ms - self.start_ms) * self.taken / len(self.samples)


class VoiceTrack(MediaStreamTrack):
    """What is pushed is played in its order; used in the event loop's thread alone."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.heard_until_ms = 0.0
        self._pieces: deque[Piece] = deque()
        self._is_playing = False
        self._waited_ms = 0
        self._due_s = 0.0
        self._num_samples = 0

    @property
    def queued_ms(self) -> float:
        """How long what waits will sound."""
        return sum(piece.left for piece in self._pieces) * 1000 / SAMPLE_RATE_HZ

    def push(self, pcm: Pcm, start_ms: int, end_ms: int) -> None:
        """Sound to follow what was pushed before."""
        if len(pcm):
            samples = np.round(np.clip(pcm, -1.0, 1.0) * 32767.0).astype(np.int16)
            self._pieces.append(Piece(samples, start_ms, end_ms))
        while self.queued_ms > MAX_QUEUED_MS:
            self._pieces.popleft()

    def keep(self, most_ms: int) -> bool:
        """Of what waits only so much is played, and then fades out; ``False`` if no more waited."""
        if self.queued_ms <= most_ms:
            return False
        left = SAMPLE_RATE_HZ * most_ms // 1000
        kept: deque[Piece] = deque()
        while left:
            piece = self._pieces.popleft()
            if piece.left > left:
                share = (piece.taken + left) / len(piece.samples)
                piece.end_ms = piece.start_ms + share * (piece.end_ms - piece.start_ms)
                piece.samples = piece.samples[: piece.taken + left].copy()
                tail = piece.samples[piece.taken :][-FADE_SAMPLES:]
                tail[:] = (tail * np.linspace(1, 0, len(tail))).astype(np.int16)
            left -= piece.left
            kept.append(piece)
        self._pieces = kept
        return True

    @property
    def ends_ms(self) -> float:
        """Where what waits ends, on the session's clock."""
        return self._pieces[-1].end_ms if self._pieces else self.heard_until_ms

    async def recv(self) -> AudioFrame:
        """The next 20 ms, when it is time for them."""
        if self.readyState != "live":
            raise MediaStreamError
        now_s = asyncio.get_running_loop().time()
        if now_s - self._due_s > LATE_MS / 1000:
            self._due_s = now_s
        await asyncio.sleep(self._due_s - now_s)
        self._due_s += FRAME_MS / 1000
        frame = AudioFrame.from_ndarray(self._pull()[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
        frame.pts = self._num_samples
        self._num_samples += FRAME_SAMPLES
        return frame

    def _pull(self) -> NDArray[np.int16]:
        output = np.zeros(FRAME_SAMPLES, np.int16)
        if self._pieces and not self._is_playing:
            self._is_playing = self._waited_ms >= CUSHION_MS
            self._waited_ms += FRAME_MS
        done = 0
        while self._is_playing and self._pieces and done < FRAME_SAMPLES:
            piece = self._pieces[0]
            part = piece.samples[piece.taken : piece.taken + FRAME_SAMPLES - done]
            output[done : done + len(part)] = part
            done += len(part)
            piece.taken += len(part)
            self.heard_until_ms = piece.taken_until_ms
            if not piece.left:
                self._pieces.popleft()
        if not self._pieces:
            self._is_playing, self._waited_ms = False, 0
        return output
