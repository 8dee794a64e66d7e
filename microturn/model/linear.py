"""Layers that training and streaming share.

In streaming on a CPU (``streams``) products and whole stacks are computed by ``kernels``, where a row's bits do not
depend on the others; in training, and on other devices, by PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.model.kernels.basics import Floats
from microturn.model.kernels.basics import linear as compiled_linear


def streams(x: Tensor) -> bool:
    """Whether ``x`` is of a turn that is computed on a CPU, and nothing is learnt from it."""
    return torch.is_inference_mode_enabled() and x.device.type == "cpu"


def array(x: Tensor) -> Floats:
    """The values of ``x``, which stay where they are."""
    result: Floats = x.detach().contiguous().numpy()
    return result


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x weight^T + bias``; in streaming on a CPU a row's bits do not depend on the others."""
    if not streams(x):
        return F.linear(x, weight, bias)
    biases = np.zeros(len(weight), np.float32) if bias is None else array(bias)
    y = compiled_linear(array(x).reshape(-1, weight.shape[1]), array(weight), biases)
    return torch.from_numpy(y).view(*x.shape[:-1], len(weight))


def products(x: Tensor, y: Tensor) -> Tensor:
    """``x y^T`` of matrices (..., N, I) and (..., O, I), pair by pair; in streaming on a CPU a row's bits depend
    neither on the others nor on torch's threads."""
    if not streams(x):
        return x @ y.mT
    pairs = zip(x.flatten(0, -3), y.flatten(0, -3), strict=True)
    return torch.stack([linear(one, other, None) for one, other in pairs]).view(*x.shape[:-1], y.shape[-2])


VECTORS = 64
"""So many values are whole vectors of every instruction set, and PyTorch's loops take two vectors at a time."""


def _alike(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function`` of every value of ``x``. PyTorch computes a tensor's last values, where they fill no vector, by
    another formula than the rest; in streaming on a CPU there are always enough of them, so that a row's bits do not
    depend on how many rows there are."""
    missing = -x.numel() % VECTORS
    if not streams(x) or not missing:
        return function(x)
    return function(F.pad(x.flatten(), (0, missing)))[: x.numel()].view(x.shape)


def gelu(x: Tensor) -> Tensor:
    return _alike(F.gelu, x)


def silu(x: Tensor) -> Tensor:
    return _alike(F.silu, x)


def sigmoid(x: Tensor) -> Tensor:
    return _alike(torch.sigmoid, x)


class Linear(nn.Linear):
    """``nn.Linear`` by ``linear``."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


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

    def array(self) -> Floats:
        """The weight as ``scaled`` takes it."""
        return array(self.weight * self.weight.shape[0] ** 0.5)


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
        result: Tensor = self.out(silu(gate) * up)
        return result
