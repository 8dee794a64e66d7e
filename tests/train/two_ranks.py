"""What ``test_parallel`` runs under ``torchrun``: ``python -m tests.train.two_ranks FOLDER``.

Every rank trains on its half of the rows that ``halves`` makes, then runs ``microturn train tiny`` together with the
others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from microturn import recipes
from microturn.cli import main
from microturn.scenario.practice import WATCHING, make_scenario
from microturn.train.batch import Batch, Row, collate
from microturn.train.loop import StageConfig, Trainer
from microturn.train.parallel import Ranks, joined_ranks
from microturn.train.sessions import Packer
from tests.train import tiny

STAGE = StageConfig(name="all", num_steps=40, shares=dict.fromkeys(tiny.TASKS, 1.0), optim=tiny.stage("all", 40).optim)
NUM_STEPS = 2
"""Of every task."""


def halves(bank: Path) -> list[tuple[list[Row], list[Row]]]:
    """The rows of each step's two ranks: other sessions, not equally many, and pictures in one half only."""
    steps = []
    rng = np.random.default_rng(0)
    packer = Packer(tiny.materials().tokenizer, 2, None)
    watched = packer.row(make_scenario(WATCHING, 0, "train", None), rng)
    for name, task in tiny.TASKS.items():
        draw = task.source.open(tiny.materials(bank))
        for _ in range(NUM_STEPS):
            rows = [watched] if name == "watch" else [draw(rng, 1)[0] for _ in range(3)]
            steps.append((rows[:1], rows[1:]))
    said = [packer.row(tiny.echo(seed), rng) for seed in range(2)]
    # Words are told in one half alone, pictures and their phases in the other.
    return [*steps, ([watched], said)]


def batch_of(rows: Sequence[Row]) -> Batch:
    width = 512 if any(row.patches for row in rows) else 64
    return collate("all", rows, width if len(rows[0].tokens) else 0, 96 if rows[0].num_turns else 0)


def train(trainer: Trainer, steps: Sequence[Sequence[Row]]) -> list[float]:
    """The loss of every step, or this rank's share of it."""
    return [float(trainer.train_step(batch_of(rows) if rows else nothing(steps))[0]) for rows in steps]


def nothing(steps: Sequence[Sequence[Row]]) -> Batch:
    """A batch of a session of which nothing is told."""
    row = next(row for rows in steps for row in rows if len(row.tokens))
    return batch_of([Row(tokens=row.tokens[:4], sound=np.ones(4, np.int64))])


def trainer(ranks: Ranks) -> Trainer:
    """Nothing is dropped at random, which would be something else in each process."""
    found = Trainer(tiny.model(), tiny.trainer(STAGE).config, torch.device("cpu"), ranks)
    for module in found.learner.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return found


def run(folder: Path) -> None:
    torch.set_num_threads(1)
    bank = folder / "run" / "bank"
    with joined_ranks("cpu") as ranks:
        alike = trainer(ranks)
        share = train(alike, [pair[ranks.rank] for pair in halves(bank)])
        losses = ranks.summed(share)
        if ranks.is_first:
            torch.save({"losses": losses, "learner": alike.learner.state_dict()}, folder / "together.pt")
        recipes.RECIPES["tiny"] = tiny.recipe
        code = main(["train", "tiny", "--out", str(folder / "run"), "--voices", "1", "--threads", "1"])
    sys.exit(code)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
