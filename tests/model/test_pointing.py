"""What can be pointed at: letters of the user's words, the next word of what is read; against texts cut at spaces."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from microturn.model.config import ModelConfig
from microturn.model.lanes import NONE, READ_TOKENS, SAID_TOKENS, USER_TOKENS
from microturn.model.network import SayHead
from microturn.model.pointing import END, TEXT_GAP_TURNS, letters_at, letters_said, next_read
from microturn.model.spelling import ALPHABET, BEGINNING, FIRST_LETTER, NOTHING, OTHER
from tests.model.test_spelling import TABLE, TOKENIZER, words, written

WORDS = st.sampled_from(["red", "blue", "is", "free", "wednesday", "eightyfold", "qxzj"])


@given(st.lists(words, max_size=5), st.integers(0, 13))
def test_a_letter_of_each_of_the_newest_words(text: list[str], place: int) -> None:
    """Whatever tokens they are made of, and nothing behind a word's end; marks have no place."""
    tokens = TOKENIZER.encode(" ".join(text))
    newest_first = [*reversed(tokens), *[NONE] * SAID_TOKENS][:SAID_TOKENS]
    letters_K = letters_at(TABLE, torch.tensor([newest_first]), torch.tensor([place]))[0]
    whole: list[str] = []
    for word in reversed(text):  # those of which all tokens are among the newest
        whole.append(word)
        if len(TOKENIZER.encode(" ".join(reversed(whole)))) > SAID_TOKENS:
            whole.pop()
            break
    for word, letter in zip(whole, letters_K.tolist(), strict=False):
        letters = "".join(one for one in word if one.isalpha())
        assert written(torch.tensor([letter])) == letters[place : place + 1]
        assert letter != OTHER
    assert all(letter == OTHER for letter in letters_K[len(whole) :].tolist())


@pytest.mark.parametrize("text", ["how do you spell flower?", 'spell "Flower"', "flow-er!", "flower."])
def test_marks_have_no_place(text: str) -> None:
    tokens = [*reversed(TOKENIZER.encode(text)), *[NONE] * USER_TOKENS][:USER_TOKENS]
    spelt = [letters_at(TABLE, torch.tensor([tokens]), torch.tensor([place]))[0, :1] for place in range(7)]
    assert [written(letter) for letter in spelt] == [*"flower", ""]


@pytest.mark.parametrize(
    ("said", "num_said", "letters"),
    [("", 0, 0), ("f l", 2, 2), ("f l", 0, 0), ("red f l", 3, 2), ("okay", 1, 0), ("a b c d e f g h i j", 10, 10)],
)
def test_letters_are_counted_since_the_model_listened_and_since_the_last_word(
    said: str, num_said: int, letters: int
) -> None:
    tokens = [*reversed(TOKENIZER.encode(said)), *[NONE] * SAID_TOKENS][:SAID_TOKENS]
    assert letters_said(TABLE, torch.tensor([tokens]), torch.tensor([num_said])).tolist() == [letters]


def next_word(pieces: list[tuple[int, str]], said: str, said_turn: int = 60, num_said: int | None = None) -> int:
    """What comes next of texts that came in at these turns, when this was said in that turn; since the model listened,
    unless ``num_said`` tokens were."""
    tokens = [(token, turn) for turn, text in pieces for token in TOKENIZER.encode(text)][::-1]
    lane = [*tokens, *[(NONE, 0)] * READ_TOKENS][:READ_TOKENS]
    before = TOKENIZER.encode(said)[::-1]
    token = next_read(
        TABLE,
        torch.tensor([[token for token, _ in lane]]),
        torch.tensor([[turn for _, turn in lane]]),
        torch.tensor([[*before, *[NONE] * SAID_TOKENS][:SAID_TOKENS]]),
        torch.full((1, SAID_TOKENS), said_turn),
        torch.tensor([len(before) if num_said is None else num_said]),
    )
    return int(token[0])


@given(st.lists(WORDS, min_size=1, max_size=8), st.lists(WORDS, max_size=8), st.data())
def test_a_text_is_read_on_from_wherever_it_was_said_to(text: list[str], old: list[str], data: st.DataObject) -> None:
    """Words that come twice and other texts before it do not mislead, nor pieces that come in later."""
    cut = data.draw(st.integers(0, len(text)))
    pieces = [(0, " ".join(old)), (50, " ".join(text[:cut])), (50 + TEXT_GAP_TURNS, " ".join(text[cut:]))]
    tokens = TOKENIZER.encode(" ".join(text))
    for place, token in enumerate([*tokens, END]):
        if place <= SAID_TOKENS:
            assert next_word(pieces, TOKENIZER.decode(tokens[:place])) == token


def test_a_turn_of_silence_does_not_begin_a_text_anew() -> None:
    """It goes on where it was; what was read to its end is over, until something new comes in."""
    pieces = [(3, "the parcel arrives on wednesday")]
    tokens = TOKENIZER.encode("the parcel arrives on wednesday")
    for place, token in enumerate([*tokens, NONE]):
        said = TOKENIZER.decode(tokens[:place])
        assert next_word(pieces, said, num_said=0) == token
    [the, red] = TOKENIZER.encode("the red")
    assert next_word([*pieces, (70, "red")], "the parcel", num_said=0) == red, "cut off, then something else"
    assert next_word([*pieces, (70, "red")], "the parcel arrives on wednesday", num_said=0) == red
    assert next_word([(70, "the red")], "the", num_said=0) == the, "that was said before it came in"


def test_numbers_of_jobs_are_not_read_out() -> None:
    pieces = [(3, "1 the parcel"), (4, "1 arrives on"), (5, "12 wednesday")]
    tokens = TOKENIZER.encode("the parcel arrives on wednesday")
    for place, token in enumerate([*tokens, END]):
        assert next_word(pieces, TOKENIZER.decode(tokens[:place])) == token


def test_nothing_is_read_on_where_nothing_of_it_was_said() -> None:
    assert next_word([], "") == NONE
    assert next_word([], "red") == NONE
    assert next_word([(0, "the parcel arrives")], "let me see") == NONE
    [token] = TOKENIZER.encode_word("the")
    assert next_word([(0, "the parcel arrives")], "") == token


def test_the_say_head_points_at_letters_and_words_and_at_their_end() -> None:
    """What is pointed at gains by as much; digits, marks and spaces are not said by their letters."""
    config = ModelConfig.of_size(1, vocab_size=TOKENIZER.vocab_size)
    head = SayHead(config)
    head.spell(TOKENIZER)
    hidden_ND = torch.randn(3, config.backbone.width)
    table_VD = torch.randn(TOKENIZER.vocab_size, config.backbone.width)
    a, seven = (FIRST_LETTER + ALPHABET.index(letter) for letter in "a7")
    nowhere = [OTHER] * USER_TOKENS
    letter_NK = torch.tensor([[a, NOTHING, seven, BEGINNING, OTHER, a, OTHER, OTHER], nowhere, nowhere])
    given = (hidden_ND, table_VD, letter_NK, torch.tensor([NONE, 70, END]))
    before = head(*given)
    with torch.no_grad():
        head.pointers_PD.normal_()
    gained = head(*given) - before
    pointed = hidden_ND @ head.pointers_PD.T
    [letter] = TOKENIZER.encode_word("a")
    expected = torch.zeros_like(gained)
    expected[0, letter] = pointed[0, 0] + pointed[0, 5]
    expected[0, head.outputs.listen] = pointed[0, 1]
    expected[1, 70] = pointed[1, -1]
    expected[2, head.outputs.listen] = pointed[2, -1]
    torch.testing.assert_close(gained, expected)
