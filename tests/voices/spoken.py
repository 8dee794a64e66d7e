"""What every voice is asked: whether it is understood, and whether its words lie where their sound is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from microturn.bench.sound import Recogniser
from microturn.language import lexicon
from microturn.voices.speech import Speech
from microturn.voices.wordtimes import frame_levels

WORDS = ("banana", "twelve", "window", "bicycle", "helicopter", "wednesday")
VOCABULARY = (*WORDS, *lexicon.NUMBERS[:20], "garden", "yellow", "monkey", "table", "umbrella", "camera", "train")
SENTENCE = "seven bananas, two green cats, and a table"


def assert_understood(speech: Speech) -> None:
    """An independent recogniser finds all of ``WORDS`` but one, about when they are said."""
    found = Recogniser([VOCABULARY]).recognise(speech.pcm)
    assert sum(word.text in WORDS for word in found) >= len(WORDS) - 1
    starts_ms = {word.text: word.start_ms for word in speech.words}
    late_ms = [word.start_ms - starts_ms[word.text] for word in found if word.text in starts_ms]
    assert abs(float(np.median(late_ms))) <= 40.0


def power_outside(speech: Speech) -> tuple[float, int]:
    """Of ``SENTENCE``, whose words must be in order: the power between words as a share of that within, and how many
    pieces of 5 ms lie between them."""
    assert [word.text for word in speech.words] == SENTENCE.replace(",", "").split()
    for before, after in pairwise(speech.words):
        assert before.start_ms < before.end_ms <= after.start_ms
    levels = frame_levels(speech.pcm)
    middle_ms = (np.arange(len(levels)) + 0.5) * 5.0
    inside = np.any([(middle_ms >= word.start_ms) & (middle_ms < word.end_ms) for word in speech.words], 0)
    return float(np.square(levels[~inside]).mean() / np.square(levels[inside]).mean()), int((~inside).sum())
