"""The hearing stack: sound to the words of the hear lane, and to one state a turn for the backbone.

It hears nothing but sound, so it can be taught for days without a change to what the rest knows, and a rehearsal (the
words given) is for the rest what listening is. A layer is windowed attention with rotary positions (3 s), a short
causal convolution over tokens and a feed-forward part (the order of Gulati et al. 2020, "Conformer", made causal). One
path computes whole sessions and single turns alike: tokens after those that are remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.media.mel import MEL_BANDS, TURN_FRAMES
from microturn.model.config import HearingConfig
from microturn.model.ear import AUDIO_TOKENS, CONTEXT_FRAMES, Ear
from microturn.model.kernels.basics import stacked
from microturn.model.kernels.hear import HearingArrays, hear
from microturn.model.linear import Linear, RMSNorm, SwiGLU, array, streams
from microturn.model.rotary import Rotation, frequencies, partners, rotate
from microturn.model.rows import Rows

# Shapes: B rows, U turns, T tokens, F mel frames, M bands, D width, L layers, W window, H heads, E head dimension,
# K kernel, V text tokens. Attention works on N blocks of C = window queries and the 2 C keys that they may see.

VOICE_LAG_MS = 75
"""A voice is told so long after it sounded."""
SHORTEST_TOKENS, LONGEST_TOKENS = 2.0, 240.0
"""Wavelengths of the rotary positions."""
NO_WORD = -1
"""What an audio token writes that writes nothing."""
DROPOUT = 0.1
"""Share of what a layer adds that is left out in training."""


@dataclass(frozen=True)
class HearingState(Rows):
    """What the stack remembers: the last frames, and of every layer keys, values and what its convolution sees."""

    levels_RFM: Tensor
    """uint8 (R, 7, 80)."""
    keys_RLWHE: Tensor
    """Without rotation; the newest last."""
    values_RLWHE: Tensor
    mixed_RLKD: Tensor
    count_R: Tensor
    """Tokens heard so far, up to the window."""


def initial_hearing_state(config: HearingConfig, rows: int, device: torch.device | None = None) -> HearingState:
    """Of ``rows`` sessions that have heard nothing."""
    shape = (rows, config.num_layers, config.window_tokens - 1, config.num_heads, config.head_dim)
    return HearingState(
        levels_RFM=torch.zeros(rows, CONTEXT_FRAMES, MEL_BANDS, dtype=torch.uint8, device=device),
        keys_RLWHE=torch.zeros(shape, device=device),
        values_RLWHE=torch.zeros(shape, device=device),
        mixed_RLKD=torch.zeros(rows, config.num_layers, config.kernel - 1, config.width, device=device),
        count_R=torch.zeros(rows, dtype=torch.int64, device=device),
    )


@dataclass(frozen=True)
class _View:
    """What all layers of one pass share."""

    partner_E: Tensor
    rotation: Rotation
    """Of the remembered tokens and the new ones after them."""
    hidden_BN1CK: Tensor
    """Minus infinity where a token of a block does not see one of its own block or of the one before, else 0."""


class HearingLayer(nn.Module):
    """Attention, convolution, feed-forward; residual, with norms before each."""

    def __init__(self, config: HearingConfig) -> None:
        super().__init__()
        width, inside = config.width, config.num_heads * config.head_dim
        self.num_heads, self.head_dim, self.window = config.num_heads, config.head_dim, config.window_tokens
        self.attention_norm = RMSNorm(width)
        self.qkv = Linear(width, 3 * inside, bias=False)
        self.query_norm = RMSNorm(config.head_dim)
        self.key_norm = RMSNorm(config.head_dim)
        self.attended = Linear(inside, width, bias=False)
        self.mix_norm = RMSNorm(width)
        self.mix = nn.Parameter(torch.randn(config.kernel, width) * config.kernel**-0.5)
        self.mixed = Linear(width, width, bias=False)
        self.feed_norm = RMSNorm(width)
        self.feed = SwiGLU(width, config.inner)
        self.drop = nn.Dropout(DROPOUT)
        nn.init.zeros_(self.attended.weight)
        nn.init.zeros_(self.mixed.weight)

    def forward(
        self, x_BTD: Tensor, view: _View, keys_BWHE: Tensor, values_BWHE: Tensor, mixed_BKD: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The tokens after this layer, and its keys, values and convolution's inputs to be remembered."""
        query, key, value = self.qkv(self.attention_norm(x_BTD)).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        query, key = self.query_norm(query).to(value.dtype), self.key_norm(key).to(value.dtype)
        keys = torch.cat([keys_BWHE.to(key.dtype), key], 1)
        values = torch.cat([values_BWHE.to(value.dtype), value], 1)
        queries = rotate(query, view.rotation.last(query.shape[1]), view.partner_E)
        attended_BTHE = self._attend(queries, rotate(keys, view.rotation, view.partner_E), values, view.hidden_BN1CK)
        x_BTD = x_BTD + self.drop(self.attended(attended_BTHE.flatten(2)))
        inputs = torch.cat([mixed_BKD.to(x_BTD.dtype), self.mix_norm(x_BTD)], 1)
        length, past = x_BTD.shape[1], mixed_BKD.shape[1]
        mixed = inputs[:, :length] * self.mix[0]
        for place in range(1, past + 1):
            mixed = mixed + inputs[:, place : place + length] * self.mix[place]
        x_BTD = x_BTD + self.drop(self.mixed(F.silu(mixed)))
        x_BTD = x_BTD + self.drop(self.feed(self.feed_norm(x_BTD)))
        return x_BTD, keys[:, length:], values[:, length:], inputs[:, length:]

    def _attend(self, query_BTHE: Tensor, keys_BWHE: Tensor, values_BWHE: Tensor, hidden_BN1CK: Tensor) -> Tensor:
        """Attention within the window, block by block (Beltagy et al. 2020, "Longformer"): all pairs of a session's
        tokens would be eight times as many. As plain products: the fused kernel's way back takes ten times as long
        in half precision."""
        length, blocks, window = query_BTHE.shape[1], hidden_BN1CK.shape[1], self.window
        rest = blocks * window - length
        query = _in_blocks(F.pad(query_BTHE, (0, 0, 0, 0, 0, rest)), window)
        scores_BNHCK = query @ _in_pairs(keys_BWHE, rest, window).transpose(3, 4)
        weights_BNHCK = (scores_BNHCK * self.head_dim**-0.5 + hidden_BN1CK.to(scores_BNHCK.dtype)).softmax(-1)
        attended_BNHCE: Tensor = weights_BNHCK.to(values_BWHE.dtype) @ _in_pairs(values_BWHE, rest, window)
        return attended_BNHCE.transpose(2, 3).flatten(1, 2)[:, :length]

    def arrays(self) -> HearingArrays:
        return HearingArrays(
            attention_norm=self.attention_norm.array(),
            qkv=array(self.qkv.weight),
            query_norm=self.query_norm.array(),
            key_norm=self.key_norm.array(),
            attended=array(self.attended.weight),
            mix_norm=self.mix_norm.array(),
            mix=array(self.mix),
            mixed=array(self.mixed.weight),
            feed_norm=self.feed_norm.array(),
            gate_up=array(self.feed.gate_up.weight),
            out=array(self.feed.out.weight),
        )


