"""Listening practice: utterances of a voice bank strung together anew, in another room, at another speed, every time.

A session is dense speech with pauses, noise and now and then nothing at all. Nothing is asked and nothing answered;
what is learnt is who says which word when, and which sounds are in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from microturn.errors import InputError
from microturn.split import Split
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Pcm
from microturn.voices import noise
from microturn.voices.bank import Part, part_folders
from microturn.voices.recordings import draw_read_speech, draw_sound, read_files, sound_files
from microturn.voices.speech import Speech, Word
from microturn.voices.uneven import resample, uneven

SYNTHESISED = ("synthesised", "kokoro", "piper")
"""Sources whose parts are numbered."""
SAMPLES_PER_MS = SAMPLE_RATE_HZ // 1000
EXCERPT_WORDS = 3
"""At most so many words in a row are cut out of an utterance."""
EXCERPT_FADE_MS = 15.0


@dataclass(frozen=True, kw_only=True)
class ListeningConfig:
    """What a session of practice is like."""

    num_turns: int = 80
    source_shares: dict[str, float] = field(
        default_factory=lambda: {
            "synthesised": 0.36, "kokoro": 0.3, "piper": 0.15, "sentences": 0.2, "commands": 0.14, "natives": 0.08,
            "read": 0.16, "requests": 0.06, "commands_small": 0.02, "digits": 0.04, "wake_words": 0.03,
            "wake_words_more": 0.01,
        }
    )  # fmt: skip
    """How often an utterance comes from which parts of the bank (those that are there)."""
    other_share: float = 0.2
    """The same of each corpus of people that is not named above."""
    excerpt_probability: float = 0.65
    """Of an utterance of which only a word or a few in a row are heard: sentences are otherwise learnt by heart."""
    synthesised_excerpt_probability: float = 0.35
    """The same of ``synthesised`` ones, of whose sentences there are so many that nobody learns them."""
    uneven_probability: float = 0.25
    tape_spread: float = 0.1
    """Standard deviation of the logarithm of an utterance's speed, as from a tape."""
    gap_probability: float = 0.15
    """Of a session in which some turns, or a long stretch, did not arrive."""
    quiet_probability: float = 0.12
    """Of a session without speech: noise, everyday sounds, far voices."""


@dataclass(frozen=True)
class Practice:
    """One session: sound, words, and the turns that did not arrive (their sound is silence)."""

    user: Pcm
    words: tuple[Word, ...]
    gaps: frozenset[int]


