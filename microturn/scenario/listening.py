"""Listening practice: speech without a break, which is only written down.

Telling words apart takes far more speech than learning when to answer. A session of this family is dense (about two
words a second, a new voice every few utterances) and has no answers: ``train.listen`` teaches the lower layers its
words and letters, at a fraction of a whole turn's cost.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from microturn.scenario import wordings
from microturn.scenario.families import free
from microturn.scenario.families.say import draw_request, letter_names
from microturn.scenario.lexicon import LETTERS, NUMBERS
from microturn.scenario.scenario import Scenario, Split
from microturn.scenario.sentences import aside, combination, loose_words, pick, plain_sentence
from microturn.scenario.timeline import Timeline

FAMILY = "listening"
REQUESTS = (wordings.ONCE, wordings.TWO_TIMERS, wordings.EVERY, wordings.CUE, wordings.COUNT, wordings.STOP)
RECORDED_SHARE = 0.12
"""Share of utterances that are recordings of real people, if there are any."""
SPEAKER_CHANGE = 0.4
"""Probability that another voice says the next utterance."""


def listening(seed: int, split: Split, data: Path | None) -> Scenario:
    """12 to 20 s of requests, sentences, loose words, letters and (with ``data``) recordings of real people."""
    rng = np.random.default_rng((zlib.crc32(f"{FAMILY} {split}".encode()), seed))
    timeline = Timeline(rng, split, data=data, assistant=False)
    timeline.kind = FAMILY
    end_ms = float(rng.uniform(12_000.0, 20_000.0))
    while timeline.now_ms < end_ms:
        if data is not None and rng.random() < RECORDED_SHARE:
            free.place_recorded_words(timeline, data)
        else:
            timeline.speak(_text(timeline), matters=False)
        timeline.pause(60.0, 400.0)
        if rng.random() < SPEAKER_CHANGE:
            timeline.change_speaker()
    return timeline.finish(FAMILY, tail_ms=500.0, gap_probability=0.0)


def _text(timeline: Timeline) -> str:
    """One utterance: anything that the families let a user say."""
    rng, split = timeline.rng, timeline.split
    kinds: tuple[tuple[float, Callable[[], str]], ...] = (
        (0.40, lambda: " ".join(loose_words(rng, int(rng.integers(3, 12))))),
        (0.14, lambda: plain_sentence(rng, split)),
        (0.04, lambda: aside(rng, split)),
        (0.04, lambda: letter_names(rng.choice(LETTERS, int(rng.integers(2, 7))))),
        (0.06, lambda: " ".join(rng.choice(NUMBERS, int(rng.integers(2, 6))))),
        (0.16, lambda: draw_request(rng, split)[0]),
        (0.16, lambda: _request(timeline)),
    )
    place = rng.choice(len(kinds), p=[share for share, _ in kinds])
    return kinds[int(place)][1]()


def _request(timeline: Timeline) -> str:
    rng, split = timeline.rng, timeline.split
    first, second = combination(rng, split, 2)
    number, other = pick(rng, NUMBERS[2:11]), pick(rng, NUMBERS[2:11])
    chosen = REQUESTS[int(rng.integers(len(REQUESTS)))]
    return chosen.draw(rng, split, x=first, y=second, n=number, m=other)
