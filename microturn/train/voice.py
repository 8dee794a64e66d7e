"""The assistant's voice as rows: words one after the other for the flow head, crops of them for the vocoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from microturn.errors import InputError
from microturn.language.common import NUM_COMMON_WORDS, common_words
from microturn.language.lexicon import COMMANDS, COMMON, CONTENT, FUNCTION, LETTERS
from microturn.language.wordings import pick
from microturn.media.mel import HOP_SAMPLES, MEL_SCALE, LogMel, log_mel, normalise_mel
from microturn.model.vocoder import DELAY_SAMPLES, NOISE_SAMPLES, SILENCE, VocoderConfig
from microturn.scenario.scenario import Scenario, Utterance
from microturn.scenario.script import assistant_speech
from microturn.train.batch import Row, WaveTargets
from microturn.train.sessions import Packer
from microturn.train.tasks import Draw, Materials, RowSource
from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm
from microturn.voices.assistant import assistant_voice
from microturn.voices.wordtimes import resample

# Shapes: F hops, M mel bands.

PITCH_RANGE = (0.9, 1.12)
"""Factors of the pitch, and of the formants with it, of half of the vocoder's clips."""
EDGE_FRAMES = 10
"""A crop may begin so long before an utterance, and end so long after it."""
GAIN_RANGE_DB = (-6.0, 2.0)
PAUSE_SHARE = 0.3
"""Of words in a row after which the voice is silent for a turn or two."""
COMMONEST = 1.5
"""Power of a uniform place in the list of common words: the first tenth is drawn in a fifth of the cases."""
PITCH_WINDOW_SAMPLES = 640
VOICED_CORRELATION = 0.7
VOICED_POWER = 1e-5


@dataclass(frozen=True, kw_only=True)
class SpeakingRows:
    """Sessions of nothing but words that the model says: any word that it may have to say, after any other."""

    num_words: int = 12
    num_common: int = NUM_COMMON_WORDS
    """Common words of English among them."""

    def open(self, materials: Materials) -> Draw:
        """Raises ``VoiceError`` without the assistant's voice, ``InputError`` without PocketSphinx's words."""
        assistant_voice()
        common_words()
        packer = Packer(materials.tokenizer, materials.patch_rows, materials.augment)

        def draw(rng: np.random.Generator, uses: int) -> list[Row]:
            scenario = speaking(rng, self.num_words, self.num_common)
            return [packer.spoken_row(scenario, rng) for _ in range(uses)]

        return draw

    def families(self, materials: Materials) -> Mapping[str, RowSource]:
        return {"speaking": self}


def speaking(rng: np.random.Generator, num_words: int, num_common: int) -> Scenario:
    """The model says ``num_words`` words."""
    said: list[Utterance] = []
    turn = 0
    for _ in range(num_words):
        said.append(Utterance(turn, assistant_speech(drawn_word(rng, num_common))))
        turn += said[-1].num_turns + (int(rng.integers(1, 3)) if rng.random() < PAUSE_SHARE else 0)
    return Scenario("speaking", turn, np.zeros(turn * TURN_SAMPLES, np.float32), said=said)


def drawn_word(rng: np.random.Generator, num_common: int) -> str:
    """Half of the words are of the ``num_common`` commonest of English, the commonest more often, a tenth letters, the
    others those that answers are made of."""
    kind = rng.random()
    if kind < 0.5:
        word = common_words()[int(num_common * rng.random() ** COMMONEST)]
    else:
        word = pick(rng, LETTERS if kind < 0.6 else (*CONTENT, *FUNCTION) if kind < 0.85 else (*COMMANDS, *COMMON))
    return _written(word)


def words_to_say(num_common: int = NUM_COMMON_WORDS) -> tuple[str, ...]:
    """Everything that ``drawn_word`` may draw. Raises ``InputError`` without PocketSphinx's words."""
    words = (*LETTERS, *FUNCTION, *COMMANDS, *COMMON, *CONTENT, *common_words()[:num_common])
    return tuple(dict.fromkeys(_written(word) for word in words))


def _written(word: str) -> str:
    """As the voice is to read it: what is one letter is a letter's name."""
    return f"{word}." if word in LETTERS else word


@dataclass(frozen=True)
class VoiceClip:
    """One utterance: samples, its normalised mel (F, M), log pitch (Hz) and voicing (0 or 1), both (F,).

    Entry *i* of pitch and voicing belongs to sample ``i * HOP_SAMPLES``.
    """

    pcm: Pcm
    mel: LogMel
    log_pitch: NDArray[np.float32]
    voiced: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class VoiceRows:
    """Crops of the assistant's speech."""

    num_frames: int = 64
    num_common: int = NUM_COMMON_WORDS

    def open(self, materials: Materials) -> Draw:
        """Raises ``VoiceError`` without the assistant's voice, ``InputError`` without PocketSphinx's words."""
        assistant_voice()
        common_words()

        def draw(rng: np.random.Generator, uses: int) -> list[Row]:
            clip = voice_clip(spoken(rng, self.num_common), VocoderConfig())
            return [clip_row(clip, self.num_frames, rng, vary=materials.augment is not None) for _ in range(uses)]

        return draw

    def families(self, materials: Materials) -> Mapping[str, RowSource]:
        return {"voice": self}