class Listening:
    """Draws sessions from the parts of a bank that belong to a split. Raises ``InputError`` if there is none."""

    def __init__(self, bank: Path, split: Split, config: ListeningConfig, data: Path | None = None) -> None:
        self.config, self.split, self.data = config, split, data
        self._parts: dict[str, list[Part]] = {}
        folders = {source: part_folders(bank, f"{source}-{split}-[0-9]*") for source in SYNTHESISED}
        people = f"people-{split}-"
        folders |= {folder.name.removeprefix(people): [folder] for folder in part_folders(bank, f"{people}*")}
        shares = {source: config.source_shares.get(source, config.other_share) for source in folders}
        for source in sorted(folders, key=[*config.source_shares, *folders].index):
            found = [part for part in map(Part, folders[source]) if len(part)]
            if found and shares[source] > 0:
                self._parts[source] = found
        if not self._parts:
            raise InputError(f"{bank}: no utterances of the split {split} there")
        self._shares = np.array([shares[source] for source in self._parts])
        self._shares /= self._shares.sum()

    @property
    def sources(self) -> tuple[str, ...]:
        """Where utterances come from."""
        return tuple(self._parts)

    def draw(self, rng: np.random.Generator) -> Practice:
        """One session."""
        config = self.config
        samples = config.num_turns * TURN_SAMPLES
        user = np.zeros(samples, np.float32)
        words: list[Word] = []
        if rng.random() >= config.quiet_probability:
            now_ms = float(rng.uniform(0.0, 1000.0))
            while now_ms < config.num_turns * TURN_MS:
                speech = self._utterance(rng)
                start = int(now_ms * SAMPLES_PER_MS)
                part = speech.pcm[: samples - start] * np.float32(noise.decibel(float(rng.normal(0.0, 3.0))))
                user[start : start + len(part)] += part
                words += [replace(word, start_ms=word.start_ms + now_ms, end_ms=word.end_ms + now_ms)
                          for word in speech.words]  # fmt: skip
                now_ms += len(speech.pcm) / SAMPLES_PER_MS + _pause_ms(rng)
        words = [word for word in words if word.end_ms < config.num_turns * TURN_MS]
        user = self._surroundings(rng, user)
        gaps = self._gaps(rng)
        for turn in gaps:
            user[turn * TURN_SAMPLES : (turn + 1) * TURN_SAMPLES] = 0.0
        return Practice(np.clip(user, -1.0, 1.0), tuple(words), gaps)

    def _utterance(self, rng: np.random.Generator) -> Speech:
        config, source = self.config, self.sources[int(rng.choice(len(self._shares), p=self._shares))]
        parts = self._parts[source]
        part = parts[int(rng.integers(len(parts)))]
        speech = part.speech(int(rng.integers(len(part))))
        is_endless = source == "synthesised"
        probability = config.synthesised_excerpt_probability if is_endless else config.excerpt_probability
        if rng.random() < probability and len(speech.words) > EXCERPT_WORDS:
            speech = _excerpt(rng, speech)
        if rng.random() < config.uneven_probability:
            return uneven(speech, rng)
        speed = float(np.exp(np.clip(rng.normal(), -2.0, 2.0) * config.tape_spread))
        return resample(speech, np.full(len(speech.pcm), speed))

    def _surroundings(self, rng: np.random.Generator, user: Pcm) -> Pcm:
        """The user's speech in a room with a noise, at some level."""
        acoustics = noise.draw_acoustics(rng, babble=False, recording=bool(sound_files(self.data, self.split)))
        user = noise.apply_room(user, acoustics.impulse)
        level_db = -acoustics.snr_db
        if acoustics.noise == "recording" and self.data is not None:
            if rng.random() < 0.3 and read_files(self.data, self.split):
                sound = np.resize(draw_read_speech(rng, self.data, self.split, 16_000.0) / noise.SPEECH_RMS, len(user))
                level_db = min(level_db, -15.0)  # words of far voices must stay too low to be taken for the user's
            else:
                sound = np.resize(draw_sound(rng, self.data, self.split, 5000.0), len(user))
        else:
            sound = noise.background(rng, acoustics.noise, len(user))
        mixed = user + sound * np.float32(noise.SPEECH_RMS * noise.decibel(level_db))
        return np.asarray(mixed * np.float32(noise.decibel(acoustics.gain_db)), np.float32)

    def _gaps(self, rng: np.random.Generator) -> frozenset[int]:
        if rng.random() >= self.config.gap_probability:
            return frozenset()
        if rng.random() < 0.5:
            return frozenset(int(turn) for turn in rng.integers(0, self.config.num_turns, int(rng.integers(1, 6))))
        first, length = int(rng.integers(self.config.num_turns)), int(rng.integers(5, 40))
        return frozenset(range(first, min(first + length, self.config.num_turns)))


def _excerpt(rng: np.random.Generator, speech: Speech) -> Speech:
    """One to three words in a row."""
    count = int(rng.integers(1, EXCERPT_WORDS + 1))
    first = int(rng.integers(len(speech.words) - count + 1))
    words = speech.words[first : first + count]
    start, end = (int(edge_ms * SAMPLES_PER_MS) for edge_ms in (words[0].start_ms, words[-1].end_ms))
    pcm = speech.pcm[max(0, start) : end].copy()
    fade = min(int(EXCERPT_FADE_MS * SAMPLES_PER_MS), len(pcm) // 2)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    pcm[:fade] *= ramp
    pcm[len(pcm) - fade :] *= ramp[::-1]
    begin_ms = max(0, start) / SAMPLES_PER_MS
    return Speech(
        pcm, tuple(replace(word, start_ms=word.start_ms - begin_ms, end_ms=word.end_ms - begin_ms) for word in words)
    )


def _pause_ms(rng: np.random.Generator) -> float:
    """Between two utterances: mostly short, now and then so long that the next one comes out of silence."""
    return float(rng.uniform(20.0, 400.0) if rng.random() < 0.7 else rng.uniform(400.0, 2500.0))
