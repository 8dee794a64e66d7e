"""Recipes: what learns in which stage, of tasks that are there."""

from __future__ import annotations

import pytest
import torch

from microturn.model.weights import load
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


@pytest.mark.parametrize("name", RECIPES)
def test_everything_learns_in_one_stage_and_hearing_in_two(name: str) -> None:
    recipe = RECIPES[name]()
    tasks = {task for stage in recipe.train.stages for task in stage.shares}
    heads = {"vocoder.": "voice", "phases.": "watch"}
    for parameter, stages in stages_of_parameters(recipe).items():
        is_left = any(parameter.startswith(head) and task not in tasks for head, task in heads.items())
        assert len(stages) == (0 if is_left else 1) or stages == ["hear", "hear_again"], parameter
    assert tasks == recipe.train.tasks.keys() - ({"watch", "voice"} if name == "nano_again" else set())


def test_the_packaged_weights_are_of_the_size_of_their_recipe() -> None:
    assert load("nano").config == RECIPES["nano"]().model == RECIPES["nano_again"]().model


@pytest.mark.parametrize("name", RECIPES)
def test_stages_are_of_tasks_that_are_there(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    for stage in recipe.train.stages:
        assert stage.shares.keys() <= recipe.train.tasks.keys()
        assert sum(stage.shares.values()) == pytest.approx(1.0)
