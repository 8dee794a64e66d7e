"""What the backbone remembers of a batch of sessions, and what a token may see: the rule of memory, for both paths.

A token belongs to one of three regions. *Media* (NOW, pictures) are seen for ``window_turns`` turns, the newest
``text_tokens`` of *text* (all lanes) stay, and of *pinned* text (instructions) the newest ``pinned_tokens``, whatever
else is said. What is older than the window looks as if it were exactly that old, so an hour is no different from what
training has met.

In streaming each region is a ring. A ring is longer than what is seen of it by what one turn can add, so a turn's
tokens never take the place of one that the state before it can see: a turn that fails half way has changed nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from microturn.model.config import MemoryConfig, ModelConfig
from microturn.model.rows import Rows
from microturn.model.turns import MAX_TEXT_IN_TOKENS, Kind, Source, Turns
from microturn.turn import MAX_HEAR_TOKENS, MAX_SAY_TOKENS

# Shapes: B, R rows, T, N new tokens, C remembered tokens, L layers, G key-value heads, E head dimension, Q queries,
# K keys.

NUM_REGIONS = 3
MEDIA, TEXT, PINNED = range(NUM_REGIONS)
ROOM_TOKENS = 2 * (MAX_TEXT_IN_TOKENS + MAX_HEAR_TOKENS + MAX_SAY_TOKENS + 1)
"""How much longer a ring is than what is seen of it."""


@dataclass(frozen=True)
class Places:
    """Where tokens stand in memory, all (B, T)."""

    region_BT: Tensor
    turn_BT: Tensor
    ordinal_BT: Tensor
    """Number of the token in its region, from 1 on; 0: there is none."""


@dataclass(frozen=True)
class MemoryState(Rows):
    """The rings of R sessions, one after the other: media, text, pinned."""

    keys_RLGCE: Tensor
    """Not yet rotated in time."""
    values_RLGCE: Tensor
    region_RC: Tensor
    turn_RC: Tensor
    ordinal_RC: Tensor
    """0 where there is nothing yet."""
    count_R3: Tensor
    """Tokens met so far, by region."""


def region_sizes(config: ModelConfig) -> tuple[int, int, int]:
    """Places of the three rings."""
    memory = config.memory
    media = memory.window_turns * (1 + config.num_patches)
    return media + ROOM_TOKENS, memory.text_tokens + ROOM_TOKENS, memory.pinned_tokens + ROOM_TOKENS


def initial_memory(config: ModelConfig, rows: int, device: torch.device | None = None) -> MemoryState:
    """Of ``rows`` sessions that nothing has happened in."""
    sizes = region_sizes(config)
    total = sum(sizes)
    backbone = config.backbone
    shape = (rows, backbone.num_layers, backbone.num_kv_heads, total, backbone.head_dim)
    region_C = torch.repeat_interleave(torch.arange(NUM_REGIONS), torch.tensor(sizes))
    return MemoryState(
        keys_RLGCE=torch.zeros(shape, device=device),
        values_RLGCE=torch.zeros(shape, device=device),
        region_RC=region_C.to(device).expand(rows, -1).contiguous(),
        turn_RC=torch.zeros(rows, total, dtype=torch.int64, device=device),
        ordinal_RC=torch.zeros(rows, total, dtype=torch.int64, device=device),
        count_R3=torch.zeros(rows, NUM_REGIONS, dtype=torch.int64, device=device),
    )


def places_of(turns: Turns, count_B3: Tensor) -> tuple[Places, Tensor]:
    """Places of new tokens after ``count_B3`` others, and how many of each region there are at each token, itself
    included, (B, T, 3)."""
    kind, valid = turns.kind_BT, turns.valid_BT
    is_media = (kind == Kind.NOW) | (kind == Kind.PATCH)
    is_pinned = (kind == Kind.TEXT_IN) & (turns.source_BT == Source.INSTRUCTIONS)
    region = torch.where(is_media, MEDIA, torch.where(is_pinned, PINNED, TEXT))
    member = (region.unsqueeze(-1) == torch.arange(NUM_REGIONS, device=kind.device)) & valid.unsqueeze(-1)
    count_BT3 = count_B3[:, None] + member.cumsum(1)
    ordinal = count_BT3.gather(2, region.unsqueeze(-1)).squeeze(-1) * valid
    return Places(region, turns.turn_BT, ordinal), count_BT3


def visible(query: Places, count_BQ3: Tensor, key: Places, memory: MemoryConfig) -> Tensor:
    """The rule of memory, without order in the sequence; (B, Q, K)."""
    age_BQK = query.turn_BT[:, :, None] - key.turn_BT[:, None, :]
    limits = torch.tensor([0, memory.text_tokens, memory.pinned_tokens], device=count_BQ3.device)
    region_BK = key.region_BT
    newer_BQK = count_BQ3.gather(2, region_BK[:, None].expand(-1, count_BQ3.shape[1], -1)) - key.ordinal_BT[:, None]
    kept_BQK = torch.where(
        (region_BK == MEDIA)[:, None], age_BQK < memory.window_turns, newer_BQK < limits[region_BK][:, None]
    )
    return kept_BQK & (key.ordinal_BT > 0)[:, None]


def ring_places(state: MemoryState, new: Places) -> Tensor:
    """Where in the rings new tokens go, (R, N)."""
    sizes = torch.bincount(state.region_RC[0], minlength=NUM_REGIONS)
    first = sizes.cumsum(0) - sizes
    return first[new.region_BT] + (new.ordinal_BT - 1) % sizes[new.region_BT]


def remembered(state: MemoryState, new: Places, count_R3: Tensor, valid_RN: Tensor, place_RN: Tensor) -> MemoryState:
    """The memory with N new tokens a row, whose keys and values are in the rings already: these are shared with
    ``state``, which stays as it was for all that it can see."""
    row_T, place_T = valid_RN.nonzero()[:, 0], place_RN[valid_RN]
    turn_RC, ordinal_RC = state.turn_RC.clone(), state.ordinal_RC.clone()
    turn_RC[row_T, place_T] = new.turn_BT[valid_RN]
    ordinal_RC[row_T, place_T] = new.ordinal_BT[valid_RN]
    return replace(state, turn_RC=turn_RC, ordinal_RC=ordinal_RC, count_R3=count_R3)
