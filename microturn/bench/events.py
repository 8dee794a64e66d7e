"""What a system said against what it ought to say: events matched one to one, extra speech, reaction.

Something said is a maximal run of speaking turns; a silent turn ends it. Its words come from the say lane (or from a
recogniser that heard only the sound, see ``recogniser``), its time is the start of its first sounding turn's sound.
A run counts when its words are exactly those of one expected event, or of several in a row, each within its window:
a right word among wrong ones is not a right answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from microturn.scenario.scenario import Event
from microturn.turn import TURN_MS, TurnOutput

REACTION_FAMILIES = ("say", "cue")
"""Families in which an answer is due as soon as its cause is over."""


@dataclass(frozen=True)
class SaidWord:
    """One word said; its sound starts in output turn ``turn``."""

    text: str
    turn: int


@dataclass(frozen=True)
class Said:
    """A maximal run of ``num_turns`` speaking turns from ``first_turn`` on, and the words in it."""

    first_turn: int
    num_turns: int
    words: tuple[SaidWord, ...]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    def time_ms(self, word: int) -> float:
        """When the word's first sound is heard; for the run's first word, the run's."""
        turn = self.words[word].turn if word else self.first_turn
        return float((turn + 1) * TURN_MS)


@dataclass(frozen=True)
class Match:
    """An expected event that was said; ``time_ms`` is its first sound."""

    event: Event
    time_ms: float

    @property
    def reaction_ms(self) -> float:
        return self.time_ms - self.event.cause_ms


@dataclass(frozen=True)
class SessionScore:
    """One session: which of its ``num_events`` were said, and how much was said besides, in ``num_turns`` turns."""

    num_turns: int
    num_events: int
    matches: tuple[Match, ...]
    num_words: int
    extra_words: int

    @property
    def right(self) -> bool:
        """All events right and nothing extra."""
        return len(self.matches) == self.num_events and self.extra_words == 0


@dataclass(frozen=True)
class EventScore:
    """Many sessions of one family. Shares lie in [0, 1]; ``None`` where nothing can be measured."""

    num_sessions: int
    num_events: int
    event_accuracy: float | None
    extra_words_per_minute: float
    words_per_minute: float
    session_accuracy: float
    reaction_ms: float | None
    """Median over the matched events of ``REACTION_FAMILIES`` of (first sound - end of the cause)."""


def said_runs(outputs: Iterable[TurnOutput]) -> list[Said]:
    """The runs of speaking turns, in order.

    A word that is written in a turn without sound was not said by anybody: it is kept as a run of no turns, so that it
    counts as extra and can match nothing.
    """
    runs: list[Said] = []
    for speaking, group in groupby(outputs, key=lambda output: output.speaking):
        turns = list(group)
        words: list[SaidWord] = []
        for output in turns:
            words = add_words(words if speaking else [], output.turn, output.say)
            if words and not speaking:
                runs.append(Said(output.turn, 0, tuple(words)))
        if speaking:
            runs.append(Said(turns[0].turn, len(turns), tuple(words)))
    return runs


def add_words(words: list[SaidWord], turn: int, text: str) -> list[SaidWord]:
    """``words`` and those of a turn's lane text: a word comes with its leading space, what has none goes on with the
    last word."""
    parts = text.split()
    if not parts:
        return words
    if words and not text[0].isspace():
        last = words[-1]
        words = [*words[:-1], SaidWord(last.text + parts[0], last.turn)]
        parts = parts[1:]
    return [*words, *(SaidWord(part, turn) for part in parts)]


def score_session(events: Sequence[Event], num_turns: int, said: Sequence[Said]) -> SessionScore:
    """Match what was said with ``events`` one to one. A sounding run without words counts as one extra word."""
    unused = sorted(events, key=_deadline_ms)
    matches: list[Match] = []
    num_words = extra = 0
    for run in said:
        size = max(1, len(run.words))
        num_words += size
        found = _explain(run, 0, unused) if run.num_turns and run.words else None
        if found is None:
            extra += size
            continue
        for match in found:
            unused = _without(unused, match.event)
        matches += found
    return SessionScore(num_turns, len(events), tuple(matches), num_words, extra)


def _deadline_ms(event: Event) -> float:
    return event.at_ms + event.late_ms


def _without(events: Sequence[Event], event: Event) -> list[Event]:
    """By identity: equal events may be expected twice."""
    return [other for other in events if other is not event]


def _explain(run: Said, start: int, unused: Sequence[Event]) -> list[Match] | None:
    """The words of ``run`` from ``start`` on as expected events in a row, or ``None`` if they are not.

    Of events with the same words the one that is due first is taken (``unused`` is in that order); events with other
    words are tried in turn.
    """
    if start == len(run.words):
        return []
    time_ms = run.time_ms(start)
    said = [word.text for word in run.words[start:]]
    tried: set[str] = set()
    for event in unused:
        words = event.words.split()
        in_time = event.at_ms - event.early_ms <= time_ms <= _deadline_ms(event)
        if in_time and event.words not in tried and said[: len(words)] == words:
            tried.add(event.words)
            rest = _explain(run, start + len(words), _without(unused, event))
            if rest is not None:
                return [Match(event, time_ms), *rest]
    return None


def summarise(sessions: Sequence[SessionScore]) -> EventScore:
    """Add up the sessions of one family (at least one)."""
    num_events = sum(session.num_events for session in sessions)
    matches = [match for session in sessions for match in session.matches]
    minutes = sum(session.num_turns for session in sessions) * TURN_MS / 60_000
    reactions_ms = [match.reaction_ms for match in matches if match.event.kind in REACTION_FAMILIES]
    return EventScore(
        num_sessions=len(sessions),
        num_events=num_events,
        event_accuracy=len(matches) / num_events if num_events else None,
        extra_words_per_minute=sum(session.extra_words for session in sessions) / minutes,
        words_per_minute=sum(session.num_words for session in sessions) / minutes,
        session_accuracy=sum(session.right for session in sessions) / len(sessions),
        reaction_ms=median(reactions_ms) if reactions_ms else None,
    )
