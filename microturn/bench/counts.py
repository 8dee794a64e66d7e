"""The RepCount rule: is the last number said after the true last repetition but one the true count?

The online rule of the interaction models' report (Thinking Machines 2026) for RepCount-A; the error is TransRAC's
normalised mean absolute error (Hu et al. 2022, section 5.1: divided by the true count, to which their code adds 0.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from microturn.bench.events import Said
from microturn.language.lexicon import MAX_NUMBER, number_words
from microturn.scenario.scenario import Scenario

MOST_WORDS = 4
"""Words of a number, which is read as long as it goes on: "one hundred twenty" is not the number one."""


@dataclass(frozen=True)
class CountScore:
    """Shares of sessions, in [0, 1]. A session without a number counts as the answer 0, and is never right."""

    off_by_one_accuracy: float
    exact_accuracy: float
    normalised_error: float


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
