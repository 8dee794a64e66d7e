"""Checkpoints: everything that is needed to go on as if nothing had happened, written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from microturn.errors import WeightsError
from microturn.model.config import ModelConfig


@dataclass
class Checkpoint:
    """State of a training run after ``step`` optimiser steps."""

    step: int
    model_config: ModelConfig
    network: dict[str, Tensor]
    averaged: dict[str, Tensor]
    optimiser: dict[str, dict[str, object]]
    generator: Tensor
    """State of the CPU generator that draws flow times and noise."""

    def save(self, path: Path) -> None:
        partial = path.with_suffix(".partial")
        values = {name: value for name, value in vars(self).items() if name != "model_config"}
        torch.save({**values, "model_config": json.dumps(asdict(self.model_config))}, partial)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Checkpoint:
        """Raises ``WeightsError`` naming the file when it is missing or damaged."""
        try:
            values = torch.load(path, map_location=device, weights_only=True)
            config = ModelConfig.from_dict(json.loads(values.pop("model_config")))
            values["generator"] = values["generator"].cpu()
            return cls(model_config=config, **values)
        except OSError as error:
            raise WeightsError(f"{path}: {error.strerror}") from error
        except Exception as error:  # torch.load raises many types for damaged files
            raise WeightsError(f"{path}: not a checkpoint ({error})") from error
