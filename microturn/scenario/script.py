"""Builds one scenario on one clock: places speech, sounds, pictures, typed text and what the model ought to say.

A family's builder moves ``now_ms`` forward by speaking and pausing; ``finish`` puts the session's room, level and noise
on the user's side and returns the ``Scenario``. Everything is drawn from ``rng``, so a seed gives the same bits.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np

from microturn.language.lexicon import CONTENT
from microturn.pictures.repcount import RepTiming, load_timings
from microturn.scenario.scenario import (
    HEAR_LAG_MS,
    REPLY_PAUSE_MS,
    YIELD_MS,
    Due,
    Event,
    Scenario,
    Utterance,
    first_turn_heard_after,
)
from microturn.split import Split
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Act, Frame, Pcm, TextIn, TextSource
from microturn.voices import noise, recordings
from microturn.voices.assistant import assistant_voice, word_pcm
from microturn.voices.catalogue import Voice, draw_voice, synthesise
from microturn.voices.speech import Speech, Word
from microturn.voices.uneven import stretch

SAMPLES_PER_MS = SAMPLE_RATE_HZ // 1000
WORD_ESTIMATE_MS = 3.0 * TURN_MS
"""Length of a word of the assistant, for plans of the user's side (which must not depend on the assistant's voice) and
for sessions made without it."""
ASSISTANT_TAIL_MS = 60.0
"""A word of the assistant has so many turns that at least this much is left of the last one, ..."""
GAP_MS = 20.0
"""... and is drawn out until so much is left, ..."""
DRAWN_OUT = 1.5
"""... to this many times its length at most."""
PAUSE_SHARE = 0.08
"""Share of words after which somebody hesitates."""
SILENT_SHARE = 0.25
"""Of the sessions of training, those that begin with a long silence, and as many that end with one, in which what has
been answered must not be answered again; in strings there may be one between scenarios. Most of a live session is
silence."""
MAX_SILENT_MS = 40_000.0
REAL_TIMING_SHARE = 0.5
"""Share of the sessions with a data folder in which repetitions have its real times."""
REPLY_LATE_MS = 1200.0
"""How long after its moment an answer still counts."""


@dataclass(frozen=True)
class Speaker:
    """One person of a session: a voice at one speed and pitch. Without ``sound``, only the words' times are made."""

    voice: Voice
    rate: float
    pitch: float
    sound: bool = True

    def speak(self, text: str) -> Speech:
        """``text`` at the level ``noise.SPEECH_RMS``, from its first word's start to 30 ms after the last one's end."""
        if not self.sound:
            return timed_words(text, self.rate)
        speech = trimmed(synthesise(self.voice, text, rate=self.rate, pitch=self.pitch), tail_ms=30.0)
        return Speech(noise.levelled(speech.pcm), speech.words)


def trimmed(speech: Speech, tail_ms: float) -> Speech:
    """The part of ``speech`` from its first word's start to ``tail_ms`` after its last word's end."""
    first = int(speech.words[0].start_ms * SAMPLES_PER_MS)
    last = int((speech.words[-1].end_ms + tail_ms) * SAMPLES_PER_MS)
    shift_ms = first / SAMPLES_PER_MS
    words = tuple(Word(word.text, word.start_ms - shift_ms, word.end_ms - shift_ms) for word in speech.words)
    return Speech(speech.pcm[first:last], words)


@lru_cache(maxsize=256)
def fluent_speech(text: str) -> Speech:
    """``text`` in the assistant's voice in one breath, from its first sound on.

    Raises ``VoiceError`` if the voice is missing.
    """
    return trimmed(synthesise(assistant_voice(), text), ASSISTANT_TAIL_MS)


def assistant_speech(text: str) -> Speech:
    """``text`` as the assistant says it: word by word, each from a turn's edge on.

    So the sound of a turn is a matter of the word and of the turns since it began. In fluent speech it also depends on
    where in the turn the word begins and on the words around it, which a small network blurs (docs/log.md). Raises
    ``VoiceError`` if the voice is missing.
    """
    pieces: list[Pcm] = []
    words: list[Word] = []
    start_ms = 0.0
    for token in text.replace(",", "").split():
        pcm, length_ms = on_turns(token)
        words.append(Word(plain_words(token), start_ms, start_ms + length_ms))
        pieces.append(pcm)
        start_ms += len(pcm) / SAMPLES_PER_MS
    return Speech(np.concatenate(pieces), tuple(words))


