"""Spelling practice: requests to spell, one after the other, without sound.

One request in seven of ``say`` asks for letters, and the network learnt the few words that were asked for by heart
(docs/log.md). Here every word of the lexicon that may be spelt in training is asked for again and again, and so is
everything else that is one text token: what is a word to the network need not be one.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np

from microturn.model.tokens import default_tokenizer
from microturn.scenario.families.say import draw_spelling
from microturn.scenario.lexicon import CONTENT, FUNCTION
from microturn.scenario.scenario import Scenario, Split
from microturn.scenario.timeline import Timeline

FAMILY = "spelling"
TYPED_SHARE = 0.2


@lru_cache(maxsize=1)
def spellable() -> tuple[str, ...]:
    """The words of the lexicon, and the beginnings of words that are one text token, in order."""
    tokenizer = default_tokenizer()
    texts = (tokenizer.decode([index]) for index in range(tokenizer.vocab_size))
    pieces = (text[1:] for text in texts if text[0] == " " and text[1:].isascii() and text[1:].isalpha())
    return tuple(sorted({*CONTENT, *FUNCTION, *(piece for piece in pieces if piece.islower())}))


def spelling(seed: int, split: Split) -> Scenario:
    """Three to six requests to spell, rehearsed (see ``rehearsal``) or typed."""
    rng = np.random.default_rng((zlib.crc32(f"{FAMILY} {split}".encode()), seed))
    timeline = Timeline(rng, split, sound=False)
    timeline.kind = FAMILY
    for _ in range(int(rng.integers(3, 7))):
        timeline.pause(200.0, 800.0)
        request, reply = draw_spelling(rng, split, spellable())
        if rng.random() < TYPED_SHARE:
            turn, cause_ms = timeline.type(request)
            at_ms = timeline.say(reply, turn + 1)
            timeline.expect(reply, at_ms, at_ms - cause_ms, 1200.0, cause_ms)
        else:
            timeline.answer(reply, timeline.speak(request)[-1].end_ms)
        timeline.wait_until(timeline.said_until_ms)
    return timeline.finish(FAMILY, tail_ms=600.0)
