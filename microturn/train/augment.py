"""Changes of what is heard: other formants, tilts, bands, levels and noises from one recording; words misheard; of what
is seen: mirrored, in other colours; and of when the model speaks: now and then a turn or two late.

Those of sound act on log-mel frames (turns, 20, 80) of one session and leave the times of words where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from microturn.model.mel import LOG_CEIL, LOG_FLOOR, MEL_BANDS, LogMel
from microturn.scenario.corpus import Record
from microturn.scenario.sentences import LOOSE_FUNCTION_WORDS


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How far the user's sound is changed; probabilities of the changes that are not always made."""

    formant_low: float = 0.84
    formant_high: float = 1.19
    tilt_nats: float = 1.5
    """Largest tilt, at the top band against the bottom band."""
    gain_nats: tuple[float, float] = (-3.0, 1.5)
    band_limit_probability: float = 0.2
    noise_probability: float = 0.5
    ripple_nats: float = 0.5
    """Smooth random equaliser."""
    contrast: tuple[float, float] = (0.85, 1.15)
    """Factor of the differences from a session's mean."""
    blur_probability: float = 0.3
    """Neighbouring bands mixed, so that harmonics of the pitch fade and formants stay."""
    mask_probability: float = 0.5
    """One or two stripes of bands go down to the floor for the whole session (Park et al. 2019, "SpecAugment")."""
    mask_bands: int = 10
    mishear_probability: float = 0.06
    """Of a function word that is given in place of sound: it gets lost, or another one takes its place."""
    late_probabilities: tuple[float, ...] = (0.15, 0.05)
    """Of an utterance of the model that starts one turn late, two turns late, and so on."""


def misheard(words: dict[int, list[str]], rng: np.random.Generator, config: AugmentConfig) -> dict[int, list[str]]:
    """Words by turn with mistakes in those that nothing depends on, as the hear lane's own words will have some."""
    changed: dict[int, list[str]] = {}
    for turn, heard in words.items():
        kept: list[str] = []
        for word in heard:
            if word not in _LOOSE or rng.random() >= config.mishear_probability:
                kept.append(word)
            elif rng.random() < 0.5:
                kept.append(LOOSE_FUNCTION_WORDS[int(rng.integers(len(LOOSE_FUNCTION_WORDS)))])
        changed[turn] = kept
    return changed


_LOOSE = frozenset(LOOSE_FUNCTION_WORDS)


def hesitant(record: Record, rng: np.random.Generator, config: AugmentConfig) -> Record:
    """The record with some of the model's utterances late.

    When all of them are on time, whoever was not sure enough to speak in the right turn learns that it is too late
    now. People say it a moment later.
    """
    shift_of: dict[int, int] = {}
    free_from = record.num_turns
    for start, end in reversed(_stretches(record.speaking)):
        shift = int(rng.choice(1 + len(config.late_probabilities), p=_with_rest(config.late_probabilities)))
        shift = max(0, min(shift, free_from - 1 - end))
        shift_of.update(dict.fromkeys(range(start, end), shift))
        free_from = start + shift
    return msgspec.structs.replace(
        record,
        speaking=[turn + shift_of[turn] for turn in record.speaking],
        say={turn + shift_of.get(turn, 0): words for turn, words in record.say.items()},
    )


def _stretches(turns: list[int]) -> list[tuple[int, int]]:
    """Maximal runs of consecutive turns, as (first, last + 1)."""
    runs: list[tuple[int, int]] = []
    for turn in turns:
        if runs and runs[-1][1] == turn:
            runs[-1] = (runs[-1][0], turn + 1)
        else:
            runs.append((turn, turn + 1))
    return runs


def _with_rest(probabilities: tuple[float, ...]) -> tuple[float, ...]:
    return (1.0 - sum(probabilities), *probabilities)


def _warp_matrix(factor: float) -> NDArray[np.float32]:
    """Linear interpolation along the mel axis, (80, 80): band j of the result is band j / factor of the source."""
    source = np.clip(np.arange(MEL_BANDS) / factor, 0, MEL_BANDS - 1)
    low = np.minimum(source.astype(int), MEL_BANDS - 2)
    share = source - low
    matrix = np.zeros((MEL_BANDS, MEL_BANDS), np.float32)
    matrix[low, np.arange(MEL_BANDS)] = 1 - share
    matrix[low + 1, np.arange(MEL_BANDS)] += share
    return matrix


def augment_user(mel: LogMel, rng: np.random.Generator, config: AugmentConfig) -> LogMel:
    """A changed copy of log-mel frames (..., 80)."""
    mel = mel @ _warp_matrix(float(rng.uniform(config.formant_low, config.formant_high)))
    if rng.random() < config.blur_probability:
        share = np.float32(rng.uniform(0.2, 0.66))
        padded = np.concatenate([mel[..., :1], mel, mel[..., -1:]], axis=-1)
        mel = (1 - share) * mel + share / 2 * (padded[..., :-2] + padded[..., 2:])
    middle = mel.mean()
    mel = middle + (mel - middle) * np.float32(rng.uniform(*config.contrast))
    axis = np.linspace(0, 1, MEL_BANDS, dtype=np.float32)
    curve = rng.uniform(-1, 1) * config.tilt_nats * axis + rng.uniform(*config.gain_nats)
    for order in (1, 2, 3):
        curve = curve + rng.normal() * config.ripple_nats / order * np.cos(np.pi * order * axis + rng.uniform(0, 6.28))
    mel = mel + curve.astype(np.float32)
    if rng.random() < config.band_limit_probability:
        top, bottom = rng.integers(52, 80), rng.integers(0, 8)
        mel[..., top:] = LOG_FLOOR
        mel[..., :bottom] = np.maximum(mel[..., :bottom] - 6.0, LOG_FLOOR)
    if rng.random() < config.mask_probability:
        for _ in range(int(rng.integers(1, 3))):
            first = int(rng.integers(0, MEL_BANDS))
            mel[..., first : first + int(rng.integers(1, config.mask_bands + 1))] = LOG_FLOOR
    if rng.random() < config.noise_probability:
        mel = _add_noise(mel, rng)
    changed: LogMel = np.clip(mel, LOG_FLOOR, LOG_CEIL)
    return changed


def augment_frames(frames_NHWC: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The pictures (N, height, width, 3) of one video, mirrored or not, with colours swapped and perhaps inverted."""
    changed = frames_NHWC[..., rng.permutation(3)]
    if rng.random() < 0.5:
        changed = changed[:, :, ::-1]
    return 255 - changed if rng.random() < 0.25 else changed


_SPREAD_SIZE = 1 << 16


@lru_cache(maxsize=1)
def _noise_spread() -> NDArray[np.float32]:
    """Log power of single noise frames around their mean: a table to draw from, 20 times faster than drawing."""
    return np.log(np.random.default_rng(0).gamma(2.0, 0.5, size=_SPREAD_SIZE) + 1e-3).astype(np.float32)


def _add_noise(mel: LogMel, rng: np.random.Generator) -> LogMel:
    """Add stationary noise of a random colour, with the spread that single frames of noise have."""
    axis = np.linspace(0, 1, MEL_BANDS, dtype=np.float32)
    level = rng.uniform(-17.5, -10.5) + rng.uniform(-4, 2) * axis
    noise = level.astype(np.float32) + _noise_spread()[rng.integers(0, _SPREAD_SIZE, mel.shape, np.uint16)]
    noisy: LogMel = np.logaddexp(mel, noise).astype(np.float32)
    return noisy
