"""What a system said against what it ought to say: events matched one to one, extra speech, reaction.

Something said is a maximal run of speaking turns; a silent turn ends it. Its words come from the say lane (or from a
recogniser that heard only the sound, see ``sound``), its time is the start of its first sounding turn's sound.
A run counts when its words are exactly those of one expected event, or of several in a row, each within its window:
a right word among wrong ones is not a right answer.

Counting is scored by the RepCount rule too: is the last number said after the true last repetition but one the true
count? It is the online rule of the interaction models' report (Thinking Machines 2026) for RepCount-A; the error is
TransRAC's normalised mean absolute error (Hu et al. 2022, section 5.1: divided by the true count, to which their code
adds 0.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from statistics import median

from microturn.language.lexicon import MAX_NUMBER, number_words
from microturn.scenario.scenario import Event, Scenario
from microturn.turn import TURN_MS, TurnOutput

REACTION_FAMILIES = ("say", "cue")
"""Families in which an answer is due as soon as its cause is over."""
MOST_WORDS = 4
"""Words of a number, which is read as long as it goes on: "one hundred twenty" is not the number one."""


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
    extra: tuple[Said, ...] = ()
    """The runs that no events explain."""

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


@dataclass(frozen=True)
class CountScore:
    """Shares of sessions, in [0, 1]. A session without a number counts as the answer 0, and is never right."""

    off_by_one_accuracy: float
    exact_accuracy: float
    normalised_error: float


def said_runs(outputs: Iterable[TurnOutput]) -> list[Said]:
    """The runs of speaking turns, in order.

    A word that is written in a turn without sound was not said by anybody: it is kept as a run of no turns, so that it
    counts as extra and can match nothing.
    """
    runs: list[Said] = []
    for speaking, group in groupby(outputs, key=lambda output: output.speaking):
        turns = list(group)
        if speaking:
            words = lane_words((output.turn, output.say) for output in turns)
            runs.append(Said(turns[0].turn, len(turns), tuple(words)))
        else:
            unsounded = (lane_words([(output.turn, output.say)]) for output in turns)
            runs += [Said(words[0].turn, 0, tuple(words)) for words in unsounded if words]
    return runs


def lane_words(texts: Iterable[tuple[int, str]]) -> list[SaidWord]:
    """The words of a lane from (turn, text): a word comes with its leading space, what has none goes on with the last
    word."""
    words: list[SaidWord] = []
    for turn, text in texts:
        parts = text.split()
        if parts and words and not text[0].isspace():
            words[-1] = SaidWord(words[-1].text + parts.pop(0), words[-1].turn)
        words += [SaidWord(part, turn) for part in parts]
    return words


def score_session(events: Sequence[Event], num_turns: int, said: Sequence[Said]) -> SessionScore:
    """Match what was said with ``events`` one to one. A sounding run without words counts as one extra word."""
    unused = sorted(events, key=_deadline_ms)
    matches: list[Match] = []
    unexplained: list[Said] = []
    num_words = extra = 0
    for run in said:
        size = max(1, len(run.words))
        num_words += size
        found = _explain(run, 0, unused) if run.num_turns and run.words else None
        if found is None:
            extra += size
            unexplained.append(run)
            continue
        for match in found:
            unused = _without(unused, match.event)
        matches += found
    return SessionScore(num_turns, len(events), tuple(matches), num_words, extra, tuple(unexplained))


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
        if not event.at_ms - event.early_ms <= time_ms <= _deadline_ms(event):
            continue
        for text in (event.words, *event.or_words):
            words = text.split()
            if text not in tried and said[: len(words)] == words:
                tried.add(text)
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


@cache
def _numbers() -> dict[tuple[str, ...], int]:
    return {number_words(number): number for number in range(MAX_NUMBER + 1)}


def numbers_said(said: Iterable[Said]) -> list[tuple[float, int]]:
    """(time of the first sound in ms, number) of every number said, in order; "twenty one" is one number."""
    found = []
    for run in said:
        texts = tuple(word.text for word in run.words)
        index = 0
        while index < len(texts) and run.num_turns:
            candidates = (texts[index : index + length] for length in range(MOST_WORDS, 0, -1))
            words = next((words for words in candidates if words in _numbers()), None)
            if words is not None:
                found.append((run.time_ms(index), _numbers()[words]))
            index += len(words) if words else 1
    return found


def counted(scenario: Scenario, said: Iterable[Said]) -> int | None:
    """The system's answer: the last number said after the end of the last repetition but one, or ``None``."""
    after_ms = scenario.penultimate_end_ms or 0.0
    answers = [number for time_ms, number in numbers_said(said) if time_ms >= after_ms]
    return answers[-1] if answers else None


def score_counts(counts: Sequence[tuple[int | None, int]]) -> CountScore:
    """Score one answer beside the true count a session (at least one session)."""
    close = [answer is not None and abs(answer - count) <= 1 for answer, count in counts]
    errors = [abs((answer or 0) - count) / (count + 0.1) for answer, count in counts]
    return CountScore(
        off_by_one_accuracy=sum(close) / len(counts),
        exact_accuracy=sum(answer == count for answer, count in counts) / len(counts),
        normalised_error=sum(errors) / len(counts),
    )
