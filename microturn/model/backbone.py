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
    Rotation,
    frequencies,
    rotate,
)
from microturn.model.state import NO_WORD, BackboneState

# Shapes: B rows, Q new tokens (queries), K keys, D width, H heads, G key-value heads, E head dimension.


@dataclass(frozen=True)
class Tokens:
    """Where each new token stands. ``valid`` marks padding (False)."""

    turn_BQ: Tensor
    offset_BQ: Tensor
    """Time since the turn's start, in turns: 0, 0.25, 0.5, 0.75 for the four AUDIO tokens, 0 for all others."""
    slot_BQ: Tensor
    word_BQ: Tensor
    """The user's word that a token is; ``NO_WORD`` for other tokens."""
    newest_BQ: Tensor
    """The user's newest word at each token, its own included; ``NO_WORD`` if there was none."""
    before_BQ: Tensor
    """The user's word before the one that a token is; ``NO_WORD`` for other tokens and for the first word."""
    newest_said_BQ: Tensor
    """The model's newest word at each token, its own included; ``NO_WORD`` if there was none."""
    is_text_BQ: Tensor
    valid_BQ: Tensor


@dataclass(frozen=True)
class Window:
    """The visibility rule's two numbers."""

    window_turns: int
    text_tokens: int


@dataclass(frozen=True)
class _Far:
    """Text tokens (X of them, padded) once more as keys, for the queries that are more than the window away from them:
    there, both are rotated as if their turns were exactly the window apart."""

    index_BX: Tensor
    query_time: Rotation


@dataclass(frozen=True)
class _Masks:
    """What each query may see in some of the heads (each, or all of them): keys, and far copies of text keys."""

    near_BHQK: Tensor
    far_BHQX: Tensor | None


@dataclass(frozen=True)
class _View:
    """What all layers of one forward pass share."""

    all: _Masks
    matching: _Masks
    """Of the matching heads: a token itself, and what ``_matches`` says."""
    slot: Rotation
    time: Rotation
    """Of the new tokens, by their time since the session's start."""
    far: _Far | None
    """None when nothing is further apart than the window, or when old keys already are turned."""
    place_BQ: Tensor | None
    state: BackboneState | None
    text_time: Rotation | None
    """Of all text in memory as of this turn; None when that has not changed."""


def _visible(
    query_turn_BQ: Tensor, query_ordinal_BQ: Tensor, key_turn_BK: Tensor, key_ordinal_BK: Tensor, window: Window
) -> Tensor:
    """The rule of memory, without order in the sequence; (B, Q, K)."""
    age_BQK = query_turn_BQ[:, :, None] - key_turn_BK[:, None, :]
    media_BQK = (key_ordinal_BK < 0)[:, None, :] & (age_BQK < window.window_turns)
    newer_BQK = query_ordinal_BQ[:, :, None] - key_ordinal_BK[:, None, :] < window.text_tokens
    text_BQK = (key_ordinal_BK >= 0)[:, None, :] & newer_BQK
    return media_BQK | text_BQK


NUM_MATCHING = 2


def _matches(tokens: Tokens, word_BK: Tensor, before_BK: Tensor) -> Tensor:
    """Which of the user's words the matching heads find, (B, NUM_MATCHING, Q, K): the same word as the user's newest;
    those that followed the word that the model said last."""

    def equal(query_BQ: Tensor, key_BK: Tensor) -> Tensor:
        return (query_BQ[:, :, None] == key_BK[:, None, :]) & (key_BK != NO_WORD)[:, None, :]

    return torch.stack([equal(tokens.newest_BQ, word_BK), equal(tokens.newest_said_BQ, before_BK)], 1)


