"""The backbone: one transformer over the tokens of all turns, the same code for whole sessions and for streaming.

A forward pass takes new tokens and, in streaming, the memory. What a query may see is one rule (``visible``): nothing
later in the sequence; media no older than the window; the newest text tokens. Training applies it as a mask over the
whole sequence, streaming over cache and new tokens, so both give the same numbers (law 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.model.config import ModelConfig
from microturn.model.moe import MixtureOfExperts
from microturn.model.rotary import (
    SLOT_LONGEST,
    SLOT_SHORTEST,
    TIME_LONGEST_TURNS,
    TIME_SHORTEST_TURNS,
    frequencies,
    rotate,
)
from microturn.model.state import BackboneState

# Shapes: B rows, Q new tokens (queries), K keys, D width, H heads, G key-value heads, E head dimension.


@dataclass(frozen=True)
class Tokens:
    """Where each new token stands. ``valid`` marks padding (False)."""

    turn_BQ: Tensor
    slot_BQ: Tensor
    is_text_BQ: Tensor
    valid_BQ: Tensor


@dataclass(frozen=True)
class Window:
    """The visibility rule's two numbers."""

    window_turns: int
    text_tokens: int


@dataclass(frozen=True)
class _View:
    """What all layers of one forward pass share."""

    mask_BQK: Tensor
    slot_angle_BQF: Tensor
    query_angle_BQF: Tensor | None
    key_angle_BKF: Tensor
    far_BQK: Tensor | None
    """Pairs further apart than the window: scored at exactly the window's distance. None when there are none or when
    ``key_angle_BKF`` already is clamped."""
    far_angle_11F: Tensor
    place_BQ: Tensor | None
    state: BackboneState | None


def _visible(
    query_turn_BQ: Tensor, query_ordinal_BQ: Tensor, key_turn_BK: Tensor, key_ordinal_BK: Tensor, window: Window
) -> Tensor:
    """The rule of memory, without order in the sequence; (B, Q, K)."""
    age_BQK = query_turn_BQ[:, :, None] - key_turn_BK[:, None, :]
    media_BQK = (key_ordinal_BK < 0)[:, None, :] & (age_BQK < window.window_turns)
    newer_BQK = query_ordinal_BQ[:, :, None] - key_ordinal_BK[:, None, :] < window.text_tokens
    text_BQK = (key_ordinal_BK >= 0)[:, None, :] & newer_BQK
    return media_BQK | text_BQK


class Attention(nn.Module):
    """Grouped-query attention with QK-norm and rotary positions on two axes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        b = config.backbone
        self.num_heads, self.num_kv_heads, self.head_dim, self.time_dim = b.num_heads, b.num_kv_heads, b.head_dim, b.time_dim
        self.qkv = nn.Linear(b.width, (b.num_heads + 2 * b.num_kv_heads) * b.head_dim, bias=False)
        self.query_norm = nn.RMSNorm(b.head_dim, eps=1e-6)
        self.key_norm = nn.RMSNorm(b.head_dim, eps=1e-6)
        self.out = nn.Linear(b.num_heads * b.head_dim, b.width, bias=False)

    def forward(self, x_BQD: Tensor, view: _View, layer: int) -> Tensor:
        rows, num_new, _ = x_BQD.shape
        sizes = [self.num_heads, self.num_kv_heads, self.num_kv_heads]
        query, key, value = self.qkv(x_BQD).unflatten(-1, (-1, self.head_dim)).split(sizes, dim=2)
        query, key = self.query_norm(query), self.key_norm(key)
        query, key = self._rotate_slot(query, view.slot_angle_BQF), self._rotate_slot(key, view.slot_angle_BQF)
        if view.state is not None:
            assert view.place_BQ is not None
            view.state.write(layer, view.place_BQ, key, value)
            key, value = view.state.keys[layer][:, :-1], view.state.values[layer][:, :-1]
        far_score = self._far_score(query, key, view) if view.far_BQK is not None else None
        if view.query_angle_BQF is not None:
            query = self._rotate_time(query, view.query_angle_BQF)
        key = self._rotate_time(key, view.key_angle_BKF)
        attended = self._attend(query, key, value, view, far_score)
        result: Tensor = self.out(attended.reshape(rows, num_new, -1))
        return result

    def _rotate_time(self, x: Tensor, angle: Tensor) -> Tensor:
        return torch.cat([rotate(x[..., : self.time_dim], angle), x[..., self.time_dim :]], dim=-1)

    def _rotate_slot(self, x: Tensor, angle: Tensor) -> Tensor:
        return torch.cat([x[..., : self.time_dim], rotate(x[..., self.time_dim :], angle)], dim=-1)

    def _far_score(self, query: Tensor, key: Tensor, view: _View) -> Tensor:
        """Scores (B, H, Q, K) of every pair as if it were exactly the window apart."""
        shifted = self._rotate_time(query, view.far_angle_11F)
        return shifted.transpose(1, 2) @ self._spread(key).transpose(2, 3) * self.head_dim**-0.5

    def _spread(self, x_BKGE: Tensor) -> Tensor:
        """Key-value heads repeated for their query heads, heads first: (B, H, K, E)."""
        return x_BKGE.transpose(1, 2).repeat_interleave(self.num_heads // self.num_kv_heads, dim=1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, view: _View, far_score: Tensor | None) -> Tensor:
        """(B, Q, H, E)."""
        mask = view.mask_BQK.unsqueeze(1)
        if far_score is not None:
            assert view.far_BQK is not None
            near_score = query.transpose(1, 2) @ self._spread(key).transpose(2, 3) * self.head_dim**-0.5
            score = torch.where(view.far_BQK.unsqueeze(1), far_score, near_score)
            weight = score.masked_fill(~mask, float("-inf")).float().softmax(-1).to(value.dtype)
            return (weight @ self._spread(value)).transpose(1, 2)
        attended = F.scaled_dot_product_attention(
            query.transpose(1, 2), self._spread(key), self._spread(value), attn_mask=mask
        )
        return attended.transpose(1, 2)


class Block(nn.Module):
    """Pre-norm attention and mixture-of-experts with residuals."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.backbone.width
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = Attention(config)
        self.experts_norm = nn.RMSNorm(width, eps=1e-6)
        self.experts = MixtureOfExperts(config.backbone)

    def forward(self, x_BQD: Tensor, view: _View, layer: int) -> Tensor:
        x_BQD = x_BQD + self.attention(self.attention_norm(x_BQD), view, layer)
        normed = self.experts_norm(x_BQD)
        return x_BQD + self.experts(normed.flatten(0, 1)).view_as(x_BQD)


