"""Pitch and voicing of recorded speech, for the vocoder's pitch network to learn from."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from microturn.media.mel import HOP_SAMPLES
from microturn.model.vocoder import VocoderConfig
from microturn.turn import SAMPLE_RATE_HZ, Pcm

PITCH_WINDOW_SAMPLES = 640
VOICED_CORRELATION = 0.7
VOICED_POWER = 1e-5


def track_pitch(pcm: Pcm, config: VocoderConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Natural log of the pitch in Hz and voicing (0 or 1) around every hop's first sample, both ``(hops,)``.

    The pitch is the shortest lag whose normalised cross-correlation (Talkin 1995, "A robust algorithm for pitch
    tracking", section 3) peaks within a tenth of the best; it is interpolated where there is no voice.
    """
    num_frames = len(pcm) // HOP_SAMPLES
    shortest = int(SAMPLE_RATE_HZ / config.max_pitch_hz)
    longest = int(SAMPLE_RATE_HZ / config.min_pitch_hz)
    size = PITCH_WINDOW_SAMPLES + longest
    padded = np.pad(pcm.astype(np.float64), size)
    starts = size + np.arange(num_frames) * HOP_SAMPLES - size // 2
    pieces = np.lib.stride_tricks.sliding_window_view(padded, size)[starts]
    # Long enough: negative lags wrap to places behind the longest positive one.
    points = 1 << (size - 1).bit_length()
    head = np.fft.rfft(pieces[:, :PITCH_WINDOW_SAMPLES], points)
    product = np.fft.irfft(head.conj() * np.fft.rfft(pieces, points), points)[:, : longest + 1]
    energy = np.cumsum(np.pad(pieces**2, ((0, 0), (1, 0))), 1)
    energy = energy[:, PITCH_WINDOW_SAMPLES:] - energy[:, : longest + 1]
    correlation = product / np.sqrt(energy[:, :1] * energy + 1e-9)
    correlation[:, :shortest] = -1.0
    best = correlation.max(1)
    middle = correlation[:, 1:-1]
    peaks = (middle >= correlation[:, :-2]) & (middle > correlation[:, 2:]) & (middle > 0.9 * best[:, None])
    lag = peaks.argmax(1) + 1
    rows = np.arange(num_frames)
    before, top, after = correlation[rows, lag - 1], correlation[rows, lag], correlation[rows, lag + 1]
    bend = before - 2 * top + after
    lag_exact = lag + np.where(bend < -1e-9, 0.5 * (before - after) / np.minimum(bend, -1e-9), 0.0)
    power = energy[:, 0] / PITCH_WINDOW_SAMPLES
    voiced = peaks.any(1) & (best > VOICED_CORRELATION) & (power > VOICED_POWER)
    if not voiced.any():
        return np.full(num_frames, math.log(config.mean_pitch_hz), np.float32), np.zeros(num_frames, np.float32)
    log_pitch = np.interp(rows, rows[voiced], np.log(SAMPLE_RATE_HZ / lag_exact[voiced]))
    return log_pitch.astype(np.float32), voiced.astype(np.float32)
