"""The backbone: a decoder-only transformer over everything that comes in and goes out.

Conventions of Qwen3 (RMSNorm, grouped queries, QK-norm, SwiGLU experts) with a partial rotary embedding: some
dimensions of a head rotate with the turn, some with the slot in the turn, and the others not at all, so that a word can
be matched with the same word wherever that was said.

Two paths compute the same numbers (``tests/parity``): ``whole`` for sessions from their start, and ``turn`` for the
tokens of one turn after what is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.model.config import BackboneConfig, MemoryConfig, ModelConfig
from microturn.model.kernels.basics import stacked
from microturn.model.kernels.read import Angles, Batch, ReadingArrays, Ring, read
from microturn.model.linear import Linear, RMSNorm, array, streams
from microturn.model.memory import MEDIA, MemoryState, Places, places_of, remembered, ring_places, visible
from microturn.model.moe import MixtureOfExperts
from microturn.model.rotary import (
    SLOT_LONGEST,
    SLOT_SHORTEST,
    TIME_LONGEST_TURNS,
    TIME_SHORTEST_TURNS,
    Rotation,
    frequencies,
    partners,
    rotate,
)
from microturn.model.turns import NUM_SLOTS, Turns

# Shapes: B, R rows, Q, T new tokens, C remembered tokens, X text tokens, D width, H heads, G key-value heads, E head
# dimension, S dimensions that rotate in time.


@dataclass(frozen=True)
class _Far:
    """Text tokens once more as keys, for the queries that are more than the window away from them: there, both are
    rotated as if their turns were exactly the window apart."""

    index_BX: Tensor
    mask_B1QX: Tensor
    query: Rotation
    """By the window."""


@dataclass(frozen=True)
class WholeView:
    """What all layers share when whole sessions are computed."""

    partner_E: Tensor
    slot: Rotation
    """By the slot alone."""
    both: Rotation
    """By slot and turn."""
    mask_B1QK: Tensor
    far: _Far | None


@dataclass(frozen=True)
class TurnView:
    """What all layers share when one turn is computed."""

    partner_E: Tensor
    slot: Rotation
    past_time: Rotation
    """Of the remembered tokens, by minus their age; only of the dimensions that rotate in time."""
    bias_R1NK: Tensor
    """0 where a query sees a remembered or a new token, else minus infinity; once for each head that shares keys."""


class Attention(nn.Module):
    """Grouped-query attention with QK-norm. Dimensions of a head: time, slot, and those that do not rotate."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        self.time_dim, self.slot_dim = config.time_dim, config.slot_dim
        self.qkv = Linear(config.width, (config.num_heads + 2 * config.num_kv_heads) * config.head_dim, bias=False)
        self.query_norm = RMSNorm(config.head_dim)
        self.key_norm = RMSNorm(config.head_dim)
        self.out = Linear(config.num_heads * config.head_dim, config.width, bias=False)
        nn.init.zeros_(self.out.weight)

    def whole(self, x_BTD: Tensor, view: WholeView) -> Tensor:
        """The tokens of whole sessions, (B, T, D)."""
        query, key, value = self._project(x_BTD)
        if view.far is None:
            query, key = (rotate(x, view.both, view.partner_E) for x in (query, key))
            attended = self._attend(query, key, value, view.mask_B1QK)
        else:
            attended = self._attend_far(query, key, value, view, view.far)
        result: Tensor = self.out(attended)
        return result

    def turn(
        self, x_RQD: Tensor, view: TurnView, keys_RGCE: Tensor, values_RGCE: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One turn's tokens after those that are remembered, (R, Q, D); and their keys and values (R, G, Q, E).

        All of them are of this turn, so they see each other without rotation in time.
        """
        query, key, value = self._project(x_RQD)
        query, key = (rotate(x, view.slot, view.partner_E) for x in (query * self.head_dim**-0.5, key))
        query, key, value = self._fold(query), key.transpose(1, 2), value.transpose(1, 2)
        time, past = self.time_dim, keys_RGCE
        past_time = rotate(past[..., :time], view.past_time, view.partner_E[:time], head_axis=1)
        scores = torch.matmul(query[..., :time], past_time.mT) + torch.matmul(query[..., time:], past[..., time:].mT)
        scores = torch.cat([scores, torch.matmul(query, key.mT)], -1)
        weights = (scores + view.bias_R1NK).softmax(-1)
        count = past.shape[2]
        attended = torch.matmul(weights[..., :count], values_RGCE)
        attended = attended + torch.matmul(weights[..., count:], value)
        return self.out(self._unfold(attended, x_RQD.shape[1])), key, value

    def _project(self, x_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, T, H or G, E), not yet rotated."""
        sizes = [self.num_heads, self.num_kv_heads, self.num_kv_heads]
        query, key, value = self.qkv(x_BTD).unflatten(-1, (-1, self.head_dim)).split(sizes, dim=2)
        return self.query_norm(query).to(value.dtype), self.key_norm(key).to(value.dtype), value

    def _fold(self, x_BQHE: Tensor) -> Tensor:
        """Heads that share keys side by side as further queries, (B, G, H / G * Q, E): no copies of keys."""
        rows, length, _, dim = x_BQHE.shape
        return x_BQHE.reshape(rows, length, self.num_kv_heads, -1, dim).permute(0, 2, 3, 1, 4).flatten(2, 3)

    def _unfold(self, x_BGNE: Tensor, length: int) -> Tensor:
        rows, _, _, dim = x_BGNE.shape
        return x_BGNE.reshape(rows, self.num_kv_heads, -1, length, dim).permute(0, 3, 1, 2, 4).flatten(2)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask_B1QK: Tensor) -> Tensor:
        # As plain products: the fused kernel's way back takes several times as long on a CPU in half precision.
        unseen_B1NK = ~mask_B1QK.repeat(1, 1, self.num_heads // self.num_kv_heads, 1)
        scores_BGNK = (self._fold(query) * self.head_dim**-0.5) @ key.permute(0, 2, 3, 1)
        weights_BGNK = scores_BGNK.masked_fill(unseen_B1NK, -torch.inf).softmax(-1)
        attended = weights_BGNK.to(value.dtype) @ value.transpose(1, 2)
        return self._unfold(attended, query.shape[1])

    def _attend_far(self, query: Tensor, key: Tensor, value: Tensor, view: WholeView, far: _Far) -> Tensor:
        """One softmax over near keys and far copies of the text keys.

        Queries carry both rotations side by side; a near key has zeros where the far rotation is, and vice versa.
        """
        time = self.time_dim
        index = far.index_BX[:, :, None, None].expand(-1, -1, self.num_kv_heads, self.head_dim)
        far_key, far_value = rotate(key, view.slot, view.partner_E).gather(1, index), value.gather(1, index)
        far_query = rotate(query, far.query, view.partner_E)[..., :time]
        queries = torch.cat([far_query, rotate(query, view.both, view.partner_E)], -1)
        no_time = torch.zeros_like(far_key[..., :time])
        far_key = torch.cat([far_key[..., :time], no_time, far_key[..., time:]], -1)
        keys = torch.cat([F.pad(rotate(key, view.both, view.partner_E), (time, 0)), far_key], 1)
        values = F.pad(torch.cat([value, far_value], 1), (0, time))
        mask = torch.cat([view.mask_B1QK, far.mask_B1QX], 3)
        attended = self._attend(queries, keys, values, mask).view(*query.shape[:3], -1)
        return attended[..., : self.head_dim].flatten(2)


class Block(nn.Module):
    """Pre-norm attention and mixture-of-experts with residuals."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width)
        self.attention = Attention(config)
        self.experts_norm = RMSNorm(config.width)
        self.experts = MixtureOfExperts(config)

    def feed(self, x_BTD: Tensor) -> Tensor:
        mixed: Tensor = self.experts(self.experts_norm(x_BTD).flatten(0, 1)).view_as(x_BTD)
        return x_BTD + mixed

    def arrays(self) -> ReadingArrays:
        attention, experts = self.attention, self.experts
        return ReadingArrays(
            attention_norm=self.attention_norm.array(),
            qkv=array(attention.qkv.weight),
            # Queries are divided by the root of their width: what its norm multiplies them by.
            query_norm=array(attention.query_norm.weight),
            key_norm=attention.key_norm.array(),
            out=array(attention.out.weight),
            experts_norm=self.experts_norm.array(),
            router=array(experts.router.weight),
            balance=array(experts.balance_bias_X),
            shared_gate_up=array(experts.shared.gate_up.weight),
            shared_out=array(experts.shared.out.weight),
            gate_up=array(experts.gate_up.mT),
            down=array(experts.out.mT),
        )


class Backbone(nn.Module):
    """The blocks, and the rule of what they see."""

    time_frequency_F: Tensor
    slot_frequency_F: Tensor
    partner_E: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        b = config.backbone
        self.memory = config.memory
        self.shared_heads = b.num_heads // b.num_kv_heads
        self.blocks = nn.ModuleList(Block(b) for _ in range(b.num_layers))
        self.norm = RMSNorm(b.width)
        time = frequencies(b.time_dim, TIME_SHORTEST_TURNS, TIME_LONGEST_TURNS)
        self.register_buffer("time_frequency_F", time, persistent=False)
        slot = frequencies(b.slot_dim, SLOT_SHORTEST, SLOT_LONGEST)
        self.register_buffer("slot_frequency_F", slot, persistent=False)
        self.rest_dims = b.head_dim - b.time_dim - b.slot_dim
        self.register_buffer("partner_E", partners(b.time_dim, b.slot_dim, rest=self.rest_dims), persistent=False)
        self.top_k = b.top_k
        self._arrays: tuple[ReadingArrays, Angles] | None = None

    def train(self, mode: bool = True) -> Self:
        self._arrays = None
        return super().train(mode)

    def whole(
        self, x_BTD: Tensor, turns: Turns, memory: MemoryConfig | None = None, layers: int | None = None
    ) -> Tensor:
        """Whole sessions from their start: their tokens after all layers, normed, or after the first ``layers``.

        ``memory`` takes the place of the configuration's (training draws it at random).
        """
        view = self._whole_view(turns, memory or self.memory)
        for block in list(self.blocks)[:layers]:
            assert isinstance(block, Block)
            x_BTD = x_BTD + block.attention.whole(block.attention_norm(x_BTD), view)
            x_BTD = block.feed(x_BTD)
        return x_BTD if layers is not None else self.norm(x_BTD)

    def turn(self, x_RQD: Tensor, turns: Turns, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """Tokens of one turn, the same for all tokens of a row: normed states (R, Q, D), and the memory with them."""
        new, count_RQ3 = places_of(turns, state.count_R3)
        if streams(x_RQD):
            return self._streamed(x_RQD, turns, new, count_RQ3, state)
        view = self._turn_view(turns, new, count_RQ3, state)
        valid, place_RQ = turns.valid_BT, ring_places(state, new)
        row_N, place_N = valid.nonzero()[:, 0], place_RQ[valid]
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            ring_keys, ring_values = state.keys_RLGCE[:, index], state.values_RLGCE[:, index]
            attended, key, value = block.attention.turn(block.attention_norm(x_RQD), view, ring_keys, ring_values)
            x_RQD = block.feed(x_RQD + attended)
            ring_keys[row_N, :, place_N] = key.transpose(1, 2)[valid].to(ring_keys.dtype)
            ring_values[row_N, :, place_N] = value.transpose(1, 2)[valid].to(ring_values.dtype)
        return self.norm(x_RQD), remembered(state, new, count_RQ3[:, -1], valid, place_RQ)

    def _streamed(
        self, x_RQD: Tensor, turns: Turns, new: Places, count_RQ3: Tensor, state: MemoryState
    ) -> tuple[Tensor, MemoryState]:
        """The same on a CPU."""
        if self._arrays is None:
            layers = stacked([block.arrays() for block in self.blocks if isinstance(block, Block)])
            age = self._time(torch.arange(self.memory.window_turns + 1))
            slot = torch.arange(NUM_SLOTS).unsqueeze(1) * self.slot_frequency_F
            angles = Angles(*(array(x.float()) for x in (age.cos(), age.sin(), slot.cos(), slot.sin())))
            self._arrays = layers, angles
        layers, angles = self._arrays
        valid, place_RQ = turns.valid_BT, ring_places(state, new)
        batch = Batch(
            row_N=valid.nonzero()[:, 0].contiguous().numpy(),
            region_N=new.region_BT[valid].numpy(),
            turn_N=new.turn_BT[valid].numpy(),
            ordinal_N=new.ordinal_BT[valid].numpy(),
            slot_N=turns.slot_BT[valid].numpy(),
            place_N=place_RQ[valid].numpy(),
            count_N3=count_RQ3[valid].numpy(),
            first_R=F.pad(valid.sum(1).cumsum(0), (1, 0)).numpy(),
        )
        ring = Ring(
            keys_RLGCE=state.keys_RLGCE.numpy(),
            values_RLGCE=state.values_RLGCE.numpy(),
            region_C=state.region_RC[0].numpy(),
            turn_RC=state.turn_RC.numpy(),
            ordinal_RC=state.ordinal_RC.numpy(),
            limit_3=np.array([self.memory.window_turns, self.memory.text_tokens, self.memory.pinned_tokens]),
        )
        hidden_ND = read(x_RQD[valid].numpy(), batch, layers, self.norm.array(), ring, angles, self.top_k)
        hidden_RQD = torch.zeros_like(x_RQD)
        hidden_RQD[valid] = torch.from_numpy(hidden_ND)
        return hidden_RQD, remembered(state, new, count_RQ3[:, -1], valid, place_RQ)

    def _rotation(self, turns: Turns, turn_BT: Tensor | None) -> Rotation:
        """By the slots and by ``turn_BT``; by the slots alone without it."""
        slot = turns.slot_BT.float().unsqueeze(-1) * self.slot_frequency_F
        time = self._time(torch.zeros_like(turns.slot_BT) if turn_BT is None else turn_BT)
        return Rotation.by(time, slot, rest=self.rest_dims)

    def _time(self, turn: Tensor) -> Tensor:
        return turn.double().unsqueeze(-1) * self.time_frequency_F.double()

    def _whole_view(self, turns: Turns, memory: MemoryConfig) -> WholeView:
        rows, length = turns.kind_BT.shape
        places, count_BT3 = places_of(turns, torch.zeros(rows, 3, dtype=torch.int64, device=turns.kind_BT.device))
        mask = visible(places, count_BT3, places, memory).tril()
        # Padding must see something.
        mask = mask | torch.eye(length, dtype=torch.bool, device=mask.device)
        turn = turns.turn_BT
        far = None
        if turns.sound_BU.shape[1] > memory.window_turns:
            is_old = (turn[:, :, None] - turn[:, None, :]) > memory.window_turns
            is_text = (places.region_BT != MEDIA) & turns.valid_BT
            num_text = max(1, int(is_text.sum(1).max()))
            index_BX = is_text.float().topk(num_text, dim=1).indices.sort(1).values
            seen = mask & is_old & is_text[:, None]
            seen_BQX = seen.gather(2, index_BX[:, None].expand(-1, length, -1))
            window = torch.full_like(turn, memory.window_turns)
            far = _Far(index_BX, seen_BQX.unsqueeze(1), self._rotation(turns, window))
            mask = mask & ~is_old
        slot, both = self._rotation(turns, None), self._rotation(turns, turn)
        return WholeView(self.partner_E, slot, both, mask.unsqueeze(1), far)

    def _turn_view(self, turns: Turns, new: Places, count_RQ3: Tensor, state: MemoryState) -> TurnView:
        past = Places(state.region_RC, state.turn_RC, state.ordinal_RC)
        now_R1 = turns.turn_BT[:, :1]
        age_RC = (now_R1 - state.turn_RC).clamp(0, self.memory.window_turns)
        mask = torch.cat(
            [
                visible(new, count_RQ3, past, self.memory),
                visible(new, count_RQ3, new, self.memory).tril(),
            ],
            2,
        )
        # Padding must see something.
        length = mask.shape[1]
        itself = torch.eye(length, dtype=torch.bool, device=mask.device)
        mask = torch.cat([mask[..., :-length], mask[..., -length:] | itself], 2)
        bias = torch.where(mask, 0.0, float("-inf")).unsqueeze(1)
        slot, past_time = self._rotation(turns, None), Rotation.by(self._time(-age_RC))
        return TurnView(self.partner_E, slot, past_time, bias.repeat(1, 1, self.shared_heads, 1))