@lru_cache(maxsize=24_000)
def on_turns(token: str) -> tuple[Pcm, float]:
    """A word of the assistant in whole turns, and how long it sounds in ms. It is drawn out to the edge of its last
    turn: words with silence between them are understood much worse than words that touch (docs/log.md)."""
    pcm = word_pcm(token)
    num_turns = -(-(len(pcm) + round(ASSISTANT_TAIL_MS * SAMPLES_PER_MS)) // TURN_SAMPLES)
    length = min(num_turns * TURN_SAMPLES - round(GAP_MS * SAMPLES_PER_MS), round(DRAWN_OUT * len(pcm)))
    pcm = stretch(Speech(pcm, ()), np.full(len(pcm), len(pcm) / length)).pcm[:length]
    return np.pad(pcm, (0, num_turns * TURN_SAMPLES - len(pcm))), len(pcm) / SAMPLES_PER_MS


def silent_speech(text: str) -> Speech:
    """Stand-in for ``assistant_speech`` without the voice: silence with evenly spaced words."""
    texts = plain_words(text).split()
    words = tuple(
        Word(word, index * WORD_ESTIMATE_MS, (index + 1) * WORD_ESTIMATE_MS) for index, word in enumerate(texts)
    )
    return Speech(np.zeros(int(len(texts) * WORD_ESTIMATE_MS) * SAMPLES_PER_MS, np.float32), words)


def timed_words(text: str, rate: float) -> Speech:
    """Stand-in for a user's speech: no samples, words of plausible lengths (the same for the same arguments).

    The lengths are about those of espeak-ng: 80 ms and 50 ms a letter, each word 25 % more or less; now and then there
    is a pause between two words, as people make them.
    """
    rng = np.random.default_rng((zlib.crc32(text.encode()), int(rate * 1e6)))
    words: list[Word] = []
    now_ms = 0.0
    for token in text.split():
        word = plain_words(token)
        letters = 3 if token.rstrip(",").endswith(".") else len(word)  # the name of a letter is no shorter than "bee"
        end_ms = now_ms + (80.0 + 50.0 * letters) * float(rng.uniform(0.75, 1.25)) / rate
        words.append(Word(word, now_ms, end_ms))
        pauses = token.endswith(",") or rng.random() < PAUSE_SHARE
        now_ms = end_ms + (float(rng.uniform(80.0, 350.0)) if pauses else float(rng.uniform(0.0, 30.0)))
    return Speech(np.zeros(0, np.float32), tuple(words))


def plain_words(text: str) -> str:
    """The words of a text to be spoken, without its commas and the full stops of letter names."""
    return text.replace(",", "").replace(".", "")


def estimate_ms(text: str) -> float:
    """Planned length of an utterance of the assistant."""
    return WORD_ESTIMATE_MS * len(text.split())


@lru_cache(maxsize=4)
def repetition_timings(data: Path, split: Split) -> tuple[RepTiming, ...] | None:
    """Repetition times of RepCount-A's training or test part, None without its folder. Raises ``InputError`` if the
    table is missing or damaged."""
    folder = data / "video" / "repcount"
    name = "train" if split == "train" else "test"
    return tuple(load_timings(folder / f"{name}_with_fps.csv")) if folder.is_dir() else None


class Given(TypedDict, total=False):
    """What a session is made of, otherwise than by default."""

    voice: Voice | None
    """The user's, in place of voices of the split."""
    content: tuple[str, ...]
    """Words that requests are about."""
    data: Path | None
    """Folder with real recordings (``speech/``, ``sounds/``, ``video/``) to mix in."""
    assistant: bool
    """False: the model's side is silent, its words evenly spaced; its voice need not be installed. The user's side
    stays the same."""
    sound: bool
    """False: nothing of the user is heard, only the times of the words are made (``timed_words``)."""


class Script:
    """A session in the making. ``now_ms`` is where the user's next sound starts; ``kind`` names the events' family."""

    def __init__(self, rng: np.random.Generator, split: Split, **given: Unpack[Given]) -> None:
        self.rng, self.split = rng, split
        self.content, self.data = given.get("content", CONTENT), given.get("data")
        self.assistant, self.sound = given.get("assistant", True), given.get("sound", True)
        self.kind = ""
        self.strung = False
        """Other scenarios follow in the same session, so rules have to be ended."""
        self._voice = given.get("voice")
        self.change_speaker()
        self.now_ms = self._silent_ms()
        self.noise_gain_db = 0.0
        """Raises or lowers the session's noise (``idle`` makes it audible on its own)."""
        timings = repetition_timings(self.data, split) if self.data else None
        self.timings = timings if timings and rng.random() < REAL_TIMING_SHARE else None
        """Real repetition times for ``count``; None for drawn ones, which vary more."""
        self.true_count: int | None = None
        self.penultimate_end_ms: float | None = None
        self._sounds: list[tuple[int, Pcm]] = []
        self._close_sounds: list[tuple[int, Pcm]] = []
        self._heard: list[Word] = []
        self._fragile: list[Word] = []
        self._said: list[Utterance] = []
        self._planned_until_ms = 0.0
        self._frames: dict[int, Frame] = {}
        self._texts: dict[int, tuple[TextIn, ...]] = {}
        self._events: list[Event] = []
        self._dues: list[Due] = []
        self._interrupted_ms: list[float] = []

    def change_speaker(self) -> None:
        """Another person goes on: the given voice, or one of the split, at rate and pitch 0.8 to 1.25."""
        rate, pitch = (float(factor) for factor in np.exp(self.rng.uniform(np.log(0.8), np.log(1.25), 2)))
        drawn = draw_voice(self.rng, self.split)
        self.speaker = Speaker(self._voice or drawn, rate, pitch, self.sound)

    def pause(self, low_ms: float, high_ms: float) -> None:
        """The user is silent for ``low_ms`` to ``high_ms``."""
        self.now_ms += float(self.rng.uniform(low_ms, high_ms))

    def wait_until(self, time_ms: float) -> None:
        """The user is silent until ``time_ms`` (no effect if that has passed)."""
        self.now_ms = max(self.now_ms, time_ms)

    def speak(self, text: str, *, matters: bool = True) -> list[Word]:
        """The user says ``text`` now; returns its words on the session's clock.

        ``now_ms`` moves to the last word's end. Sound of words that do not ``matter`` may get lost in a gap.
        """
        return self.place(self.speaker.speak(text), matters=matters)

    def place(self, speech: Speech, *, matters: bool = True) -> list[Word]:
        """As ``speak``, with speech that exists already (levelled to ``noise.SPEECH_RMS``)."""
        start = round(self.now_ms * SAMPLES_PER_MS)
        shift_ms = start / SAMPLES_PER_MS
        words = [Word(word.text, word.start_ms + shift_ms, word.end_ms + shift_ms) for word in speech.words]
        self._sounds.append((start, speech.pcm))
        self._heard.extend(words)
        if not matters:
            self._fragile.extend(words)
        self.now_ms = words[-1].end_ms if words else shift_ms + len(speech.pcm) / SAMPLES_PER_MS
        return words

    def place_sound(self, pcm: Pcm, at_ms: float) -> None:
        """A sound that is not speech, or is too far away to be heard as words."""
        self._close_sounds.append((round(at_ms * SAMPLES_PER_MS), pcm))

    def show(self, frames: Mapping[int, Frame], first_turn: int) -> None:
        """Pictures, by turn counted from ``first_turn``."""
        self._frames.update({first_turn + turn: frame for turn, frame in frames.items()})

    def say(self, text: str, turn: int, act: Act | None = None) -> float:
        """The model says ``text`` from output turn ``turn`` on, or as soon as it is done with what it is saying, and
        asks for ``act`` as it begins.

        Returns the moment its first sound is heard.
        """
        self._planned_until_ms = max(self._planned_until_ms, (turn + 1) * TURN_MS + estimate_ms(text))
        if self._said:
            turn = max(turn, self._said[-1].turn + self._said[-1].num_turns)
        speech = assistant_speech(text) if self.assistant else silent_speech(text)
        self._said.append(Utterance(turn, speech, act))
        return float((turn + 1) * TURN_MS)

    def interrupt(self) -> None:
        """The user begins to speak now, while the model speaks: it stops in the turn by which that can be heard."""
        turn = first_turn_heard_after(self.now_ms + YIELD_MS)
        last = self._said[-1]
        if (kept := turn - last.turn) < last.num_turns:
            words = tuple(word for word in last.speech.words if word.start_ms < kept * TURN_MS)
            self._said[-1] = replace(last, speech=Speech(last.speech.pcm[: kept * TURN_SAMPLES], words), cut=True)
        self._planned_until_ms = float((turn + 1) * TURN_MS)
        self._interrupted_ms.append(self.now_ms)

    def expect(
        self, text: str, at_ms: float, early_ms: float, late_ms: float, cause_ms: float, *, or_words: Sequence[str] = ()
    ) -> None:
        """``text`` is scored: its first sound belongs into [``at_ms - early_ms``, ``at_ms + late_ms``]."""
        event = Event(self.kind, plain_words(text), at_ms, early_ms, late_ms, cause_ms, tuple(or_words))
        self._events.append(event)

    def due(self, act: Act | None, start_ms: float, *, corrects: bool = False) -> None:
        """``act``, or none, is scored after what the user said from ``start_ms`` until now."""
        self._dues.append(Due(act, start_ms, self.now_ms, corrects))

    def answer(
        self, text: str, request_end_ms: float, act: Act | None = None, *, or_words: Sequence[str] = ()
    ) -> float:
        """The model answers a spoken request: says ``text`` after the pause that tells that it is over, and asks for
        ``act``. Any of ``or_words`` is as good an answer.

        Returns the planned end of the answer.
        """
        at_ms = self.say(text, first_turn_heard_after(request_end_ms + REPLY_PAUSE_MS), act)
        self.expect(text, at_ms, at_ms - request_end_ms, REPLY_LATE_MS, request_end_ms, or_words=or_words)
        return at_ms + estimate_ms(text)

    def give_text(self, given: TextIn, turn: int) -> None:
        """Text comes in during ``turn``."""
        self._texts[turn] = (*self._texts.get(turn, ()), given)

    def answer_typed(
        self,
        request: str,
        text: str,
        late_ms: float = REPLY_LATE_MS,
        act: Act | None = None,
        *,
        or_words: Sequence[str] = (),
    ) -> float:
        """The user types ``request`` now; the model answers as to a spoken one, in the turn after the one it came in.

        Returns the planned end of the answer.
        """
        turn = int(self.now_ms // TURN_MS)
        self.give_text(TextIn(TextSource.TYPED, request), turn)
        self.now_ms = float((turn + 1) * TURN_MS)
        at_ms = self.say(text, turn + 1, act)
        self.expect(text, at_ms, at_ms - self.now_ms, late_ms, self.now_ms, or_words=or_words)
        return at_ms + estimate_ms(text)

    @property
    def heard_until_ms(self) -> float:
        """When the user's last word so far ends."""
        return max((word.end_ms for word in self._heard), default=0.0)

    @property
    def said_until_ms(self) -> float:
        """The end of what the model has been given to say so far, as it is heard."""
        return max(((item.turn + item.num_turns + 1) * TURN_MS for item in self._said), default=0.0)

    @property
    def busy_until_ms(self) -> float:
        """The end of the last thing that happens: user's sound, model's sound (as planned), pictures."""
        return max([self.now_ms, self._planned_until_ms, *((turn + 1) * TURN_MS for turn in self._frames)])

    def finish(self, family: str, tail_ms: float, *, gap_probability: float = 0.05) -> Scenario:
        """The session, ending at least ``tail_ms`` after the last thing that happens, in training sometimes later."""
        end_ms = max(self.busy_until_ms, max((word.end_ms + HEAR_LAG_MS for word in self._heard), default=0.0))
        num_turns = int(-(-(end_ms + tail_ms + self._silent_ms()) // TURN_MS))
        num_turns = max([num_turns, *(item.turn + item.num_turns + 1 for item in self._said)])
        heard = sorted(self._heard, key=lambda word: word.end_ms)
        drawn = self.rng.random() < gap_probability
        gaps = self._draw_gaps(num_turns) if drawn and self.sound else frozenset[int]()
        unlabelled_ms: list[tuple[float, float]] = []
        for word in [word for word in heard if _lost(word, gaps)]:
            heard.remove(word)
            unlabelled_ms.append((word.start_ms, word.end_ms))
        if self.sound:
            user = self._mix(num_turns * TURN_SAMPLES, gaps)
        else:
            user = np.zeros(num_turns * TURN_SAMPLES, np.float32)
        return Scenario(
            family=family,
            num_turns=num_turns,
            user=user,
            heard=heard,
            unlabelled_ms=sorted(unlabelled_ms),
            said=self._said,
            frames=dict(sorted(self._frames.items())),
            texts=dict(sorted(self._texts.items())),
            rehearsed=not self.sound,
            gaps=gaps,
            events=sorted(self._events, key=lambda event: event.at_ms),
            dues=sorted(self._dues, key=lambda due: due.start_ms),
            interrupted_ms=self._interrupted_ms,
            true_count=self.true_count,
            penultimate_end_ms=self.penultimate_end_ms,
        )

    def fall_silent(self) -> None:
        """In training, the user is now and then silent for long."""
        self.now_ms += self._silent_ms()

    def _silent_ms(self) -> float:
        if self.split == "heldout" or self.rng.random() >= SILENT_SHARE:
            return 0.0
        return float(self.rng.uniform(0.0, MAX_SILENT_MS))

    def _draw_gaps(self, num_turns: int) -> frozenset[int]:
        """One to three turns that hold no word that matters, nor the pause after it."""
        fragile = set(self._fragile)
        needed: set[int] = set()
        for word in self._heard:
            if word not in fragile:
                last_ms = word.end_ms + REPLY_PAUSE_MS + 2 * TURN_MS
                needed.update(range(int(word.start_ms // TURN_MS), int(last_ms // TURN_MS) + 1))
        free = [turn for turn in range(num_turns) if turn not in needed]
        count = min(len(free), int(self.rng.integers(1, 4)))
        return frozenset(int(turn) for turn in self.rng.choice(free, count, replace=False)) if count else frozenset()

    def _mix(self, samples: int, gaps: frozenset[int]) -> Pcm:
        """The user's side, ``(samples,)``: speech and sounds in the room, noise, level, gaps as silence."""
        acoustics = noise.draw_acoustics(self.rng, recording=bool(recordings.sound_files(self.data, self.split)))
        user = noise.apply_room(_sum(self._sounds, samples) + _sum(self._close_sounds, samples), acoustics.impulse)
        kind = acoustics.noise
        if kind == "babble":
            chosen = self.rng.choice(noise.FAR_VOICES, 4, replace=False)
            far_voices = [noise.far_voice(self.split, int(index)) for index in chosen]
            sound = noise.babble(self.rng, samples, far_voices)
        elif kind == "recording":
            sound = self._recorded_noise(samples)
        else:
            sound = noise.background(self.rng, kind, samples)
        level_db = self.noise_gain_db - acoustics.snr_db
        if kind == "babble":
            # Words of far voices must stay too low to be taken for the user's.
            level_db = min(level_db, -15.0)
        user += sound * np.float32(noise.SPEECH_RMS * noise.decibel(level_db))
        user *= np.float32(noise.decibel(acoustics.gain_db))
        for turn in gaps:
            user[turn * TURN_SAMPLES : (turn + 1) * TURN_SAMPLES] = 0.0
        return np.clip(user, -1.0, 1.0)

    def _recorded_noise(self, samples: int) -> Pcm:
        """An everyday sound, repeated to ``(samples,)``, RMS 1."""
        assert self.data is not None
        return np.resize(recordings.draw_sound(self.rng, self.data, self.split, 5000.0), samples)


def _lost(word: Word, gaps: frozenset[int]) -> bool:
    return any(turn in gaps for turn in range(int(word.start_ms // TURN_MS), int(word.end_ms // TURN_MS) + 1))


def _sum(sounds: list[tuple[int, Pcm]], samples: int) -> Pcm:
    """Sounds at their start samples, added up to ``(samples,)``."""
    total = np.zeros(samples, np.float32)
    for start, pcm in sounds:
        part = pcm[: max(0, samples - start)]
        total[start : start + len(part)] += part
    return total
