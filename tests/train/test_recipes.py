"""Recipes: everything learns in exactly one stage, of tasks that are there."""

from __future__ import annotations

import pytest
import torch

from microturn.recipes import RECIPES
from microturn.train.learner import Learner


@pytest.mark.parametrize("name", RECIPES)
def test_everything_learns_in_one_stage_and_hearing_in_two(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    with torch.device("meta"):
        parameters = [name for name, _ in Learner(recipe.model, recipe.train.vocoder).named_parameters()]
    for parameter in parameters:
        stages = [stage.name for stage in recipe.train.stages if stage.optim.learns(parameter)]
        assert len(stages) == 1 or stages == ["hear", "hear_again"], parameter
    for stage in recipe.train.stages:
        assert stage.shares.keys() <= recipe.train.tasks.keys()
        assert sum(stage.shares.values()) == pytest.approx(1.0)
    assert {task for stage in recipe.train.stages for task in stage.shares} == recipe.train.tasks.keys()
