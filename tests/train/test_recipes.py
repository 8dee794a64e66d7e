"""Recipes: what learns in which stage, of tasks that are there."""

from __future__ import annotations

import pytest
import torch

from microturn.recipes import RECIPES
from microturn.train.learner import Learner
from microturn.train.run import Recipe


def stages_of_parameters(recipe: Recipe) -> dict[str, list[str]]:
    with torch.device("meta"):
        learner = Learner(recipe.model, recipe.train.vocoder)
    return {
        name: [stage.name for stage in recipe.train.stages if stage.optim.learns(name)]
        for name, _ in learner.named_parameters()
    }


@pytest.mark.parametrize("name", ["nano", "nano_gpu"])
def test_everything_learns_in_one_stage_and_hearing_in_two(name: str) -> None:
    recipe = RECIPES[name]()
    for parameter, stages in stages_of_parameters(recipe).items():
        assert len(stages) == 1 or stages == ["hear", "hear_again"], parameter
    assert {task for stage in recipe.train.stages for task in stage.shares} == recipe.train.tasks.keys()


def test_in_another_round_everything_that_is_used_but_the_vocoder_learns_in_one_stage() -> None:
    for parameter, stages in stages_of_parameters(RECIPES["nano_again"]()).items():
        assert len(stages) == (0 if parameter.startswith(("vocoder.", "phases.")) else 1), parameter


@pytest.mark.parametrize("name", RECIPES)
def test_stages_are_of_tasks_that_are_there(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    for stage in recipe.train.stages:
        assert stage.shares.keys() <= recipe.train.tasks.keys()
        assert sum(stage.shares.values()) == pytest.approx(1.0)
