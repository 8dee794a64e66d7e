"""``free``: words in random order and sentences that ask nothing; heard, not answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from microturn.scenario import clips
from microturn.scenario.lexicon import NUMBERS
from microturn.scenario.sentences import loose_words, plain_sentence
from microturn.scenario.timeline import Timeline

REAL_SHARE = 0.4
"""Share of real people's speech in a session, if there are recordings."""


def build(timeline: Timeline) -> None:
    """6 to 14 s of runs of words, single words, digits, sentences and (with data) recordings of real people."""
    rng = timeline.rng
    timeline.pause(200.0, 1200.0)
    end_ms = timeline.now_ms + rng.uniform(5000.0, 12_000.0)
    while timeline.now_ms < end_ms:
        if timeline.data is not None and rng.random() < REAL_SHARE:
            _place_real_speech(timeline, timeline.data)
        else:
            timeline.speak(draw_text(timeline), matters=False)
        timeline.pause(150.0, 1200.0)


def _place_real_speech(timeline: Timeline, data: Path) -> None:
    """Digits of one person, a few wake words, or a stretch of read speech whose words are not known."""
    rng = timeline.rng
    if rng.random() < 0.2:
        timeline.place_unlabelled(clips.draw_read_speech(rng, data, timeline.split, float(rng.uniform(1500.0, 4000.0))))
        return
    place_recorded_words(timeline, data)


def place_recorded_words(timeline: Timeline, data: Path) -> None:
    """One to five digits of one person, or as many wake words."""
    rng = timeline.rng
    count = int(rng.integers(1, 6))
    if rng.random() < 0.5:
        speeches = clips.draw_digits(rng, data, timeline.split, count)
    else:
        speeches = [clips.draw_wake_word(rng, data, timeline.split) for _ in range(count)]
    for speech in speeches:
        timeline.place(speech, matters=False)
        timeline.pause(120.0, 600.0)


def talk(timeline: Timeline, until_ms: float) -> None:
    """The user says things that ask nothing, as many as fit before ``until_ms``."""
    while True:
        speech = timeline.speaker.speak(draw_text(timeline))
        if timeline.now_ms + speech.words[-1].end_ms > until_ms:
            return
        timeline.place(speech)
        timeline.pause(100.0, 700.0)


def draw_text(timeline: Timeline) -> str:
    """Something that asks nothing."""
    rng = timeline.rng
    kind = rng.random()
    if kind < 0.2:
        return " ".join(loose_words(rng, 1))
    if kind < 0.3:
        return " ".join(rng.choice(NUMBERS[:10], int(rng.integers(2, 8))))
    if kind < 0.6:
        return plain_sentence(rng, timeline.split)
    return word_run(timeline)


def word_run(timeline: Timeline, avoid: Sequence[str] = ()) -> str:
    """Two to fourteen words in random order."""
    rng = timeline.rng
    return " ".join(loose_words(rng, int(rng.choice([2, 3, 4, 5, 6, 7, 8, 11, 14])), avoid))
