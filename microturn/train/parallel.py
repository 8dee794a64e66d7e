"""Several processes that train one model (``torchrun``): each has sessions of its own, and all of them make one step.

A batch of all ranks together is what one process would make of all their rows: losses are sums, and what they are
divided by is summed over ranks as well, so a step does not depend on how its rows are spread. What the host has to know
(those sums, which parameters have gradients, whether the time is over) travels by gloo; nothing waits for a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")
PATIENCE = timedelta(hours=12)
"""How long a rank waits for another, which may be filling the voice bank."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and says what happens."""
        return self.rank == 0

    def summed(self, values: Sequence[float]) -> list[float]:
        """Each of the numbers, summed over ranks."""
        if self.count == 1:
            return list(values)
        table = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(table)
        summed: list[float] = table.tolist()
        return summed

    def gathered(self, value: T) -> list[T]:
        """What each rank gave."""
        if self.count == 1:
            return [value]
        values: list[T] = [value] * self.count
        distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.count > 1:
            self.summed([0.0])

    def share_gradients(self, parameters: Sequence[nn.Parameter], others: Sequence[Tensor]) -> None:
        """Sum gradients over ranks, and the tensors ``others`` in place. A parameter that no rank has a gradient of
        stays without one, as it would in one process."""
        if self.count == 1:
            return
        met = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
        distributed.all_reduce(met, distributed.ReduceOp.MAX)
        tensors = list(others)
        for parameter, is_met in zip(parameters, met.tolist(), strict=True):
            if is_met:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                tensors.append(parameter.grad)
        if not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


@contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` has started with this one, for as long as the context lasts; inside of
    another such context, that is the same group."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
    elif distributed.is_initialized():
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    else:
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
        try:
            ranks = Ranks(distributed.get_rank(), distributed.get_world_size())
            yield ranks
            ranks.wait()  # all leave together: the first one writes weights while the others have nothing to do
        finally:
            distributed.destroy_process_group()
