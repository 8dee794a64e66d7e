"""Optimiser, learning-rate schedule and averaged weights.

Muon (Jordan et al. 2024) updates the matrices inside the layers with an orthogonalised momentum; AdamW updates
everything else (embeddings, heads, biases, norms). The learning rate warms up, stays, and decays linearly to zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from microturn.errors import InputError


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Learning rates and their schedule."""

    matrix_rate: float | None = 0.02
    """Muon's; None: AdamW updates the matrices too."""
    rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_share: float = 0.5
    """Share of all steps, at the end, in which the rate falls linearly to zero."""
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    parts: tuple[str, ...] = ()
    """Prefixes of the names of the parameters that learn; all of them if there is none."""
    balance_speed: float = 1e-3
    """Step of the experts' balancing bias."""

    def learns(self, name: str) -> bool:
        """Whether the parameter or buffer of this name changes."""
        return name.startswith(self.parts or "")


def rate_factor(step: int, num_steps: int, config: OptimConfig) -> float:
    """Multiplier of the learning rates at ``step`` (from 0): warm-up, plateau, linear decay to zero."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay_steps = max(1, round(num_steps * config.decay_share))
    return warm * min(1.0, max(0.0, (num_steps - step) / decay_steps))


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon updates a parameter: 2-D weights inside the layers, but for routers and modulations."""
    inside = any(part in f".{name}" for part in (".layers.", ".blocks.", ".letters.", ".moments."))
    return inside and parameter.ndim >= 2 and not name.endswith((".mix", "router.weight", "modulate.weight"))


def orthogonalise(matrix_NRC: Tensor, precision: torch.dtype, num_iterations: int = 5) -> Tensor:
    """About the nearest semi-orthogonal matrices, by the quintic Newton-Schulz iteration of Muon; (N, R, C).

    ``precision`` is that of the products: bfloat16 is fast on GPUs and on CPUs that multiply in it, and slow on all
    others (``torch.optim.Muon`` took 60 times as long there).
    """
    x = matrix_NRC.to(precision)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(num_iterations):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    result: Tensor = (x.mT if tall else x).to(matrix_NRC.dtype)
    return result


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; matrices of one shape are handled as one batch, and so are experts, which are
    three-dimensional."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        rate: float,
        weight_decay: float,
        momentum: float = 0.95,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(parameters, {"lr": rate, "weight_decay": weight_decay, "momentum": momentum})
        self._precision = precision

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update with the gradients that there are; torch's own optimisers would first call ``closure``."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in by_shape.items():
                self._step_shape(shape, matrices, group)

    def _step_shape(self, shape: torch.Size, matrices: list[Tensor], group: dict[str, float]) -> None:
        updates = []
        for matrix in matrices:
            state = self.state[matrix]
            if not state:
                state["momentum"] = torch.zeros_like(matrix)
            assert matrix.grad is not None
            state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
            updates.append(matrix.grad.lerp(state["momentum"], group["momentum"]))
        update_NRC = orthogonalise(torch.stack(updates), self._precision) * max(1.0, shape[-2] / shape[-1]) ** 0.5
        for matrix, update in zip(matrices, update_NRC, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])


class Optimiser:
    """Muon and AdamW as one, with gradient clipping and the schedule, for the parameters that learn."""

    def __init__(self, module: nn.Module, config: OptimConfig, precision: torch.dtype = torch.float32) -> None:
        """Raises ``InputError`` if no parameter's name begins with one of the configuration's parts."""
        self._config = config
        named = [(name, parameter) for name, parameter in module.named_parameters() if config.learns(name)]
        if not named:
            raise InputError(f"no parameter's name begins with {' or '.join(config.parts)}")
        self.parameters = [parameter for _, parameter in named]
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in named:
            (matrices if config.matrix_rate and is_matrix(name, parameter) else rest).append(parameter)
        self._optimisers: dict[str, tuple[torch.optim.Optimizer, float]] = {}
        if config.matrix_rate and matrices:
            muon = Muon(matrices, config.matrix_rate, config.weight_decay, precision=precision)
            self._optimisers["muon"] = muon, config.matrix_rate
        if rest:
            adamw = torch.optim.AdamW(
                rest, config.rate, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=rest[0].is_cuda
            )
            self._optimisers["adamw"] = adamw, config.rate

    def step(self, factor: float) -> None:
        """Apply the gradients with the rates times ``factor``, and clear them."""
        with_gradient = [parameter for parameter in self.parameters if parameter.grad is not None]
        nn.utils.clip_grad_norm_(with_gradient, self._config.clip_norm)
        for optimiser, rate in self._optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, dict[str, object]]:
        return {name: optimiser.state_dict() for name, (optimiser, _) in self._optimisers.items()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        for name, (optimiser, _) in self._optimisers.items():
            optimiser.load_state_dict(state[name])


class AveragedWeights:
    """Exponential moving average of all parameters and buffers that are saved."""

    def __init__(self, module: nn.Module) -> None:
        self.values = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int, config: OptimConfig) -> None:
        """Take in the weights after step ``step`` (from 0) of a stage: of what learns in it, the rest is as it was."""
        # Early on the average forgets faster, so that it does not carry the start along.
        decay = min(config.ema_decay, (1 + step) / (10 + step))
        found = [(name, value) for name, value in module.state_dict().items() if config.learns(name)]
        torch._foreach_lerp_([self.values[name] for name, _ in found], [value for _, value in found], 1 - decay)
