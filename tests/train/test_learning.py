"""What is taught is learnt: a small model knows two sessions of each kind by heart after seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.scenario.practice import WATCHING, make_scenario
from microturn.scenario.scenario import Scenario
from microturn.train.batch import Row, collate
from microturn.train.sessions import Packer
from tests.train import tiny

STEPS: Mapping[str, int] = {"hear": 60, "decide": 60, "watch": 90, "speak": 150}


def two_sessions(name: str, folder: Path) -> list[Row]:
    rng = np.random.default_rng(0)
    if name == "watch":
        packer = Packer(tiny.materials().tokenizer, 2, None)
        return [packer.row(beginning(make_scenario(WATCHING, seed, "train", None), 24), rng) for seed in range(2)]
    draw = tiny.TASKS[name].source.open(tiny.materials(tiny.fill_bank(folder) if name == "hear" else None))
    return [draw(rng, 1)[0] for _ in range(2)]


def beginning(scenario: Scenario, num_turns: int) -> Scenario:
    """The first turns of a video."""
    frames = {turn: scenario.frames[turn] for turn in range(num_turns)}
    phases = {turn: scenario.phases[turn] for turn in range(num_turns)}
    return replace(scenario, num_turns=num_turns, gaps=frozenset(), frames=frames, phases=phases)


@pytest.mark.parametrize("name", STEPS)
def test_two_sessions_are_learnt_by_heart(name: str, tmp_path: Path) -> None:
    rows = two_sessions(name, tmp_path)
    width = max(len(row.tokens) for row in rows)
    batch = collate(name, rows, width, max(row.num_turns for row in rows))
    trainer = tiny.trainer(tiny.stage(name, STEPS[name]))
    first: dict[str, float] = {}
    for _ in range(STEPS[name]):
        _, figures = trainer.train_step(batch)
        means = {figure: (sums / sums[2]).tolist() for figure, sums in figures.items()}
        first = first or {figure: loss for figure, (loss, _, _) in means.items()}
    match name:
        case "hear":
            assert means["hear/words right"][1] > 0.9 and means["hear/words extra"][1] < 0.1
            assert means["hear/phones"][1] > 0.9 and means["hear/voice"][1] > 0.9
        case "decide":
            assert means["decide/say"][1] > 0.95 and means["decide/say right"][1] == 1.0
            assert means["decide/say extra"][1] == 0.0
        case "watch":
            assert means["watch/phases"][1] > 0.9
        case _:
            assert means["speak/guess"][0] < 0.1 * first["speak/guess"]
            assert means["speak/flow"][0] < 0.2 * first["speak/flow"]