class Attention(nn.Module):
    """Grouped-query attention with QK-norm and rotary positions on two axes.

    The two heads of the last key-value head are matching heads: one sees only where the user's newest word was said
    before, the other what the user said after the word that the model said last. To find the rule that a word is the
    cue of, and to repeat several words, words have to be matched, and ordinary heads were slow to learn it or did not
    (docs/log.md).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        b = config.backbone
        self.num_heads, self.num_kv_heads = b.num_heads, b.num_kv_heads
        self.head_dim, self.time_dim = b.head_dim, b.time_dim
        self.qkv = nn.Linear(b.width, (b.num_heads + 2 * b.num_kv_heads) * b.head_dim, bias=False)
        self.query_norm = nn.RMSNorm(b.head_dim, eps=1e-6)
        self.key_norm = nn.RMSNorm(b.head_dim, eps=1e-6)
        self.out = nn.Linear(b.num_heads * b.head_dim, b.width, bias=False)
        nn.init.zeros_(self.out.weight)
        self.num_plain = b.num_heads - NUM_MATCHING

    def forward(self, x_BQD: Tensor, view: _View, layer: int) -> Tensor:
        rows, num_new, _ = x_BQD.shape
        sizes = [self.num_heads, self.num_kv_heads, self.num_kv_heads]
        query, key, value = self.qkv(x_BQD).unflatten(-1, (-1, self.head_dim)).split(sizes, dim=2)
        query, key = self.query_norm(query), self.key_norm(key)
        query, key = self._rotate_slot(query, view.slot), self._rotate_slot(key, view.slot)
        if view.state is not None:
            key, value = self._remember(key, value, view, view.state, layer)
        plain = self._look(query[:, :, : self.num_plain], key[:, :, :-1], value[:, :, :-1], view, view.all)
        matching = self._look(query[:, :, self.num_plain :], key[:, :, -1:], value[:, :, -1:], view, view.matching)
        attended = torch.cat([plain, matching], dim=2)
        result: Tensor = self.out(attended.reshape(rows, num_new, -1))
        return result

    def _remember(
        self, key: Tensor, value: Tensor, view: _View, state: BackboneState, layer: int
    ) -> tuple[Tensor, Tensor]:
        """Add the new tokens to the memory; all of its keys, rotated, and values."""
        assert view.place_BQ is not None
        state.write(layer, view.place_BQ, key, self._rotate_time(key, view.time), value)
        if view.text_time is not None:
            state.turn_text(layer, self._rotate_time(state.text_keys[layer][:, :-1], view.text_time))
        return state.keys[layer][:, :-1], state.values[layer][:, :-1]

    def _look(self, query: Tensor, key: Tensor, value: Tensor, view: _View, masks: _Masks) -> Tensor:
        if view.far is not None:
            return self._attend_far(query, key, value, view, view.far, masks)
        query = self._rotate_time(query, view.time)
        key = key if view.state is not None else self._rotate_time(key, view.time)
        return self._attend(query, key, value, masks.near_BHQK)

    def _rotate_time(self, x: Tensor, rotation: Rotation) -> Tensor:
        return torch.cat([rotate(x[..., : self.time_dim], rotation), x[..., self.time_dim :]], dim=-1)

    def _rotate_slot(self, x: Tensor, rotation: Rotation) -> Tensor:
        return torch.cat([x[..., : self.time_dim], rotate(x[..., self.time_dim :], rotation)], dim=-1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask_BHQK: Tensor) -> Tensor:
        """(B, Q, H, E of the values). The mask is one for all heads, or one for each head of a single key-value head.

        Heads that share keys stand side by side as further queries: no copies of the keys, which are many.
        """
        rows, num_new, num_heads, _ = query.shape
        shared = num_heads // key.shape[2]
        folded = query.reshape(rows, num_new, -1, shared, query.shape[-1]).permute(0, 2, 3, 1, 4).flatten(2, 3)
        mask = mask_BHQK.expand(-1, shared, -1, -1).flatten(1, 2).unsqueeze(1)
        attended = F.scaled_dot_product_attention(
            folded, key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask, scale=self.head_dim**-0.5
        )
        return attended.reshape(rows, -1, shared, num_new, value.shape[-1]).permute(0, 3, 1, 2, 4).flatten(2, 3)

    def _attend_far(self, query: Tensor, key: Tensor, value: Tensor, view: _View, far: _Far, masks: _Masks) -> Tensor:
        """One softmax over near keys and far copies of the text keys.

        Queries carry both rotations side by side; a near key has zeros where the far rotation is, and vice versa.
        """
        assert masks.far_BHQX is not None
        index = far.index_BX[:, :, None, None].expand(-1, -1, key.shape[2], self.head_dim)
        far_key, far_value = key.gather(1, index), value.gather(1, index)
        near_query = self._rotate_time(query, view.time)
        far_query = rotate(query[..., : self.time_dim], far.query_time)
        near_key = self._rotate_time(key, view.time)
        query = torch.cat([far_query, near_query], -1)
        key = torch.cat([F.pad(near_key, (self.time_dim, 0)), _insert_zeros(far_key, self.time_dim)], 1)
        value = F.pad(torch.cat([value, far_value], 1), (0, query.shape[-1] - self.head_dim))
        mask = torch.cat([masks.near_BHQK, masks.far_BHQX], 3)
        return self._attend(query, key, value, mask)[..., : self.head_dim]


def _insert_zeros(x: Tensor, count: int) -> Tensor:
    """``count`` zeros after the first ``count`` values of the last axis."""
    return torch.cat([x[..., :count], torch.zeros_like(x[..., :count]), x[..., count:]], -1)


class Block(nn.Module):
    """Pre-norm attention and mixture-of-experts with residuals."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.backbone.width
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = Attention(config)
        self.experts_norm = nn.RMSNorm(width, eps=1e-6)
        self.experts = MixtureOfExperts(config.backbone)
        for expert in (self.experts.shared, *self.experts.experts):
            # As in attention: a block starts as the identity, so the layers above pass on what is heard below.
            nn.init.zeros_(expert.out.weight)

    def forward(self, x_BQD: Tensor, view: _View, layer: int) -> Tensor:
        x_BQD = x_BQD + self.attention(self.attention_norm(x_BQD), view, layer)
        normed = self.experts_norm(x_BQD)
        mixed: Tensor = self.experts(normed.flatten(0, 1)).view_as(x_BQD)
        return x_BQD + mixed


