"""The matching heads: in a fresh network a word finds its own earlier occurrence, however long ago."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from microturn.model.backbone import Attention
from microturn.model.config import ModelConfig
from microturn.model.rotary import (
    SLOT_LONGEST,
    SLOT_SHORTEST,
    TIME_LONGEST_TURNS,
    TIME_SHORTEST_TURNS,
    Rotation,
    frequencies,
    rotate,
)

SLOT = 30
"""Where words of the hear lane stand, about."""


def scores(attention: Attention, query_1D: Tensor, key_ND: Tensor, age_turns: int, *, head: int) -> Tensor:
    """Attention scores (N,) of one query for keys that are ``age_turns`` older, in one head."""
    time, slots = attention.time_dim, attention.head_dim - attention.time_dim

    def turned(x_ND: Tensor, turn: int) -> Tensor:
        x_BTHE = x_ND[None, :, None]
        time_angle = turn * frequencies(time, TIME_SHORTEST_TURNS, TIME_LONGEST_TURNS)
        slot_angle = SLOT * frequencies(slots, SLOT_SHORTEST, SLOT_LONGEST)
        parts = (
            rotate(x_BTHE[..., :time], Rotation.by(time_angle[None, None])),
            rotate(x_BTHE[..., time:], Rotation.by(slot_angle[None, None])),
        )
        return torch.cat(parts, -1)[0, :, 0]

    heads = attention.qkv.weight.view(-1, attention.head_dim, query_1D.shape[1])
    per_kv = attention.num_heads // attention.num_kv_heads
    query = attention.query_norm(query_1D @ heads[head].T)
    key = attention.key_norm(key_ND @ heads[attention.num_heads + head // per_kv].T)
    return (turned(key, 0) @ turned(query, age_turns).T)[:, 0]


@pytest.mark.parametrize("age_turns", [1, 10, 60, 150])
@pytest.mark.parametrize("size", [1, 3])
def test_a_word_finds_itself(size: int, age_turns: int) -> None:
    torch.manual_seed(0)
    config = ModelConfig.of_size(size, vocab_size=300)
    attention = Attention(config)
    words = torch.randn(300, config.backbone.width)
    matching = config.backbone.num_heads - 2

    def found(head: int) -> int:
        found_by = [scores(attention, words[i : i + 1], words, age_turns, head=head).argmax() == i for i in range(50)]
        return int(torch.stack(found_by).sum())

    with torch.no_grad():
        assert found(matching) >= 45
        assert found(0) <= 5
