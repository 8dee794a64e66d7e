"""Trivial answers, scored beside the model in every table, and the labels themselves, which must score 100 %.

Each trivial answer is the strongest of its kind: what is always said and the number that is always counted are chosen
to score best on the very sessions that are scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from microturn.bench.systems import Stateless
from microturn.language.lexicon import number_words
from microturn.scenario.scenario import Scenario
from microturn.turn import TURN_MS, TURN_SAMPLES, TurnOutput

WORD_MS = 400
"""Time that a trivial answer takes for a word."""
FILLER = "yes"
"""What is always said where nothing is expected."""


def never_speak() -> Stateless:
    """Silence."""
    return Stateless("never speak", lambda scenario: _repeat("", scenario.num_turns))


def always_speak(scenarios: Sequence[Scenario]) -> Stateless:
    """Says what is expected most often in ``scenarios``, over and over, with one silent turn in between."""
    expected = Counter(event.words for scenario in scenarios for event in scenario.events)
    words = expected.most_common(1)[0][0] if expected else FILLER
    return Stateless("always speak", lambda scenario: _repeat(words, scenario.num_turns))


def constant_count(scenarios: Sequence[Scenario]) -> Stateless:
    """Says one number over and over: the one that is within one of most true counts in ``scenarios``."""
    counts = [scenario.true_count for scenario in scenarios if scenario.true_count is not None]
    number = max(range(max(counts, default=0) + 1), key=lambda guess: sum(abs(guess - count) <= 1 for count in counts))
    words = " ".join(number_words(number))
    return Stateless(f"always say {words}", lambda scenario: _repeat(words, scenario.num_turns))


def labels() -> Stateless:
    """Replays the labels: every word and sound where the scenario has it. The ceiling of every figure."""
    return Stateless("labels", _replay)


def lane(words: Iterable[str]) -> str:
    """Words as a lane writes them: each with its leading space."""
    return "".join(f" {word}" for word in words)


def _repeat(words: str, num_turns: int) -> list[TurnOutput]:
    sounding = -(-len(words.split()) * WORD_MS // TURN_MS)
    silence = np.zeros(TURN_SAMPLES, np.float32)
    outputs = []
    for turn in range(num_turns):
        place = turn % (sounding + 1)
        say = lane(words.split()) if place == 0 else ""
        outputs.append(TurnOutput(turn, "", say, None, place < sounding, silence))
    return outputs


def _replay(scenario: Scenario) -> list[TurnOutput]:
    say, hear, speaking = scenario.say_labels(), scenario.hear_labels(), scenario.speaking()
    pcm = scenario.model_pcm()
    return [
        TurnOutput(
            turn=turn,
            hear=lane(hear.get(turn, ())),
            say=lane(say.get(turn, ())),
            act=None,
            speaking=speaking[turn],
            audio=pcm[turn * TURN_SAMPLES : (turn + 1) * TURN_SAMPLES],
        )
        for turn in range(scenario.num_turns)
    ]
