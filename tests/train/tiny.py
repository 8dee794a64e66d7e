"""Small things to learn from, made of numbers alone: no engine, no recording, no voice bank but its own.

``microturn train tiny`` (see ``recipe``) runs through all stages in seconds.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from microturn import recipes
from microturn.language.tokenizer import default_tokenizer
from microturn.model.config import MemoryConfig, ModelConfig
from microturn.model.vocoder import VocoderConfig
from microturn.scenario.listening import ListeningConfig
from microturn.scenario.practice import WATCHING
from microturn.scenario.scenario import Scenario, Utterance
from microturn.train.batch import Row
from microturn.train.hear import ListeningRows
from microturn.train.loop import StageConfig, TrainConfig, Trainer
from microturn.train.optim import OptimConfig
from microturn.train.run import Recipe
from microturn.train.sessions import Packer, SessionRows
from microturn.train.tasks import Draw, Materials, RowSource, TaskConfig
from microturn.train.voice import VoiceClip, clip_row, voice_clip
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Pcm
from microturn.voices.bank import write_part
from microturn.voices.speech import Speech, Word

Samples = NDArray[np.float64]

WORDS = ("red", "blue", "dog", "seven", "green")
WORD_MS = 300
VOCODER = VocoderConfig(width=48, num_blocks=2, harmonic_cepstra=80, noise_cepstra=30, pitch_width=24, pitch_layers=2)
FORMANTS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))
LISTENING = ListeningConfig(num_turns=16, quiet_probability=0.0, gap_probability=0.0, uneven_probability=0.0)


def chord(word: str) -> Pcm:
    """``WORD_MS`` of three tones that are this word's alone."""
    rng = np.random.default_rng(zlib.crc32(word.encode()))
    time_s = np.arange(WORD_MS * SAMPLE_RATE_HZ // 1000) / SAMPLE_RATE_HZ
    tones: Samples = np.sin(2 * np.pi * rng.uniform(200.0, 6000.0, 3)[:, None] * time_s).sum(0)
    return (0.1 * tones * np.hanning(len(time_s)) ** 0.5).astype(np.float32)


def chords(words: tuple[str, ...]) -> Speech:
    """Words one after the other."""
    times = tuple(Word(word, WORD_MS * place, WORD_MS * (place + 1.0)) for place, word in enumerate(words))
    return Speech(np.concatenate([chord(word) for word in words]), times)


def fill_bank(bank: Path, parts: Mapping[str, int] | None = None) -> Path:
    """A voice bank of chords: so many utterances by part, by default synthesised ones of both splits."""
    for number, (name, count) in enumerate(
        (parts or {"synthesised-train-0000": 12, "synthesised-heldout-0000": 6}).items()
    ):
        rng = np.random.default_rng(number)
        drawn = (tuple(str(word) for word in rng.choice(WORDS, 2)) for _ in range(count))
        bank.mkdir(parents=True, exist_ok=True)
        write_part(bank / name, [("chords", "nobody", chords(words)) for words in drawn])
    return bank


def echo(seed: int, num_turns: int = 10) -> Scenario:
    """A word is heard, and said two turns later: it sounds for two turns."""
    rng = np.random.default_rng(seed)
    word, turn = str(rng.choice(WORDS)), int(rng.integers(1, num_turns - 6))
    heard = Word(word, turn * TURN_MS + 20.0, turn * TURN_MS + 190.0)
    sound = np.pad(chord(word), (0, 2 * TURN_SAMPLES - len(chord(word))))
    said = Utterance(turn + 3, Speech(sound, (Word(word, 0.0, float(WORD_MS)),)))
    return Scenario("echo", num_turns, np.zeros(num_turns * TURN_SAMPLES, np.float32), heard=[heard], said=[said])


@dataclass(frozen=True)
class EchoRows:
    """Sessions of ``echo``."""

    voice: bool = False

    def open(self, materials: Materials) -> Draw:
        packer = Packer(materials.tokenizer, materials.patch_rows, materials.augment)

        def draw(rng: np.random.Generator, uses: int) -> list[Row]:
            scenario = echo(int(rng.integers(1 << 30)))
            pack = packer.spoken_row if self.voice else packer.row
            return [pack(scenario, rng) for _ in range(uses)]

        return draw

    def families(self, materials: Materials) -> Mapping[str, RowSource]:
        return {"echo": self}


def vowels(seed: int, seconds: float) -> Pcm:
    """Vowels of 150 to 300 ms with gliding pitch, hisses and pauses between them: a voice whose pitch is known."""
    rng = np.random.default_rng(seed)
    parts: list[Samples] = []
    while sum(len(part) for part in parts) < seconds * SAMPLE_RATE_HZ:
        length = int(rng.uniform(0.15, 0.3) * SAMPLE_RATE_HZ)
        first_hz, last_hz = rng.uniform(130, 230, 2)
        phase = np.cumsum(np.linspace(float(first_hz), float(last_hz), length)) / SAMPLE_RATE_HZ
        sound = np.diff(np.floor(phase), prepend=0.0)
        for formant_hz in FORMANTS_HZ[rng.integers(len(FORMANTS_HZ))]:
            sound = resonate(sound, formant_hz, 90.0)
        parts.append(0.3 * sound / np.abs(sound).max() * np.hanning(length) ** 0.2)
        hiss = np.diff(rng.standard_normal(int(rng.uniform(0.05, 0.1) * SAMPLE_RATE_HZ)))
        parts.append(0.02 * hiss * np.hanning(len(hiss)))
        parts.append(np.zeros(int(rng.uniform(0.05, 0.15) * SAMPLE_RATE_HZ)))
    return np.concatenate(parts).astype(np.float32)


def resonate(sound: Samples, centre_hz: float, width_hz: float) -> Samples:
    """Two-pole resonance, as a convolution with its impulse response."""
    order = np.arange(800)
    angle = 2 * np.pi * centre_hz / SAMPLE_RATE_HZ
    decay = np.exp(-np.pi * width_hz / SAMPLE_RATE_HZ * order)
    response = decay * np.sin(angle * (order + 1)) / np.sin(angle)
    return np.convolve(sound, response)[: len(sound)]


@lru_cache(maxsize=6)
def vowel_clip(seed: int) -> VoiceClip:
    return voice_clip(vowels(seed, 4.0), VOCODER)


@dataclass(frozen=True)
class VowelRows:
    """Crops of six times ``vowels``."""

    num_frames: int = 64

    def open(self, materials: Materials) -> Draw:
        def draw(rng: np.random.Generator, uses: int) -> list[Row]:
            clip = vowel_clip(int(rng.integers(6)))
            return [clip_row(clip, self.num_frames, rng, vary=materials.augment is not None) for _ in range(uses)]

        return draw

    def families(self, materials: Materials) -> Mapping[str, RowSource]:
        return {"vowels": self}


TASKS = {
    "hear": TaskConfig(source=ListeningRows(config=LISTENING), tokens=64),
    "decide": TaskConfig(source=EchoRows(), tokens=192),
    "watch": TaskConfig(source=SessionRows(shares={WATCHING: 1.0}), tokens=512, uses=1),
    "speak": TaskConfig(source=EchoRows(voice=True), tokens=192),
    "voice": TaskConfig(source=VowelRows(), tokens=128, uses=4),
}
"""One task of each kind."""


def recipe(size: int = 1, num_steps: int = 3) -> Recipe:
    """All stages of the default weights, each of a few steps of ``TASKS``."""
    nano = recipes.nano()
    shares = {"hear_again": {"hear": 1.0}, "decide": {"decide": 0.7, "watch": 0.3}}
    stages = tuple(
        replace(stage, num_steps=num_steps, shares=shares.get(stage.name, {stage.name: 1.0}))
        for stage in nano.train.stages
    )
    train = TrainConfig(
        stages=stages, tasks=TASKS, vocoder=VOCODER, num_workers=0, report_steps=2, dev_steps=10, dev_sessions=2
    )
    return replace(nano, name="tiny", model=model(size), train=train)


def model(size: int = 1) -> ModelConfig:
    return ModelConfig.of_size(
        size, vocab_size=default_tokenizer().vocab_size, memory=MemoryConfig(window_turns=50, text_tokens=200)
    )


def materials(bank: Path | None = None) -> Materials:
    return Materials(tokenizer=default_tokenizer(), patch_rows=2, bank=bank)


def stage(task: str, num_steps: int, *parts: str, matrix_rate: float | None = 0.02) -> StageConfig:
    """One stage of one task, in which ``parts`` learn (everything, if none is named)."""
    optim = OptimConfig(matrix_rate=matrix_rate, rate=4e-3, warmup_steps=5, decay_share=0.5, ema_decay=0.9, parts=parts)
    return StageConfig(name=task, num_steps=num_steps, shares={task: 1.0}, optim=optim)


def trainer(*stages: StageConfig, **changes: Any) -> Trainer:
    """A trainer of the smallest model."""
    config = TrainConfig(stages=stages, tasks=TASKS, vocoder=VOCODER, num_workers=0, report_steps=2, dev_sessions=2)
    return Trainer(model(), replace(config, **changes), torch.device("cpu"))
