"""Word times by alignment agree with those that an engine tells; Pico's words lie where they sound."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.scenario import flite, pico
from microturn.scenario.align import align, warp
from microturn.scenario.voices import Voice, synthesise
from tests.scenario.test_voices import SENTENCE, check_engine

needs_flite = pytest.mark.skipif(not flite.installed(), reason="flite is not installed (make voices)")
needs_pico = pytest.mark.skipif(not pico.installed(), reason="pico is not installed (make voices)")
ESPEAK = Voice("", "espeak", "", "en-us")
SENTENCES = (
    "say banana two green cats and a table",
    "the red umbrella is in the garden",
    "whenever i say radio say ice",
)


def test_warp_finds_a_known_stretch() -> None:
    """A sound whose middle is twice as slow: partners run at half speed there, and never go back."""
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(30, 5)).astype(np.float32)
    stretched = np.concatenate([frames[:10], np.repeat(frames[10:20], 2, axis=0), frames[20:]])
    partner = warp(frames, stretched)
    expected = np.concatenate([np.arange(10), 10 + 2 * np.arange(10), 30 + np.arange(10)])
    assert np.abs(partner - expected).max() <= 1
    assert (np.diff(partner) >= 0).all()
    assert np.array_equal(warp(frames, frames), np.arange(30))


@needs_flite
@pytest.mark.parametrize("speaker", ["slt", "rms", "awb"])
def test_aligned_times_are_near_true_ones(speaker: str) -> None:
    """flite tells its word times: those found through espeak-ng are off by a small part of a turn."""
    errors_ms: list[float] = []
    for text in SENTENCES:
        speech, reference = synthesise(Voice("", "flite", speaker), text, rate=1.1), synthesise(ESPEAK, text)
        found = align(speech.pcm, reference.pcm, [(word.start_ms, word.end_ms) for word in reference.words])
        errors_ms += [abs(end - word.end_ms) for (_, end), word in zip(found, speech.words, strict=True)]
    assert np.median(errors_ms) < 40.0
    assert np.quantile(errors_ms, 0.9) < 120.0


@needs_pico
@pytest.mark.parametrize("speaker", pico.installed())
def test_pico_speaks_with_right_word_times(speaker: str) -> None:
    voice = Voice("", "pico", speaker)
    check_engine(voice, "spell cat, c., a., t.")
    slow, fast = (len(synthesise(voice, SENTENCE, rate=rate).pcm) for rate in (0.8, 1.25))
    assert slow > 1.3 * fast
