"""The ear: dMel levels to token embeddings by a bag of embeddings, for the user's sound and the model's own voice.

dMel (Bai et al. 2024) has one level of 16 for each of 5 x 80 values of a 50-ms token; the token is the sum over
them of an embedding for (frame, band, level). Here that table has rank ``ear_rank`` over the levels: a level is the
first Chebyshev polynomials of its place between 0 and 15, and each (frame, band) has a matrix that is learnt. It is a
bag of embeddings in which neighbouring levels are alike, at a quarter of the arithmetic of the free table, and its
backward is a plain matrix product (a scatter-add over the free table is ~20 times slower on a CPU).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from microturn.model.config import ModelConfig
from microturn.model.layout import AUDIO_TOKENS
from microturn.model.mel import LEVELS, MEL_BANDS, TURN_FRAMES

# Shapes: N tokens, F frames of a token, M mel bands, R rank, D width.

TOKEN_FRAMES = TURN_FRAMES // AUDIO_TOKENS
"""Mel frames of one audio token: 5 = 50 ms."""


class Ear(nn.Module):
    """Levels of 50-ms tokens to embeddings; four consecutive ones to one own-voice embedding."""

    level_LR: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.backbone.width
        axis = torch.linspace(-1.0, 1.0, LEVELS)
        basis = torch.stack([torch.cos(order * torch.acos(axis)) for order in range(1, config.ear_rank + 1)], 1)
        self.register_buffer("level_LR", basis, persistent=False)
        self.bag = nn.Linear(TOKEN_FRAMES * MEL_BANDS * config.ear_rank, width)
        self.own = nn.Linear(AUDIO_TOKENS * width, width)

    def forward(self, levels_NFM: Tensor) -> Tensor:
        """uint8 levels (N, 5, 80) -> (N, D)."""
        result: Tensor = self.bag(self.level_LR[levels_NFM.long()].flatten(1))
        return result

    def own_voice(self, levels_NFM: Tensor) -> Tensor:
        """uint8 levels (N, 20, 80) of whole turns -> (N, D)."""
        parts = self(levels_NFM.reshape(-1, TOKEN_FRAMES, MEL_BANDS))
        result: Tensor = self.own(parts.reshape(levels_NFM.shape[0], self.own.in_features))
        return result
