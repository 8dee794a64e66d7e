"""The ear: dMel levels to token embeddings by two convolutions over time and bands, for the user's sound.

dMel (Bai et al. 2024) has one level of 16 for each of 80 bands every 10 ms. Formants that move are the same pattern
moved, in time and in bands, which a convolution knows from the start and a bag of embeddings has to learn for every
place (docs/log.md). A token is 100 ms.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.media.mel import LEVELS, MEL_BANDS, TURN_FRAMES
from microturn.model.kernels.hear import convolved
from microturn.model.linear import Linear, RMSNorm, array, streams

# Shapes: B rows, F mel frames, M mel bands, T tokens, D width, C channels.

TOKEN_FRAMES = 10
"""Mel frames of one audio token: 100 ms."""
AUDIO_TOKENS = TURN_FRAMES // TOKEN_FRAMES
"""Audio tokens of one turn: 2."""
CONTEXT_FRAMES = 7
"""Frames before a turn that its tokens look at."""


def to_values(levels: Tensor) -> Tensor:
    """uint8 levels to values in [-1, 1]."""
    return levels.float() * (2.0 / (LEVELS - 1)) - 1.0


class Ear(nn.Module):
    """uint8 levels (B, 7 + F, 80), the first seven frames being those before, to tokens (B, F / 10, D)."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, (5, 5), stride=(2, 2), padding=(0, 2))
        self.second = nn.Conv2d(channels, 2 * channels, (3, 3), stride=(1, 2), padding=(0, 1))
        features = (TOKEN_FRAMES // 2) * (MEL_BANDS // 4) * 2 * channels
        self.out = Linear(features, width)
        self.norm = RMSNorm(width)

    def forward(self, levels_BFM: Tensor) -> Tensor:
        x = to_values(levels_BFM).unsqueeze(1)
        for layer in (self.first, self.second):
            x = _convolved(layer, x) if streams(x) else F.gelu(layer(x))
        rows, _, steps, _ = x.shape
        x = x.permute(0, 2, 1, 3).reshape(rows, steps // (TOKEN_FRAMES // 2), -1)
        result: Tensor = self.norm(self.out(x))
        return result


def _convolved(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """GELU of a convolution, on a CPU."""
    assert layer.bias is not None
    (height, width), (down, across) = layer.kernel_size, layer.stride
    weight, margin = layer.weight.flatten(1), int(layer.padding[1])
    y = convolved(array(x), array(weight), array(layer.bias), (height, width), (down, across), margin)
    return torch.from_numpy(y)
