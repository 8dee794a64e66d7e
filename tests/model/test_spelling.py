"""The letters of the word that is being said: from any tokens, and what is read from them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from microturn.language.lexicon import CONTENT
from microturn.language.tokenizer import default_tokenizer
from microturn.model.lanes import MAX_AGE, NONE, SAID_TOKENS
from microturn.model.spelling import (
    ALPHABET,
    BEGINNING,
    FIRST_LETTER,
    NOTHING,
    OTHER,
    WORD_LETTERS,
    Reader,
    spelt,
    word_letters,
)

TOKENIZER = default_tokenizer()
TABLE = spelt(TOKENIZER)
words = st.one_of(st.sampled_from(CONTENT), st.text("abcdefghijklmnopqrstuvwxyz'", min_size=1, max_size=12))


def newest(tokens: list[int], ages: list[int]) -> tuple[Tensor, Tensor]:
    """The newest tokens and their ages as a lane has them, (1, K)."""
    empty = [NONE] * SAID_TOKENS
    said = torch.tensor([[*reversed(tokens), *empty][:SAID_TOKENS]])
    return said, torch.tensor([[*reversed(ages), *[0] * SAID_TOKENS][:SAID_TOKENS]])


def written(letters_N: Tensor) -> str:
    names = {BEGINNING: "_", OTHER: "?"}
    codes = [code for code in letters_N.tolist() if code != NOTHING]
    return "".join(names.get(code) or ALPHABET[code - FIRST_LETTER] for code in codes)


@given(st.lists(words, max_size=2), words)
def test_the_newest_word_is_spelt_whatever_tokens_it_is_made_of(before: list[str], word: str) -> None:
    tokens = TOKENIZER.encode_word(word)
    said = TOKENIZER.encode(" ".join(before))
    letters, age = word_letters(TABLE, *newest(said + tokens, [5] * len(said) + [2] * len(tokens)))
    assert letters.shape == (1, WORD_LETTERS)
    if len(tokens) <= SAID_TOKENS:
        assert written(letters[0]) == f"_{word}"
        assert age.tolist() == [2]


def test_a_long_word_is_as_old_as_its_beginning() -> None:
    """It is written over two turns, and does not begin anew in the second."""
    tokens = TOKENIZER.encode_word("kilometres")
    assert len(tokens) == 5
    ages = [3, 3, 3, 3, 2]
    letters, age = word_letters(TABLE, *newest(tokens, ages))
    assert (written(letters[0]), age.tolist()) == ("_kilometres", [3])
    letters, age = word_letters(TABLE, *newest(tokens[:4], [1] * 4))
    assert (written(letters[0]), age.tolist()) == ("_kilomet", [1])


def test_nothing_is_spelt_while_nothing_is_said() -> None:
    tokens = TOKENIZER.encode_word("green")
    letters, age = word_letters(TABLE, *newest(tokens, [0]))
    assert (written(letters[0]), age.tolist()) == ("", [0])
    letters, age = word_letters(TABLE, *newest([], []))
    assert (written(letters[0]), age.tolist()) == ("", [0])


def test_letters_that_are_not_in_the_alphabet_are_told_apart_from_none() -> None:
    letters, _ = word_letters(TABLE, *newest(TOKENIZER.encode_word("caf\u00e9!"), [1] * 8))
    assert written(letters[0]).startswith("_caf") and "?" in written(letters[0])


@pytest.mark.parametrize("inference", [False, True])
def test_the_reader_looks_at_letters_and_age_and_not_at_the_company(inference: bool) -> None:
    torch.manual_seed(0)
    reader = Reader(32, 5).eval()
    spelled = [
        word_letters(TABLE, *newest(TOKENIZER.encode_word(word), [1] * 8))[0] for word in ("green", "greed", "a")
    ]
    letters, age = torch.cat(spelled), torch.tensor([1, 1, MAX_AGE])
    with torch.inference_mode(inference), torch.set_grad_enabled(False):
        read = reader(letters, age)
        assert read.shape == (3, 5, 32)
        assert not torch.allclose(read[0], read[1])
        assert not torch.allclose(read[0], reader(letters[:1], age[:1] + 1)[0])
        for row in range(3):
            alone = reader(letters[row : row + 1], age[row : row + 1])[0]
            if inference:
                assert torch.equal(alone, read[row])
            torch.testing.assert_close(alone, read[row], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_turn_has_the_same_bits_with_any_number_of_threads() -> None:
    torch.manual_seed(0)
    reader = Reader(192, 10).eval()
    letters, age = word_letters(TABLE, *newest(TOKENIZER.encode_word("understanding"), [2] * 8))
    threads = torch.get_num_threads()
    try:
        read = []
        for count in (1, 2):
            torch.set_num_threads(count)
            read.append(reader(letters, age))
    finally:
        torch.set_num_threads(threads)
    first, second = read
    assert torch.equal(first, second)
