"""Spelling practice: requests to spell, one after the other, without sound.

One request in seven of ``say`` asks for letters, and the network learnt the few words that were asked for by heart
(docs/log.md). Here every word of the lexicon that may be spelt in training is asked for again and again, and so is
everything else that is one text token: what is a word to the network need not be one.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np

from microturn.language.lexicon import CONTENT, FUNCTION
from microturn.language.tokenizer import default_tokenizer
from microturn.scenario.families.say import draw_spelling
from microturn.scenario.scenario import Scenario
from microturn.scenario.script import Script
from microturn.split import Split

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
    script = Script(rng, split, sound=False)
    script.kind = FAMILY
    for _ in range(int(rng.integers(3, 7))):
        script.pause(200.0, 800.0)
        request, reply = draw_spelling(rng, split, spellable())
        if rng.random() < TYPED_SHARE:
            turn, cause_ms = script.type(request)
            at_ms = script.say(reply, turn + 1)
            script.expect(reply, at_ms, at_ms - cause_ms, 1200.0, cause_ms)
        else:
            script.answer(reply, script.speak(request)[-1].end_ms)
        script.wait_until(script.said_until_ms)
    return script.finish(FAMILY, tail_ms=600.0)
