"""What a recogniser understands of the sound: all of the assistant's own voice, nothing of silence."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from microturn.bench.events import Said, SaidWord, said_runs
from microturn.bench.sound import (
    RecognisedWord,
    Recogniser,
    clips_of,
    hear_clips,
    padded,
    recognised_run,
    score_sound,
    spoken_text,
    vocabularies,
)
from microturn.bench.suite import figures
from microturn.bench.systems import labels, never_speak
from microturn.errors import InputError
from microturn.language.lexicon import CONTENT, LETTERS, NUMBERS
from microturn.scenario.generate import generate
from microturn.turn import TURN_SAMPLES, Pcm
from microturn.voices.catalogue import synthesise, voices

VOCABULARY = (("seven", "eleven", "twelve", "yellow", "monday"),)
with_kokoro = pytest.mark.needs_engine("kokoro", "af_heart")


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser(VOCABULARY)


def spoken(text: str) -> Pcm:
    voice = next(voice for voice in voices("train") if voice.name == "espeak/en-us+f2")
    return synthesise(voice, text).pcm


def texts(words: list[RecognisedWord]) -> str:
    return " ".join(word.text for word in words)


def test_words_are_recognised_at_their_time(recogniser: Recogniser) -> None:
    pause = np.zeros(8_000, np.float32)
    words = recogniser.recognise(np.concatenate([pause, spoken("eleven"), pause, spoken("twelve"), pause]))
    assert texts(words) == "eleven twelve"
    assert abs(words[0].start_ms - 500.0) < 100.0


def test_silence_has_no_words(recogniser: Recogniser) -> None:
    recogniser.recognise(spoken("monday"))
    assert recogniser.recognise(np.zeros(16_000, np.float32)) == []


def test_what_was_heard_before_does_not_matter(recogniser: Recogniser) -> None:
    clip = spoken("seven monday")
    first = recogniser.recognise(clip)
    recogniser.recognise(np.random.default_rng(0).normal(0.0, 0.1, 16_000).astype(np.float32))
    assert recogniser.recognise(clip) == first


def test_two_vocabularies_do_not_mix() -> None:
    groups = (("eleven", "yellow"), ("seven", "monday"))
    assert texts(Recogniser(groups).recognise(spoken("seven monday"))) == "seven monday"
    assert texts(Recogniser(groups).recognise(spoken("seven yellow"))) != "seven yellow"


def test_phrases_are_whole() -> None:
    phrases = Recogniser((("seven monday", "yellow twelve"),))
    assert texts(phrases.recognise(spoken("seven monday"))) == "seven monday"
    assert texts(phrases.recognise(spoken("seven twelve"))) != "seven twelve"


@pytest.mark.parametrize("words", [["banana", "xyzzyq"], []])
def test_words_that_cannot_be_pronounced(words: list[str]) -> None:
    with pytest.raises(InputError, match="xyzzyq|empty"):
        Recogniser([words])


def test_vocabulary_of_a_family() -> None:
    assert vocabularies("count", ["twenty one"]) == (tuple(sorted(NUMBERS)),)
    assert set(vocabularies("time", ["red"])[0]) >= set(CONTENT)
    content, letters, greetings = vocabularies("say", ["red and car", "c a t", "good morning"])
    assert letters == LETTERS
    assert "and" in content
    assert not set(content) & {*LETTERS, "good"}
    assert "good morning" in greetings


def test_letters_are_spelt_and_words_are_not() -> None:
    assert spoken_text("c a t") == "c. a. t."
    assert spoken_text("red car") == "red car"
    assert spoken_text("a") == "a"


def test_recognised_words_take_the_turns_of_their_sound() -> None:
    run_said = Said(10, 3, (SaidWord("red", 10), SaidWord("car", 12)))
    words = [RecognisedWord("bed", 20.0), RecognisedWord("car", 430.0), RecognisedWord("x", 900.0)]
    heard = recognised_run(run_said, words)
    assert heard == Said(10, 3, (SaidWord("bed", 10), SaidWord("car", 12), SaidWord("x", 12)))


@with_kokoro
def test_labels_are_as_audible_as_the_synthesis_and_noise_is_not(workers: Executor) -> None:
    """The labels' sound is the assistant's synthesis, so the ratio is one, whatever the recogniser gets wrong."""
    session = generate("time", 1_000_000, "heldout")
    outputs = labels(session)
    said = said_runs(outputs)
    vocabulary = ((*session.events[0].words.split(), "banana", "seven", "monday"),)
    clips = clips_of(said, outputs)
    assert [len(pcm) for _, pcm in clips] == [(run.num_turns + 1) * TURN_SAMPLES for run in said]
    heard = hear_clips(clips, vocabulary, workers)
    own = score_sound(said, heard, vocabulary, workers)
    assert own.num_runs == len(session.events)
    assert own.understood == own.understood_synthesis > 0.0
    assert own.ratio == 1.0
    by_sound = figures([session], [heard])
    assert by_sound.events.event_accuracy == own.understood
    deaf = [replace(run, words=()) for run in heard]
    assert score_sound(said, deaf, vocabulary, workers).ratio == 0.0
    assert figures([session], [deaf]).events.event_accuracy == 0.0


@with_kokoro
def test_invented_words_are_never_understood(workers: Executor) -> None:
    invented = [Said(0, 2, (SaidWord("xyzzyq", 0),)), Said(4, 2, ())]
    score = score_sound(invented, invented, VOCABULARY, workers)
    assert (score.num_runs, score.understood_synthesis, score.ratio) == (2, 0.0, None)
    silent = never_speak(generate("idle", 0, "heldout", assistant=False))
    assert clips_of(said_runs(silent), silent) == []


def test_padding_is_whole_turns() -> None:
    assert [len(padded(np.ones(samples, np.float32))) // TURN_SAMPLES for samples in (1, 3_200, 3_201)] == [2, 2, 3]
