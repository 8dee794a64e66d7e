"""What a run says about its stages before the first step."""

from __future__ import annotations

import torch

from microturn.train.estimate import estimated_stages
from tests.train import tiny


def test_the_stages_to_come_are_timed_and_nothing_is_learnt() -> None:
    trainer = tiny.trainer(tiny.stage("speak", 5), tiny.stage("decide", 7), tiny.stage("voice", 9))
    trainer.stage, trainer.step = 1, 4
    before = {name: value.clone() for name, value in trainer.learner.state_dict().items()}
    random = torch.get_rng_state()
    found = list(estimated_stages(trainer, tiny.materials()))
    assert [(stage.name, num_steps) for stage, num_steps, _ in found] == [("decide", 3), ("voice", 9)]
    assert all(0.0 < step_s < 60.0 for *_, step_s in found)
    assert all(torch.equal(before[name], value) for name, value in trainer.learner.state_dict().items())
    assert (trainer.stage, trainer.step) == (1, 4) and torch.equal(torch.get_rng_state(), random)
