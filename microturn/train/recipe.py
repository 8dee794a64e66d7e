"""What a whole run consists of; ``microturn.recipes`` has the runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from microturn.model.config import ModelConfig
from microturn.scenario.filling import BankConfig
from microturn.train.augment import AugmentConfig
from microturn.train.loop import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One whole run: voice bank, model, training."""

    name: str
    model: ModelConfig
    bank: BankConfig
    train: TrainConfig
    augment: AugmentConfig = field(default_factory=AugmentConfig)
