"""The streaming memory of a batch of sessions: one preallocated cache, of which each row is one session.

Every row has two rings: media tokens, of which the last ``window_turns`` turns are visible, and text tokens, of which
the newest ``text_tokens`` are. Both are a little longer than what is visible, so that writing one forward pass's
tokens never overwrites a key that one of its queries may still see. Cost and memory of a turn are therefore constants.
Keys are stored as they are looked at, rotated by their time since the session's start (angles are taken in float64, so
the numbers of minute 60 are those of minute 1). Text is also kept without that rotation: what is older than the window
is turned once a turn, as if it were exactly that old.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from microturn.model.config import ModelConfig

# Shapes: R rows (sessions), L layers, C cache positions, X of them for text, G key-value heads, E head dimension,
# N new tokens, T turns.

MAX_FORWARD_TOKENS = 64
"""Most tokens one forward pass may add to a row."""
_FIXED_MEDIA_PER_TURN = 6
"""END, OWN and four AUDIO tokens."""


@dataclass
class BackboneState:
    """What the backbone remembers of R sessions. All tensors live on one device; rows are independent."""

    keys: list[Tensor]
    """L tensors (R, C + 1, G, E), rotated; the last position takes the writes of padding tokens."""
    values: list[Tensor]
    text_keys: list[Tensor]
    """L tensors (R, X + 1, G, E) of the X places for text, rotated by slot only."""
    now_R: Tensor
    """Turn as of which old text is rotated; -1 before the first."""
    turn_RC: Tensor
    """Turn of each cached token, int64; a huge negative number where there is none."""
    ordinal_RC: Tensor
    """Text tokens: how many text tokens the row had up to and including this one. Media tokens: -1."""
    word_RC: Tensor
    """The word that each cached token of the user's is; ``NO_WORD`` for other tokens."""
    before_RC: Tensor
    """The user's word before that word; ``NO_WORD`` for other tokens and for the first word."""
    num_text_R: Tensor
    """Text tokens written so far."""
    num_media_R: Tensor
    media_capacity: int
    text_capacity: int

    @property
    def num_rows(self) -> int:
        return int(self.num_text_R.shape[0])

    def reset(self, rows: list[int]) -> None:
        """Forget everything in ``rows``; the other rows are untouched."""
        self.turn_RC[rows] = _EMPTY
        self.ordinal_RC[rows] = -1
        self.word_RC[rows] = NO_WORD
        self.before_RC[rows] = NO_WORD
        self.num_text_R[rows] = 0
        self.num_media_R[rows] = 0
        self.now_R[rows] = -1

    def reserve(
        self,
        turn_RN: Tensor,
        word_RN: Tensor,
        before_RN: Tensor,
        is_text_RN: Tensor,
        valid_RN: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Take places for N new tokens a row; returns (place_RN, ordinal_RN).

        Places of invalid (padding) tokens are the trash position C. The layers then write their keys and values with
        ``write``.
        """
        text_RN = is_text_RN & valid_RN
        media_RN = ~is_text_RN & valid_RN
        ordinal_RN = self.num_text_R[:, None] + text_RN.cumsum(1)
        media_index_RN = self.num_media_R[:, None] + media_RN.cumsum(1) - 1
        trash = self.media_capacity + self.text_capacity
        place_RN = torch.full_like(turn_RN, trash)
        place_RN = torch.where(media_RN, media_index_RN % self.media_capacity, place_RN)
        place_RN = torch.where(text_RN, self.media_capacity + (ordinal_RN - 1) % self.text_capacity, place_RN)
        self.turn_RC.scatter_(1, place_RN, turn_RN)
        self.ordinal_RC.scatter_(1, place_RN, torch.where(text_RN, ordinal_RN, -1))
        self.word_RC.scatter_(1, place_RN, word_RN)
        self.before_RC.scatter_(1, place_RN, before_RN)
        self.turn_RC[:, trash] = _EMPTY
        self.num_text_R += text_RN.sum(1)
        self.num_media_R += media_RN.sum(1)
        return place_RN, ordinal_RN

    @property
    def text_turn_RX(self) -> Tensor:
        """Turns of the places for text."""
        return self.turn_RC[:, self.media_capacity : -1]

    def write(self, layer: int, place_RN: Tensor, key_RNGE: Tensor, turned_RNGE: Tensor, value_RNGE: Tensor) -> None:
        """Write the new tokens' keys, without and with their rotation in time, and values at their places."""
        rows = torch.arange(place_RN.shape[0], device=place_RN.device)[:, None]
        self.keys[layer][rows, place_RN] = turned_RNGE
        self.values[layer][rows, place_RN] = value_RNGE
        # Media go where padding goes.
        text_place_RN = torch.where(place_RN < self.media_capacity, self.text_capacity, place_RN - self.media_capacity)
        self.text_keys[layer][rows, text_place_RN] = key_RNGE

    def turn_text(self, layer: int, turned_RXGE: Tensor) -> None:
        """Replace the rotated keys of all text."""
        self.keys[layer][:, self.media_capacity : -1] = turned_RXGE

    def num_bytes(self) -> int:
        tensors = [*self.keys, *self.values, *self.text_keys, self.turn_RC, self.ordinal_RC]
        tensors += [self.word_RC, self.before_RC, self.num_text_R, self.num_media_R, self.now_R]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


_EMPTY = -(1 << 40)
NO_WORD = -1


def initial_backbone_state(
    config: ModelConfig, num_rows: int, device: torch.device, dtype: torch.dtype
) -> BackboneState:
    """An empty memory for ``num_rows`` sessions."""
    memory, backbone = config.memory, config.backbone
    media = memory.window_turns * (_FIXED_MEDIA_PER_TURN + config.num_patches) + MAX_FORWARD_TOKENS
    text = memory.text_tokens + MAX_FORWARD_TOKENS
    head = (backbone.num_kv_heads, backbone.head_dim)
    shape = (num_rows, media + text + 1, *head)
    return BackboneState(
        keys=[torch.zeros(shape, device=device, dtype=dtype) for _ in range(backbone.num_layers)],
        values=[torch.zeros(shape, device=device, dtype=dtype) for _ in range(backbone.num_layers)],
        text_keys=[
            torch.zeros((num_rows, text + 1, *head), device=device, dtype=dtype) for _ in range(backbone.num_layers)
        ],
        now_R=torch.full((num_rows,), -1, device=device),
        turn_RC=torch.full(shape[:2], _EMPTY, device=device),
        ordinal_RC=torch.full(shape[:2], -1, device=device),
        word_RC=torch.full(shape[:2], NO_WORD, device=device),
        before_RC=torch.full(shape[:2], NO_WORD, device=device),
        num_text_R=torch.zeros(num_rows, dtype=torch.int64, device=device),
        num_media_R=torch.zeros(num_rows, dtype=torch.int64, device=device),
        media_capacity=media,
        text_capacity=text,
    )