def spoken(rng: np.random.Generator, num_common: int) -> Pcm:
    """A few words as the model says them, half of the time at another pitch."""
    pcm = assistant_speech(" ".join(drawn_word(rng, num_common) for _ in range(int(rng.integers(2, 7))))).pcm
    if rng.random() < 0.5:
        return pcm
    return resample(pcm, SAMPLE_RATE_HZ * float(rng.uniform(*PITCH_RANGE)))


def voice_clip(pcm: Pcm, config: VocoderConfig) -> VoiceClip:
    """Whole hops of ``pcm`` with their pitch. Raises ``InputError`` for less than a hop."""
    whole = len(pcm) // HOP_SAMPLES * HOP_SAMPLES
    if whole == 0:
        raise InputError(f"speech of {len(pcm)} samples is shorter than one hop of {HOP_SAMPLES}")
    log_pitch, voiced = track_pitch(pcm[:whole], config)
    return VoiceClip(pcm[:whole], normalise_mel(log_mel(pcm[:whole])), log_pitch, voiced)


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


def clip_row(clip: VoiceClip, num_frames: int, rng: np.random.Generator, *, vary: bool) -> Row:
    """A random crop, sometimes with a bit of what is before or after the utterance.

    With ``vary`` its gain is random, and in half of the cases its mel is neither exact nor sharp, as a flow head's is.
    """
    spare = len(clip.voiced) - num_frames
    start = int(rng.integers(min(0, spare) - EDGE_FRAMES, max(0, spare) + EDGE_FRAMES))
    gain = np.float32(10 ** (rng.uniform(*GAIN_RANGE_DB) / 20) if vary and rng.random() < 0.5 else 1.0)
    mel = _cut(clip.mel, start, num_frames, SILENCE)
    mel = np.clip(np.where(mel > SILENCE, mel + np.float32(2 * math.log(gain) / MEL_SCALE), mel), -2.0, 2.0)
    if vary and rng.random() < 0.5:
        mel = _disturbed(mel, rng)
    wave = gain * _cut(clip.pcm, start * HOP_SAMPLES - DELAY_SAMPLES, num_frames * HOP_SAMPLES, 0.0)
    # The filters of frame i are in full force at the end of hop i, a frame later than its first sample.
    first = start + 1 - DELAY_SAMPLES // HOP_SAMPLES
    log_pitch = _cut(clip.log_pitch, first, num_frames, float(clip.log_pitch[0]))
    voiced = _cut(clip.voiced, first, num_frames, 0.0)
    return Row(
        wave=WaveTargets(
            mel_BFM=torch.from_numpy(mel)[None],
            wave_BH=torch.from_numpy(wave)[None],
            log_pitch_BF=torch.from_numpy(log_pitch)[None],
            voiced_BF=torch.from_numpy(voiced)[None],
            phase_B=torch.tensor([rng.random()], dtype=torch.float64),
            position_B=torch.tensor([int(rng.integers(NOISE_SAMPLES))]),
        )
    )


def _cut(values: NDArray[np.float32], start: int, length: int, outside: float) -> NDArray[np.float32]:
    """``values[start : start + length]``, and ``outside`` where there is none."""
    cut = np.full((length, *values.shape[1:]), outside, np.float32)
    low, high = max(0, start), min(len(values), start + length)
    if high > low:
        cut[low - start : high - start] = values[low:high]
    return cut


def _disturbed(mel_FM: LogMel, rng: np.random.Generator) -> LogMel:
    """Blurred over frames or bands, and with noise of up to 0.15."""
    for axis in (0, 1):
        if rng.random() < 0.5:
            share = np.float32(rng.uniform(0, 0.25))
            wide = np.pad(mel_FM, [(1, 1), (0, 0)] if axis == 0 else [(0, 0), (1, 1)], mode="edge")
            near = wide[:-2] + wide[2:] if axis == 0 else wide[:, :-2] + wide[:, 2:]
            mel_FM = (1 - 2 * share) * mel_FM + share * near
    noise = rng.standard_normal(mel_FM.shape, np.float32) * np.float32(rng.uniform(0, 0.15))
    return np.clip(mel_FM + noise, -2.0, 2.0).astype(np.float32)
