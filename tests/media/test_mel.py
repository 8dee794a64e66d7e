"""Log-mel frames against a Fourier sum, streamed against whole, and their levels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.media.mel import (
    HISTORY_SAMPLES,
    HOP_SAMPLES,
    LOG_CEIL,
    LOG_FLOOR,
    WINDOW_SAMPLES,
    dmel_levels,
    log_mel,
    mel_filters,
    normalise_mel,
)


def test_log_mel_against_a_sum_over_samples() -> None:
    """One frame, with the Fourier sum written out."""
    rng = np.random.default_rng(0)
    pcm = rng.normal(0, 0.1, 3 * HOP_SAMPLES).astype(np.float32)
    frame = 2
    end = (frame + 1) * HOP_SAMPLES
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)
    padded = np.concatenate([np.zeros(HISTORY_SAMPLES), pcm])
    samples = padded[HISTORY_SAMPLES + end - WINDOW_SAMPLES : HISTORY_SAMPLES + end] * window * 2 / window.sum()
    bins = np.arange(257)[:, None]
    spectrum = (samples[None] * np.exp(-2j * np.pi * bins * np.arange(WINDOW_SAMPLES)[None] / 512)).sum(1)
    slow = np.log(np.abs(spectrum) ** 2 @ mel_filters().astype(np.float64) + 1e-9)
    np.testing.assert_allclose(log_mel(pcm)[frame], np.clip(slow, LOG_FLOOR, LOG_CEIL), atol=1e-3)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12))
def test_log_mel_streamed_equals_whole(seed: int, first: int, second: int) -> None:
    pcm = np.random.default_rng(seed).normal(0, 0.1, (first + second) * HOP_SAMPLES).astype(np.float32)
    cut = first * HOP_SAMPLES
    history = np.concatenate([np.zeros(HISTORY_SAMPLES, np.float32), pcm[:cut]])[-HISTORY_SAMPLES:]
    streamed = np.concatenate([log_mel(pcm[:cut]), log_mel(pcm[cut:], history)])
    np.testing.assert_allclose(streamed, log_mel(pcm), atol=1e-4)


def test_a_tone_lies_in_its_band() -> None:
    seconds = np.arange(4800) / 16_000
    for hz in (200.0, 1000.0, 4000.0):
        mel = log_mel((0.5 * np.sin(2 * np.pi * hz * seconds)).astype(np.float32))[-1]
        centre_bin = round(hz * 512 / 16_000)
        assert abs(int(mel.argmax()) - int(mel_filters()[centre_bin].argmax())) <= 1
        assert mel.max() == pytest.approx(math.log(0.25), abs=0.8)


def test_levels_are_even_steps_and_clip() -> None:
    values = np.array([-99.0, -18.0, -17.01, -16.99, -2.01, 5.0], np.float32)
    assert dmel_levels(values).tolist() == [0, 0, 0, 1, 15, 15]


def test_normalised_mel() -> None:
    mel = np.linspace(LOG_FLOOR, LOG_CEIL, 33, dtype=np.float32)
    assert normalise_mel(mel).min() == -2.0 and normalise_mel(mel).max() == 2.0
