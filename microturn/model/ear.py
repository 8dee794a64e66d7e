"""The ear: dMel levels to token embeddings by a bag of embeddings, for the user's sound and the model's own voice.

dMel (Bai et al. 2024) has one level of 16 for each of 5 x 80 values of a 50-ms token; the token is the sum over
them of an embedding for (frame, band, level), mixed with those of the two tokens before it, so that a sound which
starts between two tokens looks alike wherever it starts.

Here that table has rank ``ear_rank`` over the levels: a level is the first Chebyshev polynomials of its place between 0
and 15, and each (frame, band) has a matrix that is learnt. It is a bag of embeddings in which neighbouring levels are
alike, at a quarter of the arithmetic of the free table, and its backward is a plain matrix product (a scatter-add over
the free table is ~20 times slower on a CPU).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.model.config import ModelConfig
from microturn.model.layout import AUDIO_TOKENS
from microturn.model.mel import LEVELS, MEL_BANDS, TURN_FRAMES

# Shapes: N turns, F frames, M mel bands, R rank, A audio tokens, D width.

TOKEN_FRAMES = TURN_FRAMES // AUDIO_TOKENS
"""Mel frames of one audio token: 5 = 50 ms."""
CONTEXT_TOKENS = 2
"""Tokens before it that an audio token's embedding looks at."""
CONTEXT_FRAMES = CONTEXT_TOKENS * TOKEN_FRAMES
"""Frames of the turn before that a turn's embeddings need: 10."""
HEARD_FRAMES = CONTEXT_FRAMES + TURN_FRAMES


class Ear(nn.Module):
    """Levels of turns to embeddings: four tokens for the user's sound, one for the model's own voice."""

    level_LR: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.backbone.width
        axis = torch.linspace(-1.0, 1.0, LEVELS)
        basis = torch.stack([torch.cos(order * torch.acos(axis)) for order in range(1, config.ear_rank + 1)], 1)
        self.register_buffer("level_LR", basis, persistent=False)
        self.bag = nn.Linear(TOKEN_FRAMES * MEL_BANDS * config.ear_rank, width)
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.mix = nn.Linear((CONTEXT_TOKENS + 1) * width, 2 * width)
        self.mixed = nn.Linear(2 * width, width)
        self.own = nn.Linear(AUDIO_TOKENS * width, width)
        nn.init.zeros_(self.mixed.weight)
        nn.init.zeros_(self.mixed.bias)

    def forward(self, levels_NFM: Tensor) -> Tensor:
        """uint8 levels (N, 30, 80) of turns, each after the last 10 frames of the turn before -> (N, 4, D)."""
        parts_NAD = self._bags(levels_NFM)
        normed_NAD = self.norm(parts_NAD)
        near_NAD = torch.cat([normed_NAD[:, i : i + AUDIO_TOKENS] for i in range(CONTEXT_TOKENS + 1)], -1)
        result: Tensor = parts_NAD[:, CONTEXT_TOKENS:] + self.mixed(F.silu(self.mix(near_NAD)))
        return result

    def own_voice(self, levels_NFM: Tensor) -> Tensor:
        """uint8 levels (N, 20, 80) of whole turns -> (N, D)."""
        result: Tensor = self.own(self._bags(levels_NFM).flatten(1))
        return result

    def _bags(self, levels_NFM: Tensor) -> Tensor:
        """Each token's bag of embeddings, (N, F / 5, D)."""
        num_turns, num_frames, _ = levels_NFM.shape
        values = self.level_LR[levels_NFM.long()].view(num_turns, num_frames // TOKEN_FRAMES, self.bag.in_features)
        result: Tensor = self.bag(values)
        return result


def with_context(before_FM: NDArray[np.uint8] | None, turn_FM: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Levels (30, 80) for ``Ear.forward``: a turn's (20, 80) after the end of those of the turn before (``None``: the
    session's start or a gap, which count as silence)."""
    if before_FM is None:
        before_FM = np.zeros_like(turn_FM)
    return np.concatenate([before_FM[-CONTEXT_FRAMES:], turn_FM])
