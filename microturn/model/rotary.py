"""Rotary positions on two axes: elapsed time in turns and the slot within the turn.

Su et al. 2021, "RoFormer", applied to two disjoint parts of each head: the first ``time_dim`` dimensions rotate with
time, in whole turns, the next ``slot_dim`` with the slot; the rest, which is most of them, does not rotate. Distances
on the time axis are clamped at the memory's window: text that is older than the window looks as if it were exactly that
old, so a session of hours stays inside what training has met.
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
SLOT_LONGEST = 128.0


def frequencies(dim: int, shortest: float, longest: float) -> Tensor:
    """``dim // 2`` angular frequencies, wavelengths spaced evenly in log from ``shortest`` to ``longest``."""
    count = dim // 2
    steps = torch.arange(count, dtype=torch.float32) / max(1, count - 1)
    return 2 * math.pi / (shortest * (longest / shortest) ** steps)


@dataclass(frozen=True)
class Rotation:
    """Angles, as all layers of a forward pass need them, for all dimensions of a head: cosines and sines (B, T, E).
    Dimensions that do not rotate have the angle 0."""

    cos_BTE: Tensor
    sin_BTE: Tensor
    """With the sign that the first half of a rotated pair needs."""

    @classmethod
    def by(cls, *angles_BTF: Tensor, rest: int = 0) -> Rotation:
        """Of the angles of each group of dimensions, one after the other, and ``rest`` dimensions that do not rotate.
        Angles may have any precision: hours are many turns of a circle."""
        cos, sin = [], []
        for angle in angles_BTF:
            cos += [angle.cos().float()] * 2
            sin += [-angle.sin().float(), angle.sin().float()]
        still = torch.zeros(*angles_BTF[0].shape[:-1], rest, device=angles_BTF[0].device)
        return cls(torch.cat([*cos, still + 1.0], -1), torch.cat([*sin, still], -1))

    def last(self, count: int) -> Rotation:
        """Of the last ``count`` tokens."""
        return Rotation(self.cos_BTE[:, -count:], self.sin_BTE[:, -count:])


def partners(*dims: int, rest: int = 0) -> Tensor:
    """Which dimension each one is rotated with, (E,): in a group of ``dim``, i goes with i + dim / 2."""
    found: list[int] = []
    for dim in dims:
        first = len(found)
        found += [first + (place + dim // 2) % dim for place in range(dim)]
    return torch.tensor([*found, *range(len(found), len(found) + rest)])


def rotate(x_BTHE: Tensor, rotation: Rotation, partner_E: Tensor, head_axis: int = 2) -> Tensor:
    """Rotate pairs of ``x``, the same for every head."""
    cos, sin = rotation.cos_BTE.unsqueeze(head_axis), rotation.sin_BTE.unsqueeze(head_axis)
    swapped = x_BTHE.index_select(-1, partner_E)
    return torch.addcmul(x_BTHE * cos, swapped, sin).to(x_BTHE.dtype)
