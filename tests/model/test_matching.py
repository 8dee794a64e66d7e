"""The matching heads see themselves and where the user's newest word was said before, spoken or typed."""

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
RED, BLUE = 7, 8
CPU = torch.device("cpu")


def seen(builder: SequenceBuilder, window_turns: int = 150) -> list[set[int]]:
    """The tokens that each token sees in the matching heads, near or far."""
    network = Network(ModelConfig.of_size(1, vocab_size=VOCAB))
    tokens = tokens_of(stack_rows([builder], CPU), VOCAB)
    view = network.backbone._whole_view(tokens, Window(window_turns, 1024))
    near = view.same_word.near_BQK[0]
    found = [set(row.nonzero()[:, 0].tolist()) for row in near]
    if view.far is not None and view.same_word.far_BQX is not None:
        for row, far in zip(found, view.same_word.far_BQX[0], strict=True):
            row |= set(view.far.index_BX[0][far].tolist())
    return found


def test_a_word_sees_itself_and_its_earlier_occurrences() -> None:
    row = SequenceBuilder()
    for turn, word in enumerate((RED, BLUE, RED)):
        row.add(Kind.END, turn, layout.SLOT_END)
        row.add(Kind.HEAR, turn, layout.SLOT_HEAR, word)
    row.add(Kind.SAY, 2, layout.SLOT_SAY, BLUE)
    #       0 END  1 red   2 END   3 blue  4 END   5 red   6 say blue
    assert seen(row) == [{0}, {1}, {1, 2}, {3}, {3, 4}, {1, 5}, {1, 5, 6}]


def test_typed_words_are_the_same_words() -> None:
    row = SequenceBuilder()
    row.add(Kind.TEXT_IN, 0, layout.SLOT_TEXT_IN, RED + 2 * VOCAB)
    row.add(Kind.HEAR, 0, layout.SLOT_HEAR, RED)
    assert seen(row) == [{0}, {0, 1}]


def test_words_are_found_beyond_the_media_window() -> None:
    row = SequenceBuilder()
    row.add(Kind.HEAR, 0, layout.SLOT_HEAR, RED)
    row.add(Kind.HEAR, 1, layout.SLOT_HEAR, BLUE)
    row.add(Kind.HEAR, 40, layout.SLOT_HEAR, RED)
    assert seen(row, window_turns=10) == [{0}, {1}, {0, 2}]


def test_a_model_without_room_for_matching_heads_is_refused() -> None:
    backbone = ModelConfig.of_size(1, vocab_size=VOCAB).backbone
    with pytest.raises(InputError, match="num_kv_heads must be at least 2"):
        replace(backbone, num_kv_heads=1)
