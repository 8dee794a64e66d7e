"""Rotary positions on two axes: elapsed time in turns and the slot within the turn.

Su et al. 2021, "RoFormer", applied to two disjoint parts of each head: the first ``time_dim`` dimensions rotate with
time (turns; sound to a quarter of a turn), the others with the slot. Distances on the time axis are clamped at the
memory's window: text that is older than the window looks as if it were exactly that old, so a session of hours stays
inside what training has met.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Shapes: B rows, T tokens, H heads, E dimensions that rotate (even).

TIME_SHORTEST_TURNS = 1.0
TIME_LONGEST_TURNS = 1600.0
SLOT_SHORTEST = 4.0
SLOT_LONGEST = 256.0


def frequencies(dim: int, shortest: float, longest: float) -> Tensor:
    """``dim // 2`` angular frequencies, wavelengths spaced evenly in log from ``shortest`` to ``longest``."""
    count = dim // 2
    steps = torch.arange(count, dtype=torch.float32) / max(1, count - 1)
    return 2 * math.pi / (shortest * (longest / shortest) ** steps)


@dataclass(frozen=True)
class Rotation:
    """Angles, as all layers of a forward pass need them: cosines and sines (B, T, F) are taken once."""

    cos_BTF: Tensor
    sin_BTF: Tensor

    @classmethod
    def by(cls, angle_BTF: Tensor) -> Rotation:
        """Of angles of any precision: hours are many turns of a circle."""
        return cls(angle_BTF.cos().float(), angle_BTF.sin().float())


def rotate(x_BTHE: Tensor, rotation: Rotation) -> Tensor:
    """Rotate pairs (i, i + E/2) of ``x`` (F = E/2), the same for every head."""
    cos, sin = rotation.cos_BTF.unsqueeze(2), rotation.sin_BTF.unsqueeze(2)
    first, second = x_BTHE.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x_BTHE.dtype)
