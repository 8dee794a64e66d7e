"""Speech practice: typed requests to say words, without any sound from the user.

Speaking is the slowest thing to learn and needs no listening: this is the cheapest way to many hours of the assistant's
voice.
"""

from __future__ import annotations

import zlib

import numpy as np

from microturn.language.lexicon import LETTERS, NUMBERS
from microturn.language.sentences import combination, plain_sentence
from microturn.language.wordings import SAY
from microturn.scenario.families.say import draw_request, letter_names
from microturn.scenario.scenario import Scenario
from microturn.scenario.script import Script, plain_words
from microturn.split import Split
from microturn.turn import TURN_MS

FAMILY = "practice"


def practice(seed: int, split: Split) -> Scenario:
    """Four to seven typed requests, each answered aloud in the next turn; every turn's sound is a gap."""
    rng = np.random.default_rng((zlib.crc32(f"{FAMILY} {split}".encode()), seed))
    script = Script(rng, split)
    script.kind = FAMILY
    for _ in range(int(rng.integers(4, 8))):
        script.pause(0.0, 500.0)
        request, reply = _request(rng, split)
        turn, cause_ms = script.type(request)
        at_ms = script.say(reply, turn + 1)
        script.expect(reply, at_ms, at_ms - cause_ms, 1200.0, cause_ms)
        script.wait_until(script.said_until_ms)
    scenario = script.finish(FAMILY, tail_ms=2.0 * TURN_MS, gap_probability=0.0)
    scenario.gaps = frozenset(range(scenario.num_turns))
    scenario.user[:] = 0.0
    return scenario


def _request(rng: np.random.Generator, split: Split) -> tuple[str, str]:
    kind = rng.random()
    if kind < 0.35:
        return draw_request(rng, split)
    if kind < 0.45:
        reply = letter_names(rng.choice(LETTERS, int(rng.integers(1, 6))))
    elif kind < 0.65:
        reply = " ".join(str(number) for number in rng.choice(NUMBERS, int(rng.integers(1, 4))))
    elif kind < 0.75:
        reply = plain_sentence(rng, split)
    else:
        reply = " ".join(combination(rng, split, int(rng.choice([1, 1, 2, 3, 4]))))
    return SAY.draw(rng, split, x=plain_words(reply)), reply
