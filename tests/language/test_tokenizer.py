"""The tokenizer: known words are one token each, any text comes back, and the file is what its maker makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.errors import WeightsError
from microturn.language import lexicon
from microturn.language.tokenizer import TOKENIZER_FILE, TextTokenizer, default_tokenizer, train_tokenizer

WORDS = {*lexicon.CONTENT, *lexicon.FUNCTION, *lexicon.LETTERS, *lexicon.COMMANDS, *lexicon.COMMON}


def test_every_known_word_is_one_token_of_its_own_but_for_contractions() -> None:
    tokenizer = default_tokenizer()
    ids = {word: tokenizer.encode_word(word) for word in WORDS}
    assert {word for word, found in ids.items() if len(found) > 1} == {word for word in WORDS if "'" in word}
    single = [found[0] for found in ids.values() if len(found) == 1]
    assert len(set(single)) == len(single) and max(single) < tokenizer.vocab_size


def test_words_that_no_training_session_contains_are_spelt_in_pieces() -> None:
    assert all(len(default_tokenizer().encode_word(word)) > 1 for word in lexicon.UNSEEN)


@given(st.lists(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1), max_size=5))
def test_any_text_comes_back_word_by_word(words: list[str]) -> None:
    tokenizer = default_tokenizer()
    ids = tokenizer.encode(" ".join(words))
    assert tokenizer.decode(ids) == "".join(f" {word}" for word in words)
    assert ids == [token for word in words for token in tokenizer.encode_word(word)]


def test_the_packaged_file_is_what_its_maker_makes() -> None:
    assert train_tokenizer().to_json() == default_tokenizer().to_json()


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="tokenizer.json"):
        TextTokenizer.from_file(tmp_path / "tokenizer.json")
    damaged = tmp_path / "tokenizer.json"
    damaged.write_bytes(TOKENIZER_FILE.read_bytes()[:500])
    with pytest.raises(WeightsError, match=r"tokenizer\.json: not a tokenizer file"):
        TextTokenizer.from_file(damaged)
