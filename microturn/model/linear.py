"""Layers whose results do not depend on how many rows are computed together.

A matrix product takes other paths, with other roundings, for row counts that are no multiple of four, and the functions
of single values (``exp``, ``sigmoid``, ...) for what is left over when a tensor is cut into vectors of the processor.
So rows are padded; from there on a row's bits are the same in any company (``tests/parity`` holds that).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROW_MULTIPLE = 4
VECTOR_VALUES = 32
"""Values that a processor's functions take at once, two vectors of 16 at most."""


def padded_rows(x: Tensor, multiple: int) -> Tensor:
    """``x`` with its first axis padded by zeros to a multiple."""
    missing = -x.shape[0] % multiple
    return F.pad(x, (0, 0) * (x.ndim - 1) + (0, missing)) if missing else x


class Linear(nn.Linear):
    """``nn.Linear`` with the same bits for a row whatever the others are."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.numel() // x.shape[-1]
        if rows % ROW_MULTIPLE == 0:
            return F.linear(x, self.weight, self.bias)
        flat = padded_rows(x.reshape(rows, x.shape[-1]), ROW_MULTIPLE)
        return F.linear(flat, self.weight, self.bias)[:rows].reshape(*x.shape[:-1], -1)


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang & Sennrich 2019) in single precision. ``nn.RMSNorm`` has no fused kernel on a CPU:
    in these few operations training takes half of its time."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True) + self.eps
        result: Tensor = x / size * (self.weight * x.shape[-1] ** 0.5)
        return result


class SwiGLU(nn.Module):
    """``w_out(silu(w_gate(x)) * w_up(x))`` (Shazeer 2020); (..., D) -> (..., D)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up = Linear(width, 2 * inner, bias=False)
        self.out = Linear(inner, width, bias=False)
        # A layer starts as the identity.
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        result: Tensor = self.out(F.silu(gate) * up)
        return result
