"""Sound that arrives in chunks of any length and leaves in turns, on time or not at all.

A client sends in real time, but its clock has another phase than ours, the network delivers late and in bursts, and
people begin to speak in the middle of a turn. Whatever waits here longer than it must is delay in the conversation.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Pcm

CUSHION_SAMPLES = SAMPLE_RATE_HZ * 20 // 1000
"""What waits on purpose, at least, so that a chunk that comes a little late is no gap."""
LONG_CUSHION_SAMPLES = SAMPLE_RATE_HZ * 40 // 1000
"""With chunks of this length or more; if they are shorter, as much as one of them."""
MOST_CUSHION_SAMPLES = SAMPLE_RATE_HZ * 120 // 1000
CUSHION_STEP_SAMPLES = SAMPLE_RATE_HZ * 20 // 1000
"""Every gap raises it by so much, and ``PATIENCE_TURNS`` in which it was needed lower it by a quarter of that."""
MAX_WAITING_SAMPLES = SAMPLE_RATE_HZ * 10
PATIENCE_TURNS = 3000 // TURN_MS
"""What has not been needed in this many turns is too much."""
QUIET = 0.01
"""Peak of sound that may be left out to catch up."""


class SoundQueue:
    """Chunks in, turns out. Not for several threads at once."""

    def __init__(self) -> None:
        self.waiting_samples = 0
        self.trimmed_samples = 0
        """Samples that were left out to catch up, since the session began."""
        self.cushion_samples = self._least_cushion_samples = CUSHION_SAMPLES
        self._chunks: deque[Pcm] = deque()
        self._flowing = False
        """Whether the last turn took sound or at least had some waiting."""
        self._new_samples = 0
        """Samples that arrived since the last turn."""
        self._left: deque[int] = deque(maxlen=PATIENCE_TURNS)
        """What was left over after each of the last turns."""

    def push(self, pcm: Pcm) -> bool:
        """Append a chunk; ``False`` (and nothing is appended) if more would wait than is allowed."""
        if not len(pcm):
            # It lasts no time, so nothing would ever take it from the queue.
            return True
        if self.waiting_samples + len(pcm) > MAX_WAITING_SAMPLES:
            return False
        self._chunks.append(pcm)
        self._least_cushion_samples = min(max(len(pcm), CUSHION_SAMPLES), LONG_CUSHION_SAMPLES)
        self.cushion_samples = max(self.cushion_samples, self._least_cushion_samples)
        self.waiting_samples += len(pcm)
        self._new_samples += len(pcm)
        return True

    def clear(self) -> None:
        """Throw away what waits."""
        self._chunks.clear()
        self.waiting_samples = 0
        self._flowing = False
        self._left.clear()

    def take(self) -> Pcm | None:
        """The sound of the next turn, or ``None``: a gap."""
        new_samples, self._new_samples = self._new_samples, 0
        waiting = self.waiting_samples
        if waiting == 0:
            self._flowing = False
            self._left.clear()
            return None
        if waiting >= TURN_SAMPLES:
            turn = self._pop(TURN_SAMPLES)
        elif not self._flowing and waiting > self.cushion_samples:
            # It began in the middle of the turn: before that it was quiet.
            turn = _padded(self._pop(waiting - self.cushion_samples), at_front=True)
        elif self._flowing and new_samples == 0:
            # It ended in the middle of the turn before: nothing will come to complete it.
            turn = _padded(self._pop(waiting), at_front=False)
        else:
            if self._flowing:
                self.cushion_samples = min(self.cushion_samples + CUSHION_STEP_SAMPLES, MOST_CUSHION_SAMPLES)
                self._left.clear()
            self._flowing = self._flowing or new_samples == 0
            return None
        self._flowing = True
        self._left.append(self.waiting_samples)
        self._catch_up()
        return turn

    def _pop(self, num_samples: int) -> Pcm:
        """The oldest ``num_samples``, of which there must be so many."""
        pieces: list[Pcm] = []
        missing = num_samples
        while missing:
            chunk = self._chunks.popleft()
            pieces.append(chunk[:missing])
            if len(chunk) > missing:
                self._chunks.appendleft(chunk[missing:])
            missing -= len(pieces[-1])
        self.waiting_samples -= num_samples
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def _catch_up(self) -> None:
        """Leave out what has waited in vain: where it is quiet, or wherever it is once that is more than a turn."""
        if len(self._left) < PATIENCE_TURNS:
            return
        excess = min(self._left) - self.cushion_samples
        if excess <= 0:
            self.cushion_samples = max(self.cushion_samples - CUSHION_STEP_SAMPLES // 4, self._least_cushion_samples)
            self._left.clear()
            return
        first = self._pop(excess)
        if excess <= TURN_SAMPLES:
            loud = np.flatnonzero(np.abs(first) > QUIET)
            if len(loud):
                excess = int(loud[0])
                self._chunks.appendleft(first[excess:])
                self.waiting_samples += len(first) - excess
        self.trimmed_samples += excess
        if excess:
            self._left.clear()


def _padded(pcm: Pcm, *, at_front: bool) -> Pcm:
    silence = TURN_SAMPLES - len(pcm)
    return np.pad(pcm, (silence, 0) if at_front else (0, silence))
