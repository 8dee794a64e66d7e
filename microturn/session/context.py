"""What a context package holds of a session, gathered turn by turn and bounded: words, the last sound and pictures.

Words of the user lie in the turn in which they were heard, those of the model where they sound, a turn later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np

from microturn.background.package import (
    MAX_INSTRUCTIONS,
    MAX_INSTRUCTIONS_CHARACTERS,
    MAX_LINE_CHARACTERS,
    MAX_LINES,
    MAX_PICTURES,
    MAX_SOUND_MS,
    MAX_TASK_CHARACTERS,
    ContextPackage,
    Line,
    OpenJob,
    OpenTimer,
    Picture,
    build_package,
)
from microturn.session.playback import Playback
from microturn.turn import TURN_MS, TURN_SAMPLES, Frame, Pcm, TextSource, TurnInput, TurnOutput

LATE_TURNS = 2
"""A word of the user is written at most so long after its end: until then it belongs to what was said before."""
HOLD_TURNS = 25
"""A model that says first that it will see to it delegates within this time."""
PAUSE_TURNS = 4
"""After so many turns without a word of the one who spoke, another line begins."""


@dataclass
class _Stretch:
    """What one of the two said or typed without a break: words, and when each began."""

    who: Literal["user", "model"]
    typed: bool
    first_turn: int
    last_turn: int
    words: list[tuple[int, str]] = field(default_factory=list)
    num_characters: int = 0

    def line(self, playback: Playback) -> Line:
        # The client drops the model's sound: what the user said meanwhile was said all the same.
        heard = [self.who == "user" or not playback.was_dropped(at_ms) for at_ms, _ in self.words]
        said, unheard = (
            "".join(word for (_, word), one in zip(self.words, heard, strict=True) if one is wanted).strip()
            for wanted in (True, False)
        )
        start_ms = self.words[0][0]
        return Line(self.who, said, start_ms, max(start_ms, (self.last_turn + 1) * TURN_MS), self.typed, unheard)


class Context:
    """One session's. Nothing in it grows with the length of the session."""

    def __init__(self) -> None:
        self.num_turns = 0
        self._stretches: deque[_Stretch] = deque(maxlen=MAX_LINES)
        self._instructions: deque[tuple[int, str]] = deque(maxlen=MAX_INSTRUCTIONS)
        self._sound: deque[Pcm | None] = deque(maxlen=MAX_SOUND_MS // TURN_MS)
        self._frames: deque[tuple[Frame, int]] = deque(maxlen=MAX_PICTURES)
        self._request = ""
        """What the user said and typed since the model last acted or spoke."""
        self._answered_turn: int | None = None
        """When it began to speak, or acted, since the last of those words; a word that comes later begins anew."""
        self._spoke = False
        self._last_word_turn = 0

    def add(self, given: TurnInput, made: TurnOutput) -> None:
        """Take in one turn."""
        turn = made.turn
        self.num_turns = turn + 1
        self._sound.append(given.audio)
        if given.frame is not None:
            self._frames.append((given.frame, made.t_ms))
        for text in given.texts:
            if text.source is TextSource.TYPED:
                self._put("user", f" {text.text}", turn, made.t_ms, typed=True)
            elif text.source is TextSource.INSTRUCTIONS:
                self._instruct(text.text, turn)
        if made.hear:
            self._put("user", made.hear, turn, made.t_ms)
        if made.speaking and not self._spoke and self._request and self._answered_turn is None:
            self._answered_turn = turn
        self._spoke = made.speaking
        if made.say:
            self._put("model", made.say, turn, made.t_ms + TURN_MS)

    def _put(self, who: Literal["user", "model"], words: str, turn: int, at_ms: int, *, typed: bool = False) -> None:
        last = next((one for one in reversed(self._stretches) if (one.who, one.typed) == (who, typed)), None)
        # Both may speak at once: each goes on with a line of their own.
        if last is None or turn - last.last_turn >= PAUSE_TURNS or last.num_characters >= MAX_LINE_CHARACTERS:
            last = _Stretch(who, typed, turn, turn)
            self._stretches.append(last)
        last.words.append((at_ms, words))
        last.num_characters += len(words)
        last.last_turn = turn
        if who == "user":
            late = 0 if typed else LATE_TURNS
            if self._answered_turn is not None and turn - self._answered_turn > late:
                self._request, self._answered_turn = "", None
            self._request = (self._request + words)[-MAX_TASK_CHARACTERS:]
            self._last_word_turn = turn

    def _instruct(self, text: str, turn: int) -> None:
        """Instructions come in pieces, turn by turn."""
        if self._instructions and turn - self._instructions[-1][0] <= 1:
            text = f"{self._instructions.pop()[1]} {text}"
        self._instructions.append((turn, text[:MAX_INSTRUCTIONS_CHARACTERS]))

    def quiet_request(self, turns: int) -> str:
        """What ``request`` would give, once no word of it has come for so many turns; nothing before that."""
        return self._request if self.num_turns - self._last_word_turn > turns else ""

    def request(self) -> str:
        """What the user said and typed since the model last acted or spoke; it counts as acted on now."""
        answered_turn = self.num_turns if self._answered_turn is None else self._answered_turn
        request = "" if self.num_turns - answered_turn > HOLD_TURNS else " ".join(self._request.split())
        self._request, self._answered_turn = "", None
        return request

    def packer(
        self,
        job: str,
        task: str,
        playback: Playback,
        jobs: Sequence[OpenJob],
        timers: Sequence[OpenTimer],
        ends_ms: int | None = None,
    ) -> Callable[[], ContextPackage]:
        """What makes the package of a job that is asked for now; it may be called later, in another thread."""
        return partial(
            _packed,
            job=job,
            task=task,
            at_ms=self.num_turns * TURN_MS,
            lines=sorted((one.line(playback) for one in self._stretches), key=lambda line: line.start_ms),
            instructions=[text for _, text in self._instructions],
            timers=timers,
            jobs=jobs,
            ends_ms=ends_ms,
            sound=list(self._sound),
            frames=list(self._frames),
        )


def _packed(
    *,
    job: str,
    task: str,
    at_ms: int,
    lines: Sequence[Line],
    instructions: Sequence[str],
    timers: Sequence[OpenTimer],
    jobs: Sequence[OpenJob],
    ends_ms: int | None,
    sound: Sequence[Pcm | None],
    frames: Sequence[tuple[Frame, int]],
) -> ContextPackage:
    silence = np.zeros(TURN_SAMPLES, np.float32)
    heard = [silence if one is None else one for one in sound]
    return build_package(
        job=job,
        task=task,
        at_ms=at_ms,
        lines=lines,
        instructions=instructions,
        timers=timers,
        jobs=jobs,
        ends_ms=ends_ms,
        sound=np.concatenate(heard) if any(one is not None for one in sound) else None,
        pictures=[Picture.of(frame, taken_ms) for frame, taken_ms in frames],
    )
