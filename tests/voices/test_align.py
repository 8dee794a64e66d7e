"""Word times by alignment agree with those that an engine tells."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.voices import flite
from microturn.voices.align import align, warp
from microturn.voices.catalogue import Voice, synthesise

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


@pytest.mark.needs_engine("flite")
@pytest.mark.parametrize("speaker", flite.SPEAKERS)
def test_aligned_times_are_near_true_ones(speaker: str) -> None:
    """flite tells its word times: those found through espeak-ng are off by a small part of a turn."""
    errors_ms: list[float] = []
    for text in SENTENCES:
        speech, reference = synthesise(Voice("", "flite", speaker), text, rate=1.1), synthesise(ESPEAK, text)
        found = align(speech.pcm, reference.pcm, [(word.start_ms, word.end_ms) for word in reference.words])
        errors_ms += [abs(end - word.end_ms) for (_, end), word in zip(found, speech.words, strict=True)]
    assert np.median(errors_ms) < 40.0
    assert np.quantile(errors_ms, 0.9) < 120.0
