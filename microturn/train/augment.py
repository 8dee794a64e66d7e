"""Changes of what is heard: other formants, tilts, bands, levels and noises from one recording; words misheard; of what
is seen: mirrored, in other colours; of when the model speaks: now and then a turn or two late; and of what comes in
beside it: instructions.

Those of sound act on log-mel frames (turns, 20, 80) of one session and leave the times of words where they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from microturn.language.lexicon import FUNCTION
from microturn.language.wordings import LOOSE_FUNCTION_WORDS, pick
from microturn.media.mel import LOG_CEIL, LOG_FLOOR, MEL_BANDS, TURN_FRAMES, LogMel
from microturn.scenario.scenario import Utterance
from microturn.turn import Frame

T = TypeVar("T")


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
    mask_time_probability: float = 0.15
    """Of a turn in which a stretch of up to ``mask_time_frames`` goes down to the floor."""
    mask_time_frames: int = 8
    mishear_probability: float = 0.12
    """Of a function word that is given in place of sound: it gets lost, or another one takes its place."""
    extra_probability: float = 0.06
    """Of a function word to be written once more, or behind a word that nobody said."""
    late_probabilities: tuple[float, ...] = (0.15, 0.05)
    """Of an utterance of the model that starts one turn late, two turns late, and so on."""
    lost_pictures_probability: float = 0.3
    """Of a session of whose pictures some do not arrive, up to ``lost_pictures`` of them, but never one that shows what
    is to be told in its turn."""
    lost_pictures: float = 0.5
    instructed_probability: float = 0.2
    """Of a session that is given instructions."""
    instructed_first_share: float = 0.7
    """Of instructions that come in the first turn."""


def misheard(words: dict[int, list[str]], rng: np.random.Generator, config: AugmentConfig) -> dict[int, list[str]]:
    """Words by turn as a hear lane may have them: some lost, some wrong among those that nothing depends on, some that
    nobody said, some a turn late."""
    changed: dict[int, list[str]] = {}
    for turn in sorted(words):
        late = rng.random() < config.mishear_probability
        for word in words[turn]:
            if word in LOOSE_FUNCTION_WORDS and rng.random() < config.mishear_probability:
                if rng.random() < 0.5:
                    continue
                word = pick(rng, LOOSE_FUNCTION_WORDS)
            heard = changed.setdefault(turn + late, [])
            if word in FUNCTION and rng.random() < config.extra_probability:
                heard.append(word if rng.random() < 0.5 else pick(rng, LOOSE_FUNCTION_WORDS))
            heard.append(word)
    return changed


def hesitant(said: list[Utterance], num_turns: int, rng: np.random.Generator, config: AugmentConfig) -> list[Utterance]:
    """The model's utterances of a session of ``num_turns``, some of them a turn or two late.

    When all of them are on time, whoever was not sure enough to speak in the right turn learns that it is too late
    now. People say it a moment later. A silent turn stays after each of them.
    """
    changed: list[Utterance] = []
    free_from = num_turns
    chances = (1.0 - sum(config.late_probabilities), *config.late_probabilities)
    for utterance in reversed(said):
        late = int(rng.choice(len(chances), p=chances))
        late = 0 if utterance.cut else max(0, min(late, free_from - 1 - utterance.turn - utterance.num_turns))
        changed.append(replace(utterance, turn=utterance.turn + late))
        free_from = utterance.turn + late
    return changed[::-1]


def instructed(texts: Mapping[int, list[T]], written: list[T], turn: int, limit: int) -> dict[int, list[T]]:
    """Tokens of texts by turn, and those of ``written``, which come in from ``turn`` on before whatever else does then.

    A turn takes in ``limit`` tokens; of ``written`` only as much is left as delays nothing that comes after it.
    """
    there = len(texts.get(turn, ()))
    free_turns = min((later - turn for later in texts if later > turn), default=len(written))
    room = limit - there if there else limit * free_turns
    return {**texts, turn: [*written[: max(0, room)], *texts.get(turn, ())]}


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
    if config.mask_time_probability:
        frames = mel.reshape(-1, MEL_BANDS)
        for start in np.flatnonzero(rng.random(len(frames)) < config.mask_time_probability / TURN_FRAMES):
            frames[start : start + int(rng.integers(1, config.mask_time_frames + 1))] = LOG_FLOOR
    if rng.random() < config.noise_probability:
        mel = _add_noise(mel, rng)
    changed: LogMel = np.clip(mel, LOG_FLOOR, LOG_CEIL)
    return changed


def augment_frames(
    frames: Mapping[int, Frame], needed: Collection[int], rng: np.random.Generator, config: AugmentConfig
) -> dict[int, NDArray[np.uint8]]:
    """The pictures of one video by turn, mirrored or not, with colours swapped and perhaps inverted, and some of them
    lost, but none of the turns ``needed``."""
    colours, mirrored, inverted = rng.permutation(3), rng.random() < 0.5, rng.random() < 0.25
    lost = rng.uniform(0.0, config.lost_pictures) if rng.random() < config.lost_pictures_probability else 0.0
    changed: dict[int, NDArray[np.uint8]] = {}
    for turn, frame in frames.items():
        if rng.random() < lost and turn not in needed:
            continue
        picture = frame[:, :: -1 if mirrored else 1, colours]
        changed[turn] = 255 - picture if inverted else picture
    return changed


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
