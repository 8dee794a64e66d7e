"""The matching heads see themselves and where the user's newest word was said before, or what followed the model's
newest word, spoken or typed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from microturn.errors import InputError
from microturn.model import layout
from microturn.model.backbone import Window
from microturn.model.config import ModelConfig
from microturn.model.layout import Kind
from microturn.model.model import Network, tokens_of
from microturn.model.sequence import SequenceBuilder, stack_rows

VOCAB = 300
RED, BLUE, GREEN = 7, 8, 9
CPU = torch.device("cpu")


SAME, FOLLOWING = 0, 1


def seen(builder: SequenceBuilder, head: int, window_turns: int = 150) -> list[set[int]]:
    """The tokens that each token sees in a matching head, near or far."""
    network = Network(ModelConfig.of_size(1, vocab_size=VOCAB))
    tokens = tokens_of(stack_rows([builder], CPU), VOCAB)
    view = network.backbone._whole_view(tokens, Window(window_turns, 1024))
    near = view.matching.near_BHQK[0, head]
    found = [set(row.nonzero()[:, 0].tolist()) for row in near]
    if view.far is not None and view.matching.far_BHQX is not None:
        for row, far in zip(found, view.matching.far_BHQX[0, head], strict=True):
            row |= set(view.far.index_BX[0][far].tolist())
    return found


def test_a_word_sees_itself_and_its_earlier_occurrences() -> None:
    row = SequenceBuilder()
    for turn, word in enumerate((RED, BLUE, RED)):
        row.add(Kind.END, turn, layout.SLOT_END)
        row.add(Kind.HEAR, turn, layout.SLOT_HEAR, word)
    row.add(Kind.SAY, 2, layout.SLOT_SAY, BLUE)
    #       0 END  1 red   2 END   3 blue  4 END   5 red   6 say blue
    assert seen(row, SAME) == [{0}, {1}, {1, 2}, {3}, {3, 4}, {1, 5}, {1, 5, 6}]


def test_what_followed_the_word_that_the_model_said_last() -> None:
    row = SequenceBuilder()
    for turn, word in enumerate((RED, BLUE, RED, GREEN)):
        row.add(Kind.HEAR, turn, layout.SLOT_HEAR, word)
    row.add(Kind.SAY, 4, layout.SLOT_SAY, RED)
    row.add(Kind.END, 5, layout.SLOT_END, layout.END_SPEAK)
    row.add(Kind.TEXT_IN, 5, layout.SLOT_TEXT_IN, BLUE + VOCAB)
    #       0 red  1 blue  2 red  3 green  4 say red   5 END      6 typed blue, after green
    assert seen(row, FOLLOWING) == [{0}, {1}, {2}, {3}, {1, 3, 4}, {1, 3, 5}, {1, 3, 6}]
    row.add(Kind.HEAR, 40, layout.SLOT_HEAR, RED)
    assert seen(row, FOLLOWING, window_turns=10)[-1] == {1, 3, 7}


def test_place_in_the_reply() -> None:
    """Counted from the first token of a reply, own token included, until the model listens."""
    row = SequenceBuilder()
    row.add(Kind.END, 0, layout.SLOT_END, layout.END_START)
    row.add(Kind.SAY, 0, layout.SLOT_SAY, RED)
    row.add(Kind.END, 1, layout.SLOT_END, layout.END_SPEAK)
    row.add(Kind.HEAR, 1, layout.SLOT_HEAR, BLUE)
    row.add(Kind.SAY, 1, layout.SLOT_SAY, BLUE)
    row.add(Kind.END, 2, layout.SLOT_END, layout.END_LISTEN)
    for _ in range(2 * layout.MAX_REPLY):
        row.add(Kind.SAY, 2, layout.SLOT_SAY, RED)
    assert row.reply[:8] == [0, 1, 1, 1, 2, 0, 1, 2]
    assert row.reply[-1] == layout.MAX_REPLY


def test_age_of_the_newest_word() -> None:
    """In turns, from 1 in the turn in which it is said, until the model listens."""
    row = SequenceBuilder()
    row.add(Kind.END, 5, layout.SLOT_END, layout.END_START)
    row.add(Kind.SAY, 5, layout.SLOT_SAY, RED)
    for turn in (6, 7):
        row.add(Kind.END, turn, layout.SLOT_END, layout.END_SPEAK)
    row.add(Kind.SAY, 7, layout.SLOT_SAY, BLUE)
    row.add(Kind.END, 7 + 2 * layout.MAX_AGE, layout.SLOT_END, layout.END_SPEAK)
    row.add(Kind.END, 8 + 2 * layout.MAX_AGE, layout.SLOT_END, layout.END_LISTEN)
    assert row.age == [0, 1, 2, 3, 1, layout.MAX_AGE, 0]


def test_the_voice_is_given_the_same_word_and_age_in_training_and_in_streaming() -> None:
    """Streaming reads them off ``LastWords``, training off the sequence (``Network.voice``)."""
    row = SequenceBuilder()
    row.add(Kind.END, 0, layout.SLOT_END, layout.END_START)
    for turn, said in ((1, [RED]), (2, []), (3, [BLUE, GREEN]), (4, [])):
        row.add(Kind.END, turn, layout.SLOT_END, layout.END_SPEAK)
        for place, word in enumerate(said):
            row.add(Kind.SAY, turn, layout.SLOT_SAY + place, word)
        sequence = stack_rows([row], torch.device("cpu"))
        assert row.last.said == int(sequence.newest_said_BT[0, -1])
        assert row.last.age(turn) == int(sequence.age_BT[0, -1])
    assert (row.last.said, row.last.age(4)) == (GREEN, 2)


def test_typed_words_are_the_same_words() -> None:
    row = SequenceBuilder()
    row.add(Kind.TEXT_IN, 0, layout.SLOT_TEXT_IN, RED + 2 * VOCAB)
    row.add(Kind.HEAR, 0, layout.SLOT_HEAR, RED)
    assert seen(row, SAME) == [{0}, {0, 1}]


def test_words_are_found_beyond_the_media_window() -> None:
    row = SequenceBuilder()
    row.add(Kind.HEAR, 0, layout.SLOT_HEAR, RED)
    row.add(Kind.HEAR, 1, layout.SLOT_HEAR, BLUE)
    row.add(Kind.HEAR, 40, layout.SLOT_HEAR, RED)
    assert seen(row, SAME, window_turns=10) == [{0}, {1}, {0, 2}]


def test_a_model_without_room_for_matching_heads_is_refused() -> None:
    backbone = ModelConfig.of_size(1, vocab_size=VOCAB).backbone
    with pytest.raises(InputError, match="num_kv_heads must be at least 2"):
        replace(backbone, num_kv_heads=1)
