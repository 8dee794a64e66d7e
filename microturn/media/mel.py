"""Log-mel frames of 10 ms from 16 kHz sound, streamed exactly as in one piece, and their 16 dMel levels.

Frame *i* looks at the 400 samples that end with sample ``(i + 1) * 160``: no look-ahead. Values are natural logs of
band power, where a full-scale sine has power 1, clipped to ``[LOG_FLOOR, LOG_CEIL]``. dMel (Bai et al. 2024, "dMel:
Speech Tokenization made Simple", section 2.1) keeps 16 evenly spaced levels of each value: here one level is one
nat, 4.3 dB.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm

HOP_SAMPLES = 160
WINDOW_SAMPLES = 400
HISTORY_SAMPLES = WINDOW_SAMPLES - HOP_SAMPLES
FFT_SIZE = 512
MEL_BANDS = 80
TURN_FRAMES = TURN_SAMPLES // HOP_SAMPLES
"""Mel frames of one turn: 20."""
LEVELS = 16
LOG_FLOOR = -18.0
LOG_CEIL = -2.0
MEL_MEAN = -10.0
MEL_SCALE = 4.0
"""``(log_mel - MEL_MEAN) / MEL_SCALE`` lies in [-2, 2]: the unit the flow head and the vocoder work in."""

LogMel = NDArray[np.float32]
"""Log-mel frames, shape (frames, MEL_BANDS)."""


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


@lru_cache(maxsize=1)
def mel_filters() -> NDArray[np.float32]:
    """Triangular HTK-mel filters, shape (FFT_SIZE // 2 + 1, MEL_BANDS), 0 to 8 kHz, peak 1."""
    edges_mel = np.linspace(_hz_to_mel(np.array(20.0)), _hz_to_mel(np.array(SAMPLE_RATE_HZ / 2)), MEL_BANDS + 2)
    edges_hz = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    bins_hz = np.arange(FFT_SIZE // 2 + 1) * SAMPLE_RATE_HZ / FFT_SIZE
    # Low bands are narrower than a bin: widen them to one bin so that no filter is empty.
    half = np.maximum(np.diff(edges_hz), SAMPLE_RATE_HZ / FFT_SIZE)
    center = edges_hz[1:-1]
    rise = 1.0 - (center[None] - bins_hz[:, None]) / half[:-1][None]
    fall = 1.0 - (bins_hz[:, None] - center[None]) / half[1:][None]
    filters: NDArray[np.float32] = np.clip(np.minimum(rise, fall), 0.0, None).astype(np.float32)
    return filters


@lru_cache(maxsize=1)
def _window() -> NDArray[np.float32]:
    window = np.hanning(WINDOW_SAMPLES + 1)[:-1]
    scaled: NDArray[np.float32] = (window * 2.0 / window.sum()).astype(np.float32)
    return scaled


def log_mel(pcm: Pcm, history: Pcm | None = None) -> LogMel:
    """Log-mel of ``pcm`` ``(n * 160,)`` -> ``(n, MEL_BANDS)``.

    ``history`` is the ``HISTORY_SAMPLES`` samples before ``pcm`` (silence if ``None``); a trailing part shorter than a
    hop is left out.
    """
    before = np.zeros(HISTORY_SAMPLES, np.float32) if history is None else history
    padded = np.concatenate([before, pcm])
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.fft.rfft(frames * _window(), FFT_SIZE)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    mel: LogMel = np.clip(np.log(power @ mel_filters() + 1e-9), LOG_FLOOR, LOG_CEIL).astype(np.float32)
    return mel


def dmel_levels(mel: LogMel) -> NDArray[np.uint8]:
    """Level 0..15 of every log-mel value; any shape."""
    step = (LOG_CEIL - LOG_FLOOR) / LEVELS
    levels: NDArray[np.uint8] = np.clip(np.floor((mel - LOG_FLOOR) / step), 0, LEVELS - 1).astype(np.uint8)
    return levels


def normalise_mel(mel: LogMel) -> LogMel:
    """Log-mel to the unit of the flow head, [-2, 2]; any shape."""
    return ((mel - MEL_MEAN) / MEL_SCALE).astype(np.float32)
