"""Rows of listening: words stand where the hear lane has them, phones where they sounded, lost words nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.errors import InputError
from microturn.language.tokenizer import default_tokenizer
from microturn.model.turns import Sound
from microturn.scenario.listening import ListeningConfig, Practice
from microturn.scenario.scenario import HEAR_LAG_MS
from microturn.train.batch import Head
from microturn.train.hear import (
    PHONE_MS,
    TOKEN_MS,
    ListeningRows,
    lost,
    phone_targets,
    practice_rows,
    word_targets,
)
from microturn.turn import TURN_MS, TURN_SAMPLES
from microturn.voices.phones import PHONES, pronunciation
from microturn.voices.speech import Speech, Word
from tests.train import tiny

TOKENIZER = default_tokenizer()
NONE = TOKENIZER.vocab_size


def test_a_word_is_written_a_lag_after_its_end() -> None:
    (red,) = TOKENIZER.encode_word("red")
    targets = word_targets([Word("red", 100.0, 430.0)], TOKENIZER, 12)
    place = int((430.0 + HEAR_LAG_MS) // TOKEN_MS)
    assert targets[place] == red and (np.delete(targets, place) == NONE).all()


def test_words_that_do_not_fit_spill_over_in_order() -> None:
    spelt = TOKENIZER.encode_word("xylophonist")
    assert len(spelt) > 2
    words = [Word("blue", 0.0, 310.0), Word("xylophonist", 0.0, 305.0), Word("red", 0.0, 320.0)]
    targets = word_targets(words, TOKENIZER, 20)
    written = [*spelt, *TOKENIZER.encode_word("blue"), *TOKENIZER.encode_word("red")]
    assert targets[5 : 5 + len(written)].tolist() == written
    assert (targets[:5] == NONE).all() and (targets[5 + len(written) :] == NONE).all()
    assert word_targets(words, TOKENIZER, 7).tolist() == [NONE] * 5 + written[:2], "what is after the end is left out"


@given(st.lists(st.tuples(st.sampled_from(tiny.WORDS), st.floats(0, 2900)), max_size=12))
def test_no_word_gets_lost_and_none_comes_early(drawn: list[tuple[str, float]]) -> None:
    words = sorted((Word(text, 0.0, end_ms) for text, end_ms in drawn), key=lambda word: word.end_ms)
    targets = word_targets(words, TOKENIZER, 60)
    places = (targets != NONE).nonzero()[0]
    assert targets[places].tolist() == [token for word in words for token in TOKENIZER.encode_word(word.text)]
    for place, word in zip(places, words, strict=True):
        assert place >= int((word.end_ms + HEAR_LAG_MS) // TOKEN_MS)


def test_phones_are_told_a_step_after_they_sounded() -> None:
    word = Word("seven", 200.0, 600.0)
    targets = phone_targets(Speech(np.zeros(0, np.float32), (word,)), 10).flatten()
    lag = 1
    first, last = int(word.start_ms // PHONE_MS) + lag, int(word.end_ms // PHONE_MS) + lag
    assert not targets[:first].any() and not targets[last:].any() and targets[first:last].all()
    said = pronunciation("seven").phones
    assert list(dict.fromkeys(targets[first:last].tolist())) == list(dict.fromkeys(said))
    assert PHONES[targets[first]] == "s"


@pytest.mark.parametrize(
    ("gaps", "is_lost"), [((), False), ((1,), True), ((2,), True), ((0, 3), False), ((4,), False), ((1, 2), True)]
)
def test_a_word_is_lost_if_a_third_of_it_did_not_arrive(gaps: tuple[int, ...], is_lost: bool) -> None:
    assert lost(Word("red", 230.0, 600.0), gaps) == is_lost


def test_lost_words_are_asked_for_nowhere() -> None:
    speech = tiny.chords(("red", "blue"))
    pcm = np.pad(speech.pcm, (0, 8 * TURN_SAMPLES - len(speech.pcm)))
    gaps = frozenset({2})  # 400 to 600 ms: two thirds of "blue", and nothing of "red"
    pcm[2 * TURN_SAMPLES : 3 * TURN_SAMPLES] = 0.0
    (row,) = practice_rows(Practice(pcm, speech.words, gaps), tiny.materials(), np.random.default_rng(0), 1)
    words = row.targets[Head.WORDS].value_P
    assert words[words != NONE].tolist() == TOKENIZER.encode_word("red")
    phones = row.targets[Head.PHONES].value_P
    assert phones[: 300 // PHONE_MS + 1].any() and not phones[300 // PHONE_MS + 1 :].any()
    assert row.sound.tolist() == [Sound.GAP if turn == 2 else Sound.QUIET for turn in range(8)]
    assert row.levels is not None and not row.levels[2].any() and row.levels[0].any()


def test_voice_is_told_with_its_lag() -> None:
    """A token's second phone is the one that sounded ``VOICE_LAG_MS`` before its end."""
    speech = tiny.chords(("red",))
    pcm = np.pad(speech.pcm, (2 * TURN_SAMPLES, 5 * TURN_SAMPLES))
    word = Word("red", 2.0 * TURN_MS, 2.0 * TURN_MS + tiny.WORD_MS)
    practice = Practice(pcm[: 8 * TURN_SAMPLES], (word,), frozenset())
    (row,) = practice_rows(practice, tiny.materials(), np.random.default_rng(0), 1)
    voice = row.targets[Head.VOICE].value_P.tolist()
    moments_ms = [(token + 1) * TOKEN_MS - 75.0 for token in range(len(voice))]
    assert voice == [int(word.start_ms <= moment_ms < word.end_ms) for moment_ms in moments_ms]


def test_uses_differ_in_their_sound_alone(tmp_path: Path) -> None:
    source = ListeningRows(config=tiny.LISTENING)
    rows = source.open(tiny.materials(tiny.fill_bank(tmp_path)))(np.random.default_rng(0), 3)
    first = rows[0]
    assert first.levels is not None and first.levels.shape == (16, 20, 80)
    for row in rows[1:]:
        assert row.levels is not None and (row.levels != first.levels).any()
        assert row.targets is first.targets and (row.sound == first.sound).all()
    assert len(first.targets[Head.WORDS].at_P) == len(first.targets[Head.VOICE].at_P) == 32
    assert len(first.targets[Head.PHONES].at_P) == 64


def test_without_a_bank_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="voice bank"):
        ListeningRows().open(tiny.materials())
    with pytest.raises(InputError, match="no utterances"):
        ListeningRows().open(tiny.materials(tmp_path))


def test_a_bank_without_people_has_its_own_figures(tmp_path: Path) -> None:
    """Sources that a bank lacks are left out, of what is drawn and of the figures."""
    bank = tiny.fill_bank(tmp_path, {"synthesised-train-0000": 5, "people-train-digits": 3})
    source = ListeningRows(config=ListeningConfig(num_turns=8))
    assert list(source.families(tiny.materials(bank))) == ["synthesised", "digits"]
    alone = tiny.fill_bank(tmp_path / "alone", {"synthesised-train-0000": 5})
    assert list(source.families(tiny.materials(alone))) == ["synthesised"]
    assert source.open(tiny.materials(alone))(np.random.default_rng(0), 1)[0].num_turns == 8
