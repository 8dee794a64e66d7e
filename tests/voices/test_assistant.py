"""The assistant's words: made once, kept for all processes, the same wherever they are said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from microturn.errors import InputError, VoiceError
from microturn.language import lexicon
from microturn.turn import SAMPLE_RATE_HZ
from microturn.voices import assistant
from microturn.voices.assistant import AFTER, BEFORE, FOLDER_VARIABLE, make_words, word_pcm
from microturn.voices.catalogue import Voice
from microturn.voices.speech import Speech, Word
from microturn.voices.wordtimes import PEAK

ANYBODY = Voice("anybody", "espeak", "")
UNSAYABLE = "hmm"


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """An empty folder of words and an engine that says a rising line for a word; the texts that it was given."""
    given: list[str] = []

    def synthesise(voice: Voice, text: str, *, rate: float) -> Speech:
        given.append(text)
        words = text.replace(",", "").split()
        if UNSAYABLE in words:
            raise VoiceError("two words")
        edges_ms = (0.0, 100.0, 100.0 + 50.0 * len(words[1]), 500.0)
        pcm = np.linspace(0.1, 0.3, SAMPLE_RATE_HZ // 2, dtype=np.float32)
        return Speech(pcm, tuple(Word(*one) for one in zip(words, edges_ms, edges_ms[1:], strict=False)))

    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "words"))
    monkeypatch.setattr(assistant, "assistant_voice", lambda: ANYBODY)
    monkeypatch.setattr(assistant, "synthesise", synthesise)
    word_pcm.cache_clear()
    return given


def test_a_word_is_cut_out_of_the_middle_and_made_once(texts: list[str]) -> None:
    pcm = word_pcm("seven")
    assert texts == [f"{BEFORE}, seven, {AFTER}"]
    assert pcm.dtype == np.float32 and len(pcm) == 250 * SAMPLE_RATE_HZ // 1000
    assert abs(float(pcm.max()) - PEAK) < 0.05 and pcm[0] == pcm[-1] == 0.0
    word_pcm.cache_clear()  # as in another process
    assert np.array_equal(word_pcm("seven"), pcm) and len(texts) == 1


def test_words_are_made_ahead_but_for_those_that_are_there_or_cannot_be_said(texts: list[str]) -> None:
    word_pcm("one")
    assert list(make_words(["one", "two", UNSAYABLE, "two", "three"], workers=1)) == [1, 4]
    word_pcm.cache_clear()
    texts.clear()
    assert len(word_pcm("two")) == len(word_pcm("one")) and len(word_pcm("three")) > len(word_pcm("two"))
    assert texts == []
    with pytest.raises(VoiceError, match="two words"):
        word_pcm(UNSAYABLE)


def test_words_that_cannot_be_kept_are_an_error_of_one_line(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(VoiceError, match=r"file/af_heart.*cannot be kept there"):
        word_pcm("one")
    word_pcm.cache_clear()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assistant._store().write_bytes(b"no words at all, but something else")
    with pytest.raises(VoiceError, match="cannot be kept there"):
        word_pcm("one")


@pytest.mark.needs_engine("kokoro", "af_heart")
def test_the_assistant_says_words_and_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    word_pcm.cache_clear()
    lengths_ms = {}
    for token in ("a", "a.", "w.", "the", "seven", "information", *lexicon.CONTENT[::300]):
        pcm = word_pcm(token)
        assert abs(float(np.abs(pcm).max()) - PEAK) < 0.02
        lengths_ms[token] = len(pcm) * 1000 / SAMPLE_RATE_HZ
    assert all(60 < length_ms < 900 for length_ms in lengths_ms.values())
    assert lengths_ms["the"] < lengths_ms["seven"] < lengths_ms["information"]
    assert lengths_ms["a."] < lengths_ms["w."]
    with pytest.raises(InputError, match="not one word"):
        word_pcm("two words")
    word_pcm.cache_clear()
