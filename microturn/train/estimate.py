"""How long the stages of a run take on this machine: a step of each of their tasks, timed before the first that counts.

Sessions are made beside the steps, by other processes; what they cost is told by the run itself, stage by stage.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import torch

from microturn.train.loop import StageConfig, Trainer
from microturn.train.tasks import Materials, batches_of


def estimated_stages(trainer: Trainer, materials: Materials) -> Iterator[tuple[StageConfig, int, float]]:
    """The stages that ``trainer`` has not done yet, each with its steps to go and the seconds that one takes.

    Timed are steps of trainers of their own, on this process alone: ``trainer`` stays as it is. Raises as
    ``RowSource.open``.
    """
    hearing = deepcopy(trainer.learner.network.hearing).cpu().eval().requires_grad_(False)
    for place, stage in enumerate(trainer.config.stages[trainer.stage :], trainer.stage):
        done = trainer.step if place == trainer.stage else 0
        yield stage, stage.num_steps - done, _step_s(trainer, stage, replace(materials, hearing=hearing))


def _step_s(trainer: Trainer, stage: StageConfig, materials: Materials) -> float:
    total = sum(stage.shares.values())
    with torch.random.fork_rng():
        timed = Trainer(trainer.model, replace(trainer.config, stages=(stage,)), trainer.device)
        timed.learner.network.spell(materials.tokenizer)
        step_s = 0.0
        for name, share in stage.shares.items():
            batch = next(batches_of(name, trainer.config.tasks[name], materials, (0,)))
            for is_timed in (False, True):  # the first one also makes room for what a step needs
                started = time.monotonic()
                timed.train_step(batch)[0].item()
                step_s += is_timed * share / total * (time.monotonic() - started)
    return step_s
