"""A scenario: what the user says, shows and types, and what the model ought to do, on one clock.

All times are milliseconds from the start of the session. The sound of output turn *t* is heard from
``(t + 1) * TURN_MS`` on, so a reply that starts in turn *t* can depend on everything before that moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from microturn.turn import TURN_MS, TURN_SAMPLES, Act, Frame, Pcm, TextIn
from microturn.voices.speech import Speech, Word

HEAR_LAG_MS = 200
"""A word is written to the hear lane in the turn that contains ``end_ms + HEAR_LAG_MS``: late enough to know that
"seven" does not go on as "seventeen", and to tell whether somebody goes on speaking."""
REPLY_PAUSE_MS = HEAR_LAG_MS + 1
"""An answer is said in the turn in which the last word of its request is written."""


YIELD_MS = 350
"""The model stops in the turn that contains this much of what interrupts it: speech has been heard twice by then."""


@dataclass(frozen=True)
class Utterance:
    """What the model says from the start of output turn ``turn`` on: heard from ``(turn + 1) * TURN_MS``.

    ``speech.words`` are relative to the utterance's first sample. The utterance occupies ``num_turns`` turns.
    """

    turn: int
    speech: Speech
    act: Act | None = None
    """What is asked of the runtime in ``turn``."""
    cut: bool = False
    """Whether somebody interrupts it."""

    @property
    def num_turns(self) -> int:
        return -(-len(self.speech.pcm) // TURN_SAMPLES)


@dataclass(frozen=True)
class Event:
    """Something the model is expected to say: ``words`` (lower case, space separated) whose first sound lies within
    [``at_ms - early_ms``, ``at_ms + late_ms``] on the session's clock.

    ``cause_ms`` is the end of what makes it right to speak (request, cue word, repetition): reaction is measured from
    it, and no label may come before it. ``kind`` names the family. Any of ``or_words`` is as good as ``words``.
    """

    kind: str
    words: str
    at_ms: float
    early_ms: float
    late_ms: float
    cause_ms: float
    or_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Due:
    """What is to be asked of the runtime, if anything, once the user has said (or typed) something from ``start_ms`` to
    ``end_ms``. ``corrects``: it puts right what is being worked on."""

    act: Act | None
    start_ms: float
    end_ms: float
    corrects: bool = False


@dataclass
class Scenario:
    """One labelled session of ``num_turns`` turns."""

    family: str
    num_turns: int
    user: Pcm
    """The user's side, ``(num_turns * TURN_SAMPLES,)``."""
    heard: list[Word] = field(default_factory=list)
    """What the user says, in order of end time: the hear lane."""
    unlabelled_ms: list[tuple[float, float]] = field(default_factory=list)
    """Stretches of speech whose words were lost in a gap: nobody could hear them."""
    said: list[Utterance] = field(default_factory=list)
    """What the model ought to say, in order, not overlapping."""
    frames: dict[int, Frame] = field(default_factory=dict)
    """Pictures by the turn they come in, (height, width, 3) uint8."""
    texts: dict[int, tuple[TextIn, ...]] = field(default_factory=dict)
    """Text, typed or from jobs, by the turn it comes in."""
    rehearsed: bool = False
    """Whether the user's words are given in place of sound."""
    gaps: frozenset[int] = frozenset()
    """Turns whose sound did not arrive."""
    events: list[Event] = field(default_factory=list)
    """What is scored, in order of time."""
    dues: list[Due] = field(default_factory=list)
    """All that the user says, where acts are scored (family ``delegate``), in order of time."""
    interrupted_ms: list[float] = field(default_factory=list)
    """When the user begins to speak while the model says more than a word or two (family ``interrupt``)."""
    true_count: int | None = None
    """Repetitions shown (family ``count``)."""
    phases: dict[int, int] = field(default_factory=dict)
    """How far the figure's repetition is, by turn (see ``practice``)."""
    penultimate_end_ms: float | None = None
    """End of the last repetition but one (family ``count``): the RepCount rule reads numbers said after it."""

    def say_labels(self) -> dict[int, list[str]]:
        """Words of the say lane by output turn: a word belongs to the turn in which its sound starts."""
        labels: dict[int, list[str]] = {}
        for utterance in self.said:
            for word in utterance.speech.words:
                labels.setdefault(utterance.turn + int(word.start_ms // TURN_MS), []).append(word.text)
        return labels

    def act_labels(self) -> dict[int, Act]:
        """What is asked of the runtime, by output turn."""
        return {utterance.turn: utterance.act for utterance in self.said if utterance.act is not None}

    def hear_labels(self) -> dict[int, list[str]]:
        """Words of the hear lane by turn: a word belongs to the turn that contains its end plus HEAR_LAG_MS."""
        labels: dict[int, list[str]] = {}
        for word in sorted(self.heard, key=lambda word: word.end_ms):
            turn = int((word.end_ms + HEAR_LAG_MS) // TURN_MS)
            if turn < self.num_turns:
                labels.setdefault(turn, []).append(word.text)
        return labels

    def model_pcm(self) -> Pcm:
        """The model's sound by output turn, ``(num_turns * TURN_SAMPLES,)``: turn *t* at ``[t * TURN_SAMPLES, ...)``,
        heard one turn later."""
        pcm = np.zeros(self.num_turns * TURN_SAMPLES, np.float32)
        for utterance in self.said:
            start = utterance.turn * TURN_SAMPLES
            part = utterance.speech.pcm[: len(pcm) - start]
            pcm[start : start + len(part)] += part
        return pcm

    def speaking(self) -> list[bool]:
        """Speak or listen, by output turn."""
        speaking = [False] * self.num_turns
        for utterance in self.said:
            for turn in range(utterance.turn, min(utterance.turn + utterance.num_turns, self.num_turns)):
                speaking[turn] = True
        return speaking


def first_turn_heard_after(time_ms: float) -> int:
    """The first output turn whose sound is heard at or after ``time_ms``."""
    return max(0, int(-(-time_ms // TURN_MS)) - 1)
