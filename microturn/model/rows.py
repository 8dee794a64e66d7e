"""The one convention for what a batch of sessions remembers: dataclasses of tensors whose first axis is the row.

A ``Rows`` may hold tensors, tuples of tensors and other ``Rows``. Everything that is done to the memory of sessions
(choose some, forget some, put some away as bytes, bring them back) is done here, once, for all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from microturn.errors import InputError

# Shapes: R rows.


@dataclass(frozen=True)
class Rows:
    """What R sessions remember of something. Rows are independent."""

    def named(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """All tensors with their names, in a fixed order."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Rows):
                yield from value.named(f"{prefix}{field.name}.")
            elif isinstance(value, tuple):
                yield from ((f"{prefix}{field.name}.{index}", item) for index, item in enumerate(value))
            else:
                yield prefix + field.name, value

    def mapped(self, change: Callable[[str, Tensor], Tensor], prefix: str = "") -> Self:
        """The same with every tensor changed; ``change`` gets its name too."""
        changed: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Rows):
                changed[field.name] = value.mapped(change, f"{prefix}{field.name}.")
            elif isinstance(value, tuple):
                items = enumerate(value)
                changed[field.name] = tuple(change(f"{prefix}{field.name}.{index}", item) for index, item in items)
            else:
                changed[field.name] = change(prefix + field.name, value)
        return replace(self, **changed)

    @property
    def num_rows(self) -> int:
        return int(next(self.named())[1].shape[0])

    def num_bytes(self) -> int:
        """Memory of all rows together."""
        return sum(tensor.numel() * tensor.element_size() for _, tensor in self.named())

    def select(self, index_N: Tensor) -> Self:
        """The rows ``index_N``, copied."""
        return self.mapped(lambda _, tensor: tensor.index_select(0, index_N))

    def row(self, row: int) -> Self:
        """One row, copied: nobody changes it any more."""
        return self.mapped(lambda _, tensor: tensor[row : row + 1].clone())

    def put(self, index_N: Tensor, rows: Self) -> Self:
        """The same with ``rows`` (N of them) in the places ``index_N``."""
        other = dict(rows.named())
        return self.mapped(lambda name, tensor: tensor.index_copy(0, index_N, other[name]))

    @torch.inference_mode()
    def overwrite(self, row: int, rows: Self) -> None:
        """``rows`` (one of them) in the place ``row`` of this memory itself, which nobody else may hold: copying it all
        for one row would take as long as a turn."""
        other = dict(rows.named())
        for name, tensor in self.named():
            tensor[row] = other[name][0]

    def where(self, mask_R: Tensor, rows: Self) -> Self:
        """The rows of ``rows`` where ``mask_R``, and these elsewhere. ``rows`` has as many rows, or one for all."""
        other = dict(rows.named())

        def choose(name: str, tensor: Tensor) -> Tensor:
            return torch.where(mask_R.view(-1, *[1] * (tensor.ndim - 1)), other[name], tensor)

        return self.mapped(choose)

    def export(self, row: int) -> bytes:
        """Everything that one row remembers."""
        return save({name: tensor[row].cpu().clone() for name, tensor in self.named()})

    def imported(self, row: int, data: bytes) -> Self:
        """The same with what was exported in the place ``row``. Raises ``InputError`` if that does not fit."""
        try:
            found = load(data)
        except (SafetensorError, ValueError) as error:
            raise InputError(f"not an exported session ({error})") from error
        wanted = {name: tensor[row] for name, tensor in self.named()}
        if found.keys() != wanted.keys():
            raise InputError(f"exported session of another model: {sorted(found.keys() ^ wanted.keys())[0]}")
        for name, tensor in wanted.items():
            if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
                raise InputError(f"exported session of another size: {name} is {tuple(found[name].shape)}")
        index = torch.tensor([row])
        return self.mapped(lambda name, tensor: tensor.index_copy(0, index, found[name].unsqueeze(0).to(tensor.device)))
