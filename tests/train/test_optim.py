"""Optimiser, schedule and averages."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from microturn.errors import InputError
from microturn.train.optim import AveragedWeights, OptimConfig, Optimiser, is_matrix, orthogonalise, rate_factor


class Two(nn.Module):
    """Two matrices inside layers and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6, bias=False) for _ in range(2))
        self.head, self.other = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + layer(x)
        result: torch.Tensor = self.head(x) + self.other(x)
        return result


def test_rate_warms_up_and_ends_at_zero() -> None:
    config = OptimConfig(warmup_steps=10, decay_share=0.5)
    factors = [rate_factor(step, 100, config) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and factors[30] == 1.0 and factors[75] == pytest.approx(0.5)
    assert factors[100] == 0.0


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_orthogonalised_matrices_have_singular_values_near_one(precision: torch.dtype) -> None:
    torch.manual_seed(0)
    singular = torch.linalg.svdvals(orthogonalise(torch.randn(3, 40, 24), precision).float())
    assert singular.min() > 0.5 and singular.max() < 1.4


def test_matrices_inside_layers_are_muons() -> None:
    assert is_matrix("network.hearing.layers.0.qkv.weight", torch.ones(3, 3))
    for name in ("phones.weight", "network.hearing.layers.0.mix", "network.backbone.blocks.1.experts.router.weight"):
        assert not is_matrix(name, torch.ones(3, 3))
    assert not is_matrix("network.hearing.layers.0.norm.weight", torch.ones(3))


@pytest.mark.parametrize("matrix_rate", [0.02, None])
@pytest.mark.parametrize("parts", [(), ("layers.",), ("head.", "layers.1.")])
def test_what_is_named_learns_and_nothing_else(parts: tuple[str, ...], matrix_rate: float | None) -> None:
    torch.manual_seed(0)
    module = Two()
    config = OptimConfig(matrix_rate=matrix_rate, parts=parts, ema_decay=0.0)
    optimiser, averaged = Optimiser(module, config), AveragedWeights(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for step in range(2):
        torch.autograd.backward(module(torch.randn(5, 6)).square().mean())
        optimiser.step(1.0)
        averaged.update(module, step, config)
    for name, value in module.state_dict().items():
        learns = not parts or name.startswith(parts)
        assert torch.equal(value, before[name]) != learns, name
        assert torch.equal(averaged.values[name], before[name]) != learns, name


def test_a_restored_optimiser_goes_on_alike() -> None:
    torch.manual_seed(0)
    config = OptimConfig()
    first, second = Two(), Two()
    second.load_state_dict(first.state_dict())
    one, other = Optimiser(first, config), Optimiser(second, config)
    inputs = torch.randn(4, 5, 6)
    for step in range(4):
        torch.autograd.backward(first(inputs[step]).square().mean())
        one.step(1.0)
        if step == 1:
            second.load_state_dict(first.state_dict())
            other.load_state_dict(deepcopy(one.state_dict()))
        elif step > 1:
            torch.autograd.backward(second(inputs[step]).square().mean())
            other.step(1.0)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_averages_lie_between_the_start_and_now() -> None:
    module = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(module.weight)
    averaged, config = AveragedWeights(module), OptimConfig(ema_decay=0.9)
    nn.init.ones_(module.weight)
    averaged.update(module, 0, config)
    assert averaged.values["weight"].tolist() == [[pytest.approx(0.9)] * 2], "it soon forgets the start"
    averaged.values["weight"].zero_()
    averaged.update(module, 1000, config)
    assert averaged.values["weight"].tolist() == [[pytest.approx(0.1)] * 2]


def test_a_stage_in_which_nothing_can_learn_is_named() -> None:
    with pytest.raises(InputError, match="nothing\\. or no"):
        Optimiser(Two(), OptimConfig(parts=("nothing.", "no")))