class Backbone(nn.Module):
    """Embedded tokens in, hidden states out."""

    time_frequency_F: Tensor
    slot_frequency_F: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        b = config.backbone
        self.blocks = nn.ModuleList(Block(config) for _ in range(b.num_layers))
        self.listening_layers = b.listening_layers
        self.norm = nn.RMSNorm(b.width, eps=1e-6)
        time = frequencies(b.time_dim, TIME_SHORTEST_TURNS, TIME_LONGEST_TURNS)
        slot = frequencies(b.head_dim - b.time_dim, SLOT_SHORTEST, SLOT_LONGEST)
        self.register_buffer("time_frequency_F", time, persistent=False)
        self.register_buffer("slot_frequency_F", slot, persistent=False)

    def forward(self, x_BQD: Tensor, tokens: Tokens, window: Window, state: BackboneState | None = None) -> Tensor:
        """Hidden states after the last layer, (B, Q, D), normed.

        Without ``state`` the rows are whole sessions from their start. With ``state`` the new tokens of a row must all
        belong to one turn (padding apart), and the state is advanced.
        """
        view = self._whole_view(tokens, window) if state is None else self._turn_view(tokens, window, state)
        for layer, block in enumerate(self.blocks):
            x_BQD = block(x_BQD, view, layer)
        normed: Tensor = self.norm(x_BQD)
        return normed

    def listen(self, x_BQD: Tensor, tokens: Tokens, window: Window) -> Tensor:
        """Hidden states of whole rows after the lower ``listening_layers``, (B, Q, D), normed."""
        view = self._whole_view(tokens, window)
        for layer in range(self.listening_layers):
            x_BQD = self.blocks[layer](x_BQD, view, layer)
        normed: Tensor = self.norm(x_BQD)
        return normed

    def _in_time(self, turns: Tensor) -> Rotation:
        return Rotation.by(turns.double().unsqueeze(-1) * self.time_frequency_F.double())

    def _in_slot(self, slots: Tensor) -> Rotation:
        return Rotation.by(slots.float().unsqueeze(-1) * self.slot_frequency_F)

    def _whole_view(self, tokens: Tokens, window: Window) -> _View:
        turn = tokens.turn_BQ
        count_BQ = tokens.is_text_BQ.cumsum(1)
        ordinal_BQ = torch.where(tokens.is_text_BQ, count_BQ, -1)
        length = turn.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=turn.device).tril()
        mask = _visible(turn, count_BQ, turn, ordinal_BQ, window) & causal & tokens.valid_BQ[:, None, :]
        mask = mask.unsqueeze(1)
        matching = mask & _matches(tokens, tokens.word_BQ, tokens.before_BQ)
        far, far_all, far_matching = self._far_view(tokens, mask, matching, window)
        if far is not None:
            near = (turn[:, :, None] - turn[:, None, :] <= window.window_turns).unsqueeze(1)
            mask, matching = mask & near, matching & near
        itself = torch.eye(length, dtype=torch.bool, device=turn.device)  # padding must see something
        return _View(
            all=_Masks(mask | itself, far_all),
            matching=_Masks(matching | itself, far_matching),
            slot=self._in_slot(tokens.slot_BQ),
            time=self._in_time(turn + tokens.offset_BQ),
            far=far,
            place_BQ=None,
            state=None,
            text_time=None,
        )

    def _far_view(
        self, tokens: Tokens, mask_BHQK: Tensor, matching_BHQK: Tensor, window: Window
    ) -> tuple[_Far | None, Tensor | None, Tensor | None]:
        """The far keys, and which of them are seen, in all and in the matching heads."""
        turn, is_text = tokens.turn_BQ, tokens.is_text_BQ
        if int(turn.max()) <= window.window_turns or not bool(is_text.any()):
            return None, None, None
        num_text = int(is_text.sum(1).max())
        index_BX = is_text.float().topk(num_text, dim=1).indices.sort(1).values
        far_BQX = turn[:, :, None] - turn.gather(1, index_BX)[:, None, :] > window.window_turns
        text_BQX = is_text.gather(1, index_BX)[:, None, :]
        query_time = self._in_time(window.window_turns + tokens.offset_BQ)
        far_B1QX = (far_BQX & text_BQX).unsqueeze(1)

        def seen(mask_BHQK: Tensor) -> Tensor:
            index = index_BX[:, None, None, :].expand(-1, *mask_BHQK.shape[1:3], -1)
            return far_B1QX & mask_BHQK.gather(3, index)

        return _Far(index_BX, query_time), seen(mask_BHQK), seen(matching_BHQK)

    def _turn_view(self, tokens: Tokens, window: Window, state: BackboneState) -> _View:
        place, ordinal = state.reserve(
            tokens.turn_BQ,
            tokens.word_BQ,
            tokens.before_BQ,
            tokens.is_text_BQ,
            tokens.valid_BQ,
        )
        now_B = tokens.turn_BQ.masked_fill(~tokens.valid_BQ, -1).amax(1)
        now_B = torch.where(now_B < 0, state.now_R, now_B)
        is_new_turn = not torch.equal(now_B, state.now_R)
        state.now_R.copy_(now_B)
        key_turn, key_ordinal = state.turn_RC[:, :-1], state.ordinal_RC[:, :-1]
        mask = _visible(now_B[:, None].expand_as(place), ordinal, key_turn, key_ordinal, window)
        mask &= (key_turn >= 0)[:, None, :]
        mask &= ~self._later(place, tokens.valid_BQ, key_turn.shape[1])
        mask = mask.unsqueeze(1)
        matching = mask & _matches(tokens, state.word_RC[:, :-1], state.before_RC[:, :-1])
        matching |= (place[:, :, None] == torch.arange(key_turn.shape[1], device=place.device)).unsqueeze(1)
        for seen in (mask, matching):
            seen[..., 0] |= ~seen.any(-1)  # a padding query must see something
        as_old_as_the_window_B1 = now_B[:, None] - window.window_turns
        return _View(
            all=_Masks(mask, None),
            matching=_Masks(matching, None),
            slot=self._in_slot(tokens.slot_BQ),
            time=self._in_time(tokens.turn_BQ + tokens.offset_BQ),
            far=None,
            place_BQ=place,
            state=state,
            text_time=self._in_time(state.text_turn_RX.maximum(as_old_as_the_window_B1)) if is_new_turn else None,
        )

    @staticmethod
    def _later(place_BQ: Tensor, valid_BQ: Tensor, num_keys: int) -> Tensor:
        """Keys of new tokens that come after a new token in the same pass; (B, Q, K)."""
        order = torch.full((place_BQ.shape[0], num_keys + 1), -1, device=place_BQ.device)
        position = torch.arange(place_BQ.shape[1], device=place_BQ.device).expand_as(place_BQ)
        order.scatter_(1, place_BQ, position)
        return order[:, None, :-1] > position[:, :, None]
