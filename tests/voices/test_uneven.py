"""Speech made uneven keeps its words, their order and (but for a tape's) its pitch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.turn import SAMPLE_RATE_HZ, Pcm
from microturn.voices.speech import Speech, Word
from microturn.voices.uneven import resample, stretch, uneven


def tone(hertz: float, seconds: float) -> Pcm:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ).astype(np.float32)


def pitch_hz(pcm: Pcm) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(np.argmax(spectrum) * SAMPLE_RATE_HZ / len(pcm))


@pytest.mark.parametrize("speed", [0.6, 1.0, 1.5])
def test_stretched_speech_is_longer_and_keeps_its_pitch_and_a_tape_does_not(speed: float) -> None:
    speech = Speech(tone(210.0, 2.0), (Word("hum", 500.0, 2000.0),))
    factors = np.full(len(speech.pcm), speed)
    stretched, played = stretch(speech, factors), resample(speech, factors)
    for changed in (stretched, played):
        assert len(changed.pcm) == pytest.approx(len(speech.pcm) / speed, abs=2)
        assert changed.words[0].start_ms == pytest.approx(500.0 / speed, abs=0.2)
        assert changed.words[0].end_ms == pytest.approx(2000.0 / speed, abs=0.2)
    assert pitch_hz(stretched.pcm) == pytest.approx(210.0, abs=1.5)
    assert pitch_hz(played.pcm) == pytest.approx(210.0 * speed, abs=1.5)
    middle = stretched.pcm[2000:-2000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(np.sqrt(0.5), rel=0.05), "windows add up"


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), lengths_ms=st.lists(st.integers(60, 600), min_size=1, max_size=6))
def test_words_stay_with_their_sounds(seed: int, lengths_ms: list[int]) -> None:
    pieces: list[Pcm] = []
    words: list[Word] = []
    now_ms = 0
    for index, length_ms in enumerate(lengths_ms):
        words.append(Word(f"w{index}", now_ms, now_ms + length_ms))
        pieces += [tone(300.0, length_ms / 1000), np.zeros(150 * 16, np.float32)]
        now_ms += length_ms + 150
    speech = Speech(np.concatenate(pieces), tuple(words))
    changed = uneven(speech, np.random.default_rng(seed))
    assert [word.text for word in changed.words] == [word.text for word in speech.words]
    assert np.array_equal(changed.pcm, uneven(speech, np.random.default_rng(seed)).pcm)
    loud = np.abs(changed.pcm) > 0.05
    for word in changed.words:
        inside = loud[int(word.start_ms * 16) + 480 : int(word.end_ms * 16) - 480]
        assert inside.size == 0 or inside.mean() > 0.8, "the word sounds between its times"
        after = loud[int(word.end_ms * 16) + 480 : int(word.end_ms * 16) + 640]
        assert after.mean() < 0.2, "and not after them"


def test_sound_that_is_not_changed_stays() -> None:
    sound = np.random.default_rng(0).normal(size=SAMPLE_RATE_HZ).astype(np.float32)
    speech, factors = Speech(sound, ()), np.ones(len(sound))
    assert np.allclose(resample(speech, factors).pcm, sound, atol=1e-6)
    assert np.allclose(stretch(speech, factors).pcm[400:-400], sound[400:-400], atol=1e-6)