class Backbone(nn.Module):
    """Embedded tokens in, hidden states out."""

    time_frequency_F: Tensor
    slot_frequency_F: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        b = config.backbone
        self.blocks = nn.ModuleList(Block(config) for _ in range(b.num_layers))
        self.norm = nn.RMSNorm(b.width, eps=1e-6)
        time = frequencies(b.time_dim, TIME_SHORTEST_TURNS, TIME_LONGEST_TURNS)
        slot = frequencies(b.head_dim - b.time_dim, SLOT_SHORTEST, SLOT_LONGEST)
        self.register_buffer("time_frequency_F", time, persistent=False)
        self.register_buffer("slot_frequency_F", slot, persistent=False)
        for block in self.blocks:
            nn.init.zeros_(block.attention.out.weight)  # type: ignore[union-attr, arg-type]

    def forward(self, x_BQD: Tensor, tokens: Tokens, window: Window, state: BackboneState | None = None) -> Tensor:
        """Hidden states (B, Q, D), normed.

        Without ``state`` the rows are whole sessions from their start. With ``state`` the new tokens of a row must all
        belong to one turn (padding apart), and the state is advanced.
        """
        view = self._whole_view(tokens, window) if state is None else self._turn_view(tokens, window, state)
        for layer, block in enumerate(self.blocks):
            x_BQD = block(x_BQD, view, layer)
        result: Tensor = self.norm(x_BQD)
        return result

    def _angle(self, turns: Tensor) -> Tensor:
        return turns.float().unsqueeze(-1) * self.time_frequency_F

    def _whole_view(self, tokens: Tokens, window: Window) -> _View:
        turn = tokens.turn_BQ
        count_BQ = tokens.is_text_BQ.cumsum(1)
        ordinal_BQ = torch.where(tokens.is_text_BQ, count_BQ, -1)
        length = turn.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=turn.device).tril()
        mask = _visible(turn, count_BQ, turn, ordinal_BQ, window) & causal & tokens.valid_BQ[:, None, :]
        mask |= torch.eye(length, dtype=torch.bool, device=turn.device)  # a padding query must see something
        far = None
        if length and int(turn.max()) >= window.window_turns:
            far = turn[:, :, None] - turn[:, None, :] > window.window_turns
        return _View(
            mask_BQK=mask,
            slot_angle_BQF=tokens.slot_BQ.float().unsqueeze(-1) * self.slot_frequency_F,
            query_angle_BQF=self._angle(turn),
            key_angle_BKF=self._angle(turn),
            far_BQK=far,
            far_angle_11F=self._angle(torch.full((1, 1), window.window_turns, device=turn.device)),
            place_BQ=None,
            state=None,
        )

    def _turn_view(self, tokens: Tokens, window: Window, state: BackboneState) -> _View:
        place, ordinal = state.reserve(tokens.turn_BQ, tokens.is_text_BQ, tokens.valid_BQ)
        now_B1 = tokens.turn_BQ.masked_fill(~tokens.valid_BQ, -1).amax(1, keepdim=True)
        key_turn, key_ordinal = state.turn_RC[:, :-1], state.ordinal_RC[:, :-1]
        mask = _visible(now_B1.expand_as(place), ordinal, key_turn, key_ordinal, window)
        mask &= (key_turn >= 0)[:, None, :]
        mask &= ~self._later(place, tokens.valid_BQ, key_turn.shape[1])
        mask[:, :, 0] |= ~mask.any(-1)  # a padding query must see something
        age = (now_B1 - key_turn).clamp(0, window.window_turns)
        return _View(
            mask_BQK=mask,
            slot_angle_BQF=tokens.slot_BQ.float().unsqueeze(-1) * self.slot_frequency_F,
            query_angle_BQF=None,
            key_angle_BKF=self._angle(-age),
            far_BQK=None,
            far_angle_11F=self._angle(torch.zeros(1, 1, dtype=torch.int64, device=place.device)),
            place_BQ=place,
            state=state,
        )

    @staticmethod
    def _later(place_BQ: Tensor, valid_BQ: Tensor, num_keys: int) -> Tensor:
        """Keys of new tokens that come after a new token in the same pass; (B, Q, K)."""
        order = torch.full((place_BQ.shape[0], num_keys + 1), -1, device=place_BQ.device)
        position = torch.arange(place_BQ.shape[1], device=place_BQ.device).expand_as(place_BQ)
        order.scatter_(1, place_BQ, position)
        return order[:, None, :-1] > position[:, :, None]