def _in_blocks(x_BTHE: Tensor, window: int) -> Tensor:
    """Tokens in blocks (B, N, H, C, E)."""
    rows, _, heads, dim = x_BTHE.shape
    return x_BTHE.view(rows, -1, window, heads, dim).transpose(2, 3)


def _in_pairs(x_BWHE: Tensor, rest: int, window: int) -> Tensor:
    """Remembered and new tokens, ``rest`` short of whole blocks, as every block with the one before it
    (B, N, H, 2 C, E)."""
    blocks = _in_blocks(F.pad(x_BWHE, (0, 0, 0, 0, 1, rest)), window)
    return torch.cat([blocks[:, :-1], blocks[:, 1:]], 3)


class Hearing(nn.Module):
    """Ear, layers and the hear lane's head."""

    frequency_F: Tensor
    partner_E: Tensor

    def __init__(self, config: HearingConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.ear = Ear(config.width, config.channels)
        self.gap = nn.Parameter(torch.randn(config.width) * 0.1)
        self.layers = nn.ModuleList(HearingLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width)
        self.words = Linear(config.width, vocab_size + 1)
        """Scores of all text tokens, and last of none."""
        self.voice = Linear(config.width, 1)
        """The logit that somebody speaks, ``VOICE_LAG_MS`` before the token's end."""
        frequency = frequencies(config.head_dim, SHORTEST_TOKENS, LONGEST_TOKENS)
        self.register_buffer("frequency_F", frequency, persistent=False)
        self.register_buffer("partner_E", partners(config.head_dim), persistent=False)
        self._arrays: HearingArrays | None = None

    def train(self, mode: bool = True) -> Self:
        self._arrays = None
        return super().train(mode)

    def forward(
        self, levels_BFM: Tensor, arrived_BU: Tensor, state: HearingState, probe: int | None = None
    ) -> tuple[Tensor, Tensor | None, HearingState]:
        """Hear ``U`` turns more: uint8 levels (B, 20 U, 80), of which those of turns that did not arrive are silence.

        Returns the tokens' states (B, 2 U, D), normed; those after the first ``probe`` layers (for training tasks);
        and what is remembered now.
        """
        levels = torch.cat([state.levels_RFM, levels_BFM], 1)
        x = self.ear(levels)
        arrived_BT = arrived_BU.repeat_interleave(AUDIO_TOKENS, 1)
        x = torch.where(arrived_BT.unsqueeze(-1), x, self.gap.to(x.dtype))
        if streams(x) and x.shape[1] == AUDIO_TOKENS:
            return self._streamed(x, levels, state)
        view = self._view(x.shape[1], state)
        probed = None
        keys: list[Tensor] = []
        values: list[Tensor] = []
        mixed: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            x, *remembered = layer(
                x, view, state.keys_RLWHE[:, index], state.values_RLWHE[:, index], state.mixed_RLKD[:, index]
            )
            if probe == index + 1:
                probed = x
            for kept, new in zip((keys, values, mixed), remembered, strict=True):
                kept.append(new)
        advanced = HearingState(
            levels_RFM=levels[:, -CONTEXT_FRAMES:],
            keys_RLWHE=torch.stack(keys, 1),
            values_RLWHE=torch.stack(values, 1),
            mixed_RLKD=torch.stack(mixed, 1),
            count_R=(state.count_R + x.shape[1]).clamp(max=self.config.window_tokens),
        )
        return self.norm(x), probed, advanced

    def _streamed(self, x_BTD: Tensor, levels: Tensor, state: HearingState) -> tuple[Tensor, None, HearingState]:
        """The layers over one turn, on a CPU."""
        if self._arrays is None:
            layers = [layer.arrays() for layer in self.layers if isinstance(layer, HearingLayer)]
            self._arrays = stacked(layers)
        angle_WF = torch.arange(self.config.window_tokens + 1).unsqueeze(1) * self.frequency_F
        hidden, keys, values, mixed = hear(
            array(x_BTD).reshape(-1, self.config.width),
            self._arrays,
            self.norm.array(),
            array(state.keys_RLWHE),
            array(state.values_RLWHE),
            array(state.mixed_RLKD),
            state.count_R.numpy(),
            array(angle_WF.cos()),
            array(angle_WF.sin()),
        )
        advanced = HearingState(
            levels_RFM=levels[:, -CONTEXT_FRAMES:],
            keys_RLWHE=torch.from_numpy(keys),
            values_RLWHE=torch.from_numpy(values),
            mixed_RLKD=torch.from_numpy(mixed),
            count_R=(state.count_R + AUDIO_TOKENS).clamp(max=self.config.window_tokens),
        )
        return torch.from_numpy(hidden).view_as(x_BTD), None, advanced

    def written(self, hidden_BTD: Tensor) -> Tensor:
        """The text token that every audio token writes (B, T): one if some word is likelier than none, or ``NO_WORD``.

        The likeliest of all would be none whenever it is sure that there was a word but not which.
        """
        probability_BTV = self.words(hidden_BTD).float().softmax(-1)
        return torch.where(probability_BTV[..., -1] < 0.5, probability_BTV[..., :-1].argmax(-1), NO_WORD)

    def _view(self, length: int, state: HearingState) -> _View:
        past, window, device = state.keys_RLWHE.shape[2], self.config.window_tokens, state.count_R.device
        angle_KF = torch.arange(past + length, device=device).float()[:, None] * self.frequency_F
        # One token is put before those that are remembered, to make a block of them.
        place_K = torch.arange(2 * window, device=device)
        first_N = torch.arange(-(-length // window), device=device) * window
        query_C = place_K[window:]
        seen_CK = (place_K <= query_C[:, None]) & (place_K > query_C[:, None] - window)
        known_BNK = first_N[:, None] + place_K > past - state.count_R[:, None, None]
        hidden_BNCK = torch.zeros((), device=device).masked_fill(~(seen_CK & known_BNK.unsqueeze(2)), -torch.inf)
        return _View(self.partner_E, Rotation.by(angle_KF.unsqueeze(0)), hidden_BNCK.unsqueeze(2))


def turn_levels(levels_BUFM: Tensor) -> Tensor:
    """Levels by turn (B, U, 20, 80) in a row (B, 20 U, 80)."""
    assert levels_BUFM.shape[2] == TURN_FRAMES
    return levels_BUFM.flatten(1, 2)
