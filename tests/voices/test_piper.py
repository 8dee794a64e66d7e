"""Piper: who speaks, what it is given to read, and that the times it gives are those of the sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from microturn.errors import VoiceError
from microturn.language import lexicon
from microturn.scenario import filling
from microturn.scenario.filling import BankConfig, fill
from microturn.voices import espeak, piper
from microturn.voices.bank import Part
from microturn.voices.catalogue import Voice, draw_piper_voice, synthesise
from microturn.voices.speech import Speech
from microturn.voices.wordtimes import RawSpeech, Token, tokens
from tests.voices.spoken import SENTENCE, WORDS, assert_understood, power_outside
from tests.voices.test_catalogue import fundamental_hz

needs_piper = pytest.mark.needs_engine("piper")


def said(text: str, *, rate: float = 1.0, pitch: float = 1.0) -> Speech:
    return synthesise(Voice("piper/joe", "piper", "joe"), text, rate=rate, pitch=pitch)


@needs_piper
def test_every_word_and_letter_has_symbols_that_it_knows() -> None:
    letters = [f"{letter}." for letter in lexicon.LETTERS]
    words = [*lexicon.CONTENT, *lexicon.FUNCTION, *lexicon.UNSEEN, *letters]
    for first in range(0, len(words), 40):
        some = words[first : first + 40]
        assert len(piper.speak("joe", tokens(", ".join(some)), 2.0, 1.0).spans) == len(some)


@needs_piper
def test_an_independent_recogniser_understands_it() -> None:
    assert_understood(said(", ".join(WORDS)))


@needs_piper
def test_words_lie_where_the_sound_is() -> None:
    outside, _ = power_outside(said(SENTENCE))
    assert outside < 1 / 100


@needs_piper
def test_rate_and_pitch_and_the_same_samples_every_time() -> None:
    plain, fast, high = (said("seven bananas", rate=rate, pitch=pitch) for rate, pitch in ((1, 1), (1.3, 1), (1, 1.25)))
    assert len(fast.pcm) < 0.9 * len(plain.pcm)
    assert len(high.pcm) == pytest.approx(len(plain.pcm), rel=0.1)
    assert fundamental_hz(high) > 1.15 * fundamental_hz(plain)
    assert said("seven bananas").pcm.tobytes() == plain.pcm.tobytes()


def test_a_voice_that_is_not_there_is_a_voice_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VoiceError, match="piper's voice 'nobody' is not installed"):
        piper.speak("nobody", tokens("hello"), 1.0, 1.0)
    monkeypatch.setattr(piper, "installed", lambda: ())
    with pytest.raises(VoiceError, match="make voices"):
        draw_piper_voice(np.random.default_rng(0), "train")


def test_it_fills_parts_of_a_bank_for_training_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spoken by espeak-ng here, for Piper may be missing."""

    def speak(speaker: str, spoken: Sequence[Token], rate: float, pitch: float) -> RawSpeech:
        return espeak.speak("en-us", "m3", spoken, rate, pitch)

    monkeypatch.setattr(piper, "installed", lambda: piper.SPEAKERS)
    monkeypatch.setattr(piper, "speak", speak)
    monkeypatch.setattr(filling, "PART_UTTERANCES", 2)
    config = BankConfig(num_synthesised=0, num_piper=3)
    made = sorted(path.name for path in fill(tmp_path, config, None, workers=1))
    assert made == ["piper-train-0000", "piper-train-0001"]
    first, second = (Part(tmp_path / name) for name in made)
    assert len(first) == 2 and {utterance.source for utterance in first.utterances} == {"piper"}
    assert first.speech(0).pcm.tobytes() != second.speech(0).pcm.tobytes()
    heldout = BankConfig(num_synthesised=0, num_piper=3, split="heldout")
    assert list(fill(tmp_path, heldout, None, workers=1)) == []
