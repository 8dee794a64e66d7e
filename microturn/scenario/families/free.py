"""``free``: words in random order and sentences that ask nothing; heard, not answered."""

from __future__ import annotations

from microturn.language.lexicon import NUMBERS
from microturn.language.wordings import loose_words, plain_sentence
from microturn.scenario.script import Script


def build(script: Script) -> None:
    """6 to 14 s of runs of words, single words, digits and sentences."""
    rng = script.rng
    script.pause(200.0, 1200.0)
    end_ms = script.now_ms + rng.uniform(5000.0, 12_000.0)
    while script.now_ms < end_ms:
        script.speak(draw_text(script), matters=False)
        script.pause(150.0, 1200.0)


def talk(script: Script, until_ms: float) -> None:
    """The user says things that ask nothing, as many as fit before ``until_ms``."""
    while True:
        speech = script.speaker.speak(draw_text(script))
        if script.now_ms + speech.words[-1].end_ms > until_ms:
            return
        script.place(speech)
        script.pause(100.0, 700.0)


def draw_text(script: Script) -> str:
    """Something that asks nothing."""
    rng = script.rng
    kind = rng.random()
    if kind < 0.2:
        return " ".join(loose_words(rng, 1))
    if kind < 0.3:
        return " ".join(rng.choice(NUMBERS[:10], int(rng.integers(2, 8))))
    if kind < 0.6:
        return plain_sentence(rng, script.split)
    return " ".join(loose_words(rng, int(rng.choice([2, 3, 4, 5, 6, 7, 8, 11, 14]))))
