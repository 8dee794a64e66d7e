"""Unseen sentences in the model's voice: what is made, what a recogniser that expects any English makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import pytest
import torch

from microturn.bench import spoken
from microturn.bench.sound import Recogniser, padded
from microturn.bench.spoken import MOONSHINE, POCKETSPHINX, SpokenScore, score_spoken, sentences, voiced
from microturn.language.common import common_words, dictionary
from microturn.scenario.script import assistant_speech, fluent_speech
from microturn.turn import TURN_SAMPLES
from microturn.voices import moonshine
from tests.parity.small import small_model

with_kokoro = pytest.mark.needs_engine("kokoro", "af_heart")


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_sentences_are_of_common_words_and_no_two_alike() -> None:
    texts = sentences()
    assert len(set(texts)) == len(texts) == 50
    assert all(5 <= len(text.split()) <= 12 for text in texts)
    assert {word for text in texts for word in text.split()} <= set(common_words())


def test_common_words_can_be_spoken_and_come_with_the_commonest_first() -> None:
    words = common_words()
    assert len(set(words)) == len(words) and set(words) <= dictionary()
    assert {"the", "and", "you"} <= set(words[:20])
    assert words.index("house") < words.index("mansion")


@pytest.mark.assistant
def test_every_word_lasts_as_long_as_in_the_synthesis() -> None:
    model, text = small_model(), "a kilometre is long"
    pcm = voiced(model, text)
    assert len(pcm) == len(assistant_speech(text).pcm) and len(pcm) % TURN_SAMPLES == 0
    assert np.isfinite(pcm).all() and np.array_equal(pcm, voiced(model, text))
    other = voiced(model, "a kilometer is long")
    assert not np.array_equal(pcm[: len(other)], other[: len(pcm)])


@pytest.mark.assistant
def test_the_voice_hears_of_a_long_word_what_a_session_would_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more tokens in a turn than the grammar has, and the word as old as its first ones."""
    model = small_model()
    seen: list[tuple[list[int], list[int]]] = []
    condition = model.network.flow.condition

    def noted(said: torch.Tensor, ages: torch.Tensor) -> object:
        seen.append((said[0, :5].tolist(), ages[0, :5].tolist()))
        return condition(said, ages)

    monkeypatch.setattr(model.network.flow, "condition", noted)
    voiced(model, "kilometres")
    ids = model.tokenizer.encode_word("kilometres")
    assert seen[0] == ([*reversed(ids[:4]), -1], [1, 1, 1, 1, 1])
    assert seen[1] == (list(reversed(ids)), [1, 2, 2, 2, 2])


@with_kokoro
def test_any_english_is_understood_in_the_synthesis() -> None:
    found = Recogniser(None).recognise(padded(fluent_speech("the meeting has been moved to next tuesday").pcm))
    assert " ".join(word.text for word in found) == "the meeting has been moved to next tuesday"


@with_kokoro
def test_errors_are_counted_beside_those_in_the_synthesis(workers: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken, "sentences", lambda: ("the meeting has been moved to next tuesday",))
    advanced: list[None] = []
    scores = score_spoken(small_model(), workers, lambda: advanced.append(None))
    assert scores.keys() == {POCKETSPHINX, *([MOONSHINE] if moonshine.installed() else [])} and len(advanced) == 1
    for score in scores.values():
        assert score.num_words == 8
        assert score.errors_fluent <= 1 and score.errors_by_word <= 3, "the voice is understood"
        assert score.errors >= 7, "noise is not"


def test_no_ratio_without_errors_in_the_synthesis() -> None:
    assert SpokenScore(10, 2, 0, 0).ratio is None
    assert SpokenScore(10, 3, 2, 2).ratio == 1.5
