"""Word times for speech whose engine gives none: the same text in a voice with known times, stretched to fit.

Dynamic time warping (Sakoe & Chiba 1978, "Dynamic Programming Algorithm Optimization for Spoken Word Recognition")
over cepstra, which tell sounds apart and speakers less so.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from microturn.media.mel import HOP_SAMPLES, MEL_BANDS, log_mel
from microturn.turn import SAMPLE_RATE_HZ, Pcm

# Shapes: N frames of one sound, M of the other, C cepstra.

CEPSTRA = 13
SKEW_COST = 0.02
"""Cost of a step that stands still on one side, relative to the mean distance: without it, silence wanders."""


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float32]:
    """The first cepstra of a log-mel frame, (80, C); the mean level is left out."""
    band = (np.arange(MEL_BANDS) + 0.5) * np.pi / MEL_BANDS
    cosines: NDArray[np.float32] = np.cos(band[:, None] * np.arange(1, CEPSTRA + 1)).astype(np.float32)
    return cosines


def cepstra(pcm: Pcm) -> NDArray[np.float32]:
    """(samples,) at 16 kHz to (N, 2 C + 1): cepstra, their slopes and the level, each with mean 0 and deviation 1."""
    mel = log_mel(pcm)
    static = np.concatenate([mel @ _cosines(), mel.mean(1, keepdims=True)], axis=1)
    slope = np.gradient(static[:, :-1], axis=0) if len(static) > 1 else np.zeros_like(static[:, :-1])
    features = np.concatenate([static, slope], axis=1)
    normed: NDArray[np.float32] = ((features - features.mean(0)) / (features.std(0) + 1e-3)).astype(np.float32)
    return normed


def warp(first_NC: NDArray[np.float32], second_MC: NDArray[np.float32]) -> NDArray[np.int64]:
    """Frame of ``second_MC`` that goes with each frame of ``first_NC``, (N,), never going back.

    Costs are summed along anti-diagonals, whole ones at a time.
    """
    squares = (first_NC**2).sum(1)[:, None] + (second_MC**2).sum(1)[None] - 2.0 * first_NC @ second_MC.T
    distance = np.sqrt(np.maximum(squares, 0.0))
    skew = SKEW_COST * float(distance.mean())
    rows, columns = distance.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(rows + columns - 1):
        row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        column = diagonal - row
        before = np.minimum(total[row, column + 1], total[row + 1, column]) + skew
        total[row + 1, column + 1] = distance[row, column] + np.minimum(total[row, column], before)
    partner = np.zeros(rows, np.int64)
    row, column = rows, columns
    while row > 0:
        partner[row - 1] = column - 1
        steps = (total[row - 1, column - 1], total[row - 1, column] + skew, total[row, column - 1] + skew)
        step = int(np.argmin(steps))
        row, column = row - (step != 2), column - (step != 1)
    return partner


def align(pcm: Pcm, reference: Pcm, reference_ms: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """(start, end) in ms of every word of ``pcm``, given those of ``reference`` (same text, both 16 kHz)."""
    hop_ms = HOP_SAMPLES * 1000 / SAMPLE_RATE_HZ
    partner = warp(cepstra(reference), cepstra(pcm))
    times = [min(int(ms / hop_ms), len(partner) - 1) for span in reference_ms for ms in span]
    found = [float(partner[time]) * hop_ms for time in times]
    return list(zip(found[::2], found[1::2], strict=True))
