"""Optimiser, learning-rate schedule and averaged weights.

Muon (Jordan et al. 2024) updates the matrices inside the layers with an orthogonalised momentum; AdamW updates
everything else (embeddings, heads, biases, norms). The learning rate warms up, stays, and decays linearly to zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor, nn

from microturn.model.model import Network


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Learning rates and their schedule."""

    matrix_rate: float = 0.02
    rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_share: float = 0.5
    """Share of all steps, at the end, in which the rate falls linearly to zero."""
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    listening_share: float = 0.25
    """Rates of ear and listening layers, relative to all others, after the steps that only listen: they have learnt
    first, and would forget."""
    listening_steps: int = 0
    """The first steps, in which they learn at the full rate."""
    balance_speed: float = 1e-3
    """Step of the experts' balancing bias."""


def rate_factor(step: int, num_steps: int, config: OptimConfig) -> float:
    """Multiplier of the learning rates at ``step`` (from 0): warm-up, plateau, linear decay to zero."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay_steps = max(1, round(num_steps * config.decay_share))
    return warm * min(1.0, max(0.0, (num_steps - step) / decay_steps))


@dataclass(frozen=True)
class Split:
    """Parameters by who updates them, and whether they learn to listen."""

    matrices: list[Tensor]
    listening_matrices: list[Tensor]
    rest: list[Tensor]
    listening_rest: list[Tensor]


def split_parameters(network: Network) -> Split:
    """Muon takes the 2-D weights of backbone blocks and flow blocks; what ``Network.listen`` uses listens."""
    split = Split([], [], [], [])
    lower = tuple(f"backbone.blocks.{layer}." for layer in range(network.config.backbone.listening_layers))
    listening = (*lower, "embedder.ear.", "embedder.text.", "embedder.letters.", "lanes.hear", "spelling.")
    for name, parameter in network.named_parameters():
        inside = name.startswith(("backbone.blocks.", "flow.blocks."))
        is_matrix = parameter.ndim == 2 and inside and "router" not in name and "modulate" not in name
        if name.startswith(listening):
            (split.listening_matrices if is_matrix else split.listening_rest).append(parameter)
        else:
            (split.matrices if is_matrix else split.rest).append(parameter)
    return split


def orthogonalise(matrix_NRC: Tensor, num_iterations: int = 5) -> Tensor:
    """About the nearest semi-orthogonal matrices, by the quintic Newton-Schulz iteration of Muon; (N, R, C).

    float32 on a CPU, where bfloat16 products are slow (``torch.optim.Muon`` took 60 times as long there), bfloat16 on
    a GPU.
    """
    x = matrix_NRC.to(torch.bfloat16 if matrix_NRC.is_cuda else torch.float32)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(num_iterations):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    result: Tensor = (x.mT if tall else x).to(matrix_NRC.dtype)
    return result


Group = dict[str, list[Tensor] | bool]
"""A parameter group with its ``listens``."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; matrices of one shape are handled as one batch."""

    def __init__(self, groups: list[Group], rate: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(groups, {"lr": rate, "weight_decay": weight_decay, "momentum": momentum})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update; ``closure``, as in all of torch's optimisers, computes gradients and returns the loss."""
        loss: float | None = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in by_shape.items():
                self._step_shape(shape, matrices, group)
        return loss

    def _step_shape(self, shape: torch.Size, matrices: list[Tensor], group: dict[str, float]) -> None:
        updates = []
        for matrix in matrices:
            state = self.state[matrix]
            if not state:
                state["momentum"] = torch.zeros_like(matrix)
            assert matrix.grad is not None
            state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
            updates.append(matrix.grad.lerp(state["momentum"], group["momentum"]))
        update_NRC = orthogonalise(torch.stack(updates)) * max(1.0, shape[0] / shape[1]) ** 0.5
        for matrix, update in zip(matrices, update_NRC, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])


class Optimiser:
    """Muon and AdamW as one, with gradient clipping and the schedule."""

    def __init__(self, network: Network, config: OptimConfig) -> None:
        self._config = config
        split = split_parameters(network)
        self._parameters = list(network.parameters())
        self._muon = Muon(_groups(split.matrices, split.listening_matrices), config.matrix_rate, config.weight_decay)
        self._adamw = torch.optim.AdamW(
            _groups(split.rest, split.listening_rest),
            lr=config.rate,
            betas=(0.9, 0.98),
            eps=1e-8,
            weight_decay=config.weight_decay,
            fused=split.rest[0].is_cuda,
        )

    def step(self, factor: float, listening_factor: float = 1.0) -> float:
        """Apply the gradients with the rates times ``factor`` (what listens: also times ``listening_factor``), clear
        them, and return their norm before clipping."""
        norm = float(nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm))
        for optimiser, rate in ((self._muon, self._config.matrix_rate), (self._adamw, self._config.rate)):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor * (listening_factor if group["listens"] else 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> dict[str, dict[str, object]]:
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


def _groups(parameters: list[Tensor], listening: list[Tensor]) -> list[Group]:
    return [{"params": parameters, "listens": False}, {"params": listening, "listens": True}]


class AveragedWeights:
    """Exponential moving average of all parameters and buffers that are saved."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        # Early on the average forgets faster, so that it does not carry the random start along.
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            self.values[name].lerp_(value.to(self.values[name].dtype), 1 - decay)
