"""The eye: a picture to 40x40 patches to embeddings by an hMLP stem.

Touvron et al. 2022, "Three things everyone should know about Vision Transformers", section 5: a patch goes through a
few linear layers on growing non-overlapping windows (here 4, then 8, then 40 pixels), so patches stay independent.

A patch comes with the same place of the picture before it: what moves, and where to, is seen in one token. And it comes
with how alike its picture is to those of the last seconds (``likeness.likeness``): what repeats is seen in one, too.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from microturn.model.config import ModelConfig
from microturn.model.linear import Linear, gelu
from microturn.model.turns import LIKENESS_SIZE, PATCH_PIXELS
from microturn.turn import Frame

# Shapes: N patches, P pixels of a side (40), C channels, L values of a likeness, D width.

COLOURS = 3


def frame_to_patches(frame: Frame, patch_rows: int) -> NDArray[np.uint8]:
    """Resize (height, width, 3) to a square and cut it: (patch_rows**2, 40, 40, 3), row by row.

    The picture is fitted into the square with its proportions kept; what is left over stays black.
    """
    side = PATCH_PIXELS * patch_rows
    if frame.shape[:2] != (side, side):
        height, width = frame.shape[:2]
        scale = side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
        top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
        square = np.zeros((side, side, 3), np.uint8)
        square[top : top + small.shape[0], left : left + small.shape[1]] = small
        frame = square
    grid = frame.reshape(patch_rows, PATCH_PIXELS, patch_rows, PATCH_PIXELS, 3)
    return np.ascontiguousarray(grid.transpose(0, 2, 1, 3, 4).reshape(-1, PATCH_PIXELS, PATCH_PIXELS, 3))


class Eye(nn.Module):
    """uint8 patches (N, 40, 40, 6) and their likeness (``likeness.Seen``), and their place in the grid -> (N, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, inner = config.backbone.width, config.backbone.width // 4
        self.fine = Linear(4 * 4 * 2 * COLOURS, inner)
        self.fine_norm = nn.LayerNorm(inner)
        self.middle = Linear(2 * 2 * inner, inner)
        self.middle_norm = nn.LayerNorm(inner)
        self.coarse = Linear(5 * 5 * inner, width)
        self.coarse_norm = nn.LayerNorm(width)
        self.place = nn.Embedding(config.num_patches, width)
        self.likeness = Linear(LIKENESS_SIZE, width)
        self.likeness_out = Linear(width, width, bias=False)
        nn.init.zeros_(self.likeness_out.weight)

    def forward(self, patches_NPPC: Tensor, likeness_NL: Tensor, place_N: Tensor) -> Tensor:
        picture, before = patches_NPPC.to(self.fine.weight.dtype).chunk(2, dim=-1)
        x = torch.cat([picture / 127.5 - 1.0, (picture - before) / 127.5], dim=-1)
        x = gelu(self.fine_norm(self.fine(_windows(x, 4))))
        x = gelu(self.middle_norm(self.middle(_windows(x, 2))))
        # Without the norm the output once grew to a hundred times the size of what differed between pictures.
        seen = self.coarse_norm(self.coarse(_windows(x, 5))).flatten(1) + self.place(place_N)
        result: Tensor = seen + self.likeness_out(gelu(self.likeness(likeness_NL.to(x.dtype))))
        return result


def _windows(x_NPPC: Tensor, side: int) -> Tensor:
    """Non-overlapping windows: (N, P, P, C) -> (N, P / side, P / side, side * side * C)."""
    num, pixels, _, channels = x_NPPC.shape
    grid = x_NPPC.reshape(num, pixels // side, side, pixels // side, side, channels)
    return grid.transpose(2, 3).reshape(num, pixels // side, pixels // side, side * side * channels)
